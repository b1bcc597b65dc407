//! [`GoferInode`]: one host inode, and what is remembered of it.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use abi::Errno;
use abi::types::mode;
use gofer_proto::{Access, Entry, Handle, Reply, Request, WireAttr};
use sentry_sync::{Level, Mutex};

use super::Shared;
use super::ahead::Ahead;
use super::client::Dead;
use super::dir::Listing;
use super::file::host_attr;
use crate::host::errno;
use crate::{Attr, DeviceId, FileKind, InodeRef, Owner};

/// A host inode, for as long as anyone here holds it.
#[derive(Debug)]
pub(crate) struct GoferInode {
    pub(super) fs: Arc<Shared>,
    pub(super) handle: Handle,
    pub(super) kind: FileKind,
    /// How often the gofer has given the handle.
    given: AtomicU64,
    /// Inode number of the directory that a directory was last seen in; 0 for a root.
    parent: AtomicU64,
    pub(super) state: Mutex<State>,
    /// Mirrors `state`: an exclusive directory that everybody may search.
    searchable: AtomicBool,
    /// Held over a write, as Linux holds the inode's lock: writes are atomic to each other and appends don't overlap.
    pub(super) writing: Mutex<()>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) attr: Attr,
    /// `attr` is what the host would say.
    pub(super) fresh: bool,
    /// Mode and owner in `attr` are not to be trusted either.
    pub(super) changing: bool,
    /// Counts what made `attr` or `listing` untrue, so that an answer on its way by then is not remembered.
    pub(super) changes: u64,
    /// Mapped shared and writable once: the host moves the times as it likes.
    pub(super) mapped: bool,
    /// By access: reading, writing, both.
    pub(super) fds: [Option<Arc<OwnedFd>>; 3],
    pub(super) listing: Option<Arc<Listing>>,
    /// Entries that were looked up before anybody has asked.
    pub(super) ahead: Ahead,
    /// Names that the directory lacks: a layer above asks for the same ones again and again.
    pub(super) absent: HashSet<Box<[u8]>>,
    /// Names of the extended attributes, each ended by a NUL.
    pub(super) xattrs: Option<Arc<[u8]>>,
    /// Target of a symbolic link, which never changes.
    pub(super) target: Option<Box<[u8]>>,
}

impl Drop for GoferInode {
    fn drop(&mut self) {
        let dead = Dead { handle: self.handle, given: *self.given.get_mut(), fs: Arc::downgrade(&self.fs) };
        self.fs.client.died(dead);
    }
}

/// Most absent names that a directory remembers.
const ABSENT: usize = 64;

