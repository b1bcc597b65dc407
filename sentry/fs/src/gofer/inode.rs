//! [`GoferInode`]: one host inode.

use std::any::Any;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::Errno;
use abi::flags::OpenFlags;
use gofer_proto::{Access, Entry, Handle, Names, NewNode, Reply, Request, SetNode, TimeSet, WireAttr};
use sentry_sync::{Level, Mutex};

use super::Shared;
use super::client::Dead;
use super::dir::{GoferDir, Listing};
use super::file::GoferFile;
use crate::host::errno;
use crate::{Attr, DeviceId, FileKind, FileOps, Inode, InodeRef, NewInode, RenameFlags, SetAttr, SetTime, XattrFlags};

/// A host inode, for as long as anyone here holds it.
#[derive(Debug)]
pub(crate) struct GoferInode {
    pub(super) fs: Arc<Shared>,
    handle: Handle,
    kind: FileKind,
    /// How often the gofer has given the handle.
    given: AtomicU64,
    /// Inode number of the directory that a directory was last seen in; 0 for a root.
    parent: AtomicU64,
    state: Mutex<State>,
    /// Held over a write, as Linux holds the inode's lock: writes are atomic to each other and appends don't overlap.
    pub(super) writing: Mutex<()>,
}

#[derive(Debug)]
struct State {
    attr: Attr,
    /// `attr` is what the host would say.
    fresh: bool,
    /// Counts what made `attr` or `listing` untrue, so that an answer on its way by then is not remembered.
    changes: u64,
    /// Mapped shared and writable once: the host moves the times as it likes.
    mapped: bool,
    /// By access: reading, writing, both.
    fds: [Option<Arc<OwnedFd>>; 3],
    listing: Option<Arc<Listing>>,
    /// Target of a symbolic link, which never changes.
    target: Option<Box<[u8]>>,
}

impl Drop for GoferInode {
    fn drop(&mut self) {
        let dead = Dead { handle: self.handle, given: *self.given.get_mut(), fs: Arc::downgrade(&self.fs) };
        self.fs.client.died(dead);
    }
}

fn slot(access: Access) -> usize {
    if access == Access::READ {
        0
    } else if access == Access::WRITE {
        1
    } else {
        2
    }
}

impl Shared {
    /// Translates the host's attributes.
    pub(super) fn attr(&self, wire: &WireAttr) -> Result<Attr, Errno> {
        #[allow(clippy::cast_possible_truncation)] // two halves of 32 bits
        let split = |raw: u64| DeviceId::new((raw >> 32) as u32, raw as u32);
        Ok(Attr {
            dev: self.device(wire.dev),
            ino: wire.ino,
            kind: FileKind::from_mode(wire.mode).ok_or(Errno::EIO)?,
            perm: wire.mode & abi::types::mode::PERM,
            nlink: wire.nlink,
            uid: wire.uid,
            gid: wire.gid,
            rdev: split(wire.rdev),
            size: wire.size,
            blksize: wire.blksize,
            blocks: wire.blocks,
            atime: wire.atime,
            mtime: wire.mtime,
            ctime: wire.ctime,
            btime: (wire.has_btime != 0).then_some(wire.btime),
        })
    }
}

fn new_node(new: &NewInode) -> NewNode {
    let rdev = u64::from(new.rdev.major) << 32 | u64::from(new.rdev.minor);
    NewNode { mode: new.kind.mode_bits() | new.perm, uid: new.uid, gid: new.gid, reserved: 0, rdev }
}

impl GoferInode {
    pub(super) fn new(fs: &Arc<Shared>, handle: Handle, attr: Attr) -> GoferInode {
        let state = State {
            attr,
            fresh: fs.exclusive(),
            changes: 0,
            mapped: false,
            fds: [None, None, None],
            listing: None,
            target: None,
        };
        GoferInode {
            fs: Arc::clone(fs),
            handle,
            kind: attr.kind,
            given: AtomicU64::new(1),
            parent: AtomicU64::new(0),
            state: Mutex::new(Level::Inode, state),
            writing: Mutex::new(Level::InodeWrite, ()),
        }
    }

    pub(super) fn handle(&self) -> Handle {
        self.handle
    }

    pub(super) fn ino(&self) -> u64 {
        self.state.lock().attr.ino
    }

