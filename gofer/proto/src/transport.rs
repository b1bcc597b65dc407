//! How messages travel.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno as HostErrno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::thread::sched_getcpu;

/// Why a message didn't travel. All are final for the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The peer is gone.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer sent more than fits.
    #[error("the peer sent an oversized message or too many descriptors")]
    Oversized,
    /// The peer sent less than what every message begins with.
    #[error("the peer sent a message without its beginning")]
    Short,
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
///
/// Messages come in bursts, and to wake a sleeper on an idle CPU takes longer than serving several of them. So whoever waits for
/// one from another CPU first looks for it for a bounded time, which shrinks while that is in vain. From the own CPU
/// nothing comes before we sleep, and then the host has the peer go on at once. Where it is, the sender says in four bytes before
/// each message.
#[derive(Debug)]
pub struct SeqPacket {
    socket: OwnedFd,
    /// The CPU on which the peer was when it sent its last message, as it says.
    peer: Option<u32>,
    /// How long we look at most.
    longest: Duration,
    /// How long we look now.
    patience: Duration,
    /// Waits since that was given up.
    cold: u32,
}

/// Bytes before a message: the sender's CPU.
const HEAD: usize = size_of::<u32>();

/// Returns our CPU.
fn here() -> u32 {
    u32::try_from(sched_getcpu()).unwrap_or(u32::MAX)
}

/// Longest time that an end looks for a message before it sleeps: longer than it takes while both ends sleep for each other,
/// else they would never meet awake.
const PATIENCE: Duration = Duration::from_micros(90);
/// With less than this only every so many times, but then for as long as ever.
const LEAST: Duration = Duration::from_micros(20);
const SELDOM: u32 = 16;

impl SeqPacket {
    /// Takes one end of a connected pair. To be called once before a filter is installed: asking for the CPU takes more host
    /// calls for the first time.
    pub fn new(socket: OwnedFd) -> SeqPacket {
        here();
        SeqPacket { socket, peer: None, longest: PATIENCE, patience: PATIENCE, cold: 0 }
    }

    /// Looks for no longer than this from now on, not at all for none (`--spin`); `None` leaves it as it is.
    #[must_use]
    pub fn looking(mut self, longest: Option<Duration>) -> SeqPacket {
        self.longest = longest.map_or(self.longest, |longest| longest.min(PATIENCE));
        self.patience = self.longest;
        self
    }

    /// Looks for a message without sleeping.
    fn look(&mut self, buf: &mut [u8]) -> Option<Result<Received, TransportError>> {
        if self.longest.is_zero() || self.peer.is_none_or(|cpu| cpu == here()) {
            return None;
        }
        if self.patience < LEAST.min(self.longest) {
            self.cold += 1;
            if !self.cold.is_multiple_of(SELDOM) {
                return None;
            }
            self.patience = self.longest;
        }
        let began = Instant::now();
        loop {
            match self.take(buf, RecvFlags::DONTWAIT) {
                Err(TransportError::Host(errno)) if errno == HostErrno::AGAIN.raw_os_error() => {}
                received => {
                    self.patience = self.longest;
                    return Some(received);
                }
            }
            if began.elapsed() > self.patience {
                self.patience /= 2;
                return None;
            }
            std::hint::spin_loop();
        }
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
        let head = here().to_le_bytes();
        loop {
            let mut control = SendAncillaryBuffer::new(&mut space);
            if let Some(fds) = &fds
                && !control.push(SendAncillaryMessage::ScmRights(fds))
            {
                return Err(TransportError::Oversized);
            }
            let parts = [IoSlice::new(&head), IoSlice::new(message)];
            match sendmsg(self.socket.as_fd(), &parts, &mut control, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(HostErrno::INTR) => {}
                Err(error) => return Err(host(error)),
            }
        }
    }

    fn receive(&mut self, buf: &mut [u8]) -> Result<Received, TransportError> {
        match self.look(buf) {
            Some(received) => received,
            None => self.take(buf, RecvFlags::empty()),
        }
    }
}

impl SeqPacket {
    /// Receives one message, with these flags.
    fn take(&mut self, buf: &mut [u8], flags: RecvFlags) -> Result<Received, TransportError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        let mut head = [0; HEAD];
        loop {
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut iov = [IoSliceMut::new(&mut head), IoSliceMut::new(buf)];
            let message = match recvmsg(self.socket.as_fd(), &mut iov, &mut control, flags) {
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
            let len = message.bytes.checked_sub(HEAD).ok_or(TransportError::Short)?;
            self.peer = Some(u32::from_le_bytes(head));
            return Ok(Received { len, fd, fd_lost: cut });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An end to which a message has come from another CPU, and which looks for no longer than this.
    fn with_message(looking: Option<Duration>) -> (SeqPacket, OwnedFd) {
        let (ours, theirs) = SeqPacket::pair().unwrap();
        let mut ours = SeqPacket::new(ours).looking(looking);
        ours.peer = Some(u32::MAX - 1);
        SeqPacket::new(theirs.try_clone().unwrap()).send(b"word", None).unwrap();
        (ours, theirs)
    }

    #[test]
    fn who_is_told_not_to_look_does_not() {
        let mut buf = [0; 8];
        assert!(with_message(None).0.look(&mut buf).is_some());
        assert!(with_message(Some(Duration::from_micros(3))).0.look(&mut buf).is_some(), "once at least");
        let (mut ours, _theirs) = with_message(Some(Duration::ZERO));
        assert!(ours.look(&mut buf).is_none());
        assert_eq!(ours.receive(&mut buf).unwrap().len, 4, "it is received nevertheless");
    }

    #[test]
    fn nobody_looks_for_longer_than_is_worth_it() {
        let (ours, _theirs) = with_message(Some(Duration::from_secs(10)));
        assert_eq!(ours.patience, PATIENCE);
    }
}
