//! Unix sockets of the host: connected to and made here, where names are; given to the sentry, which has none.
//!
//! `connect(2)` and `bind(2)` take nothing but paths, so these lead over the directory of our own descriptors. No call waits.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use abi::Errno;
use abi::types::mode;
use gofer_proto::{Handle, NewNode, SocketKind};
use rustix::fs::AtFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::{Answer, Outcome};
use crate::host::errno;
use crate::policy;
use crate::server::{Server, TreeFlags};

impl Server {
    /// Connects to a socket of the host and gives the connection away: `ECONNREFUSED` where that isn't allowed, `EAGAIN`
    /// where whoever listens has too many connections waiting.
    pub(super) fn connect(&self, node: Handle, kind: SocketKind) -> Outcome {
        let node = self.nodes.get(node)?;
        let open = self.flags(&node).contains(TreeFlags::CONNECT) || node.is_own_socket();
        if !policy::is_socket(node.kind()) || node.sealed() || !open {
            return Err(Errno::ECONNREFUSED);
        }
        let fd = self.nodes.fd(&node)?;
        let socket = new_socket(kind)?;
        let address = SocketAddrUnix::new(self.proc_fds.path(fd.as_fd())).map_err(errno)?;
        rustix::net::connect(&socket, &address).map_err(errno)?;
        Ok(Answer::Fd(socket))
    }

    /// Makes a socket of the host and gives it away: `EOPNOTSUPP` where that isn't allowed.
    pub(super) fn bind(&self, dir: Handle, name: &[u8], new: &NewNode, kind: SocketKind) -> Outcome {
        let (dir, dir_fd) = self.parent(dir, name)?;
        if !self.flags(&dir).contains(TreeFlags::BIND) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.nodes.reserve()?;
        let socket = new_socket(kind)?;
        self.bind_in(&socket, dir_fd.as_fd(), name)?;
        match self.made(&dir, dir_fd.as_fd(), name, new, mode::IFSOCK)? {
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
