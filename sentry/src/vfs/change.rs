//! Making, removing and renaming names; changing attributes. Checks come in Linux's order (`fs/namei.c`, `fs/attr.c`).

use std::os::fd::OwnedFd;
use std::sync::Arc;

use abi::Errno;
use abi::types::mode;
use sentry_fs::inotify::{InMask, next_cookie};
use sentry_fs::{Attr, DeviceId, FileKind, InodeRef, NewInode, RenameFlags, SetAttr, SetTime};

use super::perm::{self, Access};
use super::walk::{self, Last, Parent};
use super::{Dentry, Path, WalkFlags, Walker, notify};
use crate::task::{Caps, Cred};

/// What is to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewFile<'a> {
    /// Kind.
    pub kind: FileKind,
    /// Permission bits, the umask taken off.
    pub perm: u32,
    /// Number of a device.
    pub rdev: DeviceId,
    /// Target of a symbolic link.
    pub target: Option<&'a [u8]>,
}

/// Decides owner, group and bits of a new inode (kernel: `inode_init_owner`, `mode_strip_sgid`).
pub fn new_inode(cred: &Cred, dir: &Attr, kind: FileKind, perm: u32, rdev: DeviceId) -> NewInode {
    let mut new = NewInode { kind, perm, uid: cred.fsuid, gid: cred.fsgid, rdev };
    if dir.perm & mode::ISGID != 0 {
        new.gid = dir.gid;
        if kind == FileKind::Directory {
            new.perm |= mode::ISGID;
        } else if perm & (mode::ISGID | 0o010) == mode::ISGID | 0o010
            && !cred.in_group(dir.gid)
            && !cred.has(Caps::FSETID)
        {
            new.perm &= !mode::ISGID;
        }
    }
    new
}

fn may_create(cred: &Cred, dir: &Path) -> Result<Attr, Errno> {
    if dir.dentry.is_unlinked() {
        return Err(Errno::ENOENT);
    }
    let attr = dir.attr()?;
    perm::check_bits(cred, &attr, Access::WRITE | Access::EXEC)?;
    Ok(attr)
}

fn may_delete(cred: &Cred, dir: &Path, victim: &Dentry, want_dir: bool) -> Result<(), Errno> {
    let attr = dir.attr()?;
    perm::check_bits(cred, &attr, Access::WRITE | Access::EXEC)?;
    perm::check_sticky(cred, &attr, &victim.inode.attr()?)?;
    match (want_dir, victim.is_dir()) {
        (true, false) => Err(Errno::ENOTDIR),
        (false, true) => Err(Errno::EISDIR),
        _ if dir.dentry.is_unlinked() => Err(Errno::ENOENT),
        _ => Ok(()),
    }
}

/// Makes an entry of a directory that a walk has reached: `EEXIST` where there is one.
pub fn create_in(cred: &Cred, dir: &Path, name: &[u8], new: &NewFile<'_>) -> Result<Arc<Dentry>, Errno> {
    create_with(cred, dir, name, new, |inode, decided| match (new.kind, new.target) {
        (FileKind::Directory, _) => inode.mkdir(name, decided),
        (FileKind::Symlink, target) => inode.symlink(name, target.unwrap_or_default(), decided),
        _ => inode.create(name, decided),
    })
}

/// The same, made by `make`.
fn create_with(
    cred: &Cred,
    dir: &Path,
    name: &[u8],
    new: &NewFile<'_>,
    make: impl FnOnce(&InodeRef, &NewInode) -> Result<InodeRef, Errno>,
) -> Result<Arc<Dentry>, Errno> {
    if dir.dentry.sb.fs.kind() == "proc" {
        // There a name that isn't found can't be made either: the look-up itself has failed.
        return Err(Errno::ENOENT);
    }
    let attr = may_create(cred, dir)?;
    check_mknod(cred, new)?;
    let decided = new_inode(cred, &attr, new.kind, new.perm, new.rdev);
    let dentry = {
        let _rename = dir.dentry.sb.rename.read();
        let _dir = dir.dentry.dir.lock();
        let made = make(dir.inode(), &decided)?;
        dir.dentry.created(name, made)?
    };
    notify::name_event(&dir.dentry, name, new.kind == FileKind::Directory, InMask::CREATE, 0);
    Ok(dentry)
}

