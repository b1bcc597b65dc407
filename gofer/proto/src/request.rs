//! What the sentry asks.

use abi::types::{NAME_MAX, PATH_MAX};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::names::Names;
use crate::types::{Access, Handle, NewNode, SetNode, SocketKind};
use crate::wire::{ProtoError, Reader, Writer};
use crate::{MAX_DATAGRAM, MAX_FORGET, MAX_XATTR};

/// Number of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
#[allow(missing_docs)] // named as the requests
pub enum Op {
    Hello = 1,
    Walk = 2,
    GetAttr = 3,
    SetAttr = 4,
    Open = 5,
    Create = 6,
    Mkdir = 7,
    Symlink = 8,
    Mknod = 9,
    Link = 10,
    Unlink = 11,
    Rmdir = 12,
    Rename = 13,
    Readlink = 14,
    ReadDir = 15,
    StatFs = 16,
    GetXattr = 17,
    SetXattr = 18,
    RemoveXattr = 19,
    ListXattr = 20,
    Sync = 21,
    SyncFs = 22,
    Tmpfile = 23,
    Forget = 24,
    MemoryFile = 25,
    Connect = 26,
    Bind = 27,
    SendTo = 28,
    Children = 29,
}

impl Op {
    /// Every message.
    pub const ALL: [Op; 29] = [
        Op::Hello,
        Op::Walk,
        Op::GetAttr,
        Op::SetAttr,
        Op::Open,
        Op::Create,
        Op::Mkdir,
        Op::Symlink,
        Op::Mknod,
        Op::Link,
        Op::Unlink,
        Op::Rmdir,
        Op::Rename,
        Op::Readlink,
        Op::ReadDir,
        Op::StatFs,
        Op::GetXattr,
        Op::SetXattr,
        Op::RemoveXattr,
        Op::ListXattr,
        Op::Sync,
        Op::SyncFs,
        Op::Tmpfile,
        Op::Forget,
        Op::MemoryFile,
        Op::Connect,
        Op::Bind,
        Op::SendTo,
        Op::Children,
    ];

    fn from_raw(raw: u32) -> Result<Op, ProtoError> {
        Op::ALL.into_iter().find(|op| *op as u32 == raw).ok_or(ProtoError::Bad("message number"))
    }
}

