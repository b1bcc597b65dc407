//! How the process that starts a gofer gives it its sockets: over one socket that it inherits as standard input.

use std::os::fd::{AsFd, OwnedFd};

use gofer_proto::{SeqPacket, Transport, TransportError};

/// Marks a message that carries a descriptor.
const GIVE: u8 = b'+';
/// Marks the last message.
const END: u8 = b'.';

/// Most descriptors taken.
const MAX: usize = 1024;

/// Sends descriptors, in order, and ends.
pub fn send(socket: OwnedFd, fds: &[OwnedFd]) -> Result<(), TransportError> {
    let mut transport = SeqPacket::new(socket);
    for fd in fds {
        transport.send(&[GIVE], Some(fd.as_fd()))?;
    }
    transport.send(&[END], None)
}

/// Receives what [`send`] has sent. An end without the last message is an error: the sender failed half-way.
pub fn receive(socket: OwnedFd) -> Result<Vec<OwnedFd>, TransportError> {
    let mut transport = SeqPacket::new(socket);
    let mut fds = Vec::new();
    let mut buf = [0; 1];
    loop {
        let received = transport.receive(&mut buf)?;
        match (buf, received.fd) {
            ([GIVE], Some(fd)) if fds.len() < MAX => fds.push(fd),
            ([END], None) => return Ok(fds),
            _ => return Err(TransportError::Oversized),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_arrive_in_order() {
        let (ours, theirs) = SeqPacket::pair().unwrap();
        let (a, b) = SeqPacket::pair().unwrap();
        send(ours, &[a]).unwrap();
        let mut fds = receive(theirs).unwrap();
        assert_eq!(fds.len(), 1);
        SeqPacket::new(fds.remove(0)).send(b"hello", None).unwrap();
        let mut buf = [0; 16];
        assert_eq!(SeqPacket::new(b).receive(&mut buf).unwrap().len, 5);
    }

    #[test]
    fn an_end_half_way_is_an_error() {
        let (ours, theirs) = SeqPacket::pair().unwrap();
        drop(ours);
        assert_eq!(receive(theirs).err(), Some(TransportError::Closed));
    }
}
