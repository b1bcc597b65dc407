//! `rmdir`, `unlink`, `unlinkat`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;
use sentry::vfs::change;

use crate::at;

/// Serves `rmdir(2)`.
pub fn rmdir(cur: &mut Current, pathname: UserAddr) -> Result<(), Errno> {
    unlinkat(cur, Fd::CWD, pathname, at::REMOVEDIR)
}

/// Serves `unlink(2)`.
pub fn unlink(cur: &mut Current, pathname: UserAddr) -> Result<(), Errno> {
    unlinkat(cur, Fd::CWD, pathname, 0)
}

/// Serves `unlinkat(2)`.
pub fn unlinkat(cur: &mut Current, dirfd: Fd, pathname: UserAddr, flags: u32) -> Result<(), Errno> {
    if flags & !at::REMOVEDIR != 0 {
        return Err(Errno::EINVAL);
    }
    let path = cur.mem.read_path(pathname)?;
    let base = at::base(cur, dirfd, &path)?;
    let start = cur.start();
    let walker = start.walker();
    if flags & at::REMOVEDIR != 0 {
        change::rmdir(&walker, &base, &path)
    } else {
        change::unlink(&walker, &base, &path)
    }
}
