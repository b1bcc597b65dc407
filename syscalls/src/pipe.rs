//! `pipe`, `pipe2`.

use abi::{Errno, UserAddr};
use sentry::Current;

/// Serves `pipe(2)`.
pub fn pipe(cur: &mut Current, _pipefd: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "pipe")
}

/// Serves `pipe2(2)`.
pub fn pipe2(cur: &mut Current, _pipefd: UserAddr, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "pipe2")
}
