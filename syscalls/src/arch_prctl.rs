//! `arch_prctl`.

use abi::{Errno, UserAddr};
use sentry::Current;

/// Serves `arch_prctl(2)`.
pub fn arch_prctl(cur: &mut Current, _op: i32, _addr: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "arch_prctl")
}
