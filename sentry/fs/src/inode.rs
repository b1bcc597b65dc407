//! [`FileSystem`] and [`Inode`]: what a file system offers to the VFS.

use std::any::Any;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use abi::Errno;
use abi::flags::OpenFlags;
use abi::types::Statfs;
use bitflags::bitflags;

use crate::{Attr, FileOps, NewInode, Owner, SetAttr};

/// A shared inode.
pub type InodeRef = Arc<dyn Inode>;

/// How far the VFS may trust what it has looked up before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CachePolicy {
    /// Only this kernel changes the tree: positive and negative lookups stay valid.
    Exclusive,
    /// Somebody else may change the tree: [`Inode::lookup`] is asked again each time.
    Shared,
    /// Entries come and go by themselves (`proc`): never cached.
    Never,
}

/// A mounted file system (a superblock).
pub trait FileSystem: Send + Sync {
    /// Returns the type as in `/proc/mounts`, for example `"tmpfs"`.
    fn kind(&self) -> &'static str;

    /// Returns the root directory.
    fn root(&self) -> InodeRef;

    /// Returns `statfs(2)` figures.
    fn statfs(&self) -> Result<Statfs, Errno>;

    /// Returns how lookups may be cached.
    fn cache_policy(&self) -> CachePolicy;

    /// Returns file-system specific options as in `/proc/mounts`, beginning with a comma where there are any.
    fn show_options(&self) -> String {
        String::new()
    }

    /// Writes back everything (`sync(2)`).
    fn sync(&self) -> Result<(), Errno> {
        Ok(())
    }
}

bitflags! {
    /// Flags of `renameat2(2)`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RenameFlags: u32 {
        /// Fail with EEXIST where the new name exists.
        const NOREPLACE = 1;
        /// Exchange the two names.
        const EXCHANGE = 2;
        /// Leave a whiteout at the old name.
        const WHITEOUT = 4;
    }

    /// Flags of `setxattr(2)`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct XattrFlags: u32 {
        /// Fail with EEXIST where the attribute exists.
        const CREATE = 1;
        /// Fail with ENODATA where it doesn't.
        const REPLACE = 2;
    }
}

/// What following a symbolic link leads to.
pub enum LinkTarget {
    /// A path to walk.
    Path(Vec<u8>),
    /// An object itself (`/proc/PID/fd/N`, `exe`, `cwd`, …), opaque to this crate: the VFS downcasts it to its own path
    /// type.
    Object(Box<dyn Any + Send + Sync>),
}

/// One file, directory, link, device node, …. Operations that make no sense for the kind keep their defaults.
///
/// Names are single components, never empty, `.` or `..`, without `/` or NUL, at most 255 bytes.
pub trait Inode: Send + Sync + Any {
    /// Returns the attributes.
    fn attr(&self) -> Result<Attr, Errno>;

    /// Returns what permission checks look at. Often known where times and sizes have to be asked for.
    fn owner(&self) -> Result<Owner, Errno> {
        Ok(self.attr()?.owner())
    }

    /// Tells, at the cost of a load, whether this is known to be a directory that everybody may search. False says
    /// nothing: ask [`Inode::owner`].
    fn searchable_by_all(&self) -> bool {
        false
    }

    /// Changes attributes. The caller's right to do so has been checked, set-id bits have been stripped where due.
    fn set_attr(&self, set: &SetAttr) -> Result<(), Errno>;

    /// Opens the content. Kinds that the VFS opens itself (FIFOs, sockets, devices by number) aren't asked. `O_TRUNC`
    /// has been done by [`Inode::set_attr`].
    fn open(self: Arc<Self>, flags: OpenFlags) -> Result<Arc<dyn FileOps>, Errno>;

    /// Finds an entry of a directory: `ENOENT` where there is none.
    fn lookup(&self, _name: &[u8]) -> Result<InodeRef, Errno> {
        Err(Errno::ENOTDIR)
    }

