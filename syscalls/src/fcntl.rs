//! `fcntl`, `flock`.

use abi::{Errno, Fd};
use sentry::Current;

/// Serves `fcntl(2)`.
pub fn fcntl(cur: &mut Current, _fd: Fd, _op: i32, _arg: u64) -> Result<u64, Errno> {
    crate::unserved(cur, "fcntl")
}

/// Serves `flock(2)`.
pub fn flock(cur: &mut Current, _fd: Fd, _op: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "flock")
}
