//! The first stub: forked from the sentry, emptied, and from then on only forked from.

use std::sync::Arc;

use abi::Errno;

use super::filter::Filter;
use super::fpu::Fpu;
use super::host;
use super::inject::InjectError;
use super::layout::Layout;
use super::tracees::{Report, Thread, Tracees};
use crate::PlatformError;

/// The zygote and what was learned while it was made.
pub(super) struct Zygote {
    pub(super) tracees: Tracees,
    pub(super) thread: Arc<Thread>,
    pub(super) layout: Layout,
    pub(super) fpu: Fpu,
}

const HINT: &str = "the host must allow ptrace of own children (kernel.yama.ptrace_scope below 2, no seccomp filter \
                    against it) and have Linux 5.13 or newer";

/// Forks and empties the zygote. A failure leaves no process behind.
pub(super) fn make() -> Result<Zygote, PlatformError> {
    let mut layout = Layout::prepare()?;
    // Made before the fork, so that the child has it, too.
    let filter = Filter::new(layout.code);
    let header = filter.header();
    let pid = fork_child();
    layout.forget_code_page();
    let pid = pid.map_err(|errno| PlatformError::Host { what: "forking the first stub", errno, hint: HINT })?;
    let tracees = Tracees::new(layout.code);
    let thread = tracees.adopt(pid, pid);
    match set_up(&tracees, &thread, &mut layout, &header) {
        Ok(fpu) => Ok(Zygote { tracees, thread, layout, fpu }),
        Err((what, error)) => {
            tracees.reap_all();
            Err(match error {
                InjectError::Dead(_) => PlatformError::Dead(what),
                error => PlatformError::Host { what, errno: error.errno(), hint: HINT },
            })
        }
    }
}

/// `_LINUX_CAPABILITY_VERSION_3`.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

type Failure = (&'static str, InjectError);

fn set_up(tracees: &Tracees, thread: &Thread, layout: &mut Layout, filter: &libc::sock_fprog) -> Result<Fpu, Failure> {
    match tracees.wait_for(thread) {
        Report::Stop(status) if libc::WSTOPSIG(status) == libc::SIGSTOP => {}
        Report::Stop(_) => return Err(("tracing the first stub", InjectError::Errno(Errno::EPERM))),
        Report::Death(death) => return Err(("tracing the first stub", InjectError::Dead(death))),
    }
    let tid = thread.tid;
    host::set_options(tid).map_err(|error| ("setting the options of ptrace", error.into()))?;
    host::clear_sigmask(tid).map_err(|error| ("unblocking signals in the first stub", error.into()))?;
    let call = |what, number, args| tracees.syscall(thread, number, args).map_err(|error| (what, error));

    // Inherited from the C library: the host would write there at every preemption, and kill a stub that has nothing there.
    if let Some((area, size, signature)) =
        host::rseq(tid).map_err(|error| ("asking for the registration with rseq", error.into()))?
    {
        const UNREGISTER: u64 = 1;
        let args = [area, u64::from(size), UNREGISTER, u64::from(signature), 0, 0];
        call("leaving rseq", libc::SYS_rseq, args)?;
    }
    move_vdso(tracees, thread, layout)?;
    const NO_NEW_PRIVS: &str = "giving up privileges in the first stub";
    let no_new_privs = u64::from(libc::PR_SET_NO_NEW_PRIVS.cast_unsigned());
    call(NO_NEW_PRIVS, libc::SYS_prctl, [no_new_privs, 1, 0, 0, 0, 0])?;
    // The header and what it points to are at the same place in the copy that the first stub still is.
    let header = std::ptr::from_ref(filter).expose_provenance() as u64;
    let set_filter = u64::from(libc::SECCOMP_SET_MODE_FILTER);
    call("confining the first stub by seccomp", libc::SYS_seccomp, [set_filter, 0, header, 0, 0, 0])?;
    for gap in layout.gaps() {
        call("emptying the first stub", libc::SYS_munmap, [gap.start, gap.end - gap.start, 0, 0, 0, 0])?;
    }
    if host::read_memory(thread.pid, layout.code, &mut [0]) != 1 {
        return Err(("reading the first stub's memory", InjectError::Errno(host::last_errno())));
    }
    let fpu = Fpu::probe(tid).map_err(|error| ("reading the floating-point state", error.into()))?;
    fpu.reset(tid).map_err(|error| ("setting the floating-point state", error.into()))?;
    Ok(fpu)
}

/// Moves the vDSO out of the guest's way. A host that seals its system mappings refuses the first move; then the vDSO
/// stays, and the guest's addresses end below it.
fn move_vdso(tracees: &Tracees, thread: &Thread, layout: &mut Layout) -> Result<(), Failure> {
    let moves = layout.moves();
    for (at, step) in moves.iter().enumerate() {
        let len = step.from.end - step.from.start;
        let flags = u64::from((libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED).cast_unsigned());
        match tracees.syscall(thread, libc::SYS_mremap, [step.from.start, len, len, flags, step.to, 0]) {
            Ok(_) => {}
            Err(InjectError::Errno(errno)) if at == 0 => {
                tracing::info!(%errno, "the vDSO can't be moved; the guest's addresses end below it");
                return Ok(());
            }
            Err(error) => return Err(("moving the vDSO", error)),
        }
    }
    layout.apply(&moves);
    Ok(())
}

/// Forks; the child shares the descriptor table, asks to be traced by the caller, and stops.
fn fork_child() -> Result<i32, Errno> {
    let parent = std::process::id();
    let flags = u64::from((libc::CLONE_FILES | libc::SIGCHLD).cast_unsigned());
    // SAFETY: a fork with a shared descriptor table. The child makes raw calls only (`become_stub`), so it doesn't matter
    // which locks other threads held at that moment.
    let pid = host::check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })?;
    if pid == 0 {
        become_stub(parent);
    }
    i32::try_from(pid).map_err(|_| Errno::ESRCH)
}

