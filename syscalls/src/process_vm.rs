//! `process_vm_readv`, `process_vm_writev`, `kcmp`.

use abi::{Errno, Pid, UserAddr};
use sentry::Current;

/// Serves `process_vm_readv(2)`.
pub fn process_vm_readv(
    cur: &mut Current,
    _pid: Pid,
    _local_iov: UserAddr,
    _liovcnt: u64,
    _remote_iov: UserAddr,
    _riovcnt: u64,
    _flags: u64,
) -> Result<u64, Errno> {
    crate::unserved(cur, "process_vm_readv")
}

/// Serves `process_vm_writev(2)`.
pub fn process_vm_writev(
    cur: &mut Current,
    _pid: Pid,
    _local_iov: UserAddr,
    _liovcnt: u64,
    _remote_iov: UserAddr,
    _riovcnt: u64,
    _flags: u64,
) -> Result<u64, Errno> {
    crate::unserved(cur, "process_vm_writev")
}

/// Serves `kcmp(2)`.
pub fn kcmp(cur: &mut Current, _pid1: Pid, _pid2: Pid, _kind: i32, _idx1: u64, _idx2: u64) -> Result<u64, Errno> {
    crate::unserved(cur, "kcmp")
}
