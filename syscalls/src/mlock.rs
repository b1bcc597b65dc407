//! `mlock`, `munlock`, `mlockall`, `munlockall`, `mlock2`.

use abi::{Errno, UserAddr};
use sentry::Current;

/// Serves `mlock(2)`.
pub fn mlock(cur: &mut Current, _addr: UserAddr, _len: usize) -> Result<u64, Errno> {
    crate::unserved(cur, "mlock")
}

/// Serves `munlock(2)`.
pub fn munlock(cur: &mut Current, _addr: UserAddr, _len: usize) -> Result<u64, Errno> {
    crate::unserved(cur, "munlock")
}

/// Serves `mlockall(2)`.
pub fn mlockall(cur: &mut Current, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "mlockall")
}

/// Serves `munlockall(2)`.
pub fn munlockall(cur: &mut Current) -> Result<u64, Errno> {
    crate::unserved(cur, "munlockall")
}

/// Serves `mlock2(2)`.
pub fn mlock2(cur: &mut Current, _addr: UserAddr, _len: usize, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "mlock2")
}
