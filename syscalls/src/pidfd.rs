//! `pidfd_send_signal`, `pidfd_open`, `pidfd_getfd`.

use abi::{Errno, Fd, Pid, UserAddr};
use sentry::Current;

/// Serves `pidfd_send_signal(2)`.
pub fn pidfd_send_signal(cur: &mut Current, _pidfd: Fd, _sig: i32, _info: UserAddr, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "pidfd_send_signal")
}

/// Serves `pidfd_open(2)`.
pub fn pidfd_open(cur: &mut Current, _pid: Pid, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "pidfd_open")
}

/// Serves `pidfd_getfd(2)`.
pub fn pidfd_getfd(cur: &mut Current, _pidfd: Fd, _targetfd: Fd, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "pidfd_getfd")
}

/// Returns the process behind a pidfd, and whether the descriptor is non-blocking.
pub(crate) fn waitable(cur: &Current, fd: Fd) -> Result<(Pid, bool), Errno> {
    cur.task.files.load().get(fd)?;
    Err(Errno::EBADF)
}
