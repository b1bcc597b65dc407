//! `getcwd`, `chdir`, `fchdir`, `chroot`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;

/// Serves `getcwd(2)`.
pub fn getcwd(cur: &mut Current, _buf: UserAddr, _size: usize) -> Result<u64, Errno> {
    crate::unserved(cur, "getcwd")
}

/// Serves `chdir(2)`.
pub fn chdir(cur: &mut Current, _path: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "chdir")
}

/// Serves `fchdir(2)`.
pub fn fchdir(cur: &mut Current, _fd: Fd) -> Result<u64, Errno> {
    crate::unserved(cur, "fchdir")
}

/// Serves `chroot(2)`.
pub fn chroot(cur: &mut Current, _path: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "chroot")
}
