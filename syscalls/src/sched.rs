//! `sched_yield`, `getpriority`, `setpriority`, `sched_setparam`, `sched_getparam`, `sched_setscheduler`, `sched_getscheduler`, `sched_get_priority_max`, `sched_get_priority_min`, `sched_rr_get_interval`, `sched_setaffinity`, `sched_getaffinity`, `ioprio_set`, `ioprio_get`, `getcpu`, `sched_setattr`, `sched_getattr`.

use abi::{Errno, Pid, UserAddr};
use sentry::Current;

/// Serves `sched_yield(2)`.
pub fn sched_yield(cur: &mut Current) -> Result<u64, Errno> {
    crate::unserved(cur, "sched_yield")
}

/// Serves `getpriority(2)`.
pub fn getpriority(cur: &mut Current, _which: i32, _who: Pid) -> Result<u64, Errno> {
    crate::unserved(cur, "getpriority")
}

/// Serves `setpriority(2)`.
pub fn setpriority(cur: &mut Current, _which: i32, _who: Pid, _prio: i32) -> Result<u64, Errno> {
    crate::unserved(cur, "setpriority")
}

/// Serves `sched_setparam(2)`.
pub fn sched_setparam(cur: &mut Current, _pid: Pid, _param: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "sched_setparam")
}

/// Serves `sched_getparam(2)`.
pub fn sched_getparam(cur: &mut Current, _pid: Pid, _param: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "sched_getparam")
}

/// Serves `sched_setscheduler(2)`.
pub fn sched_setscheduler(cur: &mut Current, _pid: Pid, _policy: i32, _param: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "sched_setscheduler")
}

/// Serves `sched_getscheduler(2)`.
pub fn sched_getscheduler(cur: &mut Current, _pid: Pid) -> Result<u64, Errno> {
    crate::unserved(cur, "sched_getscheduler")
}

/// Serves `sched_get_priority_max(2)`.
pub fn sched_get_priority_max(cur: &mut Current, _policy: i32) -> Result<u64, Errno> {
    crate::unserved(cur, "sched_get_priority_max")
}

/// Serves `sched_get_priority_min(2)`.
pub fn sched_get_priority_min(cur: &mut Current, _policy: i32) -> Result<u64, Errno> {
    crate::unserved(cur, "sched_get_priority_min")
}

/// Serves `sched_rr_get_interval(2)`.
pub fn sched_rr_get_interval(cur: &mut Current, _pid: Pid, _tp: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "sched_rr_get_interval")
}

/// Serves `sched_setaffinity(2)`.
pub fn sched_setaffinity(cur: &mut Current, _pid: Pid, _len: u32, _mask: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "sched_setaffinity")
}

/// Serves `sched_getaffinity(2)`.
pub fn sched_getaffinity(cur: &mut Current, _pid: Pid, _len: u32, _mask: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "sched_getaffinity")
}

/// Serves `ioprio_set(2)`.
pub fn ioprio_set(cur: &mut Current, _which: i32, _who: i32, _ioprio: i32) -> Result<u64, Errno> {
    crate::unserved(cur, "ioprio_set")
}

/// Serves `ioprio_get(2)`.
pub fn ioprio_get(cur: &mut Current, _which: i32, _who: i32) -> Result<u64, Errno> {
    crate::unserved(cur, "ioprio_get")
}

/// Serves `getcpu(2)`.
pub fn getcpu(cur: &mut Current, _cpu: UserAddr, _node: UserAddr, _tcache: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "getcpu")
}

/// Serves `sched_setattr(2)`.
pub fn sched_setattr(cur: &mut Current, _pid: Pid, _attr: UserAddr, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "sched_setattr")
}

/// Serves `sched_getattr(2)`.
pub fn sched_getattr(cur: &mut Current, _pid: Pid, _attr: UserAddr, _size: u32, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "sched_getattr")
}
