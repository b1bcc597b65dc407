//! `mount`, `umount2`, `pivot_root`.

use std::sync::Arc;

use abi::{Errno, Fd, UserAddr};
use sentry::Current;
use sentry::task::Caps;
use sentry::vfs::{Mount, MountFlags, MountRequest, Path, Propagation, WalkFlags};

use crate::at;

const MS_REMOUNT: u64 = 32;
const MS_BIND: u64 = 4096;
const MS_MOVE: u64 = 8192;
const MS_REC: u64 = 16384;
const MS_SILENT: u64 = 32768;
const MS_UNBINDABLE: u64 = 1 << 17;
const MS_PRIVATE: u64 = 1 << 18;
const MS_SLAVE: u64 = 1 << 19;
const MS_SHARED: u64 = 1 << 20;
const MS_TYPES: u64 = MS_UNBINDABLE | MS_PRIVATE | MS_SLAVE | MS_SHARED;
const MS_MGC_VAL: u64 = 0xc0ed_0000;
const MS_MGC_MSK: u64 = 0xffff_0000;

const MNT_FORCE: u32 = 1;
const MNT_DETACH: u32 = 2;
const MNT_EXPIRE: u32 = 4;
const UMOUNT_NOFOLLOW: u32 = 8;

/// Longest option string: a page.
const DATA_MAX: usize = 4096;

fn check_capable(cur: &Current) -> Result<(), Errno> {
    if cur.task.cred.load().has(Caps::SYS_ADMIN) { Ok(()) } else { Err(Errno::EPERM) }
}

fn optional_string(cur: &Current, at: UserAddr) -> Result<Option<Vec<u8>>, Errno> {
    if at.is_null() { Ok(None) } else { cur.mem.read_cstr(at, DATA_MAX, Errno::EINVAL).map(Some) }
}

/// Serves `mount(2)`.
pub fn mount(
    cur: &mut Current,
    source: UserAddr,
    target: UserAddr,
    filesystemtype: UserAddr,
    mountflags: u64,
    data: UserAddr,
) -> Result<(), Errno> {
    let kind = optional_string(cur, filesystemtype)?;
    let source = optional_string(cur, source)?;
    let flags = if mountflags & MS_MGC_MSK == MS_MGC_VAL { mountflags & !MS_MGC_MSK } else { mountflags };
    let binds = flags & (MS_BIND | MS_MOVE | MS_TYPES) != 0;
    let options = if binds { None } else { optional_string(cur, data)? };
    let at = at::lookup(cur, Fd::CWD, target, WalkFlags::FOLLOW)?;
    check_capable(cur)?;
    if flags & MS_REMOUNT != 0 {
        return remount(cur, &at, own_flags(flags));
    }
    if flags & MS_BIND != 0 {
        return bind(cur, source.as_deref(), at, flags & MS_REC != 0);
    }
    if flags & MS_TYPES != 0 {
        return change_type(&at, flags);
    }
    if flags & MS_MOVE != 0 {
        let from = at::lookup_text(cur, Fd::CWD, source.as_deref().ok_or(Errno::EINVAL)?, WalkFlags::FOLLOW)?;
        return cur.task.fs.load().namespace().move_to(&from, at);
    }
    let kind = kind.ok_or(Errno::EINVAL)?;
    let options = String::from_utf8(options.unwrap_or_default()).map_err(|_| Errno::EINVAL)?;
    let source = source.unwrap_or_else(|| b"none".to_vec());
    let request = MountRequest { source: &source, data: &options };
    let fs = cur.kernel().vfs.types.make(&kind, &request)?;
    let mount = Mount::of(fs, &source, own_flags(flags))?;
    cur.task.fs.load().namespace().attach(&mount, at)
}

/// Returns the flags that stay with the mount; relative access times are the default.
fn own_flags(flags: u64) -> MountFlags {
    let low = u32::try_from(flags & 0xffff_ffff).unwrap_or_default();
    let own = MountFlags::from_bits_truncate(low);
    let atime = MountFlags::NOATIME | MountFlags::STRICTATIME;
    let own = if own.intersects(atime) { own } else { own | MountFlags::RELATIME };
    own - MountFlags::STRICTATIME
}

