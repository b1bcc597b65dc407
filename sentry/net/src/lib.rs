//! Socket families of the guest kernel: unix, inet over loopback, netlink.
//!
//! Sockets are files ([`sentry_fs::FileOps`]) with more verbs: [`Socket`]. A [`NetNamespace`] makes them; a [`SocketFile`]
//! opens them. Knows nothing of tasks or descriptors; credentials and passed files come in as values, paths through
//! [`UnixPaths`].

#![forbid(unsafe_code)]

pub mod addr;
pub mod cmsg;
mod file;
mod flow;
pub mod host;
mod inet;
mod inode;
mod ioctl;
mod namespace;
mod netlink;
pub mod opts;
mod proc;
mod ring;
mod socket;
mod stamp;
pub mod uapi;
mod unix;

pub use file::SocketFile;
pub use host::HostNet;
pub use inode::SocketInode;
pub use namespace::{NetNamespace, NetSettings, Pair};
pub use socket::{
    Caller, Caps, Control, Core, FileRef, Incoming, NoPaths, Outgoing, PathBinding, PathKey, Received, Shutdown,
    Socket, Ucred, UnixPaths,
};

#[cfg(test)]
mod hostile;
