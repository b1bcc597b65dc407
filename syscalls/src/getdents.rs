//! `getdents`, `getdents64`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;

/// Serves `getdents(2)`.
pub fn getdents(cur: &mut Current, _fd: Fd, _dirp: UserAddr, _count: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "getdents")
}

/// Serves `getdents64(2)`.
pub fn getdents64(cur: &mut Current, _fd: Fd, _dirp: UserAddr, _count: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "getdents64")
}
