//! One guest thread: a traced host thread.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use abi::Errno;

use super::filter::ARCH_X86_64;
use super::inject::InjectError;
use super::layout::SYSCALL_LEN;
use super::space::Process;
use super::tracees::{Report, Thread};
use super::{Inner, fault, host};
use crate::regs::{USER_CS, USER_SS};
use crate::{
    AddressSpace, BoxFuture, Context, Death, Event, Interrupt, MemOp, MemOpError, NewProcess, PlatformError, Registers,
};

/// `si_code` of a SIGSYS that a seccomp filter raised.
const SYS_SECCOMP: i32 = 1;

/// A guest thread on this platform.
pub(super) struct PtraceContext {
    inner: Arc<Inner>,
    process: Arc<Process>,
    thread: Arc<Thread>,
    state: State,
    /// Registers that go with [`State::Ready`].
    at: Registers,
    ops: Option<Result<u64, MemOpError>>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// In a ptrace stop that has been looked at.
    Stopped,
    /// Guest code runs, or has stopped and was not looked at.
    Running,
    /// Not started at all, since this event was there already.
    Ready(Event),
}

impl PtraceContext {
    /// The context of a stopped thread.
    pub(super) fn new(inner: Arc<Inner>, process: Arc<Process>, thread: Arc<Thread>) -> PtraceContext {
        PtraceContext { inner, process, thread, state: State::Stopped, at: Registers::default(), ops: None }
    }

    fn resume(&self) -> Result<(), Errno> {
        match host::sysemu(self.thread.tid) {
            // Gone: its wait status will tell, or has.
            Err(Errno::ESRCH) => Ok(()),
            other => other,
        }
    }

    /// Makes an event of a stop. `None`: it doesn't concern the guest.
    fn event_of(&self, status: i32, regs: &mut Registers) -> Result<Option<Event>, Errno> {
        let tid = self.thread.tid;
        let signal = libc::WSTOPSIG(status);
        match (signal, status >> 16) {
            (host::SYSCALL_STOP, _) => {
                *regs = host::get_regs(tid)?;
                regs.rax = regs.orig_rax;
                if host::syscall_arch(tid)? == ARCH_X86_64 {
                    return Ok(Some(Event::Syscall));
                }
                regs.rip = regs.rip.wrapping_sub(SYSCALL_LEN);
                regs.orig_rax = u64::MAX;
                Ok(Some(Event::Fault(fault::foreign_syscall())))
            }
            (host::KICK, 0) => {
                // A kick whose interrupt was seen by other means is stale.
                if !self.thread.interrupted.swap(false, Ordering::AcqRel) {
                    return Ok(None);
                }
                *regs = host::get_regs(tid)?;
                Ok(Some(Event::Interrupted))
            }
            (libc::SIGSYS, 0) => self.filtered_syscall(regs),
            (libc::SIGSEGV | libc::SIGBUS | libc::SIGFPE | libc::SIGILL | libc::SIGTRAP, 0) => {
                let info = host::get_siginfo(tid)?;
                if !fault::is_exception(signal, info.si_code) {
                    return Ok(None);
                }
                *regs = host::get_regs(tid)?;
                let addr = host::fault_address(&info);
                let readable = |addr| self.process.read(addr, &mut [0]) == 1;
                Ok(Some(Event::Fault(fault::describe(signal, info.si_code, addr, regs, readable))))
            }
            _ => Ok(None),
        }
    }

    /// A call that the stub's filter caught: one that entered the host by the vsyscall page, where emulation doesn't
    /// stop it. The host has done the return from there already.
    fn filtered_syscall(&self, regs: &mut Registers) -> Result<Option<Event>, Errno> {
        let info = host::get_siginfo(self.thread.tid)?;
        if info.si_code != SYS_SECCOMP {
            return Ok(None);
        }
        *regs = host::get_regs(self.thread.tid)?;
        regs.rax = host::filtered_number(&info);
        regs.orig_rax = regs.rax;
        Ok(Some(Event::Syscall))
    }

