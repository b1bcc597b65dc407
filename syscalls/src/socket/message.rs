//! `struct msghdr` and its parts in and out of guest memory.

use abi::{Errno, Fd, UserAddr, UserRef};
use sentry::mm::IovecList;
use sentry::{Current, SysResult};
use sentry_net::addr::STORAGE_LEN;
use sentry_net::uapi::MsgFlags;
use sentry_net::{Control, Received};
use smallvec::SmallVec;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::recv::RecvJob;
use super::send::SendJob;
use super::{control, find, read_addr, write_addr};

/// The bytes of a socket address.
pub(crate) type Addr = SmallVec<[u8; 32]>;

/// `struct msghdr` of x86-64.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Header {
    name: u64,
    namelen: i32,
    pad0: u32,
    iov: u64,
    iovlen: u64,
    control: u64,
    controllen: u64,
    flags: u32,
    pad1: u32,
}

/// The end of `struct msghdr`.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct End {
    controllen: u64,
    flags: u32,
    pad: u32,
}

/// Bytes of that which a receive writes.
const END: usize = 12;
/// Offset of `msg_namelen` and `msg_controllen`.
const NAMELEN: u64 = 8;
const CONTROLLEN: u64 = 40;
/// Bytes of `struct mmsghdr`; its `msg_len` stands behind the header.
const ENTRY: u64 = 64;
const ENTRY_LEN: u64 = 56;
/// Most bytes of control data in one send (`net.core.optmem_max`).
const MAX_CONTROL: u64 = 131_072;
/// Most bytes of control data that a receive makes.
const MAX_CONTROL_OUT: usize = 4096;

/// A message to fill, and where its header lies.
pub(super) struct Filled {
    at: UserAddr,
    header: Header,
    flags: MsgFlags,
}

/// Returns the `at`th element of an array of `struct mmsghdr`.
pub(super) fn entry(array: UserAddr, at: u32) -> UserAddr {
    array.wrapping_add(u64::from(at) * ENTRY)
}

/// Writes `msg_len` of a `struct mmsghdr`.
pub(super) fn put_len(cur: &Current, entry: UserAddr, len: u64) -> Result<(), Errno> {
    cur.mem.write(UserRef::new(entry.wrapping_add(ENTRY_LEN)), &u32::try_from(len).unwrap_or(u32::MAX))
}

/// Drops the first `count` bytes of a list of buffers.
pub(super) fn skip(list: &mut IovecList, count: usize) {
    let mut left = count as u64;
    for iovec in list {
        let step = left.min(iovec.len);
        iovec.base = iovec.base.wrapping_add(step);
        iovec.len -= step;
        left -= step;
    }
}

/// Reads header and buffers: `EFAULT`, `EINVAL`, `EMSGSIZE`.
fn read_header(cur: &Current, at: UserAddr) -> Result<(Header, IovecList), Errno> {
    let mut header: Header = cur.mem.read(UserRef::new(at))?;
    if header.name == 0 {
        header.namelen = 0;
    }
    if header.namelen < 0 {
        return Err(Errno::EINVAL);
    }
    if header.iovlen > abi::types::IOV_MAX as u64 {
        return Err(Errno::EMSGSIZE);
    }
    let list = cur.mem.read_iovecs(UserAddr::new(header.iov), header.iovlen)?;
    Ok((header, list))
}

/// Reads a message to send.
pub(super) fn outgoing(cur: &Current, fd: Fd, at: UserAddr, flags: MsgFlags) -> Result<SendJob, Errno> {
    if flags.contains(MsgFlags::CMSG_COMPAT) {
        return Err(Errno::EINVAL);
    }
    let found = find(cur, fd)?;
    let (header, list) = read_header(cur, at)?;
    let to = if header.namelen == 0 {
        None
    } else {
        // Longer names are cut here, not refused.
        let len = usize::try_from(header.namelen).unwrap_or(0).min(STORAGE_LEN);
        Some(read_addr(cur, UserAddr::new(header.name), u32::try_from(len).unwrap_or(0))?)
    };
    if header.controllen > MAX_CONTROL {
        return Err(Errno::ENOBUFS);
    }
    let mut raw = vec![0; usize::try_from(header.controllen).unwrap_or(0)];
    cur.mem.read_bytes(UserAddr::new(header.control), &mut raw)?;
    let control: Vec<Control> = control::read(cur, found.socket.core().domain, &raw)?;
    Ok(SendJob::new(found, flags, to, control, list))
}

/// Reads where a message is to be received.
pub(super) fn incoming(cur: &Current, fd: Fd, at: UserAddr, flags: MsgFlags) -> Result<(RecvJob, Filled), Errno> {
    if flags.contains(MsgFlags::CMSG_COMPAT) {
        return Err(Errno::EINVAL);
    }
    let found = find(cur, fd)?;
    let (header, list) = read_header(cur, at)?;
    Ok((RecvJob::new(found, flags, list), Filled { at, header, flags }))
}

/// Copies out what came with the data; returns the result of the call.
pub(super) fn deliver(cur: &mut Current, filled: &Filled, received: Received) -> SysResult {
    let Filled { at, header, flags } = filled;
    let from = received.from.as_ref().map_or(&[][..], |from| from.bytes());
    if header.name != 0 {
        write_addr(cur, from, UserAddr::new(header.name), at.wrapping_add(NAMELEN))?;
    }
    let room = if header.control == 0 { 0 } else { usize::try_from(header.controllen).unwrap_or(usize::MAX) };
    let cloexec = flags.contains(MsgFlags::CMSG_CLOEXEC);
    let (control, truncated) = control::write(cur, received.control, room.min(MAX_CONTROL_OUT), cloexec);
    cur.mem.write_bytes(UserAddr::new(header.control), &control)?;
    let mut shown = received.flags;
    shown.set(MsgFlags::CTRUNC, truncated || shown.contains(MsgFlags::CTRUNC));
    shown.set(MsgFlags::CMSG_CLOEXEC, cloexec);
    // Neighbours, and the last to be written.
    let end = End { controllen: control.len() as u64, flags: shown.bits(), pad: 0 };
    cur.mem.write_bytes_last(at.wrapping_add(CONTROLLEN), &end.as_bytes()[..END])?;
    super::value(received.len)
}
