//! `stat`, `fstat`, `lstat`, `statfs`, `fstatfs`, `newfstatat`, `statx`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;

/// Serves `stat(2)`.
pub fn stat(cur: &mut Current, _pathname: UserAddr, _statbuf: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "stat")
}

/// Serves `fstat(2)`.
pub fn fstat(cur: &mut Current, _fd: Fd, _statbuf: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "fstat")
}

/// Serves `lstat(2)`.
pub fn lstat(cur: &mut Current, _pathname: UserAddr, _statbuf: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "lstat")
}

/// Serves `statfs(2)`.
pub fn statfs(cur: &mut Current, _path: UserAddr, _buf: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "statfs")
}

/// Serves `fstatfs(2)`.
pub fn fstatfs(cur: &mut Current, _fd: Fd, _buf: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "fstatfs")
}

/// Serves `newfstatat(2)`.
pub fn newfstatat(
    cur: &mut Current,
    _dirfd: Fd,
    _pathname: UserAddr,
    _statbuf: UserAddr,
    _flags: u32,
) -> Result<u64, Errno> {
    crate::unserved(cur, "newfstatat")
}

/// Serves `statx(2)`.
pub fn statx(
    cur: &mut Current,
    _dirfd: Fd,
    _pathname: UserAddr,
    _flags: u32,
    _mask: u32,
    _statxbuf: UserAddr,
) -> Result<u64, Errno> {
    crate::unserved(cur, "statx")
}