/// Returns directory and name for something to be made: `EEXIST` where it exists, `ENOENT` for `name/` unless a directory
/// is to be made, `EROFS` last of all.
fn free_name(parent: Parent, directory: bool) -> Result<(Path, Vec<u8>), Errno> {
    let Last::Name { name, slash } = parent.last else { return Err(Errno::EEXIST) };
    match parent.dir.dentry.lookup(&name) {
        Ok(_) => Err(Errno::EEXIST),
        Err(Errno::ENOENT) if slash && !directory => Err(Errno::ENOENT),
        Err(Errno::ENOENT) => {
            parent.dir.mount.check_writable()?;
            Ok((parent.dir, name))
        }
        Err(errno) => Err(errno),
    }
}

/// Makes a file, directory, link or node by path.
pub fn make(walker: &Walker<'_>, base: &Path, path: &[u8], new: &NewFile<'_>) -> Result<Path, Errno> {
    let parent = walk::resolve_parent(walker, base, path, WalkFlags::empty())?;
    let (dir, name) = free_name(parent, new.kind == FileKind::Directory)?;
    let dentry = create_in(walker.cred, &dir, &name, new)?;
    Ok(Path { mount: dir.mount, dentry })
}

/// Makes a socket of the host by path, of a type `SOCK_*`: `EOPNOTSUPP` where the directory is none of the host's, or sockets
/// of the host may not be made there.
pub fn make_host_socket(
    walker: &Walker<'_>,
    base: &Path,
    path: &[u8],
    perm: u32,
    kind: u32,
) -> Result<(Path, OwnedFd), Errno> {
    let parent = walk::resolve_parent(walker, base, path, WalkFlags::empty())?;
    let (dir, name) = free_name(parent, false)?;
    let new = NewFile { kind: FileKind::Socket, perm, rdev: DeviceId::default(), target: None };
    let mut socket = None;
    let dentry = create_with(walker.cred, &dir, &name, &new, |inode, decided| {
        let (made, fd) = inode.bind_host(&name, decided, kind)?;
        socket = Some(fd);
        Ok(made)
    })?;
    Ok((Path { mount: dir.mount, dentry }, socket.ok_or(Errno::EIO)?))
}

/// `mknod(2)`: device nodes need `CAP_MKNOD`.
fn check_mknod(cred: &Cred, new: &NewFile<'_>) -> Result<(), Errno> {
    let device = matches!(new.kind, FileKind::CharDevice | FileKind::BlockDevice);
    let whiteout = new.kind == FileKind::CharDevice && new.rdev == DeviceId::default();
    if device && !whiteout && !cred.has(Caps::MKNOD) { Err(Errno::EPERM) } else { Ok(()) }
}

/// `unlink(2)`.
pub fn unlink(walker: &Walker<'_>, base: &Path, path: &[u8]) -> Result<(), Errno> {
    let parent = walk::resolve_parent(walker, base, path, WalkFlags::empty())?;
    let Last::Name { name, slash } = parent.last else { return Err(Errno::EISDIR) };
    parent.dir.mount.check_writable()?;
    let dir = &parent.dir;
    let victim = {
        let _rename = dir.dentry.sb.rename.read();
        let _dir = dir.dentry.dir.lock();
        let victim = dir.dentry.lookup(&name)?;
        if slash {
            return Err(if victim.is_dir() { Errno::EISDIR } else { Errno::ENOTDIR });
        }
        may_delete(walker.cred, dir, &victim, false)?;
        check_no_mount(&victim)?;
        dir.inode().unlink(&name)?;
        dir.dentry.forget(&victim);
        dir.dentry.now_absent(&name);
        victim
    };
    notify::removed(&dir.dentry, &victim);
    Ok(())
}

fn check_no_mount(dentry: &Dentry) -> Result<(), Errno> {
    if dentry.mounts.load(std::sync::atomic::Ordering::Relaxed) > 0 { Err(Errno::EBUSY) } else { Ok(()) }
}

