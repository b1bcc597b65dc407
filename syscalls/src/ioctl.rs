//! `ioctl`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;

/// Serves `ioctl(2)`.
pub fn ioctl(cur: &mut Current, _fd: Fd, _op: i32, _argp: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "ioctl")
}
