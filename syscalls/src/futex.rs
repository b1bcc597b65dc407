//! `futex`, `set_robust_list`, `get_robust_list`, `futex_waitv`, `futex_wake`, `futex_wait`, `futex_requeue`.

use abi::{Errno, Pid, UserAddr};
use sentry::Current;

/// Serves `futex(2)`.
pub fn futex(
    cur: &mut Current,
    _uaddr: UserAddr,
    _op: i32,
    _val: u32,
    _timeout: u64,
    _uaddr2: UserAddr,
    _val3: u32,
) -> Result<u64, Errno> {
    crate::unserved(cur, "futex")
}

/// Serves `set_robust_list(2)`.
pub fn set_robust_list(cur: &mut Current, _head: UserAddr, _len: usize) -> Result<u64, Errno> {
    crate::unserved(cur, "set_robust_list")
}

/// Serves `get_robust_list(2)`.
pub fn get_robust_list(cur: &mut Current, _pid: Pid, _head_ptr: UserAddr, _len_ptr: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "get_robust_list")
}

/// Serves `futex_waitv(2)`.
pub fn futex_waitv(
    cur: &mut Current,
    _waiters: UserAddr,
    _nr_futexes: u32,
    _flags: u32,
    _timeout: UserAddr,
    _clockid: i32,
) -> Result<u64, Errno> {
    crate::unserved(cur, "futex_waitv")
}

/// Serves `futex_wake(2)`.
pub fn futex_wake(cur: &mut Current, _uaddr: UserAddr, _mask: u64, _nr: i32, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "futex_wake")
}

/// Serves `futex_wait(2)`.
pub fn futex_wait(
    cur: &mut Current,
    _uaddr: UserAddr,
    _val: u64,
    _mask: u64,
    _flags: u32,
    _timeout: UserAddr,
    _clockid: i32,
) -> Result<u64, Errno> {
    crate::unserved(cur, "futex_wait")
}

/// Serves `futex_requeue(2)`.
pub fn futex_requeue(
    cur: &mut Current,
    _waiters: UserAddr,
    _flags: u32,
    _nr_wake: i32,
    _nr_requeue: i32,
) -> Result<u64, Errno> {
    crate::unserved(cur, "futex_requeue")
}
