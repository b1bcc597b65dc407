//! How messages travel.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno as HostErrno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Why a message didn't travel. All are final for the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The peer is gone.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer sent more than fits.
    #[error("the peer sent an oversized message or too many descriptors")]
    Oversized,
    /// The host refused.
    #[error("host error {0}")]
    Host(i32),
}

/// A message received.
#[derive(Debug)]
pub struct Received {
    /// Bytes in the buffer.
    pub len: usize,
    /// The descriptor that came with it.
    pub fd: Option<OwnedFd>,
    /// One came that our table of descriptors has no room for: the host has closed it. The message itself is whole.
    pub fd_lost: bool,
}

/// Carries whole messages with at most one descriptor each.
pub trait Transport: Send {
    /// Sends one message; waits while the peer's queue is full.
    fn send(&mut self, message: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<(), TransportError>;

    /// Receives one message; waits for it.
    fn receive(&mut self, buf: &mut [u8]) -> Result<Received, TransportError>;
}

/// A Unix socket pair of type SEQPACKET, descriptors by SCM_RIGHTS.
#[derive(Debug)]
pub struct SeqPacket(OwnedFd);

impl SeqPacket {
    /// Takes one end of a connected pair.
    pub fn new(socket: OwnedFd) -> SeqPacket {
        SeqPacket(socket)
    }

    /// Makes a pair, close-on-exec.
    pub fn pair() -> Result<(OwnedFd, OwnedFd), TransportError> {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).map_err(host)
    }
}

fn host(error: HostErrno) -> TransportError {
    match error {
        HostErrno::PIPE | HostErrno::CONNRESET => TransportError::Closed,
        other => TransportError::Host(other.raw_os_error()),
    }
}

impl Transport for SeqPacket {
    fn send(&mut self, message: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<(), TransportError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let fds = fd.map(|fd| [fd]);
        loop {
            let mut control = SendAncillaryBuffer::new(&mut space);
            if let Some(fds) = &fds
                && !control.push(SendAncillaryMessage::ScmRights(fds))
            {
                return Err(TransportError::Oversized);
            }
            match sendmsg(self.0.as_fd(), &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(HostErrno::INTR) => {}
                Err(error) => return Err(host(error)),
            }
        }
    }

    fn receive(&mut self, buf: &mut [u8]) -> Result<Received, TransportError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        loop {
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut iov = [IoSliceMut::new(buf)];
            let message = match recvmsg(self.0.as_fd(), &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(message) => message,
                Err(HostErrno::INTR) => continue,
                Err(error) => return Err(host(error)),
            };
            // What doesn't fit into the control buffer the host has closed already; what does fit is closed by dropping it.
            let mut fds = control.drain().filter_map(|part| match part {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            });
            let fd = fds.next().and_then(|mut fds| fds.next());
            // Too many are cut after the first; where there is none at all (`RLIMIT_NOFILE`), the buffer was large enough.
            let cut = message.flags.contains(ReturnFlags::CTRUNC);
            if message.flags.contains(ReturnFlags::TRUNC) || (cut && fd.is_some()) {
                return Err(TransportError::Oversized);
            }
            if message.bytes == 0 {
                return Err(TransportError::Closed);
            }
            return Ok(Received { len: message.bytes, fd, fd_lost: cut });
        }
    }
}
