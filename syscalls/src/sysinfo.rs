//! `sysinfo`, `syslog`.

use abi::{Errno, UserAddr};
use sentry::Current;

/// Serves `sysinfo(2)`.
pub fn sysinfo(cur: &mut Current, _info: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "sysinfo")
}

/// Serves `syslog(2)`.
pub fn syslog(cur: &mut Current, _kind: i32, _bufp: UserAddr, _len: i32) -> Result<u64, Errno> {
    crate::unserved(cur, "syslog")
}
