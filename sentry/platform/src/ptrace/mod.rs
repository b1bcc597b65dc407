//! The ptrace platform: portable, simple, slow; the reference that others are checked against.
//!
//! Every guest address space is a *stub* process, every guest thread a host thread of it, traced by the one worker. Guest
//! code runs under `PTRACE_SYSEMU`: a system call stops the thread and is never executed by the host. What the kernel
//! wants done to guest memory are host calls made by a stopped thread of the stub itself ([`inject`]), at a page of code
//! above the guest's addresses. Address spaces are forked from the *zygote*, a stub with nothing but that page and the
//! vDSO. Stubs share the sentry's descriptor table, so that a file can be mapped by its number there, and none of them
//! outlives the sentry.
//!
//! Neighbours: [`tracees`] knows who is traced and takes the host's reports, [`park`] sleeps, [`context`] and [`space`]
//! implement the traits. A tracee belongs to a thread: all but interrupting, unparking and copying memory happens on the
//! thread that called [`Ptrace::new`].

mod context;
mod fault;
pub(crate) mod figures;
mod filter;
mod fpu;
mod host;
pub mod host_calls;
mod inject;
mod layout;
mod park;
pub(crate) mod smaps;
mod space;
mod tracees;
mod zygote;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use abi::Errno;

use context::PtraceContext;
use fpu::Fpu;
use inject::InjectError;
use park::Bed;
use space::Process;
use tracees::{Thread, Tracees};

use crate::{AddressSpace, BoxFuture, Context, MM_MAP_LEN, MemOp, NewProcess, Platform, PlatformError, Vdso};

/// The ptrace platform.
pub struct Ptrace {
    inner: Arc<Inner>,
}

/// What contexts and address spaces keep of the platform.
struct Inner {
    tracees: Tracees,
    zygote: Arc<Thread>,
    fpu: Fpu,
    user: Range<u64>,
    vdso: Vdso,
    bed: Bed,
}

impl Ptrace {
    /// Makes the platform, whose one worker is the calling thread. Needs `/proc`, and wants to be called before other
    /// threads exist, since they must inherit a signal mask that blocks `SIGCHLD`, and after the last change of user or
    /// group id, since the host lets us copy memory of stubs with our own ids only. Fails where the host forbids
    /// `ptrace(2)` of own children.
    #[expect(clippy::new_ret_no_self, reason = "nobody needs more than the trait")]
    pub fn new() -> Result<Arc<dyn Platform>, PlatformError> {
        let bed = Bed::new()?;
        let zygote::Zygote { tracees, thread, layout, fpu } = zygote::make()?;
        let (user, vdso) = (layout.user_range(), layout.public_vdso());
        Ok(Arc::new(Ptrace { inner: Arc::new(Inner { tracees, zygote: thread, fpu, user, vdso, bed }) }))
    }
}

impl Platform for Ptrace {
    fn name(&self) -> &'static str {
        "ptrace"
    }

    fn max_workers(&self) -> Option<usize> {
        Some(1)
    }

    fn user_range(&self) -> Range<u64> {
        self.inner.user.clone()
    }

    fn vdso(&self) -> Vdso {
        self.inner.vdso.clone()
    }

    fn new_process(&self) -> BoxFuture<'_, Result<NewProcess, PlatformError>> {
        Box::pin(async move {
            let flags = libc::CLONE_PARENT | libc::CLONE_FILES | libc::SIGCHLD;
            let thread = self.inner.tracees.clone(&self.inner.zygote, flags);
            let thread = thread.map_err(|error| error.platform("forking the first stub"))?;
            Ok(self.inner.new_process(thread))
        })
    }

    fn poll(&self) -> bool {
        self.inner.tracees.poll()
    }

    fn park(&self, timeout: Option<Duration>) {
        self.inner.bed.sleep(timeout);
    }

    fn unpark(&self) {
        self.inner.bed.call();
    }
}

impl Inner {
    /// Wraps the only thread of a new stub process.
    fn new_process(self: &Arc<Self>, thread: Arc<Thread>) -> NewProcess {
        let process = Process::new(thread.pid, Arc::clone(self));
        let context = PtraceContext::new(Arc::clone(self), Arc::clone(&process), thread);
        (process as Arc<dyn AddressSpace>, Box::new(context) as Box<dyn Context>)
    }

    /// Kills a stub process; it is reaped as its threads' ends are reported.
    fn end_process(&self, pid: i32) {
        if self.tracees.knows(pid) {
            host::kill(pid);
        }
    }

    /// Refuses what would touch anything but guest memory. The kernel has checked this before; it is checked again here,
    /// since the code page is what a stub's host calls are made with.
    fn check_op(&self, op: &MemOp) -> Result<(), InjectError> {
        let inside = |addr: u64, len: u64| match addr.checked_add(len) {
            Some(end) if addr >= self.user.start && end <= self.user.end => Ok(()),
            _ => Err(InjectError::Errno(Errno::ENOMEM)),
        };
        match *op {
            MemOp::MapAnonymous { addr, len, .. }
            | MemOp::MapFile { addr, len, .. }
            | MemOp::Unmap { addr, len }
            | MemOp::Protect { addr, len, .. }
            | MemOp::Advise { addr, len, .. }
            | MemOp::Sync { addr, len, .. }
            | MemOp::Lock { addr, len, .. }
            | MemOp::Unlock { addr, len }
            | MemOp::Mincore { addr, len, .. } => inside(addr, len),
            MemOp::Remap { old, old_len, new, new_len, .. } => {
                inside(old, old_len)?;
                inside(new, new_len)
            }
            MemOp::Rseq { addr, len, .. } => inside(addr, len.into()),
            MemOp::Write { addr, ref bytes } => inside(addr, bytes.len() as u64),
            MemOp::StoreByte { addr, .. } => inside(addr, 1),
            MemOp::Describe { addr } => inside(addr, MM_MAP_LEN.into()),
            MemOp::CompareExchange { addr, .. } => inside(addr, 4).map_err(|_| InjectError::Fault),
            MemOp::FutexWake { addr, .. } => inside(addr, 4),
            MemOp::FutexRequeue { addr, to, .. } => {
                inside(addr, 4)?;
                inside(to, 4)
            }
            MemOp::Membarrier { .. } => Ok(()),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tracees.reap_all();
    }
}
