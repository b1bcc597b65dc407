//! `setuid`, `setgid`, `setreuid`, `setregid`, `getgroups`, `setgroups`, `setresuid`, `getresuid`, `setresgid`, `getresgid`, `setfsuid`, `setfsgid`, `capget`, `capset`.

use abi::{Errno, Gid, Uid, UserAddr};
use sentry::Current;

/// Serves `setuid(2)`.
pub fn setuid(cur: &mut Current, _uid: Uid) -> Result<u64, Errno> {
    crate::unserved(cur, "setuid")
}

/// Serves `setgid(2)`.
pub fn setgid(cur: &mut Current, _gid: Gid) -> Result<u64, Errno> {
    crate::unserved(cur, "setgid")
}

/// Serves `setreuid(2)`.
pub fn setreuid(cur: &mut Current, _ruid: Uid, _euid: Uid) -> Result<u64, Errno> {
    crate::unserved(cur, "setreuid")
}

/// Serves `setregid(2)`.
pub fn setregid(cur: &mut Current, _rgid: Gid, _egid: Gid) -> Result<u64, Errno> {
    crate::unserved(cur, "setregid")
}

/// Serves `getgroups(2)`.
pub fn getgroups(cur: &mut Current, _size: i32, _list: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "getgroups")
}

/// Serves `setgroups(2)`.
pub fn setgroups(cur: &mut Current, _size: i32, _list: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "setgroups")
}

/// Serves `setresuid(2)`.
pub fn setresuid(cur: &mut Current, _ruid: Uid, _euid: Uid, _suid: Uid) -> Result<u64, Errno> {
    crate::unserved(cur, "setresuid")
}

/// Serves `getresuid(2)`.
pub fn getresuid(cur: &mut Current, _ruid: UserAddr, _euid: UserAddr, _suid: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "getresuid")
}

/// Serves `setresgid(2)`.
pub fn setresgid(cur: &mut Current, _rgid: Gid, _egid: Gid, _sgid: Gid) -> Result<u64, Errno> {
    crate::unserved(cur, "setresgid")
}

/// Serves `getresgid(2)`.
pub fn getresgid(cur: &mut Current, _rgid: UserAddr, _egid: UserAddr, _sgid: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "getresgid")
}

/// Serves `setfsuid(2)`.
pub fn setfsuid(cur: &mut Current, _fsuid: Uid) -> Result<u64, Errno> {
    crate::unserved(cur, "setfsuid")
}

/// Serves `setfsgid(2)`.
pub fn setfsgid(cur: &mut Current, _fsgid: Gid) -> Result<u64, Errno> {
    crate::unserved(cur, "setfsgid")
}

/// Serves `capget(2)`.
pub fn capget(cur: &mut Current, _hdrp: UserAddr, _datap: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "capget")
}

/// Serves `capset(2)`.
pub fn capset(cur: &mut Current, _hdrp: UserAddr, _datap: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "capset")
}