/// A question to the gofer. Replies are named beside each; any may fail with an errno instead.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // fields are those of the calls named
pub enum Request<'a> {
    /// Asks for the trees → `Hello`.
    Hello { version: u32 },
    /// Looks up components one after the other, as far as they are there → `Walked`.
    Walk { from: Handle, names: Names<'a> },
    /// Looks up entries of one directory, in order, as far as they are there → `Walked`.
    Children { dir: Handle, names: Names<'a> },
    /// `statx` → `Attr`.
    GetAttr { node: Handle },
    /// Changes attributes → `Attr` as they are then.
    SetAttr { node: Handle, set: SetNode },
    /// Opens a regular file, or a FIFO where that is allowed → `Done` with a descriptor.
    Open { node: Handle, access: Access },
    /// Makes a regular file (exclusively) → `Entry` with a descriptor for reading and writing.
    Create { dir: Handle, name: &'a [u8], new: NewNode },
    /// → `Entry`.
    Mkdir { dir: Handle, name: &'a [u8], new: NewNode },
    /// → `Entry`.
    Symlink { dir: Handle, name: &'a [u8], target: &'a [u8], new: NewNode },
    /// Makes a FIFO, socket or (where allowed) device node → `Entry`.
    Mknod { dir: Handle, name: &'a [u8], new: NewNode },
    /// Gives `node` another name → `Attr` of `node`.
    Link { node: Handle, dir: Handle, name: &'a [u8] },
    /// → `Changed`.
    Unlink { dir: Handle, name: &'a [u8] },
    /// → `Changed`.
    Rmdir { dir: Handle, name: &'a [u8] },
    /// `renameat2`, within one tree → `Changed`.
    Rename { dir: Handle, name: &'a [u8], new_dir: Handle, new_name: &'a [u8], flags: u32 },
    /// → `Bytes`.
    Readlink { node: Handle },
    /// Lists from `cookie` on (0 is the start, others come from the reply before) → `Dir`.
    ReadDir { node: Handle, cookie: u64 },
    /// → `StatFs`.
    StatFs { node: Handle },
    /// → `Bytes`.
    GetXattr { node: Handle, name: &'a [u8] },
    /// → `Done`.
    SetXattr { node: Handle, name: &'a [u8], value: &'a [u8], flags: u32 },
    /// → `Done`.
    RemoveXattr { node: Handle, name: &'a [u8] },
    /// → `Bytes`: names, each ended by a NUL.
    ListXattr { node: Handle },
    /// `fsync` of a file or directory → `Done`.
    Sync { node: Handle },
    /// `syncfs` → `Done`.
    SyncFs { node: Handle },
    /// Makes an unnamed regular file → `Entry` with a descriptor for reading and writing.
    Tmpfile { dir: Handle, new: NewNode },
    /// Opens a file in memory, whose descriptor comes with the message, for reading only → `Done` with a descriptor.
    MemoryFile,
    /// Connects to a socket of the host, where that is allowed: the one whose descriptor comes with the message → `Done`; or
    /// where none comes a new one → `Done` with a connected socket that doesn't block.
    Connect { node: Handle, kind: SocketKind },
    /// Makes a socket of the host, where that is allowed → `Entry` with a bound socket that doesn't block.
    Bind { dir: Handle, name: &'a [u8], new: NewNode, kind: SocketKind },
    /// Sends a datagram to a socket of the host, where that is allowed, from the one whose descriptor comes with the message →
    /// `Done`.
    SendTo { node: Handle, data: &'a [u8] },
    /// Gives counts of handles back. No reply.
    Forget { handles: Vec<(Handle, u64)> },
}

/// What every request begins with.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    op: u32,
    id: u32,
}

impl<'a> Request<'a> {
    /// Returns the number of the message.
    pub fn op(&self) -> Op {
        match self {
            Request::Hello { .. } => Op::Hello,
            Request::Walk { .. } => Op::Walk,
            Request::Children { .. } => Op::Children,
            Request::GetAttr { .. } => Op::GetAttr,
            Request::SetAttr { .. } => Op::SetAttr,
            Request::Open { .. } => Op::Open,
            Request::Create { .. } => Op::Create,
            Request::Mkdir { .. } => Op::Mkdir,
            Request::Symlink { .. } => Op::Symlink,
            Request::Mknod { .. } => Op::Mknod,
            Request::Link { .. } => Op::Link,
            Request::Unlink { .. } => Op::Unlink,
            Request::Rmdir { .. } => Op::Rmdir,
            Request::Rename { .. } => Op::Rename,
            Request::Readlink { .. } => Op::Readlink,
            Request::ReadDir { .. } => Op::ReadDir,
            Request::StatFs { .. } => Op::StatFs,
            Request::GetXattr { .. } => Op::GetXattr,
            Request::SetXattr { .. } => Op::SetXattr,
            Request::RemoveXattr { .. } => Op::RemoveXattr,
            Request::ListXattr { .. } => Op::ListXattr,
            Request::Sync { .. } => Op::Sync,
            Request::SyncFs { .. } => Op::SyncFs,
            Request::Tmpfile { .. } => Op::Tmpfile,
            Request::Forget { .. } => Op::Forget,
            Request::MemoryFile => Op::MemoryFile,
            Request::Connect { .. } => Op::Connect,
            Request::Bind { .. } => Op::Bind,
            Request::SendTo { .. } => Op::SendTo,
        }
    }

    /// Writes the message; `id` comes back in the reply.
    pub fn encode(&self, id: u32, out: &mut Writer) {
        out.put(&Header { op: self.op() as u32, id });
        match self {
            Request::Hello { version } => out.put(version),
            Request::Walk { from, names } | Request::Children { dir: from, names } => {
                out.put(from);
                names.encode(out);
            }
            Request::GetAttr { node }
            | Request::Readlink { node }
            | Request::StatFs { node }
            | Request::ListXattr { node }
            | Request::Sync { node }
            | Request::SyncFs { node } => out.put(node),
            Request::SetAttr { node, set } => {
                out.put(node);
                set.encode(out);
            }
            Request::Open { node, access } => {
                out.put(node);
                out.put(&access.bits());
            }
            Request::Create { dir, name, new }
            | Request::Mkdir { dir, name, new }
            | Request::Mknod { dir, name, new } => {
                out.put(dir);
                out.put(new);
                out.bytes(name);
            }
            Request::Symlink { dir, name, target, new } => {
                out.put(dir);
                out.put(new);
                out.bytes(name);
                out.bytes(target);
            }
            Request::Link { node, dir, name } => {
                out.put(node);
                out.put(dir);
                out.bytes(name);
            }
            Request::Unlink { dir, name } | Request::Rmdir { dir, name } => {
                out.put(dir);
                out.bytes(name);
            }
            Request::Rename { dir, name, new_dir, new_name, flags } => {
                out.put(dir);
                out.put(new_dir);
                out.put(flags);
                out.bytes(name);
                out.bytes(new_name);
            }
            Request::ReadDir { node, cookie } => {
                out.put(node);
                out.put(cookie);
            }
            Request::GetXattr { node, name } | Request::RemoveXattr { node, name } => {
                out.put(node);
                out.bytes(name);
            }
            Request::SetXattr { node, name, value, flags } => {
                out.put(node);
                out.put(flags);
                out.bytes(name);
                out.bytes(value);
            }
            Request::Tmpfile { dir, new } => {
                out.put(dir);
                out.put(new);
            }
            Request::MemoryFile => {}
            Request::Connect { node, kind } => {
                out.put(node);
                out.put(&kind.raw());
            }
            Request::SendTo { node, data } => {
                out.put(node);
                out.bytes(data);
            }
            Request::Bind { dir, name, new, kind } => {
                out.put(dir);
                out.put(new);
                out.put(&kind.raw());
                out.bytes(name);
            }
            Request::Forget { handles } => {
                out.put(&u32::try_from(handles.len()).unwrap_or(u32::MAX));
                for (handle, count) in handles {
                    out.put(handle);
                    out.put(count);
                }
            }
        }
    }

    /// Reads a message and its id.
    pub fn decode(bytes: &'a [u8]) -> Result<(u32, Request<'a>), ProtoError> {
        let mut from = Reader::new(bytes);
        let header: Header = from.get()?;
        let request = Request::decode_body(Op::from_raw(header.op)?, &mut from)?;
        from.end()?;
        Ok((header.id, request))
    }

    fn decode_body(op: Op, from: &mut Reader<'a>) -> Result<Request<'a>, ProtoError> {
        // Fields are evaluated in the order written, which is that of the wire.
        Ok(match op {
            Op::Hello => Request::Hello { version: from.get()? },
            Op::Walk => Request::Walk { from: from.get()?, names: Names::decode(from)? },
            Op::Children => Request::Children { dir: from.get()?, names: Names::decode(from)? },
            Op::GetAttr => Request::GetAttr { node: from.get()? },
            Op::SetAttr => Request::SetAttr { node: from.get()?, set: SetNode::decode(from)? },
            Op::Open => Request::Open { node: from.get()?, access: Access::decode(from)? },
            Op::Create => {
                Request::Create { dir: from.get()?, new: NewNode::decode(from)?, name: from.bytes(NAME_MAX)? }
            }
            Op::Mkdir => Request::Mkdir { dir: from.get()?, new: NewNode::decode(from)?, name: from.bytes(NAME_MAX)? },
            Op::Symlink => Request::Symlink {
                dir: from.get()?,
                new: NewNode::decode(from)?,
                name: from.bytes(NAME_MAX)?,
                target: from.bytes(PATH_MAX)?,
            },
            Op::Mknod => Request::Mknod { dir: from.get()?, new: NewNode::decode(from)?, name: from.bytes(NAME_MAX)? },
            Op::Link => Request::Link { node: from.get()?, dir: from.get()?, name: from.bytes(NAME_MAX)? },
            Op::Unlink => Request::Unlink { dir: from.get()?, name: from.bytes(NAME_MAX)? },
            Op::Rmdir => Request::Rmdir { dir: from.get()?, name: from.bytes(NAME_MAX)? },
            Op::Rename => Request::Rename {
                dir: from.get()?,
                new_dir: from.get()?,
                flags: from.get()?,
                name: from.bytes(NAME_MAX)?,
                new_name: from.bytes(NAME_MAX)?,
            },
            Op::Readlink => Request::Readlink { node: from.get()? },
            Op::ReadDir => Request::ReadDir { node: from.get()?, cookie: from.get()? },
            Op::StatFs => Request::StatFs { node: from.get()? },
            Op::GetXattr => Request::GetXattr { node: from.get()?, name: from.bytes(NAME_MAX)? },
            Op::SetXattr => Request::SetXattr {
                node: from.get()?,
                flags: from.get()?,
                name: from.bytes(NAME_MAX)?,
                value: from.bytes(MAX_XATTR)?,
            },
            Op::RemoveXattr => Request::RemoveXattr { node: from.get()?, name: from.bytes(NAME_MAX)? },
            Op::ListXattr => Request::ListXattr { node: from.get()? },
            Op::Sync => Request::Sync { node: from.get()? },
            Op::SyncFs => Request::SyncFs { node: from.get()? },
            Op::Tmpfile => Request::Tmpfile { dir: from.get()?, new: NewNode::decode(from)? },
            Op::Forget => Request::Forget { handles: decode_handles(from)? },
            Op::MemoryFile => Request::MemoryFile,
            Op::Connect => Request::Connect { node: from.get()?, kind: SocketKind::decode(from)? },
            Op::SendTo => Request::SendTo { node: from.get()?, data: from.bytes(MAX_DATAGRAM)? },
            Op::Bind => Request::Bind {
                dir: from.get()?,
                new: NewNode::decode(from)?,
                kind: SocketKind::decode(from)?,
                name: from.bytes(NAME_MAX)?,
            },
        })
    }
}

fn decode_handles(from: &mut Reader<'_>) -> Result<Vec<(Handle, u64)>, ProtoError> {
    let count = usize::try_from(from.get::<u32>()?).map_err(|_| ProtoError::Bad("count"))?;
    if count > MAX_FORGET {
        return Err(ProtoError::Bad("count"));
    }
    let mut handles = Vec::with_capacity(count);
    for _ in 0..count {
        handles.push((from.get()?, from.get()?));
    }
    Ok(handles)
}
