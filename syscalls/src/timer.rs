//! `getitimer`, `alarm`, `setitimer`, `timer_create`, `timer_settime`, `timer_gettime`, `timer_getoverrun`, `timer_delete`.

use abi::{Errno, UserAddr};
use sentry::Current;

/// Serves `getitimer(2)`.
pub fn getitimer(cur: &mut Current, _which: i32, _curr_value: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "getitimer")
}

/// Serves `alarm(2)`.
pub fn alarm(cur: &mut Current, _seconds: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "alarm")
}

/// Serves `setitimer(2)`.
pub fn setitimer(cur: &mut Current, _which: i32, _new_value: UserAddr, _old_value: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "setitimer")
}

/// Serves `timer_create(2)`.
pub fn timer_create(cur: &mut Current, _clockid: i32, _sevp: UserAddr, _timerid: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "timer_create")
}

/// Serves `timer_settime(2)`.
pub fn timer_settime(
    cur: &mut Current,
    _timerid: i32,
    _flags: u32,
    _new_value: UserAddr,
    _old_value: UserAddr,
) -> Result<u64, Errno> {
    crate::unserved(cur, "timer_settime")
}

/// Serves `timer_gettime(2)`.
pub fn timer_gettime(cur: &mut Current, _timerid: i32, _curr_value: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "timer_gettime")
}

/// Serves `timer_getoverrun(2)`.
pub fn timer_getoverrun(cur: &mut Current, _timerid: i32) -> Result<u64, Errno> {
    crate::unserved(cur, "timer_getoverrun")
}

/// Serves `timer_delete(2)`.
pub fn timer_delete(cur: &mut Current, _timerid: i32) -> Result<u64, Errno> {
    crate::unserved(cur, "timer_delete")
}