/// `rmdir(2)`.
pub fn rmdir(walker: &Walker<'_>, base: &Path, path: &[u8]) -> Result<(), Errno> {
    let parent = walk::resolve_parent(walker, base, path, WalkFlags::empty())?;
    let name = match parent.last {
        Last::Name { name, .. } => name,
        Last::Dot => return Err(Errno::EINVAL),
        Last::DotDot => return Err(Errno::ENOTEMPTY),
        Last::Root => return Err(Errno::EBUSY),
    };
    parent.dir.mount.check_writable()?;
    let dir = &parent.dir;
    let victim = {
        let _rename = dir.dentry.sb.rename.read();
        let _dir = dir.dentry.dir.lock();
        let victim = dir.dentry.lookup(&name)?;
        may_delete(walker.cred, dir, &victim, true)?;
        check_no_mount(&victim)?;
        dir.inode().rmdir(&name)?;
        dir.dentry.forget(&victim);
        dir.dentry.now_absent(&name);
        victim
    };
    notify::removed(&dir.dentry, &victim);
    Ok(())
}

/// Gives an inode another name. `old` has been walked to as the flags of `linkat(2)` say.
pub fn link(walker: &Walker<'_>, old: &Path, base: &Path, path: &[u8]) -> Result<(), Errno> {
    let parent = walk::resolve_parent(walker, base, path, WalkFlags::empty())?;
    let (dir, name) = free_name(parent, false)?;
    if !Arc::ptr_eq(&old.mount, &dir.mount) {
        return Err(Errno::EXDEV);
    }
    perm::check_hard_link(walker.cred, old)?;
    may_create(walker.cred, &dir)?;
    if old.dentry.is_dir() {
        return Err(Errno::EPERM);
    }
    {
        let _rename = dir.dentry.sb.rename.read();
        let _dir = dir.dentry.dir.lock();
        // Only a temporary file may get a first name.
        if old.attr()?.nlink == 0 && !old.dentry.is_linkable() {
            return Err(Errno::ENOENT);
        }
        dir.inode().link(&name, old.inode())?;
        old.dentry.has_been_linked();
        dir.dentry.created(&name, Arc::clone(old.inode()))?;
    }
    notify::self_event(&old.dentry, InMask::ATTRIB);
    notify::name_event(&dir.dentry, &name, false, InMask::CREATE, 0);
    Ok(())
}

/// `renameat2(2)`.
pub fn rename(
    walker: &Walker<'_>,
    (old_base, old_path): (&Path, &[u8]),
    (new_base, new_path): (&Path, &[u8]),
    flags: RenameFlags,
) -> Result<(), Errno> {
    let old = walk::resolve_parent(walker, old_base, old_path, WalkFlags::empty())?;
    let new = walk::resolve_parent(walker, new_base, new_path, WalkFlags::empty())?;
    if !Arc::ptr_eq(&old.dir.mount, &new.dir.mount) {
        return Err(Errno::EXDEV);
    }
    let Last::Name { name: old_name, slash: old_slash } = &old.last else { return Err(Errno::EBUSY) };
    let Last::Name { name: new_name, slash: new_slash } = &new.last else {
        return Err(if flags.contains(RenameFlags::NOREPLACE) { Errno::EEXIST } else { Errno::EBUSY });
    };
    old.dir.mount.check_writable()?;
    let exchange = flags.contains(RenameFlags::EXCHANGE);
    let (source, target) = {
        let _rename = old.dir.dentry.sb.rename.write();
        let source = old.dir.dentry.lookup(old_name)?;
        let target = match new.dir.dentry.lookup(new_name) {
            Ok(_) if flags.contains(RenameFlags::NOREPLACE) => return Err(Errno::EEXIST),
            Ok(target) => Some(target),
            Err(Errno::ENOENT) if !exchange => None,
            Err(errno) => return Err(errno),
        };
        if exchange && *new_slash && target.as_ref().is_some_and(|target| !target.is_dir()) {
            return Err(Errno::ENOTDIR);
        }
        if !source.is_dir() && (*old_slash || (!exchange && *new_slash)) {
            return Err(Errno::ENOTDIR);
        }
        if source.is_dir() && new.dir.dentry.is_below(&source) {
            return Err(Errno::EINVAL);
        }
        if target.as_ref().is_some_and(|target| target.is_dir() && old.dir.dentry.is_below(target)) {
            return Err(if exchange { Errno::EINVAL } else { Errno::ENOTEMPTY });
        }
        if let Some(target) = &target
            && is_same_inode(&source, target)
        {
            return Ok(());
        }
        check_rename(walker.cred, (&old.dir, &source), (&new.dir, target.as_deref()), exchange)?;
        old.dir.inode().rename(old_name, new.dir.inode(), new_name, flags)?;
        move_dentries((&old.dir, old_name, &source), (&new.dir, new_name, target.as_ref()), flags);
        if !flags.intersects(RenameFlags::EXCHANGE | RenameFlags::WHITEOUT) {
            old.dir.dentry.now_absent(old_name);
        }
        (source, target)
    };
    report_rename((&old.dir, old_name, &source), (&new.dir, new_name, target.as_ref()), exchange);
    Ok(())
}

