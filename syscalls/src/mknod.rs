//! `mkdir`, `mkdirat`, `mknod`, `mknodat`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;
use sentry::vfs::change::{self, NewFile};
use sentry_fs::{DeviceId, FileKind};

use crate::at;

/// Bits that `mkdir` takes: permissions and the sticky bit.
const MKDIR_BITS: u32 = 0o1777;

/// Serves `mkdir(2)`.
pub fn mkdir(cur: &mut Current, pathname: UserAddr, mode: u32) -> Result<(), Errno> {
    mkdirat(cur, Fd::CWD, pathname, mode)
}

/// Serves `mknod(2)`.
pub fn mknod(cur: &mut Current, pathname: UserAddr, mode: u32, dev: u32) -> Result<(), Errno> {
    mknodat(cur, Fd::CWD, pathname, mode, dev)
}

/// Serves `mkdirat(2)`.
pub fn mkdirat(cur: &mut Current, dirfd: Fd, pathname: UserAddr, mode: u32) -> Result<(), Errno> {
    let perm = mode & MKDIR_BITS & !cur.fs().umask();
    make(cur, dirfd, pathname, &NewFile { kind: FileKind::Directory, perm, rdev: DeviceId::default(), target: None })
}

/// Serves `mknodat(2)`.
pub fn mknodat(cur: &mut Current, dirfd: Fd, pathname: UserAddr, mode: u32, dev: u32) -> Result<(), Errno> {
    let kind = match FileKind::from_mode(mode) {
        Some(FileKind::Directory) => return Err(Errno::EPERM),
        None | Some(FileKind::Symlink) => return Err(Errno::EINVAL),
        Some(kind) => kind,
    };
    let rdev = match kind {
        FileKind::CharDevice | FileKind::BlockDevice => DeviceId::decode(dev),
        _ => DeviceId::default(),
    };
    let perm = mode & abi::types::mode::PERM & !cur.fs().umask();
    make(cur, dirfd, pathname, &NewFile { kind, perm, rdev, target: None })
}

fn make(cur: &Current, dirfd: Fd, pathname: UserAddr, new: &NewFile<'_>) -> Result<(), Errno> {
    let path = cur.mem.read_path(pathname)?;
    let base = at::base(cur, dirfd, &path)?;
    change::make(&cur.start().walker(), &base, &path, new).map(drop)
}
