//! `setxattr`, `lsetxattr`, `fsetxattr`, `getxattr`, `lgetxattr`, `fgetxattr`, `listxattr`, `llistxattr`, `flistxattr`, `removexattr`, `lremovexattr`, `fremovexattr`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;

/// Serves `setxattr(2)`.
pub fn setxattr(
    cur: &mut Current,
    _path: UserAddr,
    _name: UserAddr,
    _value: UserAddr,
    _size: usize,
    _flags: u32,
) -> Result<u64, Errno> {
    crate::unserved(cur, "setxattr")
}

/// Serves `lsetxattr(2)`.
pub fn lsetxattr(
    cur: &mut Current,
    _path: UserAddr,
    _name: UserAddr,
    _value: UserAddr,
    _size: usize,
    _flags: u32,
) -> Result<u64, Errno> {
    crate::unserved(cur, "lsetxattr")
}

/// Serves `fsetxattr(2)`.
pub fn fsetxattr(
    cur: &mut Current,
    _fd: Fd,
    _name: UserAddr,
    _value: UserAddr,
    _size: usize,
    _flags: u32,
) -> Result<u64, Errno> {
    crate::unserved(cur, "fsetxattr")
}

/// Serves `getxattr(2)`.
pub fn getxattr(
    cur: &mut Current,
    _path: UserAddr,
    _name: UserAddr,
    _value: UserAddr,
    _size: usize,
) -> Result<u64, Errno> {
    crate::unserved(cur, "getxattr")
}

/// Serves `lgetxattr(2)`.
pub fn lgetxattr(
    cur: &mut Current,
    _path: UserAddr,
    _name: UserAddr,
    _value: UserAddr,
    _size: usize,
) -> Result<u64, Errno> {
    crate::unserved(cur, "lgetxattr")
}

/// Serves `fgetxattr(2)`.
pub fn fgetxattr(cur: &mut Current, _fd: Fd, _name: UserAddr, _value: UserAddr, _size: usize) -> Result<u64, Errno> {
    crate::unserved(cur, "fgetxattr")
}

/// Serves `listxattr(2)`.
pub fn listxattr(cur: &mut Current, _path: UserAddr, _list: UserAddr, _size: usize) -> Result<u64, Errno> {
    crate::unserved(cur, "listxattr")
}

/// Serves `llistxattr(2)`.
pub fn llistxattr(cur: &mut Current, _path: UserAddr, _list: UserAddr, _size: usize) -> Result<u64, Errno> {
    crate::unserved(cur, "llistxattr")
}

/// Serves `flistxattr(2)`.
pub fn flistxattr(cur: &mut Current, _fd: Fd, _list: UserAddr, _size: usize) -> Result<u64, Errno> {
    crate::unserved(cur, "flistxattr")
}

/// Serves `removexattr(2)`.
pub fn removexattr(cur: &mut Current, _path: UserAddr, _name: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "removexattr")
}

/// Serves `lremovexattr(2)`.
pub fn lremovexattr(cur: &mut Current, _path: UserAddr, _name: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "lremovexattr")
}

/// Serves `fremovexattr(2)`.
pub fn fremovexattr(cur: &mut Current, _fd: Fd, _name: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "fremovexattr")
}
