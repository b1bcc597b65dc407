//! `close`, `close_range`.

use abi::{Errno, Fd};
use sentry::Current;

/// Serves `close(2)`.
pub fn close(cur: &mut Current, _fd: Fd) -> Result<u64, Errno> {
    crate::unserved(cur, "close")
}

/// Serves `close_range(2)`.
pub fn close_range(cur: &mut Current, _first: u32, _last: u32, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "close_range")
}
