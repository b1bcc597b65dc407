//! `setxattr`, `getxattr`, `listxattr`, `removexattr` and their `l` and `f` forms.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;
use sentry::task::Caps;
use sentry::vfs::notify;
use sentry::vfs::perm::{self, Access};
use sentry_fs::inotify::InMask;
use sentry_fs::{Attr, FileKind, InodeRef, XattrFlags};

use crate::at::{self, Target};

const NAME_MAX: usize = 255;
const VALUE_MAX: usize = 65536;
const LIST_MAX: usize = 65536;

fn follow(cur: &Current, path: UserAddr) -> Result<Target, Errno> {
    Target::at(cur, Fd::CWD, path, 0, false)
}

fn no_follow(cur: &Current, path: UserAddr) -> Result<Target, Errno> {
    Target::at(cur, Fd::CWD, path, at::NOFOLLOW, false)
}

fn read_name(cur: &Current, name: UserAddr) -> Result<Vec<u8>, Errno> {
    let name = cur.mem.read_cstr(name, NAME_MAX + 1, Errno::ERANGE)?;
    if name.is_empty() { Err(Errno::ERANGE) } else { Ok(name) }
}

fn inode_of(target: &Target) -> Result<&InodeRef, Errno> {
    target.inode().ok_or(Errno::EOPNOTSUPP)
}

/// The checks of the kernel's `xattr_permission`.
fn check(cur: &Current, target: &Target, attr: &Attr, name: &[u8], write: bool) -> Result<(), Errno> {
    let cred = cur.task.cred.load();
    if write && let Some(path) = target.path() {
        path.mount.check_writable()?;
    }
    if name.starts_with(b"security.") {
        let capable = !write || cred.has(if name == b"security.capability" { Caps::SETFCAP } else { Caps::SYS_ADMIN });
        return if capable { Ok(()) } else { Err(Errno::EPERM) };
    }
    if name.starts_with(b"system.") {
        return Ok(());
    }
    if name.starts_with(b"trusted.") {
        let refused = if write { Errno::EPERM } else { Errno::ENODATA };
        return if cred.has(Caps::SYS_ADMIN) { Ok(()) } else { Err(refused) };
    }
    if name.starts_with(b"user.") {
        if !matches!(attr.kind, FileKind::Regular | FileKind::Directory) {
            return Err(if write { Errno::EPERM } else { Errno::ENODATA });
        }
        let sticky = attr.kind == FileKind::Directory && attr.perm & abi::types::mode::ISVTX != 0;
        if sticky && write && !perm::owner_or_capable(&cred, attr) {
            return Err(Errno::EPERM);
        }
    }
    perm::check_bits(&cred, attr, if write { Access::WRITE } else { Access::READ })
}

/// A name space alone is no name.
fn check_suffix(name: &[u8]) -> Result<(), Errno> {
    let spaces: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
    if spaces.contains(&name) { Err(Errno::EINVAL) } else { Ok(()) }
}

fn set(
    cur: &Current,
    target: impl FnOnce(&Current) -> Result<Target, Errno>,
    name: UserAddr,
    value: UserAddr,
    size: usize,
    flags: u32,
) -> Result<(), Errno> {
    let flags = XattrFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    let name = read_name(cur, name)?;
    if size > VALUE_MAX {
        return Err(Errno::E2BIG);
    }
    let mut bytes = vec![0; size];
    cur.mem.read_bytes(value, &mut bytes)?;
    let target = target(cur)?;
    let attr = target.attr()?;
    check(cur, &target, &attr, &name, true)?;
    check_suffix(&name)?;
    inode_of(&target)?.set_xattr(&name, &bytes, flags)?;
    changed(&target);
    Ok(())
}

fn changed(target: &Target) {
    if let Some(path) = target.path() {
        notify::event(&path.dentry, InMask::ATTRIB);
    }
}

fn put(cur: &Current, bytes: &[u8], at: UserAddr, size: usize) -> Result<u64, Errno> {
    if size > 0 {
        if bytes.len() > size {
            return Err(Errno::ERANGE);
        }
        cur.mem.write_bytes(at, bytes)?;
    }
    Ok(bytes.len() as u64)
}

fn get(
    cur: &Current,
    target: impl FnOnce(&Current) -> Result<Target, Errno>,
    name: UserAddr,
    value: UserAddr,
    size: usize,
) -> Result<u64, Errno> {
    let name = read_name(cur, name)?;
    let target = target(cur)?;
    let attr = target.attr()?;
    check(cur, &target, &attr, &name, false)?;
    check_suffix(&name)?;
    let bytes = inode_of(&target)?.get_xattr(&name)?;
    put(cur, &bytes, value, size.min(VALUE_MAX))
}

