//! `dup`, `dup2`, `dup3`.

use abi::{Errno, Fd};
use sentry::Current;

/// Serves `dup(2)`.
pub fn dup(cur: &mut Current, _oldfd: Fd) -> Result<u64, Errno> {
    crate::unserved(cur, "dup")
}

/// Serves `dup2(2)`.
pub fn dup2(cur: &mut Current, _oldfd: Fd, _newfd: Fd) -> Result<u64, Errno> {
    crate::unserved(cur, "dup2")
}

/// Serves `dup3(2)`.
pub fn dup3(cur: &mut Current, _oldfd: Fd, _newfd: Fd, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "dup3")
}
