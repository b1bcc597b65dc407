//! `prctl`.

use abi::Errno;
use sentry::Current;

/// Serves `prctl(2)`.
pub fn prctl(cur: &mut Current, _op: i32, _arg2: u64, _arg3: u64, _arg4: u64, _arg5: u64) -> Result<u64, Errno> {
    crate::unserved(cur, "prctl")
}
