//! `kill`, `rt_sigqueueinfo`, `tkill`, `tgkill`, `rt_tgsigqueueinfo`.

use abi::{Errno, Pid, UserAddr};
use sentry::Current;

/// Serves `kill(2)`.
pub fn kill(cur: &mut Current, _pid: Pid, _sig: i32) -> Result<u64, Errno> {
    crate::unserved(cur, "kill")
}

/// Serves `rt_sigqueueinfo(2)`.
pub fn rt_sigqueueinfo(cur: &mut Current, _tgid: Pid, _sig: i32, _info: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "rt_sigqueueinfo")
}

/// Serves `tkill(2)`.
pub fn tkill(cur: &mut Current, _tid: Pid, _sig: i32) -> Result<u64, Errno> {
    crate::unserved(cur, "tkill")
}

/// Serves `tgkill(2)`.
pub fn tgkill(cur: &mut Current, _tgid: Pid, _tid: Pid, _sig: i32) -> Result<u64, Errno> {
    crate::unserved(cur, "tgkill")
}

/// Serves `rt_tgsigqueueinfo(2)`.
pub fn rt_tgsigqueueinfo(cur: &mut Current, _tgid: Pid, _tid: Pid, _sig: i32, _info: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "rt_tgsigqueueinfo")
}
