//! What the gofer answers.

use abi::Errno;
use abi::types::NAME_MAX;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::request::Op;
use crate::types::{Entry, Handle, WireAttr, WireStatfs};
use crate::wire::{ProtoError, Reader, Writer};
use crate::{MAX_MESSAGE, MAX_MOUNTS, MAX_WALK, MAX_XATTR, check_name};

/// One tree that the gofer serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountInfo {
    /// The caller's number for it.
    pub id: u32,
    /// Writes are refused.
    pub readonly: bool,
    /// Its root directory (or file, for a bind-mounted file). Never forgotten.
    pub root: Entry,
}

/// Answer to `Hello`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The gofer's [`crate::VERSION`].
    pub version: u32,
    /// All trees.
    pub mounts: Vec<MountInfo>,
}

/// Answer to `Walk` and `Children`: the components reached, or the entries found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walked {
    /// One for each component reached, at least one.
    pub entries: Vec<Entry>,
    /// Why the walk, or the search, stopped before its end. A link or other file that isn't a directory ends it with `ENOTDIR`.
    pub stopped: Option<Errno>,
}

/// One entry of a directory listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirItem<'a> {
    /// Inode number.
    pub ino: u64,
    /// `d_type` of `getdents64(2)`.
    pub kind: u8,
    /// Name; never `.` or `..`.
    pub name: &'a [u8],
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// It failed.
    Error(Errno),
    /// It succeeded; nothing to say (a descriptor may come with it).
    Done,
    /// Trees.
    Hello(Hello),
    /// It succeeded, and these files that the sentry knows have other attributes now: what lost its name and what was
    /// moved. 0 for none.
    Changed([Handle; 2]),
    /// Files reached.
    Walked(Walked),
    /// One file.
    Entry(Entry),
    /// Attributes.
    Attr(WireAttr),
    /// A link target, attribute value or list of names.
    Bytes(&'a [u8]),
    /// Part of a directory listing.
    Dir {
        /// Entries.
        items: Vec<DirItem<'a>>,
        /// Where the next part begins; 0 at the end.
        next: u64,
    },
    /// File-system figures.
    StatFs(WireStatfs),
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    id: u32,
    errno: i32,
}

fn decode_errno(raw: i32) -> Result<Option<Errno>, ProtoError> {
    match raw {
        0 => Ok(None),
        1..=133 => Ok(Some(Errno::from_raw(raw))),
        _ => Err(ProtoError::Bad("errno")),
    }
}

/// Bytes of one directory entry beside its name.
const DIR_ITEM: usize = 8 + 4 + 4;

impl<'a> Reply<'a> {
    /// Bytes that a listing entry with this name takes in a reply.
    pub fn dir_item_size(name: &[u8]) -> usize {
        DIR_ITEM + name.len()
    }

    /// Writes the answer to request `id`.
    pub fn encode(&self, id: u32, out: &mut Writer) {
        let errno = if let Reply::Error(errno) = self { errno.raw() } else { 0 };
        out.put(&Header { id, errno });
        match self {
            Reply::Error(_) | Reply::Done => {}
            Reply::Hello(hello) => hello.encode(out),
            Reply::Changed(handles) => handles.iter().for_each(|handle| out.put(handle)),
            Reply::Walked(walked) => walked.encode(out),
            Reply::Entry(entry) => entry.encode(out),
            Reply::Attr(attr) => out.put(attr),
            Reply::Bytes(bytes) => out.bytes(bytes),
            Reply::Dir { items, next } => encode_dir(items, *next, out),
            Reply::StatFs(figures) => out.put(figures),
        }
    }

    /// Reads the answer to a request of kind `op` and the id that it answers.
    pub fn decode(op: Op, bytes: &'a [u8]) -> Result<(u32, Reply<'a>), ProtoError> {
        let mut from = Reader::new(bytes);
        let header: Header = from.get()?;
        let reply = match decode_errno(header.errno)? {
            Some(errno) => Reply::Error(errno),
            None => Reply::decode_body(op, &mut from)?,
        };
        from.end()?;
        Ok((header.id, reply))
    }

