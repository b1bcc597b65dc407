//! `utime`, `utimes`, `futimesat`, `utimensat`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;

/// Serves `utime(2)`.
pub fn utime(cur: &mut Current, _filename: UserAddr, _times: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "utime")
}

/// Serves `utimes(2)`.
pub fn utimes(cur: &mut Current, _filename: UserAddr, _times: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "utimes")
}

/// Serves `futimesat(2)`.
pub fn futimesat(cur: &mut Current, _dirfd: Fd, _pathname: UserAddr, _times: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "futimesat")
}

/// Serves `utimensat(2)`.
pub fn utimensat(
    cur: &mut Current,
    _dirfd: Fd,
    _pathname: UserAddr,
    _times: UserAddr,
    _flags: u32,
) -> Result<u64, Errno> {
    crate::unserved(cur, "utimensat")
}
