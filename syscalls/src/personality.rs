//! `personality`.

use std::sync::atomic::Ordering;

use abi::Errno;
use sentry::Current;

/// Asks without setting.
const QUERY: u32 = 0xffff_ffff;

/// Serves `personality(2)`: remembered, inherited and reported; `ADDR_NO_RANDOMIZE` takes effect at exec.
pub fn personality(cur: &mut Current, persona: u32) -> Result<u64, Errno> {
    let old = cur.task.personality.load(Ordering::Relaxed);
    if persona != QUERY {
        cur.task.personality.store(persona, Ordering::Relaxed);
    }
    Ok(u64::from(old))
}