    fn decode_body(op: Op, from: &mut Reader<'a>) -> Result<Reply<'a>, ProtoError> {
        Ok(match op {
            Op::Hello => Reply::Hello(Hello::decode(from)?),
            Op::Walk | Op::Children => Reply::Walked(Walked::decode(from)?),
            Op::GetAttr | Op::SetAttr | Op::Link => Reply::Attr(WireAttr::decode(from)?),
            Op::Create | Op::Mkdir | Op::Symlink | Op::Mknod | Op::Tmpfile | Op::Bind => {
                Reply::Entry(Entry::decode(from)?)
            }
            Op::Readlink | Op::GetXattr | Op::ListXattr => Reply::Bytes(from.bytes(MAX_XATTR)?),
            Op::ReadDir => decode_dir(from)?,
            Op::StatFs => Reply::StatFs(from.get()?),
            Op::Unlink | Op::Rmdir | Op::Rename => Reply::Changed([from.get()?, from.get()?]),
            Op::Open
            | Op::MemoryFile
            | Op::Connect
            | Op::SendTo
            | Op::SetXattr
            | Op::RemoveXattr
            | Op::Sync
            | Op::SyncFs => Reply::Done,
            Op::Forget => return Err(ProtoError::Bad("reply to a forget")),
        })
    }
}

impl Hello {
    fn encode(&self, out: &mut Writer) {
        out.put(&self.version);
        out.put(&u32::try_from(self.mounts.len()).unwrap_or(u32::MAX));
        for mount in &self.mounts {
            out.put(&mount.id);
            out.put(&u32::from(mount.readonly));
            mount.root.encode(out);
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Hello, ProtoError> {
        let version = from.get()?;
        let count = count(from, MAX_MOUNTS)?;
        let mut mounts = Vec::with_capacity(count);
        for _ in 0..count {
            let id = from.get()?;
            let readonly = match from.get::<u32>()? {
                0 => false,
                1 => true,
                _ => return Err(ProtoError::Bad("flag")),
            };
            mounts.push(MountInfo { id, readonly, root: Entry::decode(from)? });
        }
        Ok(Hello { version, mounts })
    }
}

impl Walked {
    fn encode(&self, out: &mut Writer) {
        out.put(&u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        out.put(&self.stopped.map_or(0, Errno::raw));
        for entry in &self.entries {
            entry.encode(out);
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Walked, ProtoError> {
        let count = count(from, MAX_WALK)?;
        let stopped = decode_errno(from.get()?)?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            entries.push(Entry::decode(from)?);
        }
        Ok(Walked { entries, stopped })
    }
}

fn count(from: &mut Reader<'_>, max: usize) -> Result<usize, ProtoError> {
    match usize::try_from(from.get::<u32>()?) {
        Ok(count) if count <= max => Ok(count),
        _ => Err(ProtoError::Bad("count")),
    }
}

fn encode_dir(items: &[DirItem<'_>], next: u64, out: &mut Writer) {
    out.put(&next);
    out.put(&u32::try_from(items.len()).unwrap_or(u32::MAX));
    for item in items {
        out.put(&item.ino);
        out.put(&u32::from(item.kind));
        out.bytes(item.name);
    }
}

fn decode_dir<'a>(from: &mut Reader<'a>) -> Result<Reply<'a>, ProtoError> {
    let next = from.get()?;
    let count = count(from, MAX_MESSAGE / DIR_ITEM)?;
    let mut items = Vec::with_capacity(count.min(from.remaining() / DIR_ITEM));
    for _ in 0..count {
        let ino = from.get()?;
        let kind = u8::try_from(from.get::<u32>()?).map_err(|_| ProtoError::Bad("kind"))?;
        let name = from.bytes(NAME_MAX)?;
        check_name(name).map_err(|_| ProtoError::Bad("name"))?;
        items.push(DirItem { ino, kind, name });
    }
    Ok(Reply::Dir { items, next })
}
