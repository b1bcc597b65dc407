//! `dup`, `dup2`, `dup3`.

use abi::flags::OpenFlags;
use abi::{Errno, Fd};
use sentry::Current;
use sentry::vfs::FdFlags;

/// Serves `dup(2)`.
pub fn dup(cur: &mut Current, oldfd: Fd) -> Result<Fd, Errno> {
    let files = cur.task.files.load();
    files.install(files.get(oldfd)?, FdFlags::empty(), 0, cur.process().fd_limit())
}

/// Serves `dup2(2)`.
pub fn dup2(cur: &mut Current, oldfd: Fd, newfd: Fd) -> Result<Fd, Errno> {
    if oldfd == newfd {
        cur.task.files.load().get(oldfd)?;
        return Ok(newfd);
    }
    replace(cur, oldfd, newfd, FdFlags::empty())
}

/// Serves `dup3(2)`.
pub fn dup3(cur: &mut Current, oldfd: Fd, newfd: Fd, flags: u32) -> Result<Fd, Errno> {
    if flags & !OpenFlags::CLOEXEC.bits() != 0 || oldfd == newfd {
        return Err(Errno::EINVAL);
    }
    let own = if flags != 0 { FdFlags::CLOEXEC } else { FdFlags::empty() };
    replace(cur, oldfd, newfd, own)
}

fn replace(cur: &mut Current, oldfd: Fd, newfd: Fd, flags: FdFlags) -> Result<Fd, Errno> {
    let files = cur.task.files.load();
    let limit = cur.process().fd_limit();
    if usize::try_from(newfd.0).map_or(true, |at| at >= limit) {
        return Err(Errno::EBADF);
    }
    let file = files.get(oldfd)?;
    if let Some(old) = files.replace(newfd, file, flags, limit)? {
        // Linux closes what was there in silence.
        let owner = files.lock_owner();
        drop(files);
        cur.has_closed(&old);
        let _ = old.closed(owner);
    }
    Ok(newfd)
}
