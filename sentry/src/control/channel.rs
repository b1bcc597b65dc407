//! How messages travel: one JSON document a packet, with descriptors beside it.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{FileType, MemfdFlags};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::protocol::{Envelope, VERSION};

/// Longest message in bytes.
const MAX: usize = 16 * 1024;
/// Most descriptors beside a message.
pub const MAX_FDS: usize = 128;
/// Longest document in a memfd, in bytes: more than Linux lets arguments and environment of a process be.
const MAX_DOCUMENT: usize = 8 << 20;

/// Why a message didn't travel.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The host refused.
    #[error("{0}")]
    Host(Errno),
    /// The message makes no sense.
    #[error("a malformed message: {0}")]
    Malformed(String),
    /// The peer is of another version.
    #[error("the sandbox was started by another version of runsc (protocol {0}, ours is {VERSION})")]
    Version(u32),
}

fn malformed(error: impl std::fmt::Display) -> ChannelError {
    ChannelError::Malformed(error.to_string())
}

/// A message that has come.
#[derive(Debug)]
pub struct Received<T> {
    /// The message.
    pub body: T,
    /// The descriptors beside it, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

/// One end of a connection.
#[derive(Debug)]
pub struct Channel(Arc<OwnedFd>);

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Channel {
    /// Takes one end of a connected pair of sockets of type SEQPACKET.
    pub fn new(socket: OwnedFd) -> Channel {
        Channel(Arc::new(socket))
    }

    /// Returns the socket, to watch it.
    pub fn socket(&self) -> &Arc<OwnedFd> {
        &self.0
    }

    /// Sends one message.
    pub fn send(&self, body: &impl Serialize, fds: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        let text = serde_json::to_vec(&Envelope { version: VERSION, body }).map_err(malformed)?;
        if text.len() > MAX || fds.len() > MAX_FDS {
            return Err(malformed("too long, or too many descriptors"));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(malformed("too many descriptors"));
        }
        let iov = [IoSlice::new(&text)];
        loop {
            match rustix::net::sendmsg(&self.0, &iov, &mut control, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(ChannelError::Host(error)),
            }
        }
    }

    /// Receives one message; `None` once the peer is gone. On a non-blocking socket fails with `EAGAIN` where there is
    /// none.
    pub fn receive<T: DeserializeOwned>(&self) -> Result<Option<Received<T>>, ChannelError> {
        let mut buf = vec![0; MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let message = loop {
            let mut iov = [IoSliceMut::new(&mut buf)];
            match rustix::net::recvmsg(&self.0, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(message) => break message,
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(None),
                Err(error) => return Err(ChannelError::Host(error)),
            }
        };
        let parts = control.drain().filter_map(|part| match part {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let fds: Vec<OwnedFd> = parts.flatten().collect();
        if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(malformed("too long, or too many descriptors"));
        }
        if message.bytes == 0 {
            return Ok(None);
        }
        let text = buf.get(..message.bytes).unwrap_or_default();
        let version: Envelope<serde::de::IgnoredAny> = serde_json::from_slice(text).map_err(malformed)?;
        if version.version != VERSION {
            return Err(ChannelError::Version(version.version));
        }
        let envelope: Envelope<T> = serde_json::from_slice(text).map_err(malformed)?;
        Ok(Some(Received { body: envelope.body, fds }))
    }
}

/// Puts a document into a memfd to send beside a message.
pub fn document(value: &impl Serialize) -> Result<OwnedFd, ChannelError> {
    let text = serde_json::to_vec(value).map_err(malformed)?;
    if text.len() > MAX_DOCUMENT {
        return Err(malformed("a document that is too long"));
    }
    let fd = rustix::fs::memfd_create("runsc-control", MemfdFlags::CLOEXEC).map_err(ChannelError::Host)?;
    let mut rest = text.as_slice();
    while !rest.is_empty() {
        let written = rustix::io::write(&fd, rest).map_err(ChannelError::Host)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(fd)
}

/// Reads a document that came beside a message.
pub fn read_document<T: DeserializeOwned>(fd: &OwnedFd) -> Result<T, ChannelError> {
    let stat = rustix::fs::fstat(fd).map_err(ChannelError::Host)?;
    // Anything else might block, or never end.
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(malformed("a document that is no file"));
    }
    let size = usize::try_from(stat.st_size).ok().filter(|size| *size <= MAX_DOCUMENT);
    let mut text = vec![0; size.ok_or_else(|| malformed("a document that is too long"))?];
    let mut done = 0;
    while let Some(rest) = text.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(fd, rest, done as u64).map_err(ChannelError::Host)? {
            0 => return Err(malformed("a document that has shrunk")),
            got => done += got,
        }
    }
    serde_json::from_slice(&text).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};

    use super::*;
    use crate::control::protocol::{Reply, Request, Target};

    fn pair() -> (Channel, Channel) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (one, other) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        (Channel::new(one), Channel::new(other))
    }

    #[test]
    fn a_message_travels_with_its_descriptors() {
        let (one, other) = pair();
        let fd = document(&vec!["a", "b"]).unwrap();
        let request = Request::Signal { target: Target::Process(7), number: 9 };
        one.send(&request, &[fd.as_fd(), fd.as_fd()]).unwrap();
        let got: Received<Request> = other.receive().unwrap().unwrap();
        assert!(matches!(got.body, Request::Signal { target: Target::Process(7), number: 9 }));
        assert_eq!(got.fds.len(), 2);
        assert_eq!(read_document::<Vec<String>>(&got.fds[0]).unwrap(), ["a", "b"]);
        drop(one);
        assert!(other.receive::<Request>().unwrap().is_none());
    }

    #[test]
    fn garbage_is_an_error() {
        let (one, other) = pair();
        let unknown = format!("{{\"version\":{VERSION},\"body\":{{\"Fly\":1}}}}");
        for text in [&b"{}"[..], b"[", unknown.as_bytes(), &[b'x'; MAX + 1]] {
            rustix::net::send(&one, text, SendFlags::empty()).unwrap();
            assert!(matches!(other.receive::<Request>(), Err(ChannelError::Malformed(_))));
        }
        rustix::net::send(&one, b"{\"version\":9,\"body\":\"Done\"}", SendFlags::empty()).unwrap();
        assert!(matches!(other.receive::<Reply>(), Err(ChannelError::Version(9))));
    }

    #[test]
    fn a_document_is_a_file_of_bounded_length() {
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        assert!(read_document::<Vec<u8>>(&reader).is_err());
        let long = rustix::fs::memfd_create("long", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&long, 1 << 40).unwrap();
        assert!(read_document::<Vec<u8>>(&long).is_err());
    }
}
