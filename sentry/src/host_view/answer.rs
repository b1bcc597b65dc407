//! What the host asks of the tree, one operation at a time.
//!
//! The host has checked permissions by the bits and owners that it was shown (`default_permissions`): the kernel's own
//! credentials serve here, but for who owns what is made.

use std::collections::HashMap;
use std::sync::Arc;

use abi::Errno;
use abi::flags::OpenFlags;
use abi::time::Timespec;
use abi::types::mode;
use sentry_fs::inotify::InMask;
use sentry_fs::{
    Attr, BytesDst, BytesSrc, DeviceId, DirEntry, DirSink, FileKind, IoFlags, RenameFlags, SetTime, XattrFlags,
};
use zerocopy::{Immutable, IntoBytes};

use super::ids::{self, Ids};
use super::nodes::{self, Nodes};
use super::wire::{self, Body, InHeader, fattr, op};
use crate::task::{Caps, Cred};
use crate::vfs::change::{self, NewFile, NewTimes};
use crate::vfs::open::{How, Opened};
use crate::vfs::{File, FileUse, MountNamespace, Path, Vfs, WalkFlags, Walker, notify, open, walk};

/// Flags of the host's `open` that count: whether it waits, follows links or makes the file is settled.
const OPEN: OpenFlags = OpenFlags::TRUNC.union(OpenFlags::APPEND).union(OpenFlags::SYNC).union(OpenFlags::DSYNC);

/// A view of the guest's files.
pub(super) struct View {
    namespace: Arc<MountNamespace>,
    ids: Ids,
    nodes: Nodes,
    files: HashMap<u64, Arc<File>>,
    next_file: u64,
}

/// What an operation returns.
pub(super) enum Answer {
    /// These bytes, or an error.
    Reply(Result<Vec<u8>, Errno>),
    /// Nothing is waited for.
    Nothing,
}

fn bytes(value: &(impl IntoBytes + Immutable)) -> Result<Vec<u8>, Errno> {
    Ok(value.as_bytes().to_vec())
}

impl View {
    pub(super) fn new(namespace: Arc<MountNamespace>, ids: Ids) -> View {
        View { namespace, ids, nodes: Nodes::new(), files: HashMap::new(), next_file: 1 }
    }

    /// Does what a request asks for.
    pub(super) fn answer(&mut self, vfs: &Vfs, header: &InHeader, body: &[u8]) -> Answer {
        let mut body = Body(body);
        match header.opcode {
            op::FORGET => {
                if let Ok(forget) = body.take::<wire::ForgetIn>() {
                    self.nodes.forget(header.node, forget.lookups);
                }
                Answer::Nothing
            }
            op::BATCH_FORGET => {
                // The count says no more than the length.
                let _ = body.take::<wire::BatchForgetIn>();
                while let Ok(forget) = body.take::<wire::ForgetOne>() {
                    self.nodes.forget(forget.node, forget.lookups);
                }
                Answer::Nothing
            }
            // Nothing here takes long.
            op::INTERRUPT => Answer::Nothing,
            _ => Answer::Reply(self.reply(vfs, header, &mut body)),
        }
    }

