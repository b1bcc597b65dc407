//! `exit`, `exit_group`.

use abi::Errno;
use sentry::Current;

/// Serves `exit(2)`.
pub fn exit(cur: &mut Current, _status: i32) -> Result<u64, Errno> {
    crate::unserved(cur, "exit")
}

/// Serves `exit_group(2)`.
pub fn exit_group(cur: &mut Current, _status: i32) -> Result<u64, Errno> {
    crate::unserved(cur, "exit_group")
}
