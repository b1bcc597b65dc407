//! `nanosleep`, `gettimeofday`, `time`, `clock_nanosleep`.

use abi::{Errno, UserAddr};
use sentry::Current;

/// Serves `nanosleep(2)`.
pub fn nanosleep(cur: &mut Current, _req: UserAddr, _rem: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "nanosleep")
}

/// Serves `gettimeofday(2)`.
pub fn gettimeofday(cur: &mut Current, _tv: UserAddr, _tz: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "gettimeofday")
}

/// Serves `time(2)`.
pub fn time(cur: &mut Current, _tloc: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "time")
}

/// Serves `clock_nanosleep(2)`.
pub fn clock_nanosleep(
    cur: &mut Current,
    _clockid: i32,
    _flags: u32,
    _request: UserAddr,
    _remain: UserAddr,
) -> Result<u64, Errno> {
    crate::unserved(cur, "clock_nanosleep")
}