    /// Makes an entry of any kind but directory and symbolic link.
    fn create(&self, _name: &[u8], _new: &NewInode) -> Result<InodeRef, Errno> {
        Err(Errno::EPERM)
    }

    /// Connects to the socket of the host that this is, of a type `SOCK_*`: `ECONNREFUSED` where nobody listens, or nobody
    /// that this kernel may reach. The socket doesn't block.
    fn connect_host(&self, _kind: u32) -> Result<OwnedFd, Errno> {
        Err(Errno::ECONNREFUSED)
    }

    /// Connects a datagram socket of the host to the one that this is: the same errors.
    fn connect_host_from(&self, _socket: BorrowedFd<'_>) -> Result<(), Errno> {
        Err(Errno::ECONNREFUSED)
    }

    /// Sends a datagram from a socket of the host to the one that this is: the same errors, and `EAGAIN` where it takes no
    /// more now, of which nobody will tell.
    fn send_host_from(&self, _socket: BorrowedFd<'_>, _data: &[u8]) -> Result<(), Errno> {
        Err(Errno::ECONNREFUSED)
    }

    /// Makes an entry that is a socket of the host, of a type `SOCK_*`, and returns that too: `EOPNOTSUPP` where this kernel
    /// may make none. The socket doesn't block.
    fn bind_host(&self, _name: &[u8], _new: &NewInode, _kind: u32) -> Result<(InodeRef, OwnedFd), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Opens the FIFO of the host that this is, without waiting for the other side: `ENXIO` for a writer where there is no
    /// reader. `None` where its pipe is this kernel's own.
    fn open_host_fifo(&self, _flags: OpenFlags) -> Option<Result<OwnedFd, Errno>> {
        None
    }

    /// Makes a directory.
    fn mkdir(&self, _name: &[u8], _new: &NewInode) -> Result<InodeRef, Errno> {
        Err(Errno::EPERM)
    }

    /// Makes a symbolic link.
    fn symlink(&self, _name: &[u8], _target: &[u8], _new: &NewInode) -> Result<InodeRef, Errno> {
        Err(Errno::EPERM)
    }

    /// Gives an inode of the same file system another name.
    fn link(&self, _name: &[u8], _target: &InodeRef) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    /// Removes an entry that is no directory.
    fn unlink(&self, _name: &[u8]) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    /// Removes an empty directory.
    fn rmdir(&self, _name: &[u8]) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    /// Renames within one file system. The VFS has checked that no directory moves below itself.
    fn rename(
        &self,
        _old_name: &[u8],
        _new_dir: &InodeRef,
        _new_name: &[u8],
        _flags: RenameFlags,
    ) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    /// Makes an unnamed regular file in this directory (`O_TMPFILE`); `link` may name it later.
    fn tmpfile(&self, _new: &NewInode) -> Result<InodeRef, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Returns what `readlink(2)` shows.
    fn readlink(&self) -> Result<Vec<u8>, Errno> {
        Err(Errno::EINVAL)
    }

    /// Returns where a path walk goes on. Differs from [`Inode::readlink`] for magic links only.
    fn follow(&self) -> Result<LinkTarget, Errno> {
        self.readlink().map(LinkTarget::Path)
    }

    /// Returns the value of an extended attribute: `ENODATA` where there is none.
    fn get_xattr(&self, _name: &[u8]) -> Result<Vec<u8>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Sets an extended attribute.
    fn set_xattr(&self, _name: &[u8], _value: &[u8], _flags: XattrFlags) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Removes an extended attribute.
    fn remove_xattr(&self, _name: &[u8]) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Returns the names of all extended attributes, each ended by a NUL.
    fn list_xattr(&self) -> Result<Vec<u8>, Errno> {
        Ok(Vec::new())
    }

    /// Returns the same inode as `Any`, for a file system to recognise its own.
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}
