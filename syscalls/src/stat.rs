//! `stat`, `fstat`, `lstat`, `statfs`, `fstatfs`, `newfstatat`, `statx`.

use abi::time::Timespec;
use abi::types::{Stat, Statfs, Statx, StatxTimestamp};
use abi::{Errno, Fd, UserAddr, UserRef};
use sentry::Current;
use sentry::vfs::{Path, WalkFlags};
use sentry_fs::Attr;

use crate::at::{self, Target};

const AT_STATX_SYNC_TYPE: u32 = 0x6000;
const STATX_BASIC_STATS: u32 = 0x7ff;
const STATX_BTIME: u32 = 0x800;
const STATX_MNT_ID: u32 = 0x1000;
const STATX_RESERVED: u32 = 0x8000_0000;
const STATX_ATTR_MOUNT_ROOT: u64 = 0x2000;
/// `ST_VALID`.
const ST_VALID: i64 = 0x20;

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn stat_of(attr: &Attr, mode: u32) -> Stat {
    Stat {
        dev: attr.dev.encode(),
        ino: attr.ino,
        nlink: attr.nlink,
        mode,
        uid: attr.uid,
        gid: attr.gid,
        pad0: 0,
        rdev: attr.rdev.encode(),
        size: signed(attr.size),
        blksize: i64::from(attr.blksize),
        blocks: signed(attr.blocks),
        atime: attr.atime,
        mtime: attr.mtime,
        ctime: attr.ctime,
        unused: [0; 3],
    }
}

fn mode_of(target: &Target, attr: &Attr) -> u32 {
    match target {
        Target::File(file) if at::is_typeless(file) => attr.perm,
        _ => attr.mode(),
    }
}

fn put(cur: &Current, target: &Target, buf: UserRef<Stat>) -> Result<(), Errno> {
    let attr = target.attr()?;
    cur.mem.write_last(buf, &stat_of(&attr, mode_of(target, &attr)))
}

/// Serves `stat(2)`.
pub fn stat(cur: &mut Current, pathname: UserAddr, statbuf: UserRef<Stat>) -> Result<(), Errno> {
    let path = at::lookup(cur, Fd::CWD, pathname, WalkFlags::FOLLOW)?;
    put(cur, &Target::Path(path), statbuf)
}

/// Serves `fstat(2)`.
pub fn fstat(cur: &mut Current, fd: Fd, statbuf: UserRef<Stat>) -> Result<(), Errno> {
    let file = cur.task.files.load().get(fd)?;
    let attr = at::file_attr(&file)?;
    let mode = if at::is_typeless(&file) { attr.perm } else { attr.mode() };
    cur.mem.write_last(statbuf, &stat_of(&attr, mode))
}

/// Serves `lstat(2)`.
pub fn lstat(cur: &mut Current, pathname: UserAddr, statbuf: UserRef<Stat>) -> Result<(), Errno> {
    let path = at::lookup(cur, Fd::CWD, pathname, WalkFlags::empty())?;
    put(cur, &Target::Path(path), statbuf)
}

/// Serves `newfstatat(2)`.
pub fn newfstatat(
    cur: &mut Current,
    dirfd: Fd,
    pathname: UserAddr,
    statbuf: UserRef<Stat>,
    flags: u32,
) -> Result<(), Errno> {
    if flags & !(at::NOFOLLOW | at::NO_AUTOMOUNT | at::EMPTY_PATH | AT_STATX_SYNC_TYPE) != 0 {
        return Err(Errno::EINVAL);
    }
    let target = Target::at(cur, dirfd, pathname, flags, true)?;
    put(cur, &target, statbuf)
}

/// Serves `statx(2)`.
pub fn statx(
    cur: &mut Current,
    dirfd: Fd,
    pathname: UserAddr,
    flags: u32,
    mask: u32,
    statxbuf: UserRef<Statx>,
) -> Result<(), Errno> {
    let known = at::NOFOLLOW | at::NO_AUTOMOUNT | at::EMPTY_PATH | AT_STATX_SYNC_TYPE;
    if mask & STATX_RESERVED != 0 || flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE || flags & !known != 0 {
        return Err(Errno::EINVAL);
    }
    let target = Target::at(cur, dirfd, pathname, flags, true)?;
    let attr = target.attr()?;
    cur.mem.write_last(statxbuf, &statx_of(&target, &attr))
}

fn statx_of(target: &Target, attr: &Attr) -> Statx {
    let time = |time: Timespec| StatxTimestamp {
        sec: time.sec,
        nsec: u32::try_from(time.nsec).unwrap_or_default(),
        reserved: 0,
    };
    let place = target.path();
    let is_root = place.is_some_and(Path::is_mount_root);
    Statx {
        mask: STATX_BASIC_STATS | STATX_MNT_ID | if attr.btime.is_some() { STATX_BTIME } else { 0 },
        blksize: attr.blksize,
        attributes: if is_root { STATX_ATTR_MOUNT_ROOT } else { 0 },
        nlink: u32::try_from(attr.nlink).unwrap_or(u32::MAX),
        uid: attr.uid,
        gid: attr.gid,
        mode: u16::try_from(mode_of(target, attr)).unwrap_or_default(),
        ino: attr.ino,
        size: attr.size,
        blocks: attr.blocks,
        attributes_mask: STATX_ATTR_MOUNT_ROOT,
        atime: time(attr.atime),
        btime: attr.btime.map(time).unwrap_or_default(),
        ctime: time(attr.ctime),
        mtime: time(attr.mtime),
        rdev_major: attr.rdev.major,
        rdev_minor: attr.rdev.minor,
        dev_major: attr.dev.major,
        dev_minor: attr.dev.minor,
        mnt_id: place.map_or(0, |path| u64::from(path.mount.id)),
        ..Statx::default()
    }
}

fn statfs_of(path: &Path) -> Result<Statfs, Errno> {
    let mut figures = path.dentry.sb.fs.statfs()?;
    // The flags of statfs are those of mount, but for relatime.
    let flags = path.mount.flags().bits() & 0x0c_1f;
    let relatime = if path.mount.flags().contains(sentry::vfs::MountFlags::RELATIME) { 0x1000 } else { 0 };
    figures.flags = ST_VALID | i64::from(flags) | relatime;
    Ok(figures)
}

/// Serves `statfs(2)`.
pub fn statfs(cur: &mut Current, path: UserAddr, buf: UserRef<Statfs>) -> Result<(), Errno> {
    let path = at::lookup(cur, Fd::CWD, path, WalkFlags::FOLLOW)?;
    cur.mem.write_last(buf, &statfs_of(&path)?)
}

/// Serves `fstatfs(2)`.
pub fn fstatfs(cur: &mut Current, fd: Fd, buf: UserRef<Statfs>) -> Result<(), Errno> {
    let file = cur.task.files.load().get(fd)?;
    let figures = match &file.path {
        Some(path) => statfs_of(path)?,
        None => anon_statfs(&file.ops.anon_name().unwrap_or_default()),
    };
    cur.mem.write_last(buf, &figures)
}

/// Figures of pipefs, sockfs and anonymous inodes.
fn anon_statfs(name: &str) -> Statfs {
    let kind = match name {
        name if name.starts_with("pipe:") => 0x5049_5045,
        name if name.starts_with("socket:") => 0x534f_434b,
        _ => 0x0904_1934,
    };
    Statfs { kind, bsize: 4096, frsize: 4096, namelen: 255, flags: ST_VALID, ..Statfs::default() }
}