    fn perform(&self, op: &MemOp) -> Result<u64, InjectError> {
        self.inner.check_op(op)?;
        let call = |number, args| self.inner.tracees.syscall(&self.thread, number, args);
        let bits = |flags: i32| u64::from(flags.cast_unsigned());
        match op {
            MemOp::MapAnonymous { addr, len, prot, flags } => {
                let flags = u64::from(*flags) | bits(libc::MAP_FIXED | libc::MAP_ANONYMOUS);
                call(libc::SYS_mmap, [*addr, *len, u64::from(prot.bits()), flags, u64::MAX, 0])
            }
            MemOp::MapFile { addr, len, prot, flags, file, offset } => {
                let flags = u64::from(*flags) | bits(libc::MAP_FIXED);
                let fd = bits(file.as_raw_fd());
                call(libc::SYS_mmap, [*addr, *len, u64::from(prot.bits()), flags, fd, *offset])
            }
            MemOp::Unmap { addr, len } => call(libc::SYS_munmap, [*addr, *len, 0, 0, 0, 0]),
            MemOp::Protect { addr, len, prot } => {
                call(libc::SYS_mprotect, [*addr, *len, u64::from(prot.bits()), 0, 0, 0])
            }
            MemOp::Remap { old, old_len, new, new_len, flags } => {
                let exact = if old == new { 0 } else { bits(libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) };
                let place = call(libc::SYS_mremap, [*old, *old_len, *new_len, u64::from(*flags) | exact, *new, 0])?;
                if place == *new { Ok(place) } else { Err(Errno::ENOMEM.into()) }
            }
            MemOp::Advise { addr, len, advice } => call(libc::SYS_madvise, [*addr, *len, bits(*advice), 0, 0, 0]),
            MemOp::Sync { addr, len, flags } => call(libc::SYS_msync, [*addr, *len, bits(*flags), 0, 0, 0]),
            MemOp::Lock { addr, len, flags } => call(libc::SYS_mlock2, [*addr, *len, u64::from(*flags), 0, 0, 0]),
            MemOp::Unlock { addr, len } => call(libc::SYS_munlock, [*addr, *len, 0, 0, 0, 0]),
            MemOp::Membarrier { cmd, flags, cpu } => {
                call(libc::SYS_membarrier, [bits(*cmd), u64::from(*flags), bits(*cpu), 0, 0, 0])
            }
            MemOp::Rseq { addr, len, flags, signature } => {
                let args = [*addr, u64::from(*len), u64::from(*flags), u64::from(*signature), 0, 0];
                call(libc::SYS_rseq, args)
            }
            MemOp::CompareExchange { addr, old, new } => {
                self.inner.tracees.compare_exchange(&self.thread, *addr, *old, *new)
            }
            MemOp::Write { addr, bytes } => self.store(*addr, bytes),
            MemOp::StoreByte { addr, byte } => self.store(*addr, &[*byte]),
            MemOp::Mincore { addr, len, vec } => call(libc::SYS_mincore, [*addr, *len, *vec, 0, 0, 0]),
            // Nobody sleeps without the kernel's knowledge.
            MemOp::FutexWake { .. } | MemOp::FutexRequeue { .. } => Ok(0),
            MemOp::Describe { addr } => call(libc::SYS_prctl, crate::systrap::describe(*addr)),
        }
    }

    fn store(&self, addr: u64, bytes: &[u8]) -> Result<u64, InjectError> {
        let stored = self.process.write(addr, bytes);
        if stored == bytes.len() { Ok(0) } else { Err(InjectError::Fault) }
    }

    /// Makes another host thread or process from this one.
    fn branch(&self, flags: libc::c_int) -> Result<Arc<Thread>, PlatformError> {
        let flags = flags | libc::CLONE_FILES;
        self.inner.tracees.clone(&self.thread, flags).map_err(|error| error.platform("cloning a stub"))
    }
}

impl Context for PtraceContext {
    fn start(&mut self, regs: &Registers) {
        if self.thread.interrupted.swap(false, Ordering::AcqRel) {
            self.state = State::Ready(Event::Interrupted);
            self.at = *regs;
            return;
        }
        let mut host_regs = *regs;
        // The host must not take the guest's call for one of its own that it might have to restart.
        host_regs.orig_rax = u64::MAX;
        if host_regs.cs == 0 {
            host_regs.cs = USER_CS;
        }
        if host_regs.ss == 0 {
            host_regs.ss = USER_SS;
        }
        let started = match host::set_regs(self.thread.tid, &host_regs) {
            Ok(()) | Err(Errno::ESRCH) => self.resume(),
            Err(error) => Err(error),
        };
        self.state = match started {
            Ok(()) => State::Running,
            Err(_) => {
                self.at = *regs;
                State::Ready(Event::Dead(Death::Protocol("the host refused to resume the stub")))
            }
        };
    }

