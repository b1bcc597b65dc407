//! `rmdir`, `unlink`, `unlinkat`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;

/// Serves `rmdir(2)`.
pub fn rmdir(cur: &mut Current, _pathname: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "rmdir")
}

/// Serves `unlink(2)`.
pub fn unlink(cur: &mut Current, _pathname: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "unlink")
}

/// Serves `unlinkat(2)`.
pub fn unlinkat(cur: &mut Current, _dirfd: Fd, _pathname: UserAddr, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "unlinkat")
}
