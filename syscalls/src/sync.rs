//! `fsync`, `fdatasync`, `sync`, `sync_file_range`, `syncfs`.

use abi::{Errno, Fd};
use sentry::Current;

/// Serves `fsync(2)`.
pub fn fsync(cur: &mut Current, _fd: Fd) -> Result<u64, Errno> {
    crate::unserved(cur, "fsync")
}

/// Serves `fdatasync(2)`.
pub fn fdatasync(cur: &mut Current, _fd: Fd) -> Result<u64, Errno> {
    crate::unserved(cur, "fdatasync")
}

/// Serves `sync(2)`.
pub fn sync(cur: &mut Current) -> Result<u64, Errno> {
    crate::unserved(cur, "sync")
}

/// Serves `sync_file_range(2)`.
pub fn sync_file_range(cur: &mut Current, _fd: Fd, _offset: i64, _nbytes: i64, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "sync_file_range")
}

/// Serves `syncfs(2)`.
pub fn syncfs(cur: &mut Current, _fd: Fd) -> Result<u64, Errno> {
    crate::unserved(cur, "syncfs")
}