    /// Returns the inode number of `..`.
    pub(super) fn parent_ino(&self) -> u64 {
        match self.parent.load(Ordering::Relaxed) {
            0 => self.ino(),
            ino => ino,
        }
    }

    /// Notes in which directory this one was seen.
    fn seen_in(&self, dir: &GoferInode) {
        if self.kind == FileKind::Directory {
            self.parent.store(dir.ino(), Ordering::Relaxed);
        }
    }

    /// Counts a further gift of the handle and takes the attributes that came with it where ours are stale.
    pub(super) fn given_again(&self, attr: Attr) {
        self.given.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock();
        if !state.fresh {
            state.attr = attr;
        }
    }

    /// Notes that attributes have changed on the host.
    pub(super) fn stale(&self) {
        let mut state = self.state.lock();
        state.fresh = false;
        state.changes += 1;
    }

    /// Notes that the directory's entries have changed.
    fn entries_changed(&self) {
        let listing = {
            let mut state = self.state.lock();
            state.fresh = false;
            state.changes += 1;
            state.listing.take()
        };
        drop(listing);
    }

    /// Notes that a read may have moved the access time, by the rule of `relatime`.
    pub(super) fn accessed(&self) {
        let mut state = self.state.lock();
        if state.fresh {
            let attr = &state.attr;
            let day_old = crate::host::now().sec.saturating_sub(attr.atime.sec) >= 24 * 60 * 60;
            if attr.atime <= attr.mtime || attr.atime <= attr.ctime || day_old {
                state.fresh = false;
                state.changes += 1;
            }
        }
    }

    /// Notes a shared writable mapping.
    pub(super) fn mapped(&self) {
        let mut state = self.state.lock();
        state.mapped = true;
        state.fresh = false;
        state.changes += 1;
    }

    /// Remembers attributes that were asked for when `changes` was counted.
    fn learned(&self, attr: Attr, changes: u64) {
        let mut state = self.state.lock();
        if state.changes == changes {
            state.attr = attr;
            state.fresh = self.fs.exclusive() && !state.mapped;
        }
    }

    /// Returns the size as the host has it now, by way of an open descriptor.
    pub(super) fn host_size(file: &OwnedFd) -> Result<u64, Errno> {
        let stat = rustix::fs::fstat(file).map_err(errno)?;
        u64::try_from(stat.st_size).map_err(|_| Errno::EIO)
    }

    /// Returns a descriptor for exactly this access; one for both serves writers too, since a file that was opened for
    /// writing only can't be mapped.
    fn fd(self: &Arc<Self>, access: Access) -> Result<Arc<OwnedFd>, Errno> {
        {
            let state = self.state.lock();
            let both = if access == Access::WRITE { &state.fds[2] } else { &None };
            if let Some(fd) = both.as_ref().or(state.fds[slot(access)].as_ref()) {
                return Ok(Arc::clone(fd));
            }
        }
        let request = Request::Open { node: self.handle, access };
        let fd = self.fs.client.call(&request, |_, fd| fd.ok_or(Errno::EIO))?;
        Ok(self.keep(access, fd))
    }

    /// Keeps a donated descriptor for further opens.
    fn keep(self: &Arc<Self>, access: Access, fd: OwnedFd) -> Arc<OwnedFd> {
        let fd = Arc::new(fd);
        let old = self.state.lock().fds[slot(access)].replace(Arc::clone(&fd));
        drop(old);
        self.fs.fds.kept(self);
        fd
    }

    /// Lets kept descriptors go; open files hold their own.
    pub(super) fn release_fds(&self) {
        let fds = std::mem::take(&mut self.state.lock().fds);
        drop(fds);
    }

    /// Returns the directory's entries: the remembered listing where it still holds.
    pub(super) fn listing(&self) -> Result<Arc<Listing>, Errno> {
        let changes = {
            let state = self.state.lock();
            if let Some(listing) = &state.listing {
                return Ok(Arc::clone(listing));
            }
            state.changes
        };
        let listing = Arc::new(Listing::fetch(&self.fs.client, self.handle)?);
        let mut state = self.state.lock();
        if self.fs.exclusive() && state.changes == changes {
            state.listing = Some(Arc::clone(&listing));
        }
        Ok(listing)
    }

    /// Recognises an inode of the same tree.
    fn own(&self, other: &InodeRef) -> Result<Arc<GoferInode>, Errno> {
        let other = Arc::clone(other).as_any().downcast::<GoferInode>().map_err(|_| Errno::EXDEV)?;
        if Arc::ptr_eq(&self.fs, &other.fs) { Ok(other) } else { Err(Errno::EXDEV) }
    }

