//! `link`, `linkat`, `symlink`, `symlinkat`, `readlink`, `readlinkat`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;
use sentry::task::Caps;
use sentry::vfs::{WalkFlags, change};
use sentry_fs::{DeviceId, FileKind};

use crate::at::{self, Target};

/// Serves `link(2)`.
pub fn link(cur: &mut Current, oldpath: UserAddr, newpath: UserAddr) -> Result<(), Errno> {
    linkat(cur, Fd::CWD, oldpath, Fd::CWD, newpath, 0)
}

/// Serves `linkat(2)`.
pub fn linkat(
    cur: &mut Current,
    olddirfd: Fd,
    oldpath: UserAddr,
    newdirfd: Fd,
    newpath: UserAddr,
    flags: u32,
) -> Result<(), Errno> {
    if flags & !(at::FOLLOW | at::EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & at::EMPTY_PATH != 0 && !cur.task.cred.load().has(Caps::DAC_READ_SEARCH) {
        // As where the descriptor was opened by somebody else: without the capability there is no such name.
        let text = cur.mem.read_path(oldpath)?;
        if text.is_empty() {
            return Err(Errno::ENOENT);
        }
    }
    let nofollow = if flags & at::FOLLOW == 0 { at::NOFOLLOW } else { 0 };
    let old = Target::at(cur, olddirfd, oldpath, nofollow | (flags & at::EMPTY_PATH), false)?;
    let old = old.path().cloned().ok_or(Errno::EXDEV)?;
    let new = cur.mem.read_path(newpath)?;
    change::link(&cur.start().walker(), &old, &at::base(cur, newdirfd, &new)?, &new)
}

/// Serves `symlink(2)`.
pub fn symlink(cur: &mut Current, target: UserAddr, linkpath: UserAddr) -> Result<(), Errno> {
    symlinkat(cur, target, Fd::CWD, linkpath)
}

/// Serves `symlinkat(2)`.
pub fn symlinkat(cur: &mut Current, target: UserAddr, newdirfd: Fd, linkpath: UserAddr) -> Result<(), Errno> {
    let target = cur.mem.read_path(target)?;
    if target.is_empty() {
        return Err(Errno::ENOENT);
    }
    let path = cur.mem.read_path(linkpath)?;
    let base = at::base(cur, newdirfd, &path)?;
    let new =
        change::NewFile { kind: FileKind::Symlink, perm: 0o777, rdev: DeviceId::default(), target: Some(&target) };
    change::make(&cur.start().walker(), &base, &path, &new).map(drop)
}

/// Serves `readlink(2)`.
pub fn readlink(cur: &mut Current, pathname: UserAddr, buf: UserAddr, bufsiz: i32) -> Result<u64, Errno> {
    readlinkat(cur, Fd::CWD, pathname, buf, bufsiz)
}

/// Serves `readlinkat(2)`: an empty path means the symbolic link that the descriptor was opened on.
pub fn readlinkat(cur: &mut Current, dirfd: Fd, pathname: UserAddr, buf: UserAddr, bufsiz: i32) -> Result<u64, Errno> {
    let room = usize::try_from(bufsiz).ok().filter(|room| *room > 0).ok_or(Errno::EINVAL)?;
    let text = cur.mem.read_path(pathname)?;
    let not_a_link = if text.is_empty() { Errno::ENOENT } else { Errno::EINVAL };
    let path = if text.is_empty() && dirfd != Fd::CWD {
        cur.task.files.load().get(dirfd)?.path.clone().ok_or(Errno::ENOENT)?
    } else if text.is_empty() {
        return Err(Errno::ENOENT);
    } else {
        at::lookup_text(cur, dirfd, &text, WalkFlags::empty())?
    };
    if path.dentry.kind != FileKind::Symlink {
        return Err(not_a_link);
    }
    let mut target = path.inode().readlink()?;
    target.truncate(room);
    cur.mem.write_bytes(buf, &target)?;
    Ok(target.len() as u64)
}
