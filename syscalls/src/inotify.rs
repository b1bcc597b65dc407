//! `inotify_init`, `inotify_add_watch`, `inotify_rm_watch`, `inotify_init1`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;

/// Serves `inotify_init(2)`.
pub fn inotify_init(cur: &mut Current) -> Result<u64, Errno> {
    crate::unserved(cur, "inotify_init")
}

/// Serves `inotify_add_watch(2)`.
pub fn inotify_add_watch(cur: &mut Current, _fd: Fd, _pathname: UserAddr, _mask: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "inotify_add_watch")
}

/// Serves `inotify_rm_watch(2)`.
pub fn inotify_rm_watch(cur: &mut Current, _fd: Fd, _wd: i32) -> Result<u64, Errno> {
    crate::unserved(cur, "inotify_rm_watch")
}

/// Serves `inotify_init1(2)`.
pub fn inotify_init1(cur: &mut Current, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "inotify_init1")
}