fn is_same_inode(a: &Dentry, b: &Dentry) -> bool {
    if Arc::ptr_eq(&a.inode, &b.inode) {
        return true;
    }
    let id = |dentry: &Dentry| dentry.inode.attr().map(|attr| (attr.dev, attr.ino));
    matches!((id(a), id(b)), (Ok(a), Ok(b)) if a == b)
}

fn check_rename(
    cred: &Cred,
    (old_dir, source): (&Path, &Dentry),
    (new_dir, target): (&Path, Option<&Dentry>),
    exchange: bool,
) -> Result<(), Errno> {
    may_delete(cred, old_dir, source, source.is_dir())?;
    match target {
        None => drop(may_create(cred, new_dir)?),
        Some(target) => {
            let want_dir = if exchange { target.is_dir() } else { source.is_dir() };
            may_delete(cred, new_dir, target, want_dir)?;
        }
    }
    let apart = !Arc::ptr_eq(&old_dir.dentry, &new_dir.dentry);
    // A directory that moves gets another `..`: that is writing it.
    if apart && source.is_dir() {
        perm::check_bits(cred, &source.inode.attr()?, Access::WRITE)?;
    }
    if let Some(target) = target {
        if apart && exchange && target.is_dir() {
            perm::check_bits(cred, &target.inode.attr()?, Access::WRITE)?;
        }
        check_no_mount(target)?;
    }
    check_no_mount(source)
}

fn move_dentries(
    (old_dir, old_name, source): (&Path, &[u8], &Arc<Dentry>),
    (new_dir, new_name, target): (&Path, &[u8], Option<&Arc<Dentry>>),
    flags: RenameFlags,
) {
    match target {
        Some(target) if flags.contains(RenameFlags::EXCHANGE) => {
            target.moved(&old_dir.dentry, old_name);
            source.moved(&new_dir.dentry, new_name);
        }
        Some(target) => {
            new_dir.dentry.forget(target);
            source.moved(&new_dir.dentry, new_name);
        }
        None => {
            new_dir.dentry.forget_name(new_name);
            source.moved(&new_dir.dentry, new_name);
        }
    }
}

fn report_rename(
    (old_dir, old_name, source): (&Path, &[u8], &Arc<Dentry>),
    (new_dir, new_name, target): (&Path, &[u8], Option<&Arc<Dentry>>),
    exchange: bool,
) {
    if !old_dir.dentry.sb.is_watched() {
        return;
    }
    let report = |from: &Path, from_name: &[u8], to: &Path, to_name: &[u8], moved: &Dentry| {
        let cookie = next_cookie();
        notify::name_event(&from.dentry, from_name, moved.is_dir(), InMask::MOVED_FROM, cookie);
        notify::name_event(&to.dentry, to_name, moved.is_dir(), InMask::MOVED_TO, cookie);
        notify::self_event(moved, InMask::MOVE_SELF);
    };
    report(old_dir, old_name, new_dir, new_name, source);
    match target {
        Some(target) if exchange => report(new_dir, new_name, old_dir, old_name, target),
        Some(target) => notify::self_event(target, InMask::ATTRIB),
        None => {}
    }
}

fn set_attr(path: &Path, set: &SetAttr, event: InMask) -> Result<(), Errno> {
    path.inode().set_attr(set)?;
    notify::event(&path.dentry, event);
    Ok(())
}

/// `chmod(2)`.
pub fn chmod(cred: &Cred, path: &Path, perm: u32) -> Result<(), Errno> {
    path.mount.check_writable()?;
    if path.dentry.kind == FileKind::Symlink {
        return Err(Errno::EOPNOTSUPP);
    }
    set_attr(
        path,
        &SetAttr { perm: Some(decide_mode(cred, path.inode(), perm)?), ..SetAttr::default() },
        InMask::ATTRIB,
    )
}

