//! `socket`, `connect`, `accept`, `sendto`, `recvfrom`, `sendmsg`, `recvmsg`, `shutdown`, `bind`, `listen`, `getsockname`, `getpeername`, `socketpair`, `accept4`, `recvmmsg`, `sendmmsg`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;

/// Serves `socket(2)`.
pub fn socket(cur: &mut Current, _domain: i32, _kind: u32, _protocol: i32) -> Result<u64, Errno> {
    crate::unserved(cur, "socket")
}

/// Serves `connect(2)`.
pub fn connect(cur: &mut Current, _sockfd: Fd, _addr: UserAddr, _addrlen: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "connect")
}

/// Serves `accept(2)`.
pub fn accept(cur: &mut Current, _sockfd: Fd, _addr: UserAddr, _addrlen: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "accept")
}

/// Serves `sendto(2)`.
pub fn sendto(
    cur: &mut Current,
    _sockfd: Fd,
    _buf: UserAddr,
    _len: usize,
    _flags: u32,
    _dest_addr: UserAddr,
    _addrlen: u32,
) -> Result<u64, Errno> {
    crate::unserved(cur, "sendto")
}

/// Serves `recvfrom(2)`.
pub fn recvfrom(
    cur: &mut Current,
    _sockfd: Fd,
    _buf: UserAddr,
    _len: usize,
    _flags: u32,
    _src_addr: UserAddr,
    _addrlen: UserAddr,
) -> Result<u64, Errno> {
    crate::unserved(cur, "recvfrom")
}

/// Serves `sendmsg(2)`.
pub fn sendmsg(cur: &mut Current, _sockfd: Fd, _msg: UserAddr, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "sendmsg")
}

/// Serves `recvmsg(2)`.
pub fn recvmsg(cur: &mut Current, _sockfd: Fd, _msg: UserAddr, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "recvmsg")
}

/// Serves `shutdown(2)`.
pub fn shutdown(cur: &mut Current, _sockfd: Fd, _how: i32) -> Result<u64, Errno> {
    crate::unserved(cur, "shutdown")
}

/// Serves `bind(2)`.
pub fn bind(cur: &mut Current, _sockfd: Fd, _addr: UserAddr, _addrlen: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "bind")
}

/// Serves `listen(2)`.
pub fn listen(cur: &mut Current, _sockfd: Fd, _backlog: i32) -> Result<u64, Errno> {
    crate::unserved(cur, "listen")
}

/// Serves `getsockname(2)`.
pub fn getsockname(cur: &mut Current, _sockfd: Fd, _addr: UserAddr, _addrlen: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "getsockname")
}

/// Serves `getpeername(2)`.
pub fn getpeername(cur: &mut Current, _sockfd: Fd, _addr: UserAddr, _addrlen: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "getpeername")
}

/// Serves `socketpair(2)`.
pub fn socketpair(cur: &mut Current, _domain: i32, _kind: u32, _protocol: i32, _sv: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "socketpair")
}

/// Serves `accept4(2)`.
pub fn accept4(cur: &mut Current, _sockfd: Fd, _addr: UserAddr, _addrlen: UserAddr, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "accept4")
}

/// Serves `recvmmsg(2)`.
pub fn recvmmsg(
    cur: &mut Current,
    _sockfd: Fd,
    _msgvec: UserAddr,
    _vlen: u32,
    _flags: u32,
    _timeout: UserAddr,
) -> Result<u64, Errno> {
    crate::unserved(cur, "recvmmsg")
}

/// Serves `sendmmsg(2)`.
pub fn sendmmsg(cur: &mut Current, _sockfd: Fd, _msgvec: UserAddr, _vlen: u32, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "sendmmsg")
}
