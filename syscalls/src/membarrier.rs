//! `membarrier`.

use abi::Errno;
use sentry::Current;

/// Serves `membarrier(2)`.
pub fn membarrier(cur: &mut Current, _cmd: i32, _flags: u32, _cpu_id: i32) -> Result<u64, Errno> {
    crate::unserved(cur, "membarrier")
}
