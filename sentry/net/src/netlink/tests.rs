use std::sync::Arc;

use abi::Errno;
use proptest::prelude::*;
use sentry_fs::{BytesDst, BytesSrc};

use super::route;
use crate::NetNamespace;
use crate::socket::{Caller, Incoming, Outgoing, Socket, Ucred};
use crate::uapi::MsgFlags;

fn request(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    super::wire::Message::new(kind, flags, 9, 0).body(body).finish()
}

fn kinds(mut data: &[u8]) -> Vec<u16> {
    std::iter::from_fn(|| super::wire::next(&mut data).map(|message| message.kind)).collect()
}

fn error(answers: &[Vec<u8>]) -> i32 {
    i32::from_ne_bytes(answers[0][16..20].try_into().unwrap())
}

fn open() -> Arc<dyn Socket> {
    NetNamespace::new().socket(&caller(), 16, 3, 0).unwrap()
}

fn caller() -> Caller<'static> {
    Caller::plain(Ucred { pid: 77, uid: 1, gid: 1 })
}

#[test]
fn a_dump_of_addresses_ends_with_done() {
    let socket = open();
    let ask = request(22, 0x301, &[0; 8]);
    let mut src = BytesSrc::new(&ask);
    let flags = MsgFlags::empty();
    let sent = socket.send(&caller(), &mut Outgoing { flags, to: None, control: Vec::new(), src: &mut src });
    assert_eq!(sent, Ok(ask.len()));
    assert_eq!(socket.local_name().unwrap().bytes()[4..8], 77_u32.to_ne_bytes());
    let mut seen = Vec::new();
    for _ in 0..2 {
        let mut buf = [0; 4096];
        let mut dst = BytesDst::new(&mut buf);
        let len = socket.recv(&mut Incoming { flags, dst: &mut dst }).unwrap().len;
        seen.extend(kinds(&buf[..len]));
    }
    assert_eq!(seen, [20, 20, 3]);
    let mut buf = [0; 4096];
    assert_eq!(socket.recv(&mut Incoming { flags, dst: &mut BytesDst::new(&mut buf) }).err(), Some(Errno::EAGAIN));
}

#[test]
fn changes_need_the_right_and_unknown_questions_are_answered_honestly() {
    assert_eq!(error(&route::serve(None, &request(20, 5, &[0; 8]), 1, false)), -1);
    assert_eq!(error(&route::serve(None, &request(38, 0x301, &[0; 20]), 1, false)), -95);
    let mut up = [0; 16];
    (up[4], up[8], up[12]) = (1, 1, 1);
    assert_eq!(error(&route::serve(None, &request(16, 5, &up), 1, true)), 0);
    up[4] = 7;
    assert_eq!(error(&route::serve(None, &request(18, 1, &up), 1, false)), -19);
}

#[test]
fn protocols_that_are_not_there_are_refused() {
    let ns = NetNamespace::new();
    assert_eq!(ns.socket(&caller(), 16, 3, 12).err(), Some(Errno::EPROTONOSUPPORT));
    assert_eq!(ns.socket(&caller(), 16, 1, 0).err(), Some(Errno::ESOCKTNOSUPPORT));
    assert!(ns.socket(&caller(), 16, 2, 15).is_ok());
}

proptest! {
    #[test]
    fn garbage_never_panics(raw in proptest::collection::vec(any::<u8>(), 0..300), kind in 0_u16..60, flags: u16) {
        let _ = route::serve(None, &raw, 1, true);
        let _ = route::serve(None, &request(kind, flags | 1, &raw), 1, true);
        let ns = NetNamespace::new();
        let _ = super::diag::serve(&ns, &raw, 1, true);
        let _ = super::diag::serve(&ns, &request(20, flags | 1, &raw), 1, true);
    }
}
