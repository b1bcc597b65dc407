//! What the VFS asks of a [`GoferInode`].

use std::any::Any;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use abi::Errno;
use abi::flags::OpenFlags;
use gofer_proto::{Access, MAX_DATAGRAM, Names, NewNode, Reply, Request, SetNode, SocketKind, TimeSet};

use super::dir::GoferDir;
use super::file::GoferFile;
use super::node::GoferInode;
use crate::host::errno;
use crate::{Attr, FileKind, FileOps, Inode, InodeRef, NewInode, Owner, RenameFlags, SetAttr, SetTime, XattrFlags};

fn new_node(new: &NewInode) -> NewNode {
    let rdev = u64::from(new.rdev.major) << 32 | u64::from(new.rdev.minor);
    NewNode { mode: new.kind.mode_bits() | new.perm, uid: new.uid, gid: new.gid, reserved: 0, rdev }
}

/// Refuses extended attributes that the gofer doesn't serve, without asking it. Access control lists among them: this kernel
/// has none.
fn served_xattr(name: &[u8]) -> Result<(), Errno> {
    if name.starts_with(b"user.") || name == b"security.capability" { Ok(()) } else { Err(Errno::EOPNOTSUPP) }
}

fn access(flags: OpenFlags) -> Access {
    match (flags.readable(), flags.writable()) {
        (_, false) => Access::READ,
        (false, true) => Access::WRITE,
        (true, true) => Access::READ | Access::WRITE,
    }
}

/// Checks that a donated descriptor is a socket: anything else could make us wait.
fn a_socket(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    let mode = rustix::fs::fstat(&fd).map_err(errno)?.st_mode;
    if FileKind::from_mode(mode) == Some(FileKind::Socket) {
        return Ok(fd);
    }
    tracing::error!(mode, "the gofer gave something that is no socket");
    Err(Errno::EIO)
}

