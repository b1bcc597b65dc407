//! `getrlimit`, `getrusage`, `times`, `setrlimit`, `prlimit64`.

use abi::{Errno, Pid, UserAddr};
use sentry::Current;

/// Serves `getrlimit(2)`.
pub fn getrlimit(cur: &mut Current, _resource: i32, _rlim: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "getrlimit")
}

/// Serves `getrusage(2)`.
pub fn getrusage(cur: &mut Current, _who: i32, _usage: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "getrusage")
}

/// Serves `times(2)`.
pub fn times(cur: &mut Current, _buf: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "times")
}

/// Serves `setrlimit(2)`.
pub fn setrlimit(cur: &mut Current, _resource: i32, _rlim: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "setrlimit")
}

/// Serves `prlimit64(2)`.
pub fn prlimit64(
    cur: &mut Current,
    _pid: Pid,
    _resource: i32,
    _new_limit: UserAddr,
    _old_limit: UserAddr,
) -> Result<u64, Errno> {
    crate::unserved(cur, "prlimit64")
}
