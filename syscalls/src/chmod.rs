//! `chmod`, `fchmod`, `chown`, `fchown`, `lchown`, `umask`, `fchownat`, `fchmodat`, `fchmodat2`.

use abi::{Errno, Fd, Gid, Uid, UserAddr};
use sentry::Current;

/// Serves `chmod(2)`.
pub fn chmod(cur: &mut Current, _pathname: UserAddr, _mode: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "chmod")
}

/// Serves `fchmod(2)`.
pub fn fchmod(cur: &mut Current, _fd: Fd, _mode: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "fchmod")
}

/// Serves `chown(2)`.
pub fn chown(cur: &mut Current, _pathname: UserAddr, _owner: Uid, _group: Gid) -> Result<u64, Errno> {
    crate::unserved(cur, "chown")
}

/// Serves `fchown(2)`.
pub fn fchown(cur: &mut Current, _fd: Fd, _owner: Uid, _group: Gid) -> Result<u64, Errno> {
    crate::unserved(cur, "fchown")
}

/// Serves `lchown(2)`.
pub fn lchown(cur: &mut Current, _pathname: UserAddr, _owner: Uid, _group: Gid) -> Result<u64, Errno> {
    crate::unserved(cur, "lchown")
}

/// Serves `umask(2)`.
pub fn umask(cur: &mut Current, _mask: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "umask")
}

/// Serves `fchownat(2)`.
pub fn fchownat(
    cur: &mut Current,
    _dirfd: Fd,
    _pathname: UserAddr,
    _owner: Uid,
    _group: Gid,
    _flags: u32,
) -> Result<u64, Errno> {
    crate::unserved(cur, "fchownat")
}

/// Serves `fchmodat(2)`.
pub fn fchmodat(cur: &mut Current, _dirfd: Fd, _pathname: UserAddr, _mode: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "fchmodat")
}

/// Serves `fchmodat2(2)`.
pub fn fchmodat2(cur: &mut Current, _dirfd: Fd, _pathname: UserAddr, _mode: u32, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "fchmodat2")
}
