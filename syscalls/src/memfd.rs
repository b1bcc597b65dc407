//! `memfd_create`.

use abi::{Errno, UserAddr};
use sentry::Current;

/// Serves `memfd_create(2)`.
pub fn memfd_create(cur: &mut Current, _name: UserAddr, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "memfd_create")
}