    fn poll_event(&mut self, cx: &mut std::task::Context<'_>, regs: &mut Registers) -> Poll<Event> {
        if let State::Ready(event) = self.state {
            self.state = State::Stopped;
            *regs = self.at;
            return Poll::Ready(event);
        }
        loop {
            let status = match self.thread.report(Some(cx.waker())) {
                None => return Poll::Pending,
                Some(Report::Death(death)) => return Poll::Ready(Event::Dead(death)),
                Some(Report::Stop(status)) => status,
            };
            let event = match self.event_of(status, regs) {
                Ok(Some(event)) => {
                    self.state = State::Stopped;
                    event
                }
                Ok(None) => match self.resume() {
                    Ok(()) => continue,
                    Err(_) => Event::Dead(Death::Protocol("the host refused to resume the stub")),
                },
                // Killed while it was looked at: its death is still to be reported.
                Err(Errno::ESRCH) => continue,
                Err(_) => Event::Dead(Death::Protocol("the host didn't tell why the stub stopped")),
            };
            return Poll::Ready(event);
        }
    }

    fn submit(&mut self, ops: &[MemOp]) {
        let mut result = Ok(0);
        for (index, op) in ops.iter().enumerate() {
            result = self.perform(op).map_err(|error| MemOpError { index, errno: error.errno() });
            if result.is_err() {
                break;
            }
        }
        self.ops = Some(result);
    }

    fn poll_ops(&mut self, _cx: &mut std::task::Context<'_>) -> Poll<Result<u64, MemOpError>> {
        // Operations are done as they are submitted; asking without a batch is a mistake that gets an answer.
        Poll::Ready(self.ops.take().unwrap_or(Ok(0)))
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        Arc::clone(&self.thread) as Arc<dyn Interrupt>
    }

    fn new_thread(&mut self) -> BoxFuture<'_, Result<Box<dyn Context>, PlatformError>> {
        let flags = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_SIGHAND | libc::CLONE_THREAD | libc::CLONE_SYSVSEM;
        Box::pin(async move {
            let thread = self.branch(flags)?;
            let context = PtraceContext::new(Arc::clone(&self.inner), Arc::clone(&self.process), thread);
            Ok(Box::new(context) as Box<dyn Context>)
        })
    }

    fn fork(&mut self) -> BoxFuture<'_, Result<NewProcess, PlatformError>> {
        Box::pin(async move {
            let thread = self.branch(libc::CLONE_PARENT | libc::SIGCHLD)?;
            Ok(self.inner.new_process(thread))
        })
    }

    fn fpstate(&mut self) -> BoxFuture<'_, Result<Vec<u8>, PlatformError>> {
        Box::pin(async move {
            let failed = |_| PlatformError::Dead("reading its floating-point state");
            self.inner.fpu.read(self.thread.tid).map_err(failed)
        })
    }

    fn set_fpstate<'a>(&'a mut self, xsave: &'a [u8]) -> BoxFuture<'a, Result<(), PlatformError>> {
        Box::pin(async move { self.inner.fpu.write(self.thread.tid, xsave) })
    }

    fn reset_fpstate(&mut self) {
        if let Err(error) = self.inner.fpu.reset(self.thread.tid) {
            // Only a thread that is gone refuses, and its next event says so.
            tracing::debug!(tid = self.thread.tid, %error, "resetting the floating-point state failed");
        }
    }

    /// A stop for the tracer is none of the host's reasons to abort before the registers are read, and calls made in the
    /// stub meanwhile would make the host forget the section.
    fn aborts_rseq(&self) -> bool {
        false
    }
}

impl Drop for PtraceContext {
    fn drop(&mut self) {
        self.inner.tracees.release(&self.thread, matches!(self.state, State::Running));
    }
}
