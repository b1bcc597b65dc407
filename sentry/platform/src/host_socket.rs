//! Internet sockets of the host, with addresses, options and control messages as bytes: the guest's go to the host as they
//! are, and the host judges them. No call waits, as long as the sockets were made here.
//!
//! Which families, options and requests may be named at all is decided above, and by the sentry's seccomp filter.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use abi::Errno;

/// Bytes of `struct sockaddr_storage`.
const STORAGE: usize = 128;
/// Bytes of `struct ifreq`.
pub const IFREQ: usize = 40;

/// A socket address that the host has written.
#[derive(Clone, Copy, Debug)]
pub struct HostAddr {
    raw: [u8; STORAGE],
    len: usize,
}

impl HostAddr {
    const NONE: HostAddr = HostAddr { raw: [0; STORAGE], len: 0 };

    /// Returns its bytes; none where there is no address.
    pub fn bytes(&self) -> &[u8] {
        &self.raw[..self.len]
    }

    fn filled(mut self, len: libc::socklen_t) -> HostAddr {
        self.len = usize::try_from(len).unwrap_or(0).min(STORAGE);
        self
    }
}

/// What [`receive`] has brought.
#[derive(Clone, Copy, Debug)]
pub struct Arrived {
    /// Result of the call: with `MSG_TRUNC` possibly more than the buffer holds.
    pub len: usize,
    /// `msg_flags`.
    pub flags: u32,
    /// Where it came from.
    pub from: HostAddr,
    /// Bytes of control messages.
    pub control: usize,
}

fn last() -> Errno {
    Errno::from_io(&io::Error::last_os_error())
}

fn done(result: libc::c_int) -> Result<(), Errno> {
    if result < 0 { Err(last()) } else { Ok(()) }
}

fn count(result: isize) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| last())
}

fn socklen(bytes: &[u8]) -> libc::socklen_t {
    libc::socklen_t::try_from(bytes.len()).unwrap_or(libc::socklen_t::MAX)
}

/// Makes a socket that doesn't block.
pub fn socket(domain: u16, kind: u8, protocol: i32) -> Result<OwnedFd, Errno> {
    let kind = i32::from(kind) | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: only numbers are passed.
    let fd = unsafe { libc::socket(i32::from(domain), kind, protocol) };
    done(fd)?;
    // SAFETY: the host has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `bind(2)`.
pub fn bind(fd: BorrowedFd<'_>, addr: &[u8]) -> Result<(), Errno> {
    // SAFETY: the host reads as many bytes as the slice has.
    done(unsafe { libc::bind(fd.as_raw_fd(), addr.as_ptr().cast(), socklen(addr)) })
}

/// `connect(2)`.
pub fn connect(fd: BorrowedFd<'_>, addr: &[u8]) -> Result<(), Errno> {
    // SAFETY: the host reads as many bytes as the slice has.
    done(unsafe { libc::connect(fd.as_raw_fd(), addr.as_ptr().cast(), socklen(addr)) })
}

/// `listen(2)`.
pub fn listen(fd: BorrowedFd<'_>, backlog: i32) -> Result<(), Errno> {
    // SAFETY: only numbers are passed.
    done(unsafe { libc::listen(fd.as_raw_fd(), backlog) })
}

/// `shutdown(2)`.
pub fn shutdown(fd: BorrowedFd<'_>, how: i32) -> Result<(), Errno> {
    // SAFETY: only numbers are passed.
    done(unsafe { libc::shutdown(fd.as_raw_fd(), how) })
}

/// `accept4(2)`: a socket that doesn't block, and whom it is connected to.
pub fn accept(fd: BorrowedFd<'_>) -> Result<(OwnedFd, HostAddr), Errno> {
    let mut addr = HostAddr::NONE;
    let mut len = STORAGE as libc::socklen_t;
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the host writes at most `len` bytes, which `addr` has, and `len` itself.
    let new = unsafe { libc::accept4(fd.as_raw_fd(), addr.raw.as_mut_ptr().cast(), &raw mut len, flags) };
    done(new)?;
    // SAFETY: the host has just made this descriptor, and nobody else knows it.
    Ok((unsafe { OwnedFd::from_raw_fd(new) }, addr.filled(len)))
}

/// `getsockname(2)`.
pub fn local_name(fd: BorrowedFd<'_>) -> Result<HostAddr, Errno> {
    let mut addr = HostAddr::NONE;
    let mut len = STORAGE as libc::socklen_t;
    // SAFETY: the host writes at most `len` bytes, which `addr` has, and `len` itself.
    done(unsafe { libc::getsockname(fd.as_raw_fd(), addr.raw.as_mut_ptr().cast(), &raw mut len) })?;
    Ok(addr.filled(len))
}

/// `getpeername(2)`.
pub fn peer_name(fd: BorrowedFd<'_>) -> Result<HostAddr, Errno> {
    let mut addr = HostAddr::NONE;
    let mut len = STORAGE as libc::socklen_t;
    // SAFETY: the host writes at most `len` bytes, which `addr` has, and `len` itself.
    done(unsafe { libc::getpeername(fd.as_raw_fd(), addr.raw.as_mut_ptr().cast(), &raw mut len) })?;
    Ok(addr.filled(len))
}

/// `setsockopt(2)`.
pub fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
    // SAFETY: the host reads as many bytes as the slice has. The options that are let through hold no pointers.
    done(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value.as_ptr().cast(), socklen(value)) })
}

