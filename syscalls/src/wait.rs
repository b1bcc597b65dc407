//! `wait4`, `waitid`.

use abi::{Errno, Pid, UserAddr};
use sentry::Current;

/// Serves `wait4(2)`.
pub fn wait4(cur: &mut Current, _pid: Pid, _wstatus: UserAddr, _options: u32, _rusage: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "wait4")
}

/// Serves `waitid(2)`.
pub fn waitid(
    cur: &mut Current,
    _idtype: i32,
    _id: Pid,
    _infop: UserAddr,
    _options: u32,
    _rusage: UserAddr,
) -> Result<u64, Errno> {
    crate::unserved(cur, "waitid")
}
