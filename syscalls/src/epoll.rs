//! `epoll_create`, `epoll_wait`, `epoll_ctl`, `epoll_pwait`, `epoll_create1`, `epoll_pwait2`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;

/// Serves `epoll_create(2)`.
pub fn epoll_create(cur: &mut Current, _size: i32) -> Result<u64, Errno> {
    crate::unserved(cur, "epoll_create")
}

/// Serves `epoll_wait(2)`.
pub fn epoll_wait(
    cur: &mut Current,
    _epfd: Fd,
    _events: UserAddr,
    _maxevents: i32,
    _timeout: i32,
) -> Result<u64, Errno> {
    crate::unserved(cur, "epoll_wait")
}

/// Serves `epoll_ctl(2)`.
pub fn epoll_ctl(cur: &mut Current, _epfd: Fd, _op: i32, _fd: Fd, _event: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "epoll_ctl")
}

/// Serves `epoll_pwait(2)`.
pub fn epoll_pwait(
    cur: &mut Current,
    _epfd: Fd,
    _events: UserAddr,
    _maxevents: i32,
    _timeout: i32,
    _sigmask: UserAddr,
    _sigsetsize: usize,
) -> Result<u64, Errno> {
    crate::unserved(cur, "epoll_pwait")
}

/// Serves `epoll_create1(2)`.
pub fn epoll_create1(cur: &mut Current, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "epoll_create1")
}

/// Serves `epoll_pwait2(2)`.
pub fn epoll_pwait2(
    cur: &mut Current,
    _epfd: Fd,
    _events: UserAddr,
    _maxevents: i32,
    _timeout: UserAddr,
    _sigmask: UserAddr,
    _sigsetsize: usize,
) -> Result<u64, Errno> {
    crate::unserved(cur, "epoll_pwait2")
}