/// `getsockopt(2)` into `value`; returns how many bytes of it are filled.
pub fn option(fd: BorrowedFd<'_>, level: i32, name: i32, value: &mut [u8]) -> Result<usize, Errno> {
    let mut len = socklen(value);
    let room = value.len();
    // SAFETY: the host writes at most `len` bytes, which `value` has, and `len` itself.
    done(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &raw mut len) })?;
    Ok(usize::try_from(len).unwrap_or(0).min(room))
}

/// `send(2)`.
pub fn send(fd: BorrowedFd<'_>, data: &[u8], flags: u32) -> Result<usize, Errno> {
    let flags = flags.cast_signed() | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the host reads as many bytes as the slice has; without an address it looks at no other pointer.
    count(unsafe { libc::sendto(fd.as_raw_fd(), data.as_ptr().cast(), data.len(), flags, ptr::null(), 0) })
}

/// `recv(2)`; with `MSG_TRUNC` the result may be more than `buf` holds.
pub fn recv(fd: BorrowedFd<'_>, buf: &mut [u8], flags: u32) -> Result<usize, Errno> {
    let flags = flags.cast_signed() | libc::MSG_DONTWAIT;
    let (at, room) = (buf.as_mut_ptr().cast(), buf.len());
    // SAFETY: the host writes at most as many bytes as the slice has, and no address.
    count(unsafe { libc::recvfrom(fd.as_raw_fd(), at, room, flags, ptr::null_mut(), ptr::null_mut()) })
}

fn header(name: *mut u8, namelen: usize, part: &mut libc::iovec, control: *mut u8, room: usize) -> libc::msghdr {
    // SAFETY: zeroed bytes are a valid header: no name, no data, no control messages.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = name.cast();
    header.msg_namelen = libc::socklen_t::try_from(namelen).unwrap_or(0);
    header.msg_iov = part;
    header.msg_iovlen = 1;
    header.msg_control = control.cast();
    header.msg_controllen = room as _; // its type differs between C libraries; a buffer's length fits all of them
    header
}

/// `sendmsg(2)`: `to` may be empty, `control` is a list of control messages.
pub fn send_to(fd: BorrowedFd<'_>, to: &[u8], data: &[u8], control: &[u8], flags: u32) -> Result<usize, Errno> {
    let flags = flags.cast_signed() | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let mut part = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    let (name, extra) = (to.as_ptr().cast_mut(), control.as_ptr().cast_mut());
    let name = if to.is_empty() { ptr::null_mut() } else { name };
    let extra = if control.is_empty() { ptr::null_mut() } else { extra };
    let header = header(name, to.len(), &mut part, extra, control.len());
    // SAFETY: name, data and control messages are slices of the lengths given, and are only read.
    count(unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const header, flags) })
}

/// `recvmsg(2)`.
pub fn receive(fd: BorrowedFd<'_>, buf: &mut [u8], control: &mut [u8], flags: u32) -> Result<Arrived, Errno> {
    let flags = flags.cast_signed() | libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    let mut from = HostAddr::NONE;
    let mut part = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    let mut header = header(from.raw.as_mut_ptr(), STORAGE, &mut part, control.as_mut_ptr(), control.len());
    // SAFETY: name, data and control messages are slices of the lengths given, borrowed for writing.
    let len = count(unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, flags) })?;
    #[allow(clippy::useless_conversion)] // its type differs between C libraries
    let filled = usize::try_from(header.msg_controllen).unwrap_or(0).min(control.len());
    let from = from.filled(header.msg_namelen);
    Ok(Arrived { len, flags: header.msg_flags.cast_unsigned(), from, control: filled })
}

/// An `ioctl(2)` that answers with an `int`: `SIOCINQ`, `SIOCOUTQ`, `SIOCATMARK`; `EINVAL` for all others.
pub fn figure(fd: BorrowedFd<'_>, request: u32) -> Result<i32, Errno> {
    const FIGURES: [u32; 3] = [0x541b, 0x5411, 0x8905];
    if !FIGURES.contains(&request) {
        return Err(Errno::EINVAL);
    }
    let mut value: libc::c_int = 0;
    // SAFETY: these requests write one `int`.
    done(unsafe { libc::ioctl(fd.as_raw_fd(), request as _, &raw mut value) })?;
    Ok(value)
}

/// Requests about an interface that only read, and take nothing but a `struct ifreq`.
pub const INTERFACE_REQUESTS: [u32; 11] =
    [0x8910, 0x8913, 0x8915, 0x8917, 0x8919, 0x891b, 0x891d, 0x8921, 0x8927, 0x8933, 0x8942];

