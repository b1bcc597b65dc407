//! `getrandom`.

use abi::{Errno, UserAddr};
use sentry::Current;

/// Serves `getrandom(2)`.
pub fn getrandom(cur: &mut Current, _buf: UserAddr, _buflen: usize, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "getrandom")
}
