//! `eventfd`, `eventfd2`.

use abi::Errno;
use sentry::Current;

/// Serves `eventfd(2)`.
pub fn eventfd(cur: &mut Current, _initval: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "eventfd")
}

/// Serves `eventfd2(2)`.
pub fn eventfd2(cur: &mut Current, _initval: u32, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "eventfd2")
}