    fn reply(&mut self, vfs: &Vfs, header: &InHeader, body: &mut Body<'_>) -> Result<Vec<u8>, Errno> {
        match header.opcode {
            op::INIT => return init(&body.take()?),
            op::READ => return self.read(&body.take()?),
            op::WRITE => return self.write(body),
            op::READDIR => return self.read_dir(&body.take()?),
            op::RELEASE | op::RELEASEDIR => {
                let release: wire::ReleaseIn = body.take()?;
                self.files.remove(&release.handle);
                return Ok(Vec::new());
            }
            op::FSYNC => {
                let sync: wire::FsyncIn = body.take()?;
                return self.file(sync.handle)?.ops.sync(sync.flags & 1 != 0).map(|()| Vec::new());
            }
            _ => {}
        }
        let place = self.place(header.node)?;
        match header.opcode {
            op::LOOKUP => {
                let name = body.name()?;
                let found = self.with_walker(header, |at| walk::resolve(at, &place, name, WalkFlags::empty()))?;
                self.entry(found)
            }
            op::GETATTR => bytes(&self.attr_out(&place)?),
            op::SETATTR => {
                self.set_attr(&place, &body.take()?)?;
                bytes(&self.attr_out(&place)?)
            }
            op::READLINK => place.inode().readlink(),
            op::STATFS => statfs(&place),
            op::OPEN | op::OPENDIR => {
                let wanted: wire::OpenIn = body.take()?;
                bytes(&self.open(vfs, place, wanted.flags)?)
            }
            op::GETXATTR | op::LISTXATTR | op::SETXATTR | op::REMOVEXATTR => xattr(&place, header.opcode, body),
            op::CREATE => self.create(vfs, header, &place, body),
            op::MKNOD | op::MKDIR | op::SYMLINK => self.make(header, &place, body),
            op::LINK => self.link(header, &place, body),
            op::UNLINK | op::RMDIR | op::RENAME | op::RENAME2 => self.change_names(header, &place, body),
            // The host does what it can without, or refuses it.
            _ => Err(Errno::ENOSYS),
        }
    }

    fn place(&self, node: u64) -> Result<Path, Errno> {
        // What is mounted over it counts, and it may have changed (`pivot_root`).
        if node == nodes::ROOT { Ok(self.namespace.root().cross()) } else { self.nodes.get(node) }
    }

    fn file(&self, handle: u64) -> Result<&Arc<File>, Errno> {
        self.files.get(&handle).ok_or(Errno::EBADF)
    }