fn is_searchable(attr: &Attr) -> bool {
    attr.kind == FileKind::Directory && attr.perm & 0o111 == 0o111
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

impl GoferInode {
    pub(super) fn new(fs: &Arc<Shared>, handle: Handle, attr: Attr) -> GoferInode {
        let state = State {
            attr,
            fresh: fs.exclusive(),
            changing: false,
            changes: 0,
            mapped: false,
            fds: [None, None, None],
            listing: None,
            ahead: Ahead::default(),
            absent: HashSet::new(),
            xattrs: None,
            target: None,
        };
        GoferInode {
            fs: Arc::clone(fs),
            handle,
            kind: attr.kind,
            given: AtomicU64::new(1),
            parent: AtomicU64::new(0),
            searchable: AtomicBool::new(fs.exclusive() && is_searchable(&attr)),
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
    pub(super) fn seen_in(&self, dir: &GoferInode) {
        if self.kind == FileKind::Directory {
            self.parent.store(dir.ino(), Ordering::Relaxed);
        }
    }

    /// Counts a further gift of the handle and takes the attributes that came with it where ours are stale.
    pub(super) fn given_again(&self, attr: Attr) {
        self.given.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock();
        if !state.fresh {
            self.note(&mut state, attr);
        }
    }

    /// Enters attributes that the host has told.
    fn note(&self, state: &mut State, attr: Attr) {
        state.attr = attr;
        let searchable = self.fs.exclusive() && !state.changing && is_searchable(&attr);
        self.searchable.store(searchable, Ordering::Release);
    }

    /// Tells whether this is known to be a directory that everybody may search.
    pub(super) fn is_searchable(&self) -> bool {
        self.searchable.load(Ordering::Acquire)
    }

    /// Returns mode and owner where they are known. Nothing but a change of attributes from here changes them in an
    /// exclusive tree, except that the host takes set-id bits off what is written.
    pub(super) fn known_owner(&self) -> Option<Owner> {
        let state = self.state.lock();
        let plain = state.attr.perm & (mode::ISUID | mode::ISGID) == 0;
        let known = state.fresh || (self.fs.exclusive() && !state.changing && plain);
        known.then(|| state.attr.owner())
    }

    /// Notes that the host was asked to change mode or owner when `changes` was counted, and what it says they are now;
    /// `None` where it failed, which may have changed a part. If something else has changed meanwhile nobody knows in which
    /// order the host did it, and it is asked.
    pub(super) fn changed(&self, attr: Option<Attr>, changes: u64) {
        let mut state = self.state.lock();
        let attr = attr.filter(|_| state.changes == changes);
        state.changes += 1;
        state.changing = attr.is_none();
        state.fresh = attr.is_some() && self.fs.exclusive() && !state.mapped;
        let attr = attr.unwrap_or(state.attr);
        self.note(&mut state, attr);
    }

    /// Notes that attributes have changed on the host.
    pub(super) fn stale(&self) {
        let mut state = self.state.lock();
        state.fresh = false;
        state.changes += 1;
    }

    /// Notes that the directory's entries have changed.
    pub(super) fn entries_changed(&self) {
        let old = {
            let mut state = self.state.lock();
            state.fresh = false;
            state.changes += 1;
            state.absent.clear();
            (state.listing.take(), std::mem::take(&mut state.ahead))
        };
        drop(old);
    }

    /// Tells whether a name is known to be absent, and what to hand to [`GoferInode::lacks`] if it turns out to be.
    pub(super) fn known_absent(&self, name: &[u8]) -> (bool, u64) {
        let state = self.state.lock();
        (state.absent.contains(name), state.changes)
    }

    /// Remembers that a name is absent, as the gofer said when `changes` was counted.
    pub(super) fn lacks(&self, name: &[u8], changes: u64) {
        let mut state = self.state.lock();
        if self.fs.exclusive() && state.changes == changes {
            if state.absent.len() >= ABSENT {
                state.absent.clear();
            }
            state.absent.insert(name.into());
        }
    }

    /// Notes that a read may have moved the access time.
    pub(super) fn accessed(&self) {
        if self.fs.readonly || !self.fs.exclusive() {
            return;
        }
        let mut state = self.state.lock();
        if state.fresh && !self.keeps_atime(&state.attr) {
            state.fresh = false;
            state.changes += 1;
        }
    }

    /// Tells whether a read doesn't move the access time, by the rule of `relatime`. On a read-only mount it never does.
    pub(super) fn keeps_atime(&self, attr: &Attr) -> bool {
        let day_old = || crate::host::now().sec.saturating_sub(attr.atime.sec) >= 24 * 60 * 60;
        self.fs.readonly || (attr.atime > attr.mtime && attr.atime > attr.ctime && !day_old())
    }

    /// Returns the attributes of a regular file, asked for by one of its descriptors if they aren't known.
    pub(super) fn attr_by(&self, fd: &OwnedFd) -> Option<Attr> {
        let changes = {
            let state = self.state.lock();
            if state.fresh {
                return Some(state.attr);
            }
            state.changes
        };
        let attr = host_attr(&self.fs, fd.as_fd()).ok()?;
        self.learned(attr, changes);
        Some(attr)
    }

    /// Notes a shared writable mapping.
    pub(super) fn mapped(&self) {
        let mut state = self.state.lock();
        state.mapped = true;
        state.fresh = false;
        state.changes += 1;
    }

    /// Remembers attributes that were asked for when `changes` was counted.
    pub(super) fn learned(&self, attr: Attr, changes: u64) {
        let mut state = self.state.lock();
        if state.changes == changes {
            state.changing = false;
            self.note(&mut state, attr);
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
    pub(super) fn fd(self: &Arc<Self>, access: Access) -> Result<Arc<OwnedFd>, Errno> {
        {
            let state = self.state.lock();
            let both = if access == Access::WRITE { &state.fds[2] } else { &None };
            if let Some(fd) = both.as_ref().or(state.fds[slot(access)].as_ref()) {
                return Ok(Arc::clone(fd));
            }
        }
        let request = Request::Open { node: self.handle, access };
        let fd = self.fs.client.call(&request, |_, fd| fd)?;
        self.keep(access, fd)
    }

    /// Keeps a donated descriptor for further opens, unless that could keep the host from unmounting a file system of its own,
    /// if it is what it should be: anything but a regular file could make us
    /// wait.
    fn keep(self: &Arc<Self>, access: Access, fd: OwnedFd) -> Result<Arc<OwnedFd>, Errno> {
        let found = rustix::fs::fstat(&fd).map_err(crate::host::errno)?;
        let mode = found.st_mode;
        if FileKind::from_mode(mode) != Some(FileKind::Regular) || self.kind != FileKind::Regular {
            tracing::error!(mode, "the gofer gave something that is no regular file");
            return Err(Errno::EIO);
        }
        let fd = Arc::new(fd);
        if !self.fs.exclusive() && self.fs.is_elsewhere(found.st_dev) {
            return Ok(fd);
        }
        let old = self.state.lock().fds[slot(access)].replace(Arc::clone(&fd));
        drop(old);
        self.fs.fds.kept(self);
        Ok(fd)
    }

    /// Lets kept descriptors and the remembered listing go; open files hold their own.
    pub(super) fn release(&self) {
        let released = {
            let mut state = self.state.lock();
            (std::mem::take(&mut state.fds), state.listing.take(), std::mem::take(&mut state.ahead))
        };
        drop(released);
    }

    /// Returns the directory's entries: the remembered listing where it still holds.
    pub(super) fn listing(self: &Arc<Self>) -> Result<Arc<Listing>, Errno> {
        let changes = {
            let state = self.state.lock();
            if let Some(listing) = &state.listing {
                return Ok(Arc::clone(listing));
            }
            state.changes
        };
        let listing = Arc::new(Listing::fetch(&self.fs.client, self.handle)?);
        let kept = {
            let mut state = self.state.lock();
            let keep = self.fs.exclusive() && state.changes == changes;
            if keep {
                state.listing = Some(Arc::clone(&listing));
            }
            keep
        };
        if kept {
            self.fs.fds.kept(self);
        }
        Ok(listing)
    }

    /// Recognises an inode of the same tree.
    pub(super) fn own(&self, other: &InodeRef) -> Result<Arc<GoferInode>, Errno> {
        let other = Arc::clone(other).as_any().downcast::<GoferInode>().map_err(|_| Errno::EXDEV)?;
        if Arc::ptr_eq(&self.fs, &other.fs) { Ok(other) } else { Err(Errno::EXDEV) }
    }

    /// Makes something in this directory; the descriptor that comes with it may be missing.
    pub(super) fn make(&self, request: &Request<'_>) -> Result<(Arc<GoferInode>, Result<OwnedFd, Errno>), Errno> {
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
    pub(super) fn make_open(&self, request: &Request<'_>) -> Result<InodeRef, Errno> {
        let (inode, fd) = self.make(request)?;
        if let Ok(fd) = fd {
            inode.keep(Access::READ | Access::WRITE, fd)?;
        }
        Ok(inode as InodeRef)
    }

    /// Does something that takes or moves names, and notes what changed by it.
    pub(super) fn change_names(&self, request: &Request<'_>, new_dir: Option<&GoferInode>) -> Result<(), Errno> {
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

    pub(super) fn done(&self, request: &Request<'_>) -> Result<(), Errno> {
        self.fs.client.call(request, |_, _| Ok(()))
    }

    pub(super) fn bytes(&self, request: &Request<'_>) -> Result<Vec<u8>, Errno> {
        self.fs.client.call(request, |reply, _| match reply {
            Reply::Bytes(bytes) => Ok(bytes.to_vec()),
            _ => Err(Errno::EIO),
        })
    }

    pub(super) fn attr_of(&self, request: &Request<'_>) -> Result<WireAttr, Errno> {
        self.fs.client.call(request, |reply, _| match reply {
            Reply::Attr(attr) => Ok(attr),
            _ => Err(Errno::EIO),
        })
    }

    /// `fsync` without an open descriptor.
    pub(super) fn sync(&self) -> Result<(), Errno> {
        self.done(&Request::Sync { node: self.handle })
    }

    /// Returns the names of all extended attributes, each ended by a NUL.
    pub(super) fn xattrs(&self) -> Result<Arc<[u8]>, Errno> {
        if !matches!(self.kind, FileKind::Regular | FileKind::Directory) {
            return Ok(Arc::default());
        }
        let changes = {
            let state = self.state.lock();
            if let Some(names) = &state.xattrs {
                return Ok(Arc::clone(names));
            }
            state.changes
        };
        let names: Arc<[u8]> = self.bytes(&Request::ListXattr { node: self.handle })?.into();
        let mut state = self.state.lock();
        if self.fs.exclusive() && state.changes == changes {
            state.xattrs = Some(Arc::clone(&names));
        }
        Ok(names)
    }

    /// Notes that extended attributes have changed.
    pub(super) fn xattrs_changed(&self) {
        let names = {
            let mut state = self.state.lock();
            state.fresh = false;
            state.changes += 1;
            state.xattrs.take()
        };
        drop(names);
    }
}
