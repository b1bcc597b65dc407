//! `clone`, `fork`, `vfork`, `set_tid_address`, `clone3`.

use abi::{Errno, UserAddr};
use sentry::Current;

/// Serves `clone(2)`.
pub fn clone(
    cur: &mut Current,
    _flags: u32,
    _stack: UserAddr,
    _parent_tid: UserAddr,
    _child_tid: UserAddr,
    _tls: u64,
) -> Result<u64, Errno> {
    crate::unserved(cur, "clone")
}

/// Serves `fork(2)`.
pub fn fork(cur: &mut Current) -> Result<u64, Errno> {
    crate::unserved(cur, "fork")
}

/// Serves `vfork(2)`.
pub fn vfork(cur: &mut Current) -> Result<u64, Errno> {
    crate::unserved(cur, "vfork")
}

/// Serves `set_tid_address(2)`.
pub fn set_tid_address(cur: &mut Current, _tidptr: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "set_tid_address")
}

/// Serves `clone3(2)`.
pub fn clone3(cur: &mut Current, _cl_args: UserAddr, _size: usize) -> Result<u64, Errno> {
    crate::unserved(cur, "clone3")
}
