//! `truncate`, `ftruncate`, `fallocate`.

use std::sync::Arc;

use abi::{Errno, Fd, UserAddr};
use sentry::Current;
use sentry::task::Caps;
use sentry::vfs::perm::{self, Access};
use sentry::vfs::{FileUse, WalkFlags, change, notify};
use sentry_fs::FileKind;
use sentry_fs::inotify::InMask;

use crate::{at, io};

const FALLOC_KEEP_SIZE: u32 = 1;
const FALLOC_PUNCH_HOLE: u32 = 2;
const FALLOC_COLLAPSE_RANGE: u32 = 8;
const FALLOC_ZERO_RANGE: u32 = 16;
const FALLOC_INSERT_RANGE: u32 = 32;
const FALLOC_UNSHARE_RANGE: u32 = 64;

/// Serves `truncate(2)`.
pub fn truncate(cur: &mut Current, path: UserAddr, length: i64) -> Result<(), Errno> {
    let size = u64::try_from(length).map_err(|_| Errno::EINVAL)?;
    let path = at::lookup(cur, Fd::CWD, path, WalkFlags::FOLLOW)?;
    match path.dentry.kind {
        FileKind::Directory => return Err(Errno::EISDIR),
        FileKind::Regular => {}
        _ => return Err(Errno::EINVAL),
    }
    let cred = cur.task.cred.load();
    path.mount.check_writable()?;
    perm::check(&cred, &path, Access::WRITE)?;
    let attr = path.attr()?;
    if FileUse::is_executed(&path.dentry.sb, &attr) {
        return Err(Errno::ETXTBSY);
    }
    check_growth(cur, size, attr.size)?;
    change::truncate(&cred, path.inode(), Some(&path.dentry), size)
}

/// Serves `ftruncate(2)`.
pub fn ftruncate(cur: &mut Current, fd: Fd, length: i64) -> Result<(), Errno> {
    let size = u64::try_from(length).map_err(|_| Errno::EINVAL)?;
    let file = io::file_of(cur, fd)?;
    let inode = file.inode.as_ref().filter(|_| file.is_regular() && file.flags().writable()).ok_or(Errno::EINVAL)?;
    check_growth(cur, size, inode.attr()?.size)?;
    let dentry = file.path.as_ref().map(|path| &*path.dentry);
    change::truncate(&cur.task.cred.load(), inode, dentry, size)
}

/// `RLIMIT_FSIZE` holds for growing only.
fn check_growth(cur: &Current, size: u64, old: u64) -> Result<(), Errno> {
    if size > old { io::size_limit(&cur.task, size.saturating_sub(1)).map(drop) } else { Ok(()) }
}

/// Serves `fallocate(2)`. Checks in the order of the kernel's `vfs_fallocate`.
pub fn fallocate(cur: &mut Current, fd: Fd, mode: u32, offset: i64, len: i64) -> Result<(), Errno> {
    let file = io::file_of(cur, fd)?;
    let start = u64::try_from(offset).map_err(|_| Errno::EINVAL)?;
    let len = u64::try_from(len).ok().filter(|len| *len > 0).ok_or(Errno::EINVAL)?;
    check_mode(mode)?;
    if !file.flags().writable() {
        return Err(Errno::EBADF);
    }
    match at::file_attr(&file)?.kind {
        FileKind::Directory => return Err(Errno::EISDIR),
        FileKind::Regular if file.is_regular() => {}
        FileKind::Fifo => return Err(Errno::ESPIPE),
        _ => return Err(Errno::ENODEV),
    }
    let end = start.checked_add(len).filter(|end| i64::try_from(*end).is_ok()).ok_or(Errno::EFBIG)?;
    let grows = mode & (FALLOC_KEEP_SIZE | FALLOC_COLLAPSE_RANGE) == 0;
    let inode = file.inode.as_ref().map(Arc::clone).ok_or(Errno::ENODEV)?;
    if grows {
        check_growth(cur, end, inode.attr()?.size)?;
    }
    if !cur.task.cred.load().has(Caps::FSETID) {
        file.drop_setid()?;
    }
    file.ops.allocate(mode, start, len)?;
    notify::file_event(&file, InMask::MODIFY);
    Ok(())
}

fn check_mode(mode: u32) -> Result<(), Errno> {
    let kinds =
        FALLOC_PUNCH_HOLE | FALLOC_COLLAPSE_RANGE | FALLOC_ZERO_RANGE | FALLOC_INSERT_RANGE | FALLOC_UNSHARE_RANGE;
    if mode & !(kinds | FALLOC_KEEP_SIZE) != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let keeps = mode & FALLOC_KEEP_SIZE != 0;
    match mode & kinds {
        0 | FALLOC_UNSHARE_RANGE | FALLOC_ZERO_RANGE => Ok(()),
        FALLOC_PUNCH_HOLE if keeps => Ok(()),
        FALLOC_COLLAPSE_RANGE | FALLOC_INSERT_RANGE if !keeps => Ok(()),
        FALLOC_PUNCH_HOLE | FALLOC_COLLAPSE_RANGE | FALLOC_INSERT_RANGE => Err(Errno::EOPNOTSUPP),
        _ => Err(Errno::EOPNOTSUPP),
    }
}
