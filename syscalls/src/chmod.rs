//! `chmod`, `fchmod`, `fchmodat`, `fchmodat2`, `chown`, `fchown`, `lchown`, `fchownat`, `umask`.

use abi::{Errno, Fd, Gid, Uid, UserAddr};
use sentry::Current;
use sentry::vfs::change;

use crate::at::{self, Target};

fn set_mode(cur: &Current, target: &Target, mode: u32) -> Result<(), Errno> {
    let cred = cur.task.cred.load();
    match (target, target.inode()) {
        (Target::Path(path), _) => change::chmod(&cred, path, mode),
        (Target::File(_), Some(inode)) => change::chmod_inode(&cred, inode, mode),
        // Pipes, sockets and anonymous inodes: their owner may, and nobody sees it.
        (Target::File(_), None) => Ok(()),
    }
}

/// Serves `chmod(2)`.
pub fn chmod(cur: &mut Current, pathname: UserAddr, mode: u32) -> Result<(), Errno> {
    fchmodat2(cur, Fd::CWD, pathname, mode, 0)
}

/// Serves `fchmod(2)`.
pub fn fchmod(cur: &mut Current, fd: Fd, mode: u32) -> Result<(), Errno> {
    set_mode(cur, &Target::of_io_fd(cur, fd)?, mode)
}

/// Serves `fchmodat(2)`.
pub fn fchmodat(cur: &mut Current, dirfd: Fd, pathname: UserAddr, mode: u32) -> Result<(), Errno> {
    fchmodat2(cur, dirfd, pathname, mode, 0)
}

/// Serves `fchmodat2(2)`.
pub fn fchmodat2(cur: &mut Current, dirfd: Fd, pathname: UserAddr, mode: u32, flags: u32) -> Result<(), Errno> {
    if flags & !(at::NOFOLLOW | at::EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    set_mode(cur, &Target::at(cur, dirfd, pathname, flags, false)?, mode)
}

fn set_owner(cur: &Current, target: &Target, owner: Uid, group: Gid) -> Result<(), Errno> {
    let cred = cur.task.cred.load();
    let uid = (owner != Uid::UNCHANGED).then_some(owner.0);
    let gid = (group != Gid::UNCHANGED).then_some(group.0);
    match (target, target.inode()) {
        (Target::Path(path), _) => change::chown(&cred, path, uid, gid),
        (Target::File(_), Some(inode)) => change::chown_inode(&cred, inode, uid, gid),
        (Target::File(_), None) => Ok(()),
    }
}

/// Serves `chown(2)`.
pub fn chown(cur: &mut Current, pathname: UserAddr, owner: Uid, group: Gid) -> Result<(), Errno> {
    fchownat(cur, Fd::CWD, pathname, owner, group, 0)
}

/// Serves `fchown(2)`.
pub fn fchown(cur: &mut Current, fd: Fd, owner: Uid, group: Gid) -> Result<(), Errno> {
    set_owner(cur, &Target::of_io_fd(cur, fd)?, owner, group)
}

/// Serves `lchown(2)`.
pub fn lchown(cur: &mut Current, pathname: UserAddr, owner: Uid, group: Gid) -> Result<(), Errno> {
    fchownat(cur, Fd::CWD, pathname, owner, group, at::NOFOLLOW)
}

/// Serves `fchownat(2)`.
pub fn fchownat(
    cur: &mut Current,
    dirfd: Fd,
    pathname: UserAddr,
    owner: Uid,
    group: Gid,
    flags: u32,
) -> Result<(), Errno> {
    if flags & !(at::NOFOLLOW | at::EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    set_owner(cur, &Target::at(cur, dirfd, pathname, flags, false)?, owner, group)
}

/// Serves `umask(2)`: never fails.
pub fn umask(cur: &mut Current, mask: u32) -> Result<u64, Errno> {
    let old = cur.fs().set_umask(mask & 0o777);
    Ok(u64::from(old))
}