/// Checks that a donated descriptor is a FIFO, and one that never makes us wait.
fn a_fifo(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    let mode = rustix::fs::fstat(&fd).map_err(errno)?.st_mode;
    let flags = rustix::fs::fcntl_getfl(&fd).map_err(errno)?;
    if FileKind::from_mode(mode) == Some(FileKind::Fifo) && flags.contains(rustix::fs::OFlags::NONBLOCK) {
        return Ok(fd);
    }
    tracing::error!(mode, "the gofer gave something that is no FIFO");
    Err(Errno::EIO)
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

    fn owner(&self) -> Result<Owner, Errno> {
        match self.known_owner() {
            Some(owner) => Ok(owner),
            None => Ok(self.attr()?.owner()),
        }
    }

    fn searchable_by_all(&self) -> bool {
        self.is_searchable()
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
        let changes = self.state.lock().changes;
        let result = self.attr_of(&Request::SetAttr { node: self.handle, set }).and_then(|attr| self.fs.attr(&attr));
        self.changed(result.ok(), changes);
        result.map(drop)
    }

    fn open(self: Arc<Self>, flags: OpenFlags) -> Result<Arc<dyn FileOps>, Errno> {
        match self.kind {
            FileKind::Directory => Ok(Arc::new(GoferDir::new(self))),
            FileKind::Symlink => Err(Errno::ELOOP),
            FileKind::Regular => {
                let access = access(flags);
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
        let (absent, changes) = self.known_absent(name);
        if absent {
            return Err(Errno::ENOENT);
        }
        let (found, next) = {
            let mut state = self.state.lock();
            let found = state.ahead.take(name, &self.fs.credit);
            (found, state.listing.as_ref().map(|listing| state.ahead.next(listing, &self.fs.credit)))
        };
        if let Some(inode) = found {
            return Ok(inode as InodeRef);
        }
        let plan = next.as_ref().map(|next| next.plan(name)).unwrap_or_default();
        let along = plan.along.iter().filter_map(|place| Some(next.as_ref()?.name(*place)));
        let names: Vec<&[u8]> = std::iter::once(name).chain(along).collect();
        let request = match next {
            Some(_) => Request::Children { dir: self.handle, names: Names(names.clone()) },
            None => Request::Walk { from: self.handle, names: Names(names.clone()) },
        };
        let entries = self.fs.client.call(&request, |reply, _| match reply {
            Reply::Walked(walked) if walked.entries.len() <= names.len() => Ok(walked.entries),
            _ => Err(Errno::EIO),
        });
        if entries == Err(Errno::ENOENT) {
            self.lacks(name, changes);
        }
        let mut inodes = Vec::new();
        for (name, entry) in names.iter().zip(entries?) {
            let inode = self.fs.adopt(&entry)?;
            inode.seen_in(self);
            inodes.push((Box::from(*name), inode));
        }
        if inodes.is_empty() {
            return Err(Errno::EIO);
        }
        let (_, inode) = inodes.remove(0);
        if next.is_some() {
            let mut state = self.state.lock();
            if state.changes == changes {
                state.ahead.note(&plan, inodes, &self.fs.credit);
            }
        }
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

    fn connect_host(&self, kind: u32) -> Result<OwnedFd, Errno> {
        let kind = SocketKind::from_raw(kind).ok_or(Errno::EPROTOTYPE)?;
        if self.kind != FileKind::Socket {
            return Err(Errno::ECONNREFUSED);
        }
        let request = Request::Connect { node: self.handle, kind };
        self.fs.client.call(&request, |_, fd| fd).and_then(a_socket)
    }

    fn connect_host_from(&self, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        let request = Request::Connect { node: self.handle, kind: SocketKind::Dgram };
        self.fs.client.give(&request, socket)
    }

    fn send_host_from(&self, socket: BorrowedFd<'_>, data: &[u8]) -> Result<(), Errno> {
        if data.len() > MAX_DATAGRAM {
            return Err(Errno::EMSGSIZE);
        }
        self.fs.client.give(&Request::SendTo { node: self.handle, data }, socket)
    }

    fn bind_host(&self, name: &[u8], new: &NewInode, kind: u32) -> Result<(InodeRef, OwnedFd), Errno> {
        let kind = SocketKind::from_raw(kind).ok_or(Errno::EOPNOTSUPP)?;
        let (inode, fd) = self.make(&Request::Bind { dir: self.handle, name, new: new_node(new), kind })?;
        match fd.and_then(a_socket) {
            Ok(socket) => Ok((inode as InodeRef, socket)),
            Err(errno) => {
                // Nobody will ever answer there.
                let _ = self.unlink(name);
                Err(errno)
            }
        }
    }

    fn open_host_fifo(&self, flags: OpenFlags) -> Option<Result<OwnedFd, Errno>> {
        if self.kind != FileKind::Fifo {
            return None;
        }
        let request = Request::Open { node: self.handle, access: access(flags) };
        Some(self.fs.client.call(&request, |_, fd| fd).and_then(a_fifo))
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
        served_xattr(name)?;
        // Most files have none, and programs ask each of them.
        if self.fs.exclusive() && !self.xattrs()?.split(|byte| *byte == 0).any(|known| known == name) {
            return Err(Errno::ENODATA);
        }
        self.bytes(&Request::GetXattr { node: self.handle, name })
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], flags: XattrFlags) -> Result<(), Errno> {
        served_xattr(name)?;
        let result = self.done(&Request::SetXattr { node: self.handle, name, value, flags: flags.bits() });
        self.xattrs_changed();
        result
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<(), Errno> {
        served_xattr(name)?;
        let result = self.done(&Request::RemoveXattr { node: self.handle, name });
        self.xattrs_changed();
        result
    }

    fn list_xattr(&self) -> Result<Vec<u8>, Errno> {
        Ok(self.xattrs()?.to_vec())
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
