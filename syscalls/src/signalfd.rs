//! `signalfd`, `signalfd4`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;

/// Serves `signalfd(2)`.
pub fn signalfd(cur: &mut Current, _fd: Fd, _mask: UserAddr, _sizemask: usize) -> Result<u64, Errno> {
    crate::unserved(cur, "signalfd")
}

/// Serves `signalfd4(2)`.
pub fn signalfd4(cur: &mut Current, _fd: Fd, _mask: UserAddr, _sizemask: usize, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "signalfd4")
}