    /// Calls `work` with the credentials by which the caller would make a file; one who doesn't exist inside makes root's.
    fn with_walker<R>(&self, header: &InHeader, work: impl FnOnce(&Walker<'_>) -> R) -> R {
        let uid = ids::inwards(&self.ids.users, header.uid).unwrap_or(0);
        let gid = ids::inwards(&self.ids.groups, header.gid).unwrap_or(0);
        let (cred, root) = (Cred::new(uid, gid, Vec::new(), Caps::all()), self.namespace.root());
        work(&Walker { root: &root, cred: &cred })
    }

    fn attributes(&self, attr: &Attr) -> wire::Attributes {
        let low = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        wire::Attributes {
            ino: self.number(attr),
            size: attr.size,
            blocks: attr.blocks,
            atime: attr.atime.sec.cast_unsigned(),
            mtime: attr.mtime.sec.cast_unsigned(),
            ctime: attr.ctime.sec.cast_unsigned(),
            atime_nsec: nanoseconds(attr.atime),
            mtime_nsec: nanoseconds(attr.mtime),
            ctime_nsec: nanoseconds(attr.ctime),
            mode: attr.mode(),
            nlink: low(attr.nlink),
            uid: ids::outwards(&self.ids.users, attr.uid),
            gid: ids::outwards(&self.ids.groups, attr.gid),
            rdev: low(attr.rdev.encode()),
            blksize: attr.blksize,
            flags: 0,
        }
    }

    /// Returns an inode number that those of other file systems inside hardly have: outside they are one file system.
    fn number(&self, attr: &Attr) -> u64 {
        let root = self.namespace.root_mount().root.inode.attr().map(|root| root.dev);
        if root == Ok(attr.dev) { attr.ino } else { attr.ino ^ attr.dev.encode() << 40 }
    }

    fn attr_out(&self, place: &Path) -> Result<wire::AttrOut, Errno> {
        Ok(wire::AttrOut { attr: self.attributes(&place.attr()?), ..wire::AttrOut::default() })
    }

    fn entry_out(&mut self, place: Path) -> Result<wire::EntryOut, Errno> {
        let attr = self.attributes(&place.attr()?);
        Ok(wire::EntryOut { node: self.nodes.looked_up(place), attr, ..wire::EntryOut::default() })
    }

    fn entry(&mut self, place: Path) -> Result<Vec<u8>, Errno> {
        bytes(&self.entry_out(place)?)
    }

    fn set_attr(&self, place: &Path, set: &wire::SetAttrIn) -> Result<(), Errno> {
        let has = |bit| set.valid & bit != 0;
        let cred = Cred::kernel();
        // Changing the owner takes set-id bits off, which new bits may have.
        if has(fattr::UID | fattr::GID) {
            let uid = has(fattr::UID).then(|| ids::inwards(&self.ids.users, set.uid)).transpose()?;
            let gid = has(fattr::GID).then(|| ids::inwards(&self.ids.groups, set.gid)).transpose()?;
            change::chown(&cred, place, uid, gid)?;
        }
        if has(fattr::MODE) {
            change::chmod(&cred, place, set.mode & mode::PERM)?;
        }
        if has(fattr::SIZE) {
            if place.dentry.kind != FileKind::Regular {
                return Err(Errno::EINVAL);
            }
            place.mount.check_writable()?;
            if FileUse::is_executed(&place.dentry.sb, &place.attr()?) {
                return Err(Errno::ETXTBSY);
            }
            change::truncate(&cred, place.inode(), Some(&place.dentry), set.size)?;
        }
        let atime = time(has(fattr::ATIME), has(fattr::ATIME_NOW), set.atime, set.atime_nsec)?;
        let mtime = time(has(fattr::MTIME), has(fattr::MTIME_NOW), set.mtime, set.mtime_nsec)?;
        if atime.is_some() || mtime.is_some() {
            change::set_times(&cred, place, &NewTimes { atime, mtime, touch: false })?;
        }
        Ok(())
    }

    fn keep(&mut self, file: Arc<File>) -> wire::OpenOut {
        let handle = self.next_file;
        self.next_file += 1;
        self.files.insert(handle, file);
        wire::OpenOut { handle, open_flags: wire::DIRECT_IO, padding: 0 }
    }

    fn open(&mut self, vfs: &Vfs, place: Path, flags: u32) -> Result<wire::OpenOut, Errno> {
        if !matches!(place.dentry.kind, FileKind::Regular | FileKind::Directory) {
            return Err(Errno::ENXIO);
        }
        let how = How::new(flags & (OPEN.bits() | OpenFlags::ACCMODE), 0, WalkFlags::empty(), 0)?;
        match open::open_path(vfs, &Cred::kernel(), place, &how, false)? {
            Opened::File(file) => Ok(self.keep(file)),
            Opened::Fifo(_) => Err(Errno::ENXIO),
        }
    }

    fn create(&mut self, vfs: &Vfs, header: &InHeader, dir: &Path, body: &mut Body<'_>) -> Result<Vec<u8>, Errno> {
        let wanted: wire::CreateIn = body.take()?;
        let name = body.name()?;
        let kept = OPEN | OpenFlags::EXCL;
        let flags = wanted.flags & (kept.bits() | OpenFlags::ACCMODE);
        let flags = flags | (OpenFlags::CREAT | OpenFlags::NOFOLLOW).bits();
        let how = How::new(flags, wanted.mode & mode::PERM, WalkFlags::empty(), 0)?;
        let opened = self.with_walker(header, |walker| {
            // Nothing else is opened for good by somebody who wants to make a regular file.
            match walk::resolve(walker, dir, name, WalkFlags::empty()) {
                Ok(found) if found.dentry.kind != FileKind::Regular => Err(Errno::EEXIST),
                _ => open::open(vfs, walker, dir, name, &how),
            }
        });
        let Opened::File(file) = opened? else { return Err(Errno::EEXIST) };
        let entry = self.entry_out(file.path.clone().ok_or(Errno::EIO)?)?;
        let mut reply = bytes(&entry)?;
        reply.extend_from_slice(self.keep(file).as_bytes());
        Ok(reply)
    }

    fn make(&mut self, header: &InHeader, dir: &Path, body: &mut Body<'_>) -> Result<Vec<u8>, Errno> {
        let mut new = NewFile { kind: FileKind::Directory, perm: 0o777, rdev: DeviceId::default(), target: None };
        let name = match header.opcode {
            op::MKNOD => {
                let wanted: wire::MknodIn = body.take()?;
                new.kind = FileKind::from_mode(wanted.mode).ok_or(Errno::EINVAL)?;
                new.perm = wanted.mode & mode::PERM;
                new.rdev = DeviceId::decode(wanted.rdev);
                body.name()?
            }
            op::MKDIR => {
                new.perm = body.take::<wire::MkdirIn>()?.mode & mode::PERM;
                body.name()?
            }
            _ => {
                let name = body.name()?;
                new.kind = FileKind::Symlink;
                new.target = Some(body.text()?);
                name
            }
        };
        let made = self.with_walker(header, |walker| change::make(walker, dir, name, &new))?;
        self.entry(made)
    }

    fn link(&mut self, header: &InHeader, dir: &Path, body: &mut Body<'_>) -> Result<Vec<u8>, Errno> {
        let old = self.place(body.take::<wire::LinkIn>()?.old_node)?;
        let name = body.name()?;
        let linked = self.with_walker(header, |walker| {
            change::link(walker, &old, dir, name)?;
            walk::resolve(walker, dir, name, WalkFlags::empty())
        })?;
        self.entry(linked)
    }

    fn change_names(&mut self, header: &InHeader, dir: &Path, body: &mut Body<'_>) -> Result<Vec<u8>, Errno> {
        let (new_dir, flags) = match header.opcode {
            op::RENAME => (body.take::<wire::RenameIn>()?.new_dir, RenameFlags::empty()),
            op::RENAME2 => {
                let wanted: wire::Rename2In = body.take()?;
                (wanted.new_dir, RenameFlags::from_bits(wanted.flags).ok_or(Errno::EINVAL)?)
            }
            _ => (header.node, RenameFlags::empty()),
        };
        let (new_dir, name) = (self.place(new_dir)?, body.name()?);
        self.with_walker(header, |walker| match header.opcode {
            op::UNLINK => change::unlink(walker, dir, name),
            op::RMDIR => change::rmdir(walker, dir, name),
            _ => change::rename(walker, (dir, name), (&new_dir, body.name()?), flags),
        })?;
        Ok(Vec::new())
    }

    fn read(&self, wanted: &wire::ReadIn) -> Result<Vec<u8>, Errno> {
        let mut data = vec![0; (wanted.size as usize).min(wire::WRITE_MAX)];
        let mut pos = wanted.offset;
        let got =
            self.file(wanted.handle)?.read_from(Some(&mut pos), IoFlags::empty(), &mut BytesDst::new(&mut data))?;
        data.truncate(got);
        Ok(data)
    }

    fn write(&self, body: &mut Body<'_>) -> Result<Vec<u8>, Errno> {
        let wanted: wire::WriteIn = body.take()?;
        let data = body.bytes(wanted.size)?;
        let mut pos = wanted.offset;
        let file = self.file(wanted.handle)?;
        let done = file.write_to(Some(&mut pos), IoFlags::empty(), &mut BytesSrc::new(data))?;
        bytes(&wire::WriteOut { size: u32::try_from(done).map_err(|_| Errno::EIO)?, padding: 0 })
    }

    fn read_dir(&self, wanted: &wire::ReadIn) -> Result<Vec<u8>, Errno> {
        let mut listing = Listing { most: (wanted.size as usize).min(wire::WRITE_MAX), data: Vec::new() };
        self.file(wanted.handle)?.ops.read_dir(wanted.offset, &mut listing)?;
        Ok(listing.data)
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        (self.nodes.count(), self.files.len())
    }
}

fn nanoseconds(time: Timespec) -> u32 {
    u32::try_from(time.nsec).unwrap_or(0)
}

fn time(given: bool, now: bool, sec: u64, nsec: u32) -> Result<Option<SetTime>, Errno> {
    match (given, now) {
        (false, _) => Ok(None),
        (true, true) => Ok(Some(SetTime::Now)),
        (true, false) if nsec >= 1_000_000_000 => Err(Errno::EINVAL),
        (true, false) => Ok(Some(SetTime::At(Timespec { sec: sec.cast_signed(), nsec: i64::from(nsec) }))),
    }
}

fn init(host: &wire::InitIn) -> Result<Vec<u8>, Errno> {
    if host.major < wire::MAJOR {
        return Err(Errno::EPROTO);
    }
    bytes(&wire::InitOut {
        major: wire::MAJOR,
        minor: wire::MINOR.min(host.minor),
        max_readahead: host.max_readahead,
        flags: host.flags & wire::FEATURES,
        max_write: u32::try_from(wire::WRITE_MAX).map_err(|_| Errno::EIO)?,
        time_gran: 1,
        ..wire::InitOut::default()
    })
}

fn statfs(place: &Path) -> Result<Vec<u8>, Errno> {
    let figures = place.dentry.sb.fs.statfs()?;
    let low = |count: i64| u32::try_from(count).unwrap_or(0);
    bytes(&wire::StatfsOut {
        blocks: figures.blocks,
        bfree: figures.bfree,
        bavail: figures.bavail,
        files: figures.files,
        ffree: figures.ffree,
        bsize: low(figures.bsize),
        namelen: low(figures.namelen),
        frsize: low(figures.frsize),
        ..wire::StatfsOut::default()
    })
}

/// Extended attributes; the host has checked names and rights.
fn xattr(place: &Path, opcode: u32, body: &mut Body<'_>) -> Result<Vec<u8>, Errno> {
    let inode = place.inode();
    match opcode {
        op::GETXATTR => {
            let wanted: wire::GetXattrIn = body.take()?;
            sized(inode.get_xattr(body.text()?)?, wanted.size)
        }
        op::LISTXATTR => sized(inode.list_xattr()?, body.take::<wire::GetXattrIn>()?.size),
        op::SETXATTR => {
            let wanted: wire::SetXattrIn = body.take()?;
            let (name, flags) = (body.text()?, XattrFlags::from_bits(wanted.flags).ok_or(Errno::EINVAL)?);
            place.mount.check_writable()?;
            inode.set_xattr(name, body.bytes(wanted.size)?, flags)?;
            notify::event(&place.dentry, InMask::ATTRIB);
            Ok(Vec::new())
        }
        _ => {
            place.mount.check_writable()?;
            inode.remove_xattr(body.text()?)?;
            notify::event(&place.dentry, InMask::ATTRIB);
            Ok(Vec::new())
        }
    }
}

/// Returns a value where it fits, or for a size of 0 how long it is.
fn sized(value: Vec<u8>, size: u32) -> Result<Vec<u8>, Errno> {
    let len = u32::try_from(value.len()).map_err(|_| Errno::E2BIG)?;
    match size {
        0 => bytes(&wire::GetXattrOut { size: len, padding: 0 }),
        _ if len > size => Err(Errno::ERANGE),
        _ => Ok(value),
    }
}

/// Entries of a directory as the host takes them.
struct Listing {
    most: usize,
    data: Vec<u8>,
}

impl DirSink for Listing {
    fn entry(&mut self, entry: &DirEntry<'_>) -> bool {
        let Ok(namelen) = u32::try_from(entry.name.len()) else { return true };
        let len = (size_of::<wire::Dirent>() + entry.name.len()).next_multiple_of(8);
        if self.data.len() + len > self.most {
            return false;
        }
        let kind = entry.kind.map_or(0, |kind| u32::from(kind.dirent_type()));
        let end = self.data.len() + len;
        let head = wire::Dirent { ino: entry.ino, off: entry.next, namelen, kind };
        self.data.extend_from_slice(head.as_bytes());
        self.data.extend_from_slice(entry.name);
        self.data.resize(end, 0);
        true
    }
}
