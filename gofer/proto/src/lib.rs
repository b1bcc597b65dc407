//! Messages between sentry and gofer, and the way they travel.
//!
//! Key types: [`Request`] and [`Reply`] (every message, typed), [`Writer`] and [`Reader`] (their bytes, each length checked
//! at both ends), [`Transport`] (how bytes and descriptors travel; today [`SeqPacket`]). One request, one reply, in order,
//! on each connection; several connections serve several threads. [`Request::Forget`] alone has no reply.
//!
//! Rules of the protocol:
//!
//! * A file is named by a [`Handle`], which the gofer made up. Walking gives a handle for each component reached and counts
//!   it as given once; the sentry gives counts back by `Forget`. The same host inode of the same tree has the same
//!   handle as long as any count is out, so equal handles mean the same file.
//! * Names are single components. The gofer never follows symbolic links.
//! * Neither side trusts the other: what can't be decoded ends the connection (gofer) or becomes `EIO` (sentry).
//!
//! Knows nothing of how either side stores anything.

#![forbid(unsafe_code)]

mod names;
mod reply;
mod request;
mod transport;
mod types;
mod wire;

pub use names::{Names, check_name};
pub use reply::{DirItem, Hello, MountInfo, Reply, Walked};
pub use request::{Op, Request};
pub use transport::{Received, SeqPacket, Transport, TransportError};
pub use types::{Access, Entry, Handle, NewNode, SetNode, SocketKind, TimeSet, WireAttr, WireStatfs};
pub use wire::{ProtoError, Reader, Writer};

/// Version of the protocol; both ends come from one binary, so anything else is refused.
pub const VERSION: u32 = 3;

/// Most bytes of one message: the largest extended attribute (64 KiB) with its request around it.
pub const MAX_MESSAGE: usize = 80 * 1024;

/// Makes room for one message: so much that the C library asks the host for pages of their own, of which only those are there
/// that have been written. Hardly any message fills three.
pub fn buffer() -> Vec<u8> {
    const OWN_PAGES: usize = 256 * 1024;
    let mut room = vec![0; OWN_PAGES];
    room.truncate(MAX_MESSAGE);
    room
}

/// Most components of one walk.
pub const MAX_WALK: usize = 64;

/// Most handles in one `Forget`.
pub const MAX_FORGET: usize = 1024;

/// Most trees that one gofer serves.
pub const MAX_MOUNTS: usize = 256;

/// Longest datagram that goes through the gofer.
pub const MAX_DATAGRAM: usize = 64 * 1024;

/// Longest value of an extended attribute, as Linux has it (`XATTR_SIZE_MAX`).
pub const MAX_XATTR: usize = 64 * 1024;
