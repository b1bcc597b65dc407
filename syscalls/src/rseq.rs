//! `rseq`.

use abi::{Errno, UserAddr};
use sentry::Current;

/// Serves `rseq(2)`.
pub fn rseq(cur: &mut Current, _rseq: UserAddr, _rseq_len: u32, _flags: u32, _sig: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "rseq")
}
