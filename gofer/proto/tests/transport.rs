//! Messages between two ends of one process.

use std::io::IoSlice;

use gofer_proto::{SeqPacket, Transport, TransportError};

#[test]
fn a_message_arrives_whole_and_without_what_stands_before_it() {
    let (ours, theirs) = SeqPacket::pair().unwrap();
    let (mut ours, mut theirs) = (SeqPacket::new(ours), SeqPacket::new(theirs));
    let mut buf = [0; 8];
    for _ in 0..3 {
        ours.send(b"question", None).unwrap();
        assert_eq!(theirs.receive(&mut buf).unwrap().len, 8);
        assert_eq!(&buf, b"question");
        theirs.send(b"", None).unwrap();
        assert_eq!(ours.receive(&mut buf).unwrap().len, 0);
    }
    ours.send(b"nine more", None).unwrap();
    assert_eq!(theirs.receive(&mut buf).map(|got| got.len), Err(TransportError::Oversized));
}

#[test]
fn what_is_too_short_to_be_a_message_is_refused() {
    let (ours, theirs) = SeqPacket::pair().unwrap();
    let mut theirs = SeqPacket::new(theirs);
    let mut control = rustix::net::SendAncillaryBuffer::default();
    let flags = rustix::net::SendFlags::empty();
    rustix::net::sendmsg(&ours, &[IoSlice::new(b"abc")], &mut control, flags).unwrap();
    assert_eq!(theirs.receive(&mut [0; 8]).map(|got| got.len), Err(TransportError::Short));
    drop(ours);
    assert_eq!(theirs.receive(&mut [0; 8]).map(|got| got.len), Err(TransportError::Closed));
}
