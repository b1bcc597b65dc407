//! `access`, `faccessat`, `faccessat2`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;

/// Serves `access(2)`.
pub fn access(cur: &mut Current, _pathname: UserAddr, _mode: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "access")
}

/// Serves `faccessat(2)`.
pub fn faccessat(cur: &mut Current, _dirfd: Fd, _pathname: UserAddr, _mode: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "faccessat")
}

/// Serves `faccessat2(2)`.
pub fn faccessat2(cur: &mut Current, _dirfd: Fd, _pathname: UserAddr, _mode: u32, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "faccessat2")
}
