//! `unshare`.

use abi::Errno;
use sentry::Current;

/// Serves `unshare(2)`.
pub fn unshare(cur: &mut Current, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "unshare")
}
