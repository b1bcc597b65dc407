//! `rename`, `renameat`, `renameat2`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;

/// Serves `rename(2)`.
pub fn rename(cur: &mut Current, _oldpath: UserAddr, _newpath: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "rename")
}

/// Serves `renameat(2)`.
pub fn renameat(
    cur: &mut Current,
    _olddirfd: Fd,
    _oldpath: UserAddr,
    _newdirfd: Fd,
    _newpath: UserAddr,
) -> Result<u64, Errno> {
    crate::unserved(cur, "renameat")
}

/// Serves `renameat2(2)`.
pub fn renameat2(
    cur: &mut Current,
    _olddirfd: Fd,
    _oldpath: UserAddr,
    _newdirfd: Fd,
    _newpath: UserAddr,
    _flags: u32,
) -> Result<u64, Errno> {
    crate::unserved(cur, "renameat2")
}
