//! `open(2)`: from a path to a [`File`].

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Errno;
use abi::flags::OpenFlags;
use abi::types::mode;
use sentry_fs::hostfd::HostFifo;
use sentry_fs::inotify::InMask;
use sentry_fs::pipe::Fifo;
use sentry_fs::{Attr, DeviceId, FileKind, FileOps, SetAttr, SetTime};
use sentry_sync::WaitQueue;

use super::perm::{self, Access};
use super::walk::{Last, Parent, Walk};
use super::{Dentry, File, FileUse, MountFlags, Path, Vfs, WalkFlags, Walker, change, notify};
use crate::task::{Caps, Cred};

/// `__O_TMPFILE` without `O_DIRECTORY`.
const TMPFILE_BIT: u32 = 0o20_000_000;

/// What `open` is to do, checked.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// `O_*`.
    pub flags: OpenFlags,
    /// Permission bits of a new file, without the umask.
    pub mode: u32,
    /// `RESOLVE_*`.
    pub resolve: WalkFlags,
    /// Taken off `mode`.
    pub umask: u32,
}

impl How {
    /// Checks and completes flags as the kernel's `build_open_flags` does. Unknown bits are the caller's business.
    pub fn new(flags: u32, mode: u32, resolve: WalkFlags, umask: u32) -> Result<How, Errno> {
        let mut flags = OpenFlags::from_bits_retain(flags) | OpenFlags::LARGEFILE;
        let tmpfile = flags.bits() & TMPFILE_BIT != 0;
        if flags.contains(OpenFlags::DIRECTORY | OpenFlags::CREAT) {
            return Err(Errno::EINVAL);
        }
        if tmpfile && (!flags.contains(OpenFlags::DIRECTORY) || flags.bits() & OpenFlags::ACCMODE == 0) {
            return Err(Errno::EINVAL);
        }
        if flags.contains(OpenFlags::PATH) {
            flags &= OpenFlags::DIRECTORY | OpenFlags::NOFOLLOW | OpenFlags::PATH | OpenFlags::CLOEXEC;
        }
        let creates = flags.contains(OpenFlags::CREAT) || tmpfile;
        Ok(How { flags, mode: if creates { mode & mode::PERM } else { 0 }, resolve, umask })
    }

    fn is_tmpfile(&self) -> bool {
        self.flags.bits() & TMPFILE_BIT != 0
    }

    fn access(&self) -> Access {
        let mut access = match self.flags.bits() & OpenFlags::ACCMODE {
            0 => Access::READ,
            1 => Access::WRITE,
            _ => Access::READ | Access::WRITE,
        };
        if self.flags.contains(OpenFlags::TRUNC) {
            access |= Access::WRITE;
        }
        access
    }

    fn walk_flags(&self) -> WalkFlags {
        let mut flags = self.resolve;
        flags.set(WalkFlags::DIRECTORY, self.flags.contains(OpenFlags::DIRECTORY));
        let nofollow =
            self.flags.contains(OpenFlags::NOFOLLOW) || self.flags.contains(OpenFlags::CREAT | OpenFlags::EXCL);
        flags.set(WalkFlags::FOLLOW, !nofollow);
        flags
    }
}

/// A file, or one that is still to be waited for.
pub enum Opened {
    /// Open.
    File(Arc<File>),
    /// A FIFO whose other side is missing: open once [`PendingFifo::ready`].
    Fifo(PendingFifo),
}

/// Where both sides of a FIFO meet.
enum Meeting {
    Own(Fifo),
    Host(HostFifo),
}

/// A FIFO that is being opened.
pub struct PendingFifo {
    meeting: Meeting,
    path: Path,
    flags: OpenFlags,
}

impl PendingFifo {
    /// Tells whether the other side has come.
    pub fn ready(&mut self) -> Result<bool, Errno> {
        match &mut self.meeting {
            Meeting::Own(fifo) => Ok(fifo.ready()),
            Meeting::Host(fifo) => fifo.ready(),
        }
    }

    /// Returns the queue woken when a side is opened; `None` where nobody tells.
    pub fn wait_queue(&self) -> Option<WaitQueue> {
        match &self.meeting {
            Meeting::Own(fifo) => Some(fifo.wait_queue()),
            Meeting::Host(_) => None,
        }
    }

    /// Returns the file, once the other side has come.
    pub fn finish(self) -> Result<Arc<File>, Errno> {
        let ops: Arc<dyn FileOps> = match self.meeting {
            Meeting::Own(fifo) => fifo.into_end(),
            Meeting::Host(fifo) => fifo.into_file()?,
        };
        Ok(opened(ops, self.path, self.flags))
    }
}

