//! `setsockopt`, `getsockopt`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;

/// Serves `setsockopt(2)`.
pub fn setsockopt(
    cur: &mut Current,
    _sockfd: Fd,
    _level: i32,
    _optname: i32,
    _optval: UserAddr,
    _optlen: u32,
) -> Result<u64, Errno> {
    crate::unserved(cur, "setsockopt")
}

/// Serves `getsockopt(2)`.
pub fn getsockopt(
    cur: &mut Current,
    _sockfd: Fd,
    _level: i32,
    _optname: i32,
    _optval: UserAddr,
    _optlen: UserAddr,
) -> Result<u64, Errno> {
    crate::unserved(cur, "getsockopt")
}
