//! `timerfd_create`, `timerfd_settime`, `timerfd_gettime`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;

/// Serves `timerfd_create(2)`.
pub fn timerfd_create(cur: &mut Current, _clockid: i32, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "timerfd_create")
}

/// Serves `timerfd_settime(2)`.
pub fn timerfd_settime(
    cur: &mut Current,
    _fd: Fd,
    _flags: u32,
    _new_value: UserAddr,
    _old_value: UserAddr,
) -> Result<u64, Errno> {
    crate::unserved(cur, "timerfd_settime")
}

/// Serves `timerfd_gettime(2)`.
pub fn timerfd_gettime(cur: &mut Current, _fd: Fd, _curr_value: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "timerfd_gettime")
}
