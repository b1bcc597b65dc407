//! `readahead`, `fadvise64`.

use abi::{Errno, Fd};
use sentry::Current;

/// Serves `readahead(2)`.
pub fn readahead(cur: &mut Current, _fd: Fd, _offset: i64, _count: usize) -> Result<u64, Errno> {
    crate::unserved(cur, "readahead")
}

/// Serves `fadvise64(2)`.
pub fn fadvise64(cur: &mut Current, _fd: Fd, _offset: i64, _len: usize, _advice: i32) -> Result<u64, Errno> {
    crate::unserved(cur, "fadvise64")
}