    /// Makes something in this directory.
    fn make(&self, request: &Request<'_>) -> Result<(Arc<GoferInode>, Option<OwnedFd>), Errno> {
        let made = self.fs.client.call(request, |reply, fd| match reply {
            Reply::Entry(entry) => Ok((entry, fd)),
            _ => Err(Errno::EIO),
        });
        self.entries_changed();
        let (entry, fd): (Entry, _) = made?;
        let inode = self.fs.adopt(&entry)?;
        inode.seen_in(self);
        Ok((inode, fd))
    }

    /// Makes a regular file and keeps the descriptor that comes with it.
    fn make_open(&self, request: &Request<'_>) -> Result<InodeRef, Errno> {
        let (inode, fd) = self.make(request)?;
        if let Some(fd) = fd {
            inode.keep(Access::READ | Access::WRITE, fd);
        }
        Ok(inode as InodeRef)
    }

    /// Does something that takes or moves names, and notes what changed by it.
    fn change_names(&self, request: &Request<'_>, new_dir: Option<&GoferInode>) -> Result<(), Errno> {
        let changed = self.fs.client.call(request, |reply, _| match reply {
            Reply::Changed(handles) => Ok(handles),
            _ => Err(Errno::EIO),
        });
        self.entries_changed();
        let [lost, moved] = changed?;
        for inode in [lost, moved].into_iter().filter_map(|handle| self.fs.alive(handle)) {
            inode.stale();
        }
        if let (Some(dir), Some(moved)) = (new_dir, self.fs.alive(moved)) {
            moved.seen_in(dir);
        }
        Ok(())
    }

    fn done(&self, request: &Request<'_>) -> Result<(), Errno> {
        self.fs.client.call(request, |_, _| Ok(()))
    }

    fn bytes(&self, request: &Request<'_>) -> Result<Vec<u8>, Errno> {
        self.fs.client.call(request, |reply, _| match reply {
            Reply::Bytes(bytes) => Ok(bytes.to_vec()),
            _ => Err(Errno::EIO),
        })
    }

    fn attr_of(&self, request: &Request<'_>) -> Result<WireAttr, Errno> {
        self.fs.client.call(request, |reply, _| match reply {
            Reply::Attr(attr) => Ok(attr),
            _ => Err(Errno::EIO),
        })
    }

    /// `fsync` without an open descriptor.
    pub(super) fn sync(&self) -> Result<(), Errno> {
        self.done(&Request::Sync { node: self.handle })
    }
}

impl Inode for GoferInode {
    fn attr(&self) -> Result<Attr, Errno> {
        let (changes, fd) = {
            let state = self.state.lock();
            if state.fresh {
                return Ok(state.attr);
            }
            (state.changes, state.fds.iter().flatten().next().map(Arc::clone))
        };
        let attr = match fd {
            Some(fd) => super::file::host_attr(&self.fs, fd.as_fd())?,
            None => self.fs.attr(&self.attr_of(&Request::GetAttr { node: self.handle })?)?,
        };
        self.learned(attr, changes);
        Ok(attr)
    }

    fn set_attr(&self, set: &SetAttr) -> Result<(), Errno> {
        let time = |time: SetTime| match time {
            SetTime::Now => TimeSet::Now,
            SetTime::At(time) => TimeSet::At(time),
        };
        let set = SetNode {
            perm: set.perm,
            uid: set.uid,
            gid: set.gid,
            size: set.size,
            atime: set.atime.map(time),
            mtime: set.mtime.map(time),
        };
        let _writing = set.size.map(|_| self.writing.lock());
        let only_size = SetNode { size: set.size, ..SetNode::default() } == set;
        if let (true, Some(size)) = (only_size, set.size) {
            let fd = {
                let state = self.state.lock();
                state.fds[2].as_ref().or(state.fds[1].as_ref()).map(Arc::clone)
            };
            if let Some(fd) = fd {
                let result = rustix::fs::ftruncate(&fd, size).map_err(errno);
                self.stale();
                return result;
            }
        }
        let result = self.attr_of(&Request::SetAttr { node: self.handle, set });
        self.stale();
        let changes = self.state.lock().changes;
        let attr = self.fs.attr(&result?)?;
        self.learned(attr, changes);
        Ok(())
    }

