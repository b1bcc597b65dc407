//! `uname`, `sethostname`, `setdomainname`.

use abi::{Errno, UserAddr};
use sentry::Current;

/// Serves `uname(2)`.
pub fn uname(cur: &mut Current, _buf: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "uname")
}

/// Serves `sethostname(2)`.
pub fn sethostname(cur: &mut Current, _name: UserAddr, _len: usize) -> Result<u64, Errno> {
    crate::unserved(cur, "sethostname")
}

/// Serves `setdomainname(2)`.
pub fn setdomainname(cur: &mut Current, _name: UserAddr, _len: usize) -> Result<u64, Errno> {
    crate::unserved(cur, "setdomainname")
}