/// What the child does until the tracer takes over: allocates nothing, takes no lock, doesn't return.
fn become_stub(parent: u32) -> ! {
    // Out of the sentry's session, so that a terminal's signals don't go to every stub.
    // SAFETY: takes nothing.
    unsafe { libc::syscall(libc::SYS_setsid) };
    // SAFETY: reads a string that ends with a zero byte.
    unsafe { libc::syscall(libc::SYS_prctl, libc::PR_SET_NAME, c"stub".as_ptr(), 0, 0, 0) };
    // Without capabilities whatever the sentry has: it must be able to read its stubs when it has dropped its own.
    let header = [CAPABILITY_VERSION_3, 0];
    let none = [0_u32; 6];
    // SAFETY: reads a header of two words and, for this version, two sets of three words.
    unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    // SAFETY: takes numbers only. Until the tracer has set its options, this is what ends the child with its parent.
    unsafe { libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
    // SAFETY: takes numbers only. A sentry that changed its identity isn't dumpable, and its copy couldn't be read.
    unsafe { libc::syscall(libc::SYS_prctl, libc::PR_SET_DUMPABLE, 1, 0, 0, 0) };
    // SAFETY: takes nothing.
    let orphaned = unsafe { libc::syscall(libc::SYS_getppid) } != i64::from(parent);
    // SAFETY: takes numbers only.
    let traced = unsafe { libc::syscall(libc::SYS_ptrace, libc::PTRACE_TRACEME, 0, 0, 0) } == 0;
    if traced && !orphaned {
        // SAFETY: takes nothing.
        let own = unsafe { libc::syscall(libc::SYS_getpid) };
        // SAFETY: takes numbers only. The stop ends where the tracer wants: it sets all registers first.
        unsafe { libc::syscall(libc::SYS_kill, own, libc::SIGSTOP) };
    }
    loop {
        // SAFETY: takes a number, doesn't return.
        unsafe { libc::syscall(libc::SYS_exit_group, 1) };
    }
}
