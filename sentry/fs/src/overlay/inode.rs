//! What the VFS asks of a [`Node`].

use std::any::Any;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use abi::Errno;
use abi::flags::OpenFlags;

use super::dir::OverlayDir;
use super::file::LowerFile;
use super::node::Node;
use crate::{Attr, FileKind, FileOps, Inode, InodeRef, LinkTarget, NewInode, Owner, RenameFlags, SetAttr, XattrFlags};

impl Node {
    /// Recognises a node of the same overlay.
    fn own(&self, other: &InodeRef) -> Result<Arc<Node>, Errno> {
        let other = Arc::clone(other).as_any().downcast::<Node>().map_err(|_| Errno::EXDEV)?;
        if Arc::ptr_eq(&self.fs, &other.fs) { Ok(other) } else { Err(Errno::EXDEV) }
    }

    /// Returns this node as its shared self, which the trait's methods on `&self` don't give.
    fn me(&self) -> Result<Arc<Node>, Errno> {
        self.this.upgrade().ok_or(Errno::EIO)
    }

    /// Returns the upper inode for a change of attributes.
    fn for_change(&self) -> Result<InodeRef, Errno> {
        if let Some(upper) = self.above() {
            return Ok(Arc::clone(upper));
        }
        let me = self.me()?;
        let _names = self.fs.names.lock();
        me.copy_up()
    }

    /// Returns the upper inode for a change of content, of which the first `limit` bytes are needed.
    fn for_writing(&self, limit: Option<u64>) -> Result<InodeRef, Errno> {
        let upper = self.for_change()?;
        if self.content_below() {
            self.copy_content(&upper, limit)?;
        }
        Ok(upper)
    }
}

impl Inode for Node {
    fn attr(&self) -> Result<Attr, Errno> {
        self.attributes()
    }

    fn owner(&self) -> Result<Owner, Errno> {
        self.real()?.owner()
    }

    fn searchable_by_all(&self) -> bool {
        self.real().is_ok_and(|real| real.searchable_by_all())
    }

    fn set_attr(&self, set: &SetAttr) -> Result<(), Errno> {
        let upper = if set.size.is_some() { self.for_writing(set.size)? } else { self.for_change()? };
        upper.set_attr(set)
    }

    fn open(self: Arc<Self>, flags: OpenFlags) -> Result<Arc<dyn FileOps>, Errno> {
        if self.kind() == FileKind::Directory {
            return Ok(Arc::new(OverlayDir::new(self)));
        }
        if flags.writable() {
            return self.for_writing(None)?.open(flags);
        }
        match (self.above(), self.below().first()) {
            (_, Some(lower)) if self.content_below() => {
                let lower = Arc::clone(lower).open(flags)?;
                Ok(Arc::new(LowerFile::new(self, flags, lower)))
            }
            (Some(upper), _) => Arc::clone(upper).open(flags),
            (None, lower) => Arc::clone(lower.ok_or(Errno::EIO)?).open(flags),
        }
    }

    fn lookup(&self, name: &[u8]) -> Result<InodeRef, Errno> {
        Ok(self.find(name)? as InodeRef)
    }

    fn create(&self, name: &[u8], new: &NewInode) -> Result<InodeRef, Errno> {
        self.me()?.add(name, |dir| dir.create(name, new))
    }

    fn connect_host(&self, kind: u32) -> Result<OwnedFd, Errno> {
        self.real()?.connect_host(kind)
    }

    fn connect_host_from(&self, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        self.real()?.connect_host_from(socket)
    }

    fn send_host_from(&self, socket: BorrowedFd<'_>, data: &[u8]) -> Result<(), Errno> {
        self.real()?.send_host_from(socket, data)
    }

    fn open_host_fifo(&self, flags: OpenFlags) -> Option<Result<OwnedFd, Errno>> {
        self.real().ok()?.open_host_fifo(flags)
    }

    fn mkdir(&self, name: &[u8], new: &NewInode) -> Result<InodeRef, Errno> {
        self.me()?.add(name, |dir| dir.mkdir(name, new))
    }

    fn symlink(&self, name: &[u8], target: &[u8], new: &NewInode) -> Result<InodeRef, Errno> {
        self.me()?.add(name, |dir| dir.symlink(name, target, new))
    }

    fn link(&self, name: &[u8], target: &InodeRef) -> Result<(), Errno> {
        let target = self.own(target)?;
        self.me()?.add_link(name, &target)
    }

    fn unlink(&self, name: &[u8]) -> Result<(), Errno> {
        self.me()?.remove(name, false)
    }

    fn rmdir(&self, name: &[u8]) -> Result<(), Errno> {
        self.me()?.remove(name, true)
    }

    fn rename(&self, old_name: &[u8], new_dir: &InodeRef, new_name: &[u8], flags: RenameFlags) -> Result<(), Errno> {
        let new_dir = self.own(new_dir)?;
        self.me()?.move_entry(old_name, &new_dir, new_name, flags)
    }

    fn tmpfile(&self, new: &NewInode) -> Result<InodeRef, Errno> {
        let me = self.me()?;
        let made = {
            let _names = self.fs.names.lock();
            if self.state().removed {
                return Err(Errno::ENOENT);
            }
            me.copy_up()?.tmpfile(new)?
        };
        Ok(self.fs.node_of_upper(made)? as InodeRef)
    }

    fn readlink(&self) -> Result<Vec<u8>, Errno> {
        self.real()?.readlink()
    }

    fn follow(&self) -> Result<LinkTarget, Errno> {
        self.real()?.follow()
    }

    fn get_xattr(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        self.real()?.get_xattr(name)
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], flags: XattrFlags) -> Result<(), Errno> {
        self.for_change()?.set_xattr(name, value, flags)
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<(), Errno> {
        // Asked first: what isn't there needs no copy.
        self.get_xattr(name)?;
        self.for_change()?.remove_xattr(name)
    }

    fn list_xattr(&self) -> Result<Vec<u8>, Errno> {
        self.real()?.list_xattr()
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
