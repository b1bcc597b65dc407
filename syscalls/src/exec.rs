//! `execve`, `execveat`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;

/// Serves `execve(2)`.
pub fn execve(cur: &mut Current, _pathname: UserAddr, _argv: UserAddr, _envp: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "execve")
}

/// Serves `execveat(2)`.
pub fn execveat(
    cur: &mut Current,
    _dirfd: Fd,
    _pathname: UserAddr,
    _argv: UserAddr,
    _envp: UserAddr,
    _flags: u32,
) -> Result<u64, Errno> {
    crate::unserved(cur, "execveat")
}
