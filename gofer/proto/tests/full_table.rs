//! A process that has no room for a further descriptor. Alone in its process, since it lowers the limit of that.

use std::os::fd::{AsFd, AsRawFd};

use gofer_proto::{SeqPacket, Transport};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn a_descriptor_without_room_costs_itself_only() {
    let (ours, theirs) = SeqPacket::pair().unwrap();
    let sent = theirs.as_fd().try_clone_to_owned().unwrap();
    let (mut ours, mut theirs) = (SeqPacket::new(ours), SeqPacket::new(theirs));
    theirs.send(b"question", Some(sent.as_fd())).unwrap();
    theirs.send(b"another", Some(sent.as_fd())).unwrap();
    let limit = getrlimit(Resource::Nofile);
    // The lowest free number is beyond the last that is taken.
    let next = u64::try_from(sent.as_fd().try_clone_to_owned().unwrap().as_raw_fd()).unwrap();
    setrlimit(Resource::Nofile, Rlimit { current: Some(next), ..limit }).unwrap();
    let mut buf = [0; 16];
    let lost = ours.receive(&mut buf).unwrap();
    setrlimit(Resource::Nofile, limit).unwrap();
    assert!(lost.fd_lost && lost.fd.is_none());
    assert_eq!(&buf[..lost.len], b"question");
    let came = ours.receive(&mut buf).unwrap();
    assert!(!came.fd_lost && came.fd.is_some());
    assert_eq!(&buf[..came.len], b"another");
}
