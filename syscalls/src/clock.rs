//! `adjtimex`, `settimeofday`, `clock_settime`, `clock_gettime`, `clock_getres`, `clock_adjtime`.

use abi::{Errno, UserAddr};
use sentry::Current;

/// Serves `adjtimex(2)`.
pub fn adjtimex(cur: &mut Current, _buf: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "adjtimex")
}

/// Serves `settimeofday(2)`.
pub fn settimeofday(cur: &mut Current, _tv: UserAddr, _tz: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "settimeofday")
}

/// Serves `clock_settime(2)`.
pub fn clock_settime(cur: &mut Current, _clockid: i32, _tp: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "clock_settime")
}

/// Serves `clock_gettime(2)`.
pub fn clock_gettime(cur: &mut Current, _clockid: i32, _tp: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "clock_gettime")
}

/// Serves `clock_getres(2)`.
pub fn clock_getres(cur: &mut Current, _clockid: i32, _res: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "clock_getres")
}

/// Serves `clock_adjtime(2)`.
pub fn clock_adjtime(cur: &mut Current, _clk_id: i32, _buf: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "clock_adjtime")
}
