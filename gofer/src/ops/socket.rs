//! Unix sockets of the host: connected to and made here, where names are; given to the sentry, which has none.
//!
//! `connect(2)` and `bind(2)` take nothing but paths, so these lead over the directory of our own descriptors. No call waits.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use abi::Errno;
use abi::types::mode;
use gofer_proto::{Handle, NewNode, SocketKind, WireAttr};
use rustix::fs::{AtFlags, OFlags};
use rustix::net::{AddressFamily, SendAncillaryBuffer, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use super::{Answer, Outcome};
use crate::host::errno;
use crate::policy;
use crate::server::{Server, TreeFlags};

impl Server {
    /// Finds a socket of the host that may be connected to: `ECONNREFUSED` where that isn't allowed.
    fn reachable(&self, node: Handle) -> Result<Arc<OwnedFd>, Errno> {
        let node = self.nodes.get(node)?;
        let open = self.flags(&node).contains(TreeFlags::CONNECT) || node.is_own_socket();
        if !policy::is_socket(node.kind()) || node.sealed() || !open {
            return Err(Errno::ECONNREFUSED);
        }
        self.nodes.fd(&node)
    }

    fn address(&self, socket: BorrowedFd<'_>) -> Result<SocketAddrUnix, Errno> {
        SocketAddrUnix::new(self.proc_fds.path(socket)).map_err(errno)
    }

    /// Connects to a socket of the host, the sentry's or a new one, which is given away: `EAGAIN` where whoever listens has too
    /// many connections waiting.
    pub(super) fn connect(&self, node: Handle, kind: SocketKind, given: Option<OwnedFd>) -> Outcome {
        let fd = self.reachable(node)?;
        let address = self.address(fd.as_fd())?;
        if let Some(socket) = given {
            // Nobody is to make us wait.
            if !rustix::fs::fcntl_getfl(&socket).map_err(errno)?.contains(OFlags::NONBLOCK) {
                return Err(Errno::EINVAL);
            }
            rustix::net::connect(&socket, &address).map_err(errno)?;
            return Ok(Answer::Done);
        }
        let socket = new_socket(kind)?;
        rustix::net::connect(&socket, &address).map_err(errno)?;
        Ok(Answer::Fd(socket))
    }

    /// Sends a datagram from the sentry's socket to one of the host.
    pub(super) fn send_to(&self, node: Handle, data: &[u8], from: &OwnedFd) -> Outcome {
        let fd = self.reachable(node)?;
        let address = self.address(fd.as_fd())?;
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let mut none = SendAncillaryBuffer::default();
        let sent = rustix::net::sendmsg_addr(from, &address, &[IoSlice::new(data)], &mut none, flags);
        // A datagram goes as a whole or not at all.
        sent.map(|_| Answer::Done).map_err(errno)
    }

    /// Makes a socket of the host and gives it away: `EOPNOTSUPP` where that isn't allowed.
    pub(super) fn bind(&self, dir: Handle, name: &[u8], new: &NewNode, kind: SocketKind) -> Outcome {
        let (dir, dir_fd) = self.parent(dir, name)?;
        if !self.flags(&dir).contains(TreeFlags::BIND) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.nodes.reserve()?;
        let socket = new_socket(kind)?;
        // The name is born with the mode of the socket: nobody may connect who mayn't later.
        self.change_mode(socket.as_fd(), new.mode & mode::PERM)?;
        // The name leads to the new socket as long as nothing is renamed or linked: here or, as the time tells, by others.
        let _unchanged = self.names.write();
        let since = now_for_files();
        let young = |attr: &WireAttr| attr.has_btime == 0 || (attr.btime.sec, attr.btime.nsec) >= since;
        self.bind_in(&socket, dir_fd.as_fd(), name)?;
        match self.made_as(&dir, dir_fd.as_fd(), name, new, mode::IFSOCK, young)? {
            Answer::Entry(entry) => {
                self.nodes.get(entry.handle)?.set_own_socket();
                Ok(Answer::EntryFd(entry, socket))
            }
            _ => Err(Errno::EIO),
        }
    }

    /// Binds to a name in a directory. One that is too long for an address with the way to the directory before it is given
    /// afterwards.
    fn bind_in(&self, socket: &OwnedFd, dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
        let way = self.proc_fds.path(dir).into_bytes();
        let path = |name: &[u8]| [&way, &b"/"[..], name].concat();
        if let Ok(address) = SocketAddrUnix::new(path(name)) {
            return rustix::net::bind(socket, &address).map_err(errno);
        }
        for attempt in 0..1000_u32 {
            let short = format!(".runsc.socket.{}.{attempt}", std::process::id()).into_bytes();
            let address = SocketAddrUnix::new(path(&short)).map_err(errno)?;
            match rustix::net::bind(socket, &address) {
                Err(rustix::io::Errno::ADDRINUSE) => {}
                Err(error) => return Err(errno(error)),
                Ok(()) => {
                    let flags = rustix::fs::RenameFlags::NOREPLACE;
                    let named = rustix::fs::renameat_with(dir, &short[..], dir, name, flags);
                    return named.map_err(|error| {
                        // Nobody knows of it.
                        let _ = rustix::fs::unlinkat(dir, &short[..], AtFlags::empty());
                        errno(error)
                    });
                }
            }
        }
        Err(Errno::EADDRINUSE)
    }
}

/// Returns the least time, in seconds and nanoseconds, that a file may bear which is made from now on: the clock of files stands
/// still between two ticks of the host, of at most 10 ms.
fn now_for_files() -> (i64, i64) {
    let least = SystemTime::now() - Duration::from_millis(20);
    let since = least.duration_since(UNIX_EPOCH).unwrap_or_default();
    (i64::try_from(since.as_secs()).unwrap_or(i64::MAX), i64::from(since.subsec_nanos()))
}

/// Makes a socket that doesn't block.
fn new_socket(kind: SocketKind) -> Result<OwnedFd, Errno> {
    let kind = match kind {
        SocketKind::Stream => SocketType::STREAM,
        SocketKind::Dgram => SocketType::DGRAM,
        SocketKind::Seqpacket => SocketType::SEQPACKET,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None).map_err(errno)
}
