//! `setpgid`, `getpgrp`, `setsid`, `getpgid`, `getsid`.

use abi::{Errno, Pid};
use sentry::Current;

/// Serves `setpgid(2)`.
pub fn setpgid(cur: &mut Current, _pid: Pid, _pgid: Pid) -> Result<u64, Errno> {
    crate::unserved(cur, "setpgid")
}

/// Serves `getpgrp(2)`.
pub fn getpgrp(cur: &mut Current) -> Result<u64, Errno> {
    crate::unserved(cur, "getpgrp")
}

/// Serves `setsid(2)`.
pub fn setsid(cur: &mut Current) -> Result<u64, Errno> {
    crate::unserved(cur, "setsid")
}

/// Serves `getpgid(2)`.
pub fn getpgid(cur: &mut Current, _pid: Pid) -> Result<u64, Errno> {
    crate::unserved(cur, "getpgid")
}

/// Serves `getsid(2)`.
pub fn getsid(cur: &mut Current, _pid: Pid) -> Result<u64, Errno> {
    crate::unserved(cur, "getsid")
}