fn decide_mode(cred: &Cred, inode: &InodeRef, perm: u32) -> Result<u32, Errno> {
    let attr = inode.attr()?;
    if !perm::owner_or_capable(cred, &attr) {
        return Err(Errno::EPERM);
    }
    let keeps_group = cred.in_group(attr.gid) || cred.has(Caps::FSETID);
    let perm = perm & mode::PERM;
    Ok(if keeps_group { perm } else { perm & !mode::ISGID })
}

/// `fchmod(2)` on a file without a name.
pub fn chmod_inode(cred: &Cred, inode: &InodeRef, perm: u32) -> Result<(), Errno> {
    inode.set_attr(&SetAttr { perm: Some(decide_mode(cred, inode, perm)?), ..SetAttr::default() })
}

fn decide_owner(cred: &Cred, inode: &InodeRef, uid: Option<u32>, gid: Option<u32>) -> Result<SetAttr, Errno> {
    let attr = inode.attr()?;
    let capable = cred.has(Caps::CHOWN);
    let owns = cred.fsuid == attr.uid;
    if uid.is_some_and(|uid| !(capable || (owns && uid == attr.uid))) {
        return Err(Errno::EPERM);
    }
    if gid.is_some_and(|gid| !(capable || (owns && (gid == attr.gid || cred.in_group(gid))))) {
        return Err(Errno::EPERM);
    }
    let lost = perm::setid_bits(&attr);
    let perm = (lost != 0).then_some(attr.perm & !lost);
    if uid.is_none() && gid.is_none() && perm.is_some() && !perm::owner_or_capable(cred, &attr) {
        // Only the bits would change: as for chmod.
        return Err(Errno::EPERM);
    }
    Ok(SetAttr { uid, gid, perm, ..SetAttr::default() })
}

/// `chown(2)`; `None` leaves an id alone. Set-id bits go.
pub fn chown(cred: &Cred, path: &Path, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
    path.mount.check_writable()?;
    set_attr(path, &decide_owner(cred, path.inode(), uid, gid)?, InMask::ATTRIB)
}

/// `fchown(2)` on a file without a name.
pub fn chown_inode(cred: &Cred, inode: &InodeRef, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
    inode.set_attr(&decide_owner(cred, inode, uid, gid)?)
}

/// Times to set; `None` leaves one alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewTimes {
    /// Last access.
    pub atime: Option<SetTime>,
    /// Last change of content.
    pub mtime: Option<SetTime>,
    /// The caller gave no times: who may write may do that, too.
    pub touch: bool,
}

/// `utimensat(2)`.
pub fn set_times(cred: &Cred, path: &Path, times: &NewTimes) -> Result<(), Errno> {
    path.mount.check_writable()?;
    let set = decide_times(cred, path.inode(), times)?;
    set_attr(path, &set, InMask::ATTRIB)
}

/// `futimens(3)` on a file without a name.
pub fn set_times_inode(cred: &Cred, inode: &InodeRef, times: &NewTimes) -> Result<(), Errno> {
    inode.set_attr(&decide_times(cred, inode, times)?)
}

fn decide_times(cred: &Cred, inode: &InodeRef, times: &NewTimes) -> Result<SetAttr, Errno> {
    let attr = inode.attr()?;
    if !perm::owner_or_capable(cred, &attr) {
        if !times.touch {
            return Err(Errno::EPERM);
        }
        perm::check_bits(cred, &attr, Access::WRITE)?;
    }
    Ok(SetAttr { atime: times.atime, mtime: times.mtime, ..SetAttr::default() })
}

/// Sets the size of a regular file; the caller has checked that it may be written. Set-id bits go unless the caller may
/// keep them.
pub fn truncate(cred: &Cred, inode: &InodeRef, dentry: Option<&Dentry>, size: u64) -> Result<(), Errno> {
    let attr = inode.attr()?;
    let lost = if cred.has(Caps::FSETID) { 0 } else { perm::setid_bits(&attr) };
    let perm = (lost != 0).then_some(attr.perm & !lost);
    // The time of change is set even where the size stays.
    inode.set_attr(&SetAttr { size: Some(size), perm, mtime: Some(SetTime::Now), ..SetAttr::default() })?;
    if let Some(dentry) = dentry {
        notify::event(dentry, InMask::MODIFY);
    }
    Ok(())
}