/// Changes the flags of a mount, with `MS_BIND` or without: what is read-only is the mount.
fn remount(cur: &Current, at: &Path, flags: MountFlags) -> Result<(), Errno> {
    if !at.is_mount_root() {
        return Err(Errno::EINVAL);
    }
    at.mount.set_flags(flags);
    cur.task.fs.load().namespace().changes.note();
    Ok(())
}

fn bind(cur: &Current, source: Option<&[u8]>, at: Path, recursive: bool) -> Result<(), Errno> {
    let source = source.filter(|source| !source.is_empty()).ok_or(Errno::EINVAL)?;
    let from = at::lookup_text(cur, Fd::CWD, source, WalkFlags::FOLLOW)?;
    cur.task.fs.load().namespace().bind(&from, at, recursive)
}

fn change_type(at: &Path, flags: u64) -> Result<(), Errno> {
    if flags & !(MS_TYPES | MS_REC | MS_SILENT) != 0 || (flags & MS_TYPES).count_ones() != 1 || !at.is_mount_root() {
        return Err(Errno::EINVAL);
    }
    let mounts = if flags & MS_REC != 0 { at.mount.subtree() } else { vec![Arc::clone(&at.mount)] };
    for mount in mounts {
        let new = match (flags & MS_TYPES, mount.propagation()) {
            (MS_SHARED, Propagation::Shared(group)) => Propagation::Shared(group),
            (MS_SHARED, _) => Propagation::Shared(mount.id),
            (MS_SLAVE, Propagation::Shared(group)) => Propagation::Slave(group),
            // Without a master a slave is private.
            (MS_SLAVE, other) => other,
            (MS_UNBINDABLE, _) => Propagation::Unbindable,
            _ => Propagation::Private,
        };
        mount.set_propagation(new);
    }
    Ok(())
}

/// Serves `umount2(2)`.
pub fn umount2(cur: &mut Current, target: UserAddr, flags: u32) -> Result<(), Errno> {
    if flags & !(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    let follow = if flags & UMOUNT_NOFOLLOW == 0 { WalkFlags::FOLLOW } else { WalkFlags::empty() };
    let at = at::lookup(cur, Fd::CWD, target, follow)?;
    check_capable(cur)?;
    if !at.is_mount_root() {
        return Err(Errno::EINVAL);
    }
    if flags & MNT_EXPIRE != 0 {
        // Nothing expires here: a mount stays until somebody takes it away.
        return Err(if flags & (MNT_FORCE | MNT_DETACH) != 0 { Errno::EINVAL } else { Errno::EAGAIN });
    }
    // Besides its place in the tree and the path at hand, whoever else holds it uses it.
    let in_use = |mount: &Arc<Mount>| Arc::strong_count(mount) > 2;
    cur.task.fs.load().namespace().unmount(&at, flags & MNT_DETACH != 0, in_use)
}

/// Serves `pivot_root(2)`: roots and working directories at the old root move to the new one.
pub fn pivot_root(cur: &mut Current, new_root: UserAddr, put_old: UserAddr) -> Result<(), Errno> {
    check_capable(cur)?;
    let flags = WalkFlags::FOLLOW | WalkFlags::DIRECTORY;
    let new = at::lookup(cur, Fd::CWD, new_root, flags)?;
    let old = at::lookup(cur, Fd::CWD, put_old, flags)?;
    let fs = cur.task.fs.load();
    let root = fs.root();
    let namespace = fs.namespace();
    namespace.pivot(&new, &old, &root)?;
    let contexts: Vec<_> = cur.kernel().tasks.read().tasks.values().map(|task| task.fs.load_full()).collect();
    for context in contexts {
        context.replace_root(&root, &new);
    }
    Ok(())
}
