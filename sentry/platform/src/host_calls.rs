//! Host calls of the platforms after start-up: what the sentry's seccomp filter is made from.
//!
//! The calls that stubs make are in each platform's own table (`systrap::filter`, [`crate::ptrace::host_calls`]).

pub use crate::ptrace::host_calls::HostCall;

use crate::systrap::INTERRUPT;

const fn call(nr: libc::c_long, args: &'static [(u8, &'static [u64])], why: &'static str) -> HostCall {
    HostCall { nr, args, why }
}

const WAKE: u64 = libc::FUTEX_WAKE as u64;
const KILL: u64 = libc::SIGKILL as u64;
const REAP: u64 = (libc::WEXITED | libc::WNOHANG) as u64;
const LOOK: u64 = REAP | libc::WNOWAIT as u64;
const PUNCH: u64 = (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE) as u64;
/// `SECCOMP_IOCTL_NOTIF_RECV` and `_SEND`.
const NOTIF: &[u64] = &[0xc050_2100, 0xc018_2101];
const EPOLL: &[u64] = &[libc::EPOLL_CTL_ADD as u64, libc::EPOLL_CTL_DEL as u64];

/// Calls that the sentry makes for the ptrace platform.
pub const PTRACE: &[HostCall] = crate::ptrace::host_calls::SENTRY;

/// Calls that the sentry makes for the systrap platform.
pub const SYSTRAP: &[HostCall] = &[
    call(libc::SYS_futex, &[(1, &[WAKE])], "wakes a stub that sleeps on its context, which is shared memory"),
    call(libc::SYS_ioctl, &[(1, NOTIF)], "takes and answers notifications of stubs"),
    call(libc::SYS_ppoll, &[(1, &[1, 2, 3])], "sleeps until a stub notifies, dies, or somebody calls"),
    call(libc::SYS_read, &[], "takes the calls from the eventfd"),
    call(libc::SYS_write, &[], "calls a worker through the eventfd"),
    call(libc::SYS_process_vm_readv, &[(2, &[1]), (5, &[0])], "reads guest memory, one place or several"),
    call(libc::SYS_process_vm_writev, &[(2, &[1]), (5, &[0])], "writes guest memory, one place or several"),
    call(libc::SYS_tgkill, &[(2, &[INTERRUPT as u64])], "interrupts a stub thread"),
    call(libc::SYS_pidfd_open, &[(1, &[0])], "holds on to a new stub process"),
    call(libc::SYS_pidfd_send_signal, &[(1, &[KILL]), (3, &[0])], "ends a stub process"),
    call(libc::SYS_epoll_ctl, &[(1, EPOLL)], "watches a stub process for its end"),
    call(libc::SYS_epoll_pwait, &[], "learns which stub processes have ended"),
    call(libc::SYS_waitid, &[(0, &[3]), (3, &[LOOK, REAP])], "learns how a stub process has ended, and reaps it"),
    call(libc::SYS_fallocate, &[(1, &[PUNCH])], "gives the memory of a context back"),
    call(libc::SYS_getrandom, &[], "makes the cookie of a new stub thread"),
    call(libc::SYS_openat, &[(2, &[(libc::O_RDONLY | libc::O_CLOEXEC) as u64])], "reads a stub's schedstat"),
    call(libc::SYS_clock_gettime, &[], "seldom: reads a stub's processor time where there is no /proc"),
    call(libc::SYS_sched_setaffinity, &[], "keeps workers and the stubs that they serve on different CPUs"),
    call(libc::SYS_close, &[], "closes pidfds"),
];

/// Returns what stubs of systrap may call, and why. Several rows for one call are alternatives.
pub fn of_systrap_stubs() -> impl Iterator<Item = (i64, &'static str)> {
    crate::systrap::stub_calls()
}

/// Returns what stubs of ptrace may call, and why.
pub fn of_ptrace_stubs() -> impl Iterator<Item = (i64, &'static str)> {
    crate::ptrace::host_calls::STUB.iter().map(|call| (call.nr, call.why))
}
