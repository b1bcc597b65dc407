//! `mkdir`, `mknod`, `mkdirat`, `mknodat`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;

/// Serves `mkdir(2)`.
pub fn mkdir(cur: &mut Current, _pathname: UserAddr, _mode: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "mkdir")
}

/// Serves `mknod(2)`.
pub fn mknod(cur: &mut Current, _pathname: UserAddr, _mode: u32, _dev: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "mknod")
}

/// Serves `mkdirat(2)`.
pub fn mkdirat(cur: &mut Current, _dirfd: Fd, _pathname: UserAddr, _mode: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "mkdirat")
}

/// Serves `mknodat(2)`.
pub fn mknodat(cur: &mut Current, _dirfd: Fd, _pathname: UserAddr, _mode: u32, _dev: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "mknodat")
}