/// The content of a file opened with `O_PATH`: nothing can be done with it.
struct PathOnly;

impl FileOps for PathOnly {
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

fn opened(ops: Arc<dyn FileOps>, path: Path, flags: OpenFlags) -> Arc<File> {
    notify::event(&path.dentry, InMask::OPEN);
    File::with_path(ops, path, flags)
}

/// Opens or makes a file. `base` is where a relative path starts.
pub fn open(vfs: &Vfs, walker: &Walker<'_>, base: &Path, path: &[u8], how: &How) -> Result<Opened, Errno> {
    if how.is_tmpfile() {
        return open_tmpfile(walker, base, path, how).map(Opened::File);
    }
    if !how.flags.contains(OpenFlags::CREAT) {
        let found = super::walk::resolve(walker, base, path, how.walk_flags())?;
        return open_path(vfs, walker.cred, found, how, false);
    }
    let (found, created) = find_or_create(walker, base, path, how)?;
    open_path(vfs, walker.cred, found, how, created)
}

/// Walks to the last component and makes it where it is missing (`O_CREAT`).
fn find_or_create(walker: &Walker<'_>, base: &Path, path: &[u8], how: &How) -> Result<(Path, bool), Errno> {
    let flags = how.walk_flags();
    let mut walk = Walk::start(walker, base, path, flags)?;
    loop {
        let parent = walk.walk_to_parent()?;
        let Last::Name { name, slash } = &parent.last else {
            // `.`, `..` and `/` exist and are directories.
            return Err(if how.flags.contains(OpenFlags::EXCL) { Errno::EEXIST } else { Errno::EISDIR });
        };
        if *slash {
            return Err(Errno::EISDIR);
        }
        match parent.dir.dentry.lookup(name) {
            Ok(found) => {
                if how.flags.contains(OpenFlags::EXCL) {
                    return Err(Errno::EEXIST);
                }
                if found.kind == FileKind::Symlink && flags.contains(WalkFlags::FOLLOW) {
                    walk.follow_last(&found)?;
                    // A magic link or one to `.` ends the walk here.
                    if walk.is_over() {
                        return Ok((walk.place(), false));
                    }
                    continue;
                }
                walk.step(found)?;
                return Ok((walk.place(), false));
            }
            Err(Errno::ENOENT) => match create(walker, &parent, name, how) {
                // Somebody was faster: look again.
                Err(Errno::EEXIST) if !how.flags.contains(OpenFlags::EXCL) => {
                    let found = parent.dir.dentry.lookup(name)?;
                    walk.step(found)?;
                    return Ok((walk.place(), false));
                }
                result => {
                    let dentry = result?;
                    return Ok((Path { mount: Arc::clone(&parent.dir.mount), dentry }, true));
                }
            },
            Err(errno) => return Err(errno),
        }
    }
}

fn create(walker: &Walker<'_>, parent: &Parent, name: &[u8], how: &How) -> Result<Arc<Dentry>, Errno> {
    parent.dir.mount.check_writable()?;
    let new = change::NewFile {
        kind: FileKind::Regular,
        perm: how.mode & !how.umask,
        rdev: DeviceId::default(),
        target: None,
    };
    change::create_in(walker.cred, &parent.dir, name, &new)
}

fn open_tmpfile(walker: &Walker<'_>, base: &Path, path: &[u8], how: &How) -> Result<Arc<File>, Errno> {
    let dir = super::walk::resolve(walker, base, path, how.walk_flags() | WalkFlags::DIRECTORY)?;
    dir.mount.check_writable()?;
    perm::check(walker.cred, &dir, Access::WRITE | Access::EXEC)?;
    let new =
        change::new_inode(walker.cred, &dir.attr()?, FileKind::Regular, how.mode & !how.umask, DeviceId::default());
    let inode = dir.inode().tmpfile(&new)?;
    let linkable = !how.flags.contains(OpenFlags::EXCL);
    let name = format!("#{}", inode.attr()?.ino);
    let dentry =
        Dentry::unnamed(&dir.dentry.sb, Arc::clone(&inode), name.as_bytes(), Some(Arc::clone(&dir.dentry)), linkable)?;
    let ops = inode.open(how.flags)?;
    Ok(opened(ops, Path { mount: dir.mount, dentry }, how.flags))
}

/// Opens what a walk has found. A file just made is opened whatever its permission bits say.
pub fn open_path(vfs: &Vfs, cred: &Cred, path: Path, how: &How, created: bool) -> Result<Opened, Errno> {
    let flags = how.flags;
    let kind = path.dentry.kind;
    if flags.contains(OpenFlags::PATH) {
        return Ok(Opened::File(File::with_path(Arc::new(PathOnly), path, flags)));
    }
    if flags.contains(OpenFlags::CREAT) && kind == FileKind::Directory {
        return Err(Errno::EISDIR);
    }
    if flags.contains(OpenFlags::DIRECTORY) && kind != FileKind::Directory {
        return Err(Errno::ENOTDIR);
    }
    let attr = path.attr()?;
    if !created {
        may_open(cred, &path, &attr, how)?;
    }
    if flags.contains(OpenFlags::NOATIME) && !perm::owner_or_capable(cred, &attr) {
        return Err(Errno::EPERM);
    }
    match kind {
        FileKind::Symlink => Err(Errno::ELOOP),
        FileKind::Socket => Err(Errno::ENXIO),
        FileKind::Fifo if is_description(&path) => {
            let ops = Arc::clone(path.inode()).open(flags)?;
            Ok(Opened::File(opened(ops, path, flags)))
        }
        FileKind::Fifo => open_fifo(vfs, path, &attr, flags),
        FileKind::CharDevice | FileKind::BlockDevice => {
            let ops = match Arc::clone(path.inode()).open(flags) {
                // Not the file system's own: by number.
                Err(Errno::ENXIO) => vfs.devices().ok_or(Errno::ENXIO)?.open(kind, attr.rdev, flags)?,
                result => result?,
            };
            Ok(Opened::File(opened(ops, path, flags)))
        }
        FileKind::Regular | FileKind::Directory => {
            let usage = match flags.writable() && kind == FileKind::Regular {
                true => Some(FileUse::begin(&path.dentry.sb, &attr, true)?),
                false => None,
            };
            if flags.contains(OpenFlags::TRUNC) && !created && kind == FileKind::Regular {
                truncate(cred, &path, &attr)?;
            }
            let ops = Arc::clone(path.inode()).open(flags)?;
            notify::event(&path.dentry, InMask::OPEN);
            let file = File::in_use(ops, path, flags, usage);
            file.created.store(created, Ordering::Relaxed);
            Ok(Opened::File(file))
        }
    }
}

/// Tells whether this is an open pipe without a name, by its link in `/proc`.
fn is_description(path: &Path) -> bool {
    Arc::clone(path.inode()).as_any().is::<crate::proc_view::description::Description>()
}

fn truncate(cred: &Cred, path: &Path, attr: &Attr) -> Result<(), Errno> {
    let setid = if cred.has(Caps::FSETID) { 0 } else { perm::setid_bits(attr) };
    let perm = (setid != 0).then_some(attr.perm & !setid);
    path.inode().set_attr(&SetAttr { size: Some(0), perm, mtime: Some(SetTime::Now), ..SetAttr::default() })?;
    notify::event(&path.dentry, InMask::MODIFY);
    Ok(())
}

/// The checks of the kernel's `may_open`.
fn may_open(cred: &Cred, path: &Path, attr: &Attr, how: &How) -> Result<(), Errno> {
    let access = how.access();
    match attr.kind {
        FileKind::Symlink => return Err(Errno::ELOOP),
        FileKind::Directory if access.contains(Access::WRITE) => return Err(Errno::EISDIR),
        FileKind::CharDevice | FileKind::BlockDevice if path.mount.flags().contains(MountFlags::NODEV) => {
            return Err(Errno::EACCES);
        }
        _ => {}
    }
    // A file system that is read-only as a whole says so before the bits are looked at; a mount after. Both are EROFS.
    perm::check_bits(cred, attr, access)?;
    if access.contains(Access::WRITE) && attr.kind == FileKind::Regular {
        path.mount.check_writable()?;
    }
    Ok(())
}

fn open_fifo(vfs: &Vfs, path: Path, attr: &Attr, flags: OpenFlags) -> Result<Opened, Errno> {
    let host = vfs.host_fifos().and_then(|reactor| HostFifo::open(path.inode(), flags, reactor));
    let meeting = match host {
        Some(fifo) => Meeting::Host(fifo?),
        None => Meeting::Own(Fifo::open(&vfs.fifos.get(attr.dev, attr.ino), flags)?),
    };
    let mut pending = PendingFifo { meeting, path, flags };
    Ok(if pending.ready()? { Opened::File(pending.finish()?) } else { Opened::Fifo(pending) })
}
