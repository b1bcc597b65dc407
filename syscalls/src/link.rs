//! `link`, `symlink`, `readlink`, `linkat`, `symlinkat`, `readlinkat`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;

/// Serves `link(2)`.
pub fn link(cur: &mut Current, _oldpath: UserAddr, _newpath: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "link")
}

/// Serves `symlink(2)`.
pub fn symlink(cur: &mut Current, _target: UserAddr, _linkpath: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "symlink")
}

/// Serves `readlink(2)`.
pub fn readlink(cur: &mut Current, _pathname: UserAddr, _buf: UserAddr, _bufsiz: usize) -> Result<u64, Errno> {
    crate::unserved(cur, "readlink")
}

/// Serves `linkat(2)`.
pub fn linkat(
    cur: &mut Current,
    _olddirfd: Fd,
    _oldpath: UserAddr,
    _newdirfd: Fd,
    _newpath: UserAddr,
    _flags: u32,
) -> Result<u64, Errno> {
    crate::unserved(cur, "linkat")
}

/// Serves `symlinkat(2)`.
pub fn symlinkat(cur: &mut Current, _target: UserAddr, _newdirfd: Fd, _linkpath: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "symlinkat")
}

/// Serves `readlinkat(2)`.
pub fn readlinkat(
    cur: &mut Current,
    _dirfd: Fd,
    _pathname: UserAddr,
    _buf: UserAddr,
    _bufsiz: usize,
) -> Result<u64, Errno> {
    crate::unserved(cur, "readlinkat")
}
