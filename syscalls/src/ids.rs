//! `getpid`, `getuid`, `getgid`, `geteuid`, `getegid`, `getppid`, `gettid`.

use abi::Errno;
use sentry::Current;

/// Serves `getpid(2)`.
pub fn getpid(cur: &mut Current) -> Result<u64, Errno> {
    crate::unserved(cur, "getpid")
}

/// Serves `getuid(2)`.
pub fn getuid(cur: &mut Current) -> Result<u64, Errno> {
    crate::unserved(cur, "getuid")
}

/// Serves `getgid(2)`.
pub fn getgid(cur: &mut Current) -> Result<u64, Errno> {
    crate::unserved(cur, "getgid")
}

/// Serves `geteuid(2)`.
pub fn geteuid(cur: &mut Current) -> Result<u64, Errno> {
    crate::unserved(cur, "geteuid")
}

/// Serves `getegid(2)`.
pub fn getegid(cur: &mut Current) -> Result<u64, Errno> {
    crate::unserved(cur, "getegid")
}

/// Serves `getppid(2)`.
pub fn getppid(cur: &mut Current) -> Result<u64, Errno> {
    crate::unserved(cur, "getppid")
}

/// Serves `gettid(2)`.
pub fn gettid(cur: &mut Current) -> Result<u64, Errno> {
    crate::unserved(cur, "gettid")
}
