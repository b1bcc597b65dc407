//! `pivot_root`, `mount`, `umount2`.

use abi::{Errno, UserAddr};
use sentry::Current;

/// Serves `pivot_root(2)`.
pub fn pivot_root(cur: &mut Current, _new_root: UserAddr, _put_old: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "pivot_root")
}

/// Serves `mount(2)`.
pub fn mount(
    cur: &mut Current,
    _source: UserAddr,
    _target: UserAddr,
    _filesystemtype: UserAddr,
    _mountflags: u32,
    _data: UserAddr,
) -> Result<u64, Errno> {
    crate::unserved(cur, "mount")
}

/// Serves `umount2(2)`.
pub fn umount2(cur: &mut Current, _target: UserAddr, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "umount2")
}