fn list(cur: &Current, target: &Target, at: UserAddr, size: usize) -> Result<u64, Errno> {
    let Some(inode) = target.inode() else { return Ok(0) };
    let mut names = inode.list_xattr()?;
    if !cur.task.cred.load().has(Caps::SYS_ADMIN) {
        let mut seen = Vec::new();
        for name in names.split_inclusive(|byte| *byte == 0).filter(|name| !name.starts_with(b"trusted.")) {
            seen.extend_from_slice(name);
        }
        names = seen;
    }
    put(cur, &names, at, size.min(LIST_MAX))
}

fn remove(cur: &Current, target: impl FnOnce(&Current) -> Result<Target, Errno>, name: UserAddr) -> Result<(), Errno> {
    let name = read_name(cur, name)?;
    let target = target(cur)?;
    let attr = target.attr()?;
    check(cur, &target, &attr, &name, true)?;
    check_suffix(&name)?;
    inode_of(&target)?.remove_xattr(&name)?;
    changed(&target);
    Ok(())
}

/// Serves `setxattr(2)`.
pub fn setxattr(
    cur: &mut Current,
    path: UserAddr,
    name: UserAddr,
    value: UserAddr,
    size: usize,
    flags: u32,
) -> Result<(), Errno> {
    set(cur, |cur| follow(cur, path), name, value, size, flags)
}

/// Serves `lsetxattr(2)`.
pub fn lsetxattr(
    cur: &mut Current,
    path: UserAddr,
    name: UserAddr,
    value: UserAddr,
    size: usize,
    flags: u32,
) -> Result<(), Errno> {
    set(cur, |cur| no_follow(cur, path), name, value, size, flags)
}

/// Serves `fsetxattr(2)`.
pub fn fsetxattr(
    cur: &mut Current,
    fd: Fd,
    name: UserAddr,
    value: UserAddr,
    size: usize,
    flags: u32,
) -> Result<(), Errno> {
    set(cur, |cur| Target::of_io_fd(cur, fd), name, value, size, flags)
}

/// Serves `getxattr(2)`.
pub fn getxattr(cur: &mut Current, path: UserAddr, name: UserAddr, value: UserAddr, size: usize) -> Result<u64, Errno> {
    get(cur, |cur| follow(cur, path), name, value, size)
}

/// Serves `lgetxattr(2)`.
pub fn lgetxattr(
    cur: &mut Current,
    path: UserAddr,
    name: UserAddr,
    value: UserAddr,
    size: usize,
) -> Result<u64, Errno> {
    get(cur, |cur| no_follow(cur, path), name, value, size)
}

/// Serves `fgetxattr(2)`.
pub fn fgetxattr(cur: &mut Current, fd: Fd, name: UserAddr, value: UserAddr, size: usize) -> Result<u64, Errno> {
    get(cur, |cur| Target::of_io_fd(cur, fd), name, value, size)
}

/// Serves `listxattr(2)`.
pub fn listxattr(cur: &mut Current, path: UserAddr, at: UserAddr, size: usize) -> Result<u64, Errno> {
    list(cur, &follow(cur, path)?, at, size)
}

/// Serves `llistxattr(2)`.
pub fn llistxattr(cur: &mut Current, path: UserAddr, at: UserAddr, size: usize) -> Result<u64, Errno> {
    list(cur, &no_follow(cur, path)?, at, size)
}

/// Serves `flistxattr(2)`.
pub fn flistxattr(cur: &mut Current, fd: Fd, at: UserAddr, size: usize) -> Result<u64, Errno> {
    list(cur, &Target::of_io_fd(cur, fd)?, at, size)
}

/// Serves `removexattr(2)`.
pub fn removexattr(cur: &mut Current, path: UserAddr, name: UserAddr) -> Result<(), Errno> {
    remove(cur, |cur| follow(cur, path), name)
}

/// Serves `lremovexattr(2)`.
pub fn lremovexattr(cur: &mut Current, path: UserAddr, name: UserAddr) -> Result<(), Errno> {
    remove(cur, |cur| no_follow(cur, path), name)
}

/// Serves `fremovexattr(2)`.
pub fn fremovexattr(cur: &mut Current, fd: Fd, name: UserAddr) -> Result<(), Errno> {
    remove(cur, |cur| Target::of_io_fd(cur, fd), name)
}
