//! `personality`.

use abi::Errno;
use sentry::Current;

/// Serves `personality(2)`.
pub fn personality(cur: &mut Current, _persona: u64) -> Result<u64, Errno> {
    crate::unserved(cur, "personality")
}