    fn open(self: Arc<Self>, flags: OpenFlags) -> Result<Arc<dyn FileOps>, Errno> {
        match self.kind {
            FileKind::Directory => Ok(Arc::new(GoferDir::new(self))),
            FileKind::Symlink => Err(Errno::ELOOP),
            FileKind::Regular => {
                let access = match (flags.readable(), flags.writable()) {
                    (_, false) => Access::READ,
                    (false, true) => Access::WRITE,
                    (true, true) => Access::READ | Access::WRITE,
                };
                let fd = self.fd(access)?;
                Ok(Arc::new(GoferFile::new(self, fd, access)))
            }
            _ => Err(Errno::ENXIO),
        }
    }

    fn lookup(&self, name: &[u8]) -> Result<InodeRef, Errno> {
        if self.kind != FileKind::Directory {
            return Err(Errno::ENOTDIR);
        }
        let request = Request::Walk { from: self.handle, names: Names(vec![name]) };
        let entry = self.fs.client.call(&request, |reply, _| match reply {
            Reply::Walked(walked) => walked.entries.first().copied().ok_or(Errno::EIO),
            _ => Err(Errno::EIO),
        })?;
        let inode = self.fs.adopt(&entry)?;
        inode.seen_in(self);
        Ok(inode as InodeRef)
    }

    fn create(&self, name: &[u8], new: &NewInode) -> Result<InodeRef, Errno> {
        let (dir, node) = (self.handle, new_node(new));
        if new.kind == FileKind::Regular {
            self.make_open(&Request::Create { dir, name, new: node })
        } else {
            Ok(self.make(&Request::Mknod { dir, name, new: node })?.0 as InodeRef)
        }
    }

    fn mkdir(&self, name: &[u8], new: &NewInode) -> Result<InodeRef, Errno> {
        Ok(self.make(&Request::Mkdir { dir: self.handle, name, new: new_node(new) })?.0 as InodeRef)
    }

    fn symlink(&self, name: &[u8], target: &[u8], new: &NewInode) -> Result<InodeRef, Errno> {
        Ok(self.make(&Request::Symlink { dir: self.handle, name, target, new: new_node(new) })?.0 as InodeRef)
    }

    fn link(&self, name: &[u8], target: &InodeRef) -> Result<(), Errno> {
        let target = self.own(target)?;
        let result = self.attr_of(&Request::Link { node: target.handle, dir: self.handle, name });
        self.entries_changed();
        target.stale();
        result.map(|_| ())
    }

    fn unlink(&self, name: &[u8]) -> Result<(), Errno> {
        self.change_names(&Request::Unlink { dir: self.handle, name }, None)
    }

    fn rmdir(&self, name: &[u8]) -> Result<(), Errno> {
        self.change_names(&Request::Rmdir { dir: self.handle, name }, None)
    }

    fn rename(&self, old_name: &[u8], new_dir: &InodeRef, new_name: &[u8], flags: RenameFlags) -> Result<(), Errno> {
        let new_dir = self.own(new_dir)?;
        let request = Request::Rename {
            dir: self.handle,
            name: old_name,
            new_dir: new_dir.handle,
            new_name,
            flags: flags.bits(),
        };
        let result = self.change_names(&request, Some(&new_dir));
        new_dir.entries_changed();
        result
    }

    fn tmpfile(&self, new: &NewInode) -> Result<InodeRef, Errno> {
        self.make_open(&Request::Tmpfile { dir: self.handle, new: new_node(new) })
    }

    fn readlink(&self) -> Result<Vec<u8>, Errno> {
        if let Some(target) = &self.state.lock().target {
            return Ok(target.to_vec());
        }
        let target = self.bytes(&Request::Readlink { node: self.handle })?;
        self.state.lock().target = Some(target.as_slice().into());
        Ok(target)
    }

    fn get_xattr(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        self.bytes(&Request::GetXattr { node: self.handle, name })
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], flags: XattrFlags) -> Result<(), Errno> {
        let result = self.done(&Request::SetXattr { node: self.handle, name, value, flags: flags.bits() });
        self.stale();
        result
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<(), Errno> {
        let result = self.done(&Request::RemoveXattr { node: self.handle, name });
        self.stale();
        result
    }

    fn list_xattr(&self) -> Result<Vec<u8>, Errno> {
        self.bytes(&Request::ListXattr { node: self.handle })
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