/// One of [`INTERFACE_REQUESTS`]; `EINVAL` for all others.
pub fn interface(fd: BorrowedFd<'_>, request: u32, entry: &mut [u8; IFREQ]) -> Result<(), Errno> {
    if !INTERFACE_REQUESTS.contains(&request) {
        return Err(Errno::EINVAL);
    }
    // SAFETY: these requests read and write one `struct ifreq` and follow no pointer in it.
    done(unsafe { libc::ioctl(fd.as_raw_fd(), request as _, entry.as_mut_ptr()) })
}

/// `SIOCGIFCONF`: a `struct ifreq` for each IPv4 address, at most `most` of them.
pub fn interfaces(fd: BorrowedFd<'_>, most: usize) -> Result<Vec<u8>, Errno> {
    const SIOCGIFCONF: u32 = 0x8912;
    #[repr(C)]
    struct Ifconf {
        len: libc::c_int,
        buf: *mut u8,
    }
    const _: () = assert!(size_of::<Ifconf>() == 16);
    let mut entries = vec![0; most.min(1024) * IFREQ];
    let len = libc::c_int::try_from(entries.len()).map_err(|_| Errno::EINVAL)?;
    let mut conf = Ifconf { len, buf: entries.as_mut_ptr() };
    // SAFETY: the host writes at most `len` bytes to the vector, and how many to `len`.
    done(unsafe { libc::ioctl(fd.as_raw_fd(), SIOCGIFCONF as _, &raw mut conf) })?;
    entries.truncate(usize::try_from(conf.len).unwrap_or(0));
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    /// `127.0.0.1`, a port of the host's choice.
    const LOOPBACK: [u8; 16] = [2, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn datagrams_come_with_their_source_and_control_messages() {
        let (a, b) = (socket(2, 2, 0).unwrap(), socket(2, 2, 0).unwrap());
        bind(a.as_fd(), &LOOPBACK).unwrap();
        bind(b.as_fd(), &LOOPBACK).unwrap();
        set_option(a.as_fd(), 0, 12, &1_i32.to_ne_bytes()).unwrap(); // IP_RECVTTL
        let to = local_name(a.as_fd()).unwrap();
        assert_eq!(send_to(b.as_fd(), to.bytes(), b"hello", &[], 0), Ok(5));
        let (mut data, mut control) = ([0; 3], [0; 64]);
        let got = receive(a.as_fd(), &mut data, &mut control, 0x20).unwrap();
        assert_eq!((got.len, &data, got.flags & 0x20), (5, b"hel", 0x20));
        assert_eq!(got.from.bytes(), local_name(b.as_fd()).unwrap().bytes());
        assert_eq!((got.control, &control[8..16]), (24, &[0, 0, 0, 0, 2, 0, 0, 0][..]));
        assert_eq!(recv(a.as_fd(), &mut data, 0), Err(Errno::EAGAIN));
    }

    #[test]
    fn a_connection_is_made_without_waiting() {
        let (listener, client) = (socket(2, 1, 0).unwrap(), socket(2, 1, 0).unwrap());
        bind(listener.as_fd(), &LOOPBACK).unwrap();
        listen(listener.as_fd(), 1).unwrap();
        assert!(matches!(accept(listener.as_fd()), Err(Errno::EAGAIN)));
        let to = local_name(listener.as_fd()).unwrap();
        assert_eq!(connect(client.as_fd(), to.bytes()), Err(Errno::EINPROGRESS));
        let (server, from) = accept(listener.as_fd()).unwrap();
        assert_eq!(from.bytes(), local_name(client.as_fd()).unwrap().bytes());
        assert_eq!(peer_name(client.as_fd()).unwrap().bytes(), to.bytes());
        assert_eq!(send(client.as_fd(), b"x", 0), Ok(1));
        assert_eq!(figure(server.as_fd(), 0x541b), Ok(1));
        shutdown(server.as_fd(), 2).unwrap();
        let mut kind = [0; 4];
        assert_eq!(option(server.as_fd(), 1, 3, &mut kind), Ok(4));
        assert_eq!(kind, 1_i32.to_ne_bytes());
    }

    #[test]
    fn interfaces_can_be_read_but_not_changed() {
        let fd = socket(2, 2, 0).unwrap();
        assert_eq!(interfaces(fd.as_fd(), 64).unwrap().len() % IFREQ, 0);
        let mut entry = [0; IFREQ];
        entry[..2].copy_from_slice(b"lo");
        interface(fd.as_fd(), 0x8933, &mut entry).unwrap();
        assert_eq!(entry[16..20], 1_i32.to_ne_bytes());
        assert_eq!(interface(fd.as_fd(), 0x8914, &mut entry), Err(Errno::EINVAL));
        assert_eq!(figure(fd.as_fd(), 0x8914), Err(Errno::EINVAL));
    }
}
