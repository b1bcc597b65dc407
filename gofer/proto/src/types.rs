//! Structs that several messages share.

use abi::time::{NSEC_PER_SEC, Timespec};
use abi::types::{Statfs, mode};
use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::wire::{ProtoError, Reader, Writer};

/// Names a file that the gofer has given out. 0 is none.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Handle(pub u64);

/// Attributes of a host inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)] // as in `statx(2)`
pub struct WireAttr {
    /// Host device, `major << 32 | minor`.
    pub dev: u64,
    pub ino: u64,
    pub nlink: u64,
    pub size: u64,
    /// Units of 512 bytes.
    pub blocks: u64,
    /// Device number of a device node, `major << 32 | minor`.
    pub rdev: u64,
    /// Type and permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub blksize: u32,
    pub atime: Timespec,
    pub mtime: Timespec,
    pub ctime: Timespec,
    pub btime: Timespec,
    /// 1 if `btime` is known.
    pub has_btime: u64,
}

impl WireAttr {
    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<WireAttr, ProtoError> {
        let attr: WireAttr = from.get()?;
        let times = [attr.atime, attr.mtime, attr.ctime, attr.btime];
        if attr.mode & mode::IFMT == 0 || attr.has_btime > 1 {
            return Err(ProtoError::Bad("attributes"));
        }
        if times.iter().any(|time| !(0..NSEC_PER_SEC).contains(&time.nsec)) {
            return Err(ProtoError::Bad("time"));
        }
        Ok(attr)
    }
}

/// A file reached: its handle, given once more, and its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Names the file.
    pub handle: Handle,
    /// Its attributes.
    pub attr: WireAttr,
}

impl Entry {
    pub(crate) fn encode(&self, out: &mut Writer) {
        out.put(&self.handle);
        out.put(&self.attr);
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Entry, ProtoError> {
        let handle: Handle = from.get()?;
        if handle.0 == 0 {
            return Err(ProtoError::Bad("handle"));
        }
        Ok(Entry { handle, attr: WireAttr::decode(from)? })
    }
}

bitflags! {
    /// What a descriptor is wanted for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Access: u32 {
        /// Reading.
        const READ = 1;
        /// Writing.
        const WRITE = 2;
    }
}

impl Access {
    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Access, ProtoError> {
        match Access::from_bits(from.get()?) {
            Some(access) if !access.is_empty() => Ok(access),
            _ => Err(ProtoError::Bad("access")),
        }
    }
}

/// What kind of Unix socket is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SocketKind {
    /// `SOCK_STREAM`.
    Stream = 1,
    /// `SOCK_DGRAM`.
    Dgram = 2,
    /// `SOCK_SEQPACKET`.
    Seqpacket = 5,
}

impl SocketKind {
    /// Every kind.
    pub const ALL: [SocketKind; 3] = [SocketKind::Stream, SocketKind::Dgram, SocketKind::Seqpacket];

    /// Returns `SOCK_*`.
    pub fn raw(self) -> u32 {
        self as u32
    }

    /// Reads `SOCK_*`.
    pub fn from_raw(raw: u32) -> Option<SocketKind> {
        SocketKind::ALL.into_iter().find(|kind| kind.raw() == raw)
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<SocketKind, ProtoError> {
        SocketKind::from_raw(from.get()?).ok_or(ProtoError::Bad("socket kind"))
    }
}

/// A new file as the sentry wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NewNode {
    /// Type (`mknod` only) and permission bits, the umask applied.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Must be 0.
    pub reserved: u32,
    /// Device number, `major << 32 | minor`.
    pub rdev: u64,
}

impl NewNode {
    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<NewNode, ProtoError> {
        let new: NewNode = from.get()?;
        if new.reserved != 0 || new.mode & !(mode::IFMT | mode::PERM) != 0 {
            return Err(ProtoError::Bad("mode"));
        }
        Ok(new)
    }
}

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSet {
    /// The host's current time.
    Now,
    /// This time.
    At(Timespec),
}

/// Attributes to change; `None` leaves one alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct SetNode {
    /// Permission, set-id and sticky bits.
    pub perm: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<TimeSet>,
    pub mtime: Option<TimeSet>,
}

/// Wire form of [`SetNode`].
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RawSet {
    mask: u32,
    perm: u32,
    uid: u32,
    gid: u32,
    size: u64,
    atime: Timespec,
    mtime: Timespec,
}

const SET_PERM: u32 = 1;
const SET_UID: u32 = 2;
const SET_GID: u32 = 4;
const SET_SIZE: u32 = 8;
const SET_ATIME: u32 = 16;
const SET_ATIME_NOW: u32 = 32;
const SET_MTIME: u32 = 64;
const SET_MTIME_NOW: u32 = 128;
const SET_ALL: u32 = 255;

fn put_time(time: Option<TimeSet>, at: u32, now: u32, raw: &mut Timespec) -> u32 {
    match time {
        None => 0,
        Some(TimeSet::Now) => now,
        Some(TimeSet::At(value)) => {
            *raw = value;
            at
        }
    }
}

fn get_time(mask: u32, at: u32, now: u32, raw: Timespec) -> Result<Option<TimeSet>, ProtoError> {
    match (mask & at != 0, mask & now != 0) {
        (false, false) => Ok(None),
        (false, true) => Ok(Some(TimeSet::Now)),
        (true, false) if (0..NSEC_PER_SEC).contains(&raw.nsec) => Ok(Some(TimeSet::At(raw))),
        _ => Err(ProtoError::Bad("time")),
    }
}

impl SetNode {
    pub(crate) fn encode(&self, out: &mut Writer) {
        let mut raw = RawSet {
            perm: self.perm.unwrap_or(0),
            uid: self.uid.unwrap_or(0),
            gid: self.gid.unwrap_or(0),
            size: self.size.unwrap_or(0),
            ..RawSet::default()
        };
        let present = [
            (self.perm.is_some(), SET_PERM),
            (self.uid.is_some(), SET_UID),
            (self.gid.is_some(), SET_GID),
            (self.size.is_some(), SET_SIZE),
        ];
        raw.mask = present.iter().filter(|(there, _)| *there).map(|(_, bit)| bit).sum();
        raw.mask |= put_time(self.atime, SET_ATIME, SET_ATIME_NOW, &mut raw.atime);
        raw.mask |= put_time(self.mtime, SET_MTIME, SET_MTIME_NOW, &mut raw.mtime);
        out.put(&raw);
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<SetNode, ProtoError> {
        let raw: RawSet = from.get()?;
        if raw.mask & !SET_ALL != 0 {
            return Err(ProtoError::Bad("attribute mask"));
        }
        if raw.mask & SET_PERM != 0 && raw.perm & !mode::PERM != 0 {
            return Err(ProtoError::Bad("mode"));
        }
        Ok(SetNode {
            perm: (raw.mask & SET_PERM != 0).then_some(raw.perm),
            uid: (raw.mask & SET_UID != 0).then_some(raw.uid),
            gid: (raw.mask & SET_GID != 0).then_some(raw.gid),
            size: (raw.mask & SET_SIZE != 0).then_some(raw.size),
            atime: get_time(raw.mask, SET_ATIME, SET_ATIME_NOW, raw.atime)?,
            mtime: get_time(raw.mask, SET_MTIME, SET_MTIME_NOW, raw.mtime)?,
        })
    }
}

/// `statfs(2)` figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct WireStatfs(pub Statfs);
