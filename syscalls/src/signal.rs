//! `rt_sigaction`, `rt_sigprocmask`, `rt_sigreturn`, `pause`, `rt_sigpending`, `rt_sigtimedwait`, `rt_sigsuspend`, `sigaltstack`, `restart_syscall`.

use abi::{Errno, UserAddr};
use sentry::Current;

/// Serves `rt_sigaction(2)`.
pub fn rt_sigaction(
    cur: &mut Current,
    _signum: i32,
    _act: UserAddr,
    _oldact: UserAddr,
    _sigsetsize: usize,
) -> Result<u64, Errno> {
    crate::unserved(cur, "rt_sigaction")
}

/// Serves `rt_sigprocmask(2)`.
pub fn rt_sigprocmask(
    cur: &mut Current,
    _how: i32,
    _set: UserAddr,
    _oldset: UserAddr,
    _sigsetsize: usize,
) -> Result<u64, Errno> {
    crate::unserved(cur, "rt_sigprocmask")
}

/// Serves `rt_sigreturn(2)`.
pub fn rt_sigreturn(cur: &mut Current) -> Result<u64, Errno> {
    crate::unserved(cur, "rt_sigreturn")
}

/// Serves `pause(2)`.
pub fn pause(cur: &mut Current) -> Result<u64, Errno> {
    crate::unserved(cur, "pause")
}

/// Serves `rt_sigpending(2)`.
pub fn rt_sigpending(cur: &mut Current, _set: UserAddr, _sigsetsize: usize) -> Result<u64, Errno> {
    crate::unserved(cur, "rt_sigpending")
}

/// Serves `rt_sigtimedwait(2)`.
pub fn rt_sigtimedwait(
    cur: &mut Current,
    _set: UserAddr,
    _info: UserAddr,
    _timeout: UserAddr,
    _sigsetsize: usize,
) -> Result<u64, Errno> {
    crate::unserved(cur, "rt_sigtimedwait")
}

/// Serves `rt_sigsuspend(2)`.
pub fn rt_sigsuspend(cur: &mut Current, _mask: UserAddr, _sigsetsize: usize) -> Result<u64, Errno> {
    crate::unserved(cur, "rt_sigsuspend")
}

/// Serves `sigaltstack(2)`.
pub fn sigaltstack(cur: &mut Current, _ss: UserAddr, _old_ss: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "sigaltstack")
}

/// Serves `restart_syscall(2)`.
pub fn restart_syscall(cur: &mut Current) -> Result<u64, Errno> {
    crate::unserved(cur, "restart_syscall")
}
