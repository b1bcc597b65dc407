//! `open`, `creat`, `openat`, `openat2`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;

/// Serves `open(2)`.
pub fn open(cur: &mut Current, _pathname: UserAddr, _flags: u32, _mode: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "open")
}

/// Serves `creat(2)`.
pub fn creat(cur: &mut Current, _pathname: UserAddr, _mode: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "creat")
}

/// Serves `openat(2)`.
pub fn openat(cur: &mut Current, _dirfd: Fd, _pathname: UserAddr, _flags: u32, _mode: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "openat")
}

/// Serves `openat2(2)`.
pub fn openat2(cur: &mut Current, _dirfd: Fd, _pathname: UserAddr, _how: UserAddr, _size: usize) -> Result<u64, Errno> {
    crate::unserved(cur, "openat2")
}
