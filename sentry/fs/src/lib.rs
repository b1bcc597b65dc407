//! File systems and file objects of the guest kernel.
//!
//! The seam between the kernel's VFS (in the `sentry` crate: mounts, dentries, path walks, permission checks, descriptor
//! tables) and what stores or makes the data: [`FileSystem`], [`Inode`] and [`FileOps`]. Each file system is a module
//! that implements these traits. Rules of the seam:
//!
//! * The VFS checks permissions, read-only mounts, name lengths and `.`/`..`; implementations don't repeat that.
//! * Nothing here waits for a guest-visible condition: an operation that would block returns `EAGAIN`, and
//!   [`FileOps::wait_queue`] tells when to try again.
//! * Data moves through [`IoDst`] and [`IoSrc`], which know how to reach guest memory and count what arrived before a
//!   fault.
//! * Knows nothing of tasks; what `proc` and the like need from the kernel they take as traits.

#![forbid(unsafe_code)]

mod anon_dev;
pub mod attr;
mod changes;
pub mod dev;
pub mod devpts;
#[cfg(test)]
mod differential;
pub mod epoll;
pub mod eventfd;
pub mod file;
pub mod gofer;
pub mod host;
pub mod hostfd;
pub mod inode;
pub mod inotify;
pub mod iobuf;
pub mod mqueue;
pub mod overlay;
pub mod pipe;
pub mod proc;
mod synth;
pub mod sys;
pub mod tmpfs;
mod tree_copy;
pub mod tty;

pub use anon_dev::{next_anon_device, next_anon_ino};
pub use attr::{Attr, DeviceId, FileKind, NewInode, Owner, SetAttr, SetTime};
pub use changes::Changes;
pub use file::{DirEntry, DirSink, FileOps, IoFlags, MapSource, UserMemory};
pub use inode::{CachePolicy, FileSystem, Inode, InodeRef, LinkTarget, RenameFlags, XattrFlags};
pub use iobuf::{BytesDst, BytesSrc, IoDst, IoSrc};
pub use tree_copy::copy_tree;
