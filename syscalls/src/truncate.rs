//! `truncate`, `ftruncate`, `fallocate`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;

/// Serves `truncate(2)`.
pub fn truncate(cur: &mut Current, _path: UserAddr, _length: i64) -> Result<u64, Errno> {
    crate::unserved(cur, "truncate")
}

/// Serves `ftruncate(2)`.
pub fn ftruncate(cur: &mut Current, _fd: Fd, _length: i64) -> Result<u64, Errno> {
    crate::unserved(cur, "ftruncate")
}

/// Serves `fallocate(2)`.
pub fn fallocate(cur: &mut Current, _fd: Fd, _mode: u32, _offset: i64, _len: i64) -> Result<u64, Errno> {
    crate::unserved(cur, "fallocate")
}
