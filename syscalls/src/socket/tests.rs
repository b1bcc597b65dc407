//! The socket calls on a guest thread without a platform.

use abi::signal::Signal;
use abi::{Errno, Fd, Restart, SysError, UserAddr};
use sentry::vfs::FdFlags;

use super::*;
use crate::sockopt::{getsockopt, setsockopt};
use crate::testing::Guest;

const UNIX: i32 = 1;
const INET: i32 = 2;
const STREAM: u32 = 1;
const DGRAM: u32 = 2;
const NONBLOCK: u32 = 0o4000;
const NULL: UserAddr = UserAddr::NULL;

fn ok(result: Option<SysResult>) -> u64 {
    result.expect("the call does not wait").expect("the call succeeds")
}

fn err(result: Option<SysResult>) -> Errno {
    match result.expect("the call does not wait") {
        Err(SysError::Errno(errno)) => errno,
        other => panic!("{other:?}"),
    }
}

fn fd(raw: u64) -> Fd {
    Fd(i32::try_from(raw).unwrap())
}

fn pair(guest: &mut Guest, kind: u32) -> (Fd, Fd) {
    let sv = guest.put(&[0; 8]);
    ok(guest.call(|cur| socketpair(cur, UNIX, kind, 0, sv)));
    let raw = guest.get(sv, 8);
    let number = |at: usize| Fd(i32::from_ne_bytes(raw[at..at + 4].try_into().unwrap()));
    (number(0), number(4))
}

fn send(guest: &mut Guest, to: Fd, data: &[u8], flags: u32) -> Option<SysResult> {
    let buf = guest.put(data);
    let len = data.len();
    guest.call(|cur| sendto(cur, to, buf, len, flags, NULL, 0))
}

fn recv(guest: &mut Guest, from: Fd, len: usize, flags: u32) -> Result<Vec<u8>, Option<SysError>> {
    let buf = guest.put(&vec![0; len]);
    match guest.call(|cur| recvfrom(cur, from, buf, len, flags, NULL, NULL)) {
        None => Err(None),
        Some(Err(error)) => Err(Some(error)),
        Some(Ok(got)) => Ok(guest.get(buf, usize::try_from(got).unwrap().min(len))),
    }
}

struct Msg {
    at: UserAddr,
    data: UserAddr,
    control: UserAddr,
}

fn header(guest: &mut Guest, data: &[u8], control: &[u8]) -> Msg {
    let (data_at, control_at) = (guest.put(data), guest.put(control));
    let iov = guest.put(&[data_at.raw().to_ne_bytes(), (data.len() as u64).to_ne_bytes()].concat());
    let words = [0, 0, iov.raw(), 1, control_at.raw(), control.len() as u64, 0, 0];
    let at = guest.put(&words.map(u64::to_ne_bytes).concat());
    Msg { at, data: data_at, control: control_at }
}

fn rights(fds: &[Fd]) -> Vec<u8> {
    let mut writer = sentry_net::cmsg::Writer::new(1000);
    writer.put(1, 1, &fds.iter().flat_map(|fd| fd.0.to_ne_bytes()).collect::<Vec<u8>>());
    writer.finish()
}

#[test]
fn data_go_through_a_pair_and_waits_are_waits() {
    let mut guest = Guest::new();
    let (a, b) = pair(&mut guest, STREAM);
    assert_eq!(recv(&mut guest, b, 5, 0), Err(None));
    assert_eq!(recv(&mut guest, b, 5, 0x40), Err(Some(Errno::EAGAIN.into())));
    assert_eq!(ok(send(&mut guest, a, b"hello", 0)), 5);
    assert_eq!(recv(&mut guest, b, 3, 0x2), Ok(b"hel".to_vec()));
    assert_eq!(recv(&mut guest, b, 9, 0x100), Err(None));
    assert_eq!(ok(send(&mut guest, a, b"world", 0)), 5);
    assert_eq!(recv(&mut guest, b, 9, 0), Ok(b"world".to_vec()));
}

#[test]
fn bad_descriptors_and_addresses_are_told_apart() {
    let mut guest = Guest::new();
    let bad = UserAddr::new(16);
    assert_eq!(err(guest.call(|cur| socket(cur, UNIX, STREAM | 0x100, 0))), Errno::EINVAL);
    assert_eq!(err(guest.call(|cur| listen(cur, Fd(9), 1))), Errno::EBADF);
    let (a, _b) = pair(&mut guest, STREAM);
    assert_eq!(err(guest.call(|cur| bind(cur, a, bad, 129))), Errno::EINVAL);
    assert_eq!(err(guest.call(|cur| bind(cur, a, bad, 100))), Errno::EFAULT);
    assert_eq!(err(guest.call(|cur| getsockname(cur, a, bad, bad))), Errno::EFAULT);
    assert_eq!(err(guest.call(|cur| sendto(cur, a, bad, 5, 0, NULL, 0))), Errno::EFAULT);
    assert_eq!(err(guest.call(|cur| sendmsg(cur, a, bad, 0))), Errno::EFAULT);
    assert_eq!(err(guest.call(|cur| shutdown(cur, a, 3))), Errno::EINVAL);
    assert_eq!(err(guest.call(|cur| socketpair(cur, INET, STREAM, 0, bad))), Errno::EOPNOTSUPP);
    let before = guest.files().list().len();
    assert_eq!(err(guest.call(|cur| socketpair(cur, UNIX, STREAM, 0, bad))), Errno::EFAULT);
    assert_eq!(guest.files().list().len(), before);
}

#[test]
fn a_broken_pipe_signals_unless_asked_not_to() {
    let mut guest = Guest::new();
    let (a, b) = pair(&mut guest, STREAM);
    drop(guest.files().remove(b));
    assert_eq!(err(send(&mut guest, a, b"x", 0x4000)), Errno::EPIPE);
    assert!(guest.cur.task.signals.pending().is_empty());
    assert_eq!(err(send(&mut guest, a, b"x", 0)), Errno::EPIPE);
    assert!(guest.cur.task.signals.pending().contains(Signal::SIGPIPE));
}

#[test]
fn an_interrupted_receive_restarts_unless_it_has_a_timeout() {
    let mut guest = Guest::new();
    let (a, _b) = pair(&mut guest, STREAM);
    let (c, d) = pair(&mut guest, STREAM);
    drop(guest.files().remove(d));
    assert_eq!(err(send(&mut guest, c, b"x", 0)), Errno::EPIPE); // leaves SIGPIPE pending
    assert_eq!(recv(&mut guest, a, 1, 0), Err(Some(Restart::Sys.into())));
    let time = guest.put(&[5_u64.to_ne_bytes(), 0_u64.to_ne_bytes()].concat());
    ok(guest.call(|cur| setsockopt(cur, a, 1, 20, time, 16)));
    assert_eq!(recv(&mut guest, a, 1, 0), Err(Some(Errno::EINTR.into())));
}

#[test]
fn descriptors_are_passed_and_cut_to_the_room_there_is() {
    let mut guest = Guest::new();
    let (a, b) = pair(&mut guest, STREAM);
    let out = header(&mut guest, b"x", &rights(&[a, b, Fd(99)]));
    assert_eq!(err(guest.call(|cur| sendmsg(cur, a, out.at, 0))), Errno::EBADF);
    let out = header(&mut guest, b"x", &rights(&[a, b]));
    assert_eq!(ok(guest.call(|cur| sendmsg(cur, a, out.at, 0))), 1);
    let into = header(&mut guest, &[0; 4], &[0; 20]);
    assert_eq!(ok(guest.call(|cur| recvmsg(cur, b, into.at, 0x4000_0000))), 1);
    assert_eq!(guest.get(into.data, 1), b"x");
    let raw = guest.get(into.control, 20);
    assert_eq!(raw[..4], 20_u32.to_ne_bytes());
    let new = Fd(i32::from_ne_bytes(raw[16..].try_into().unwrap()));
    let (file, flags) = guest.files().get_with_flags(new).unwrap();
    assert!(Arc::ptr_eq(&file, &guest.files().get(a).unwrap()) && flags == FdFlags::CLOEXEC);
    // msg_controllen and msg_flags: MSG_CTRUNC | MSG_CMSG_CLOEXEC.
    assert_eq!(guest.get(into.at.wrapping_add(40), 8), 20_u64.to_ne_bytes());
    assert_eq!(guest.get(into.at.wrapping_add(48), 4), 0x4000_0008_u32.to_ne_bytes());
}

#[test]
fn tcp_connects_accepts_and_names_its_ends() {
    let mut guest = Guest::new();
    let server = fd(ok(guest.call(|cur| socket(cur, INET, STREAM, 0))));
    let any = guest.put(&[2, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    ok(guest.call(|cur| bind(cur, server, any, 16)));
    ok(guest.call(|cur| listen(cur, server, 5)));
    let room = guest.put(&16_u32.to_ne_bytes());
    ok(guest.call(|cur| getsockname(cur, server, any, room)));
    assert!(guest.call(|cur| accept(cur, server, NULL, NULL)).is_none());
    let client = fd(ok(guest.call(|cur| socket(cur, INET, STREAM, 0))));
    assert_eq!(ok(guest.call(|cur| connect(cur, client, any, 16))), 0);
    let peer = guest.put(&[0; 16]);
    let accepted = fd(ok(guest.call(|cur| accept4(cur, server, peer, room, NONBLOCK))));
    assert_eq!(guest.get(peer, 2), [2, 0]);
    assert_eq!(guest.get(peer.wrapping_add(4), 4), [127, 0, 0, 1]);
    assert_eq!(recv(&mut guest, accepted, 1, 0), Err(Some(Errno::EAGAIN.into())));
    let late = fd(ok(guest.call(|cur| socket(cur, INET, STREAM | NONBLOCK, 0))));
    assert_eq!(err(guest.call(|cur| connect(cur, late, any, 16))), Errno::EINPROGRESS);
    drop(guest.files().remove(server));
    let refused = fd(ok(guest.call(|cur| socket(cur, INET, STREAM, 0))));
    assert_eq!(err(guest.call(|cur| connect(cur, refused, any, 16))), Errno::ECONNREFUSED);
}

#[test]
fn many_messages_go_in_one_call() {
    let mut guest = Guest::new();
    let (a, b) = pair(&mut guest, DGRAM);
    let entries = |guest: &mut Guest, texts: [&[u8]; 3]| {
        let heads = texts.map(|text| header(guest, text, &[]));
        let raw: Vec<u8> = heads.iter().flat_map(|head| guest.get(head.at, 64)).collect();
        (guest.put(&raw), heads)
    };
    let (out, _) = entries(&mut guest, [b"one", b"", b"three"]);
    assert_eq!(ok(guest.call(|cur| sendmmsg(cur, a, out, 3, 0))), 3);
    assert_eq!(guest.get(out.wrapping_add(128 + 56), 4), 5_u32.to_ne_bytes());
    let (into, heads) = entries(&mut guest, [&[0; 8]; 3]);
    assert_eq!(ok(guest.call(|cur| recvmmsg(cur, b, into, 3, 0, NULL))), 3);
    assert_eq!(guest.get(heads[2].data, 5), b"three");
    assert_eq!(guest.get(into.wrapping_add(64 + 56), 4), 0_u32.to_ne_bytes());
    assert_eq!(err(guest.call(|cur| recvmmsg(cur, b, into, 3, 0x40, NULL))), Errno::EAGAIN);
}

#[test]
fn option_lengths_are_judged_as_on_linux() {
    let mut guest = Guest::new();
    let (a, _b) = pair(&mut guest, STREAM);
    let (value, len) = (guest.put(&[1, 0, 0, 0, 0, 0, 0, 0]), guest.put(&2_u32.to_ne_bytes()));
    assert_eq!(err(guest.call(|cur| setsockopt(cur, a, 1, 2, value, u32::MAX))), Errno::EINVAL);
    assert_eq!(err(guest.call(|cur| setsockopt(cur, a, 1, 2, value, 2))), Errno::EINVAL);
    assert_eq!(err(guest.call(|cur| setsockopt(cur, a, 1, 2, UserAddr::new(16), 4))), Errno::EFAULT);
    assert_eq!(err(guest.call(|cur| setsockopt(cur, a, 1, 9999, value, 4))), Errno::ENOPROTOOPT);
    ok(guest.call(|cur| setsockopt(cur, a, 1, 2, value, 4)));
    ok(guest.call(|cur| getsockopt(cur, a, 1, 2, value, len)));
    assert_eq!((guest.get(value, 2), guest.get(len, 4)), (vec![1, 0], 2_u32.to_ne_bytes().to_vec()));
}

#[test]
fn paths_are_the_file_system_s() {
    let mut guest = Guest::new();
    let path = |guest: &mut Guest, text: &[u8]| guest.put(&[&[1, 0][..], text, &[0]].concat());
    let (name, file) = (path(&mut guest, b"/sock"), path(&mut guest, b"/"));
    let make = |guest: &mut Guest| fd(ok(guest.call(|cur| socket(cur, UNIX, STREAM, 0))));
    let (server, client) = (make(&mut guest), make(&mut guest));
    assert_eq!(err(guest.call(|cur| connect(cur, client, name, 8))), Errno::ENOENT);
    ok(guest.call(|cur| bind(cur, server, name, 8)));
    assert_eq!(err(guest.call(|cur| bind(cur, client, name, 8))), Errno::EADDRINUSE);
    assert_eq!(err(guest.call(|cur| connect(cur, client, name, 8))), Errno::ECONNREFUSED);
    assert_eq!(err(guest.call(|cur| connect(cur, client, file, 4))), Errno::ECONNREFUSED);
    ok(guest.call(|cur| listen(cur, server, 1)));
    ok(guest.call(|cur| connect(cur, client, name, 8)));
    let shown = guest.put(&[0; 16]);
    let room = guest.put(&16_u32.to_ne_bytes());
    ok(guest.call(|cur| getpeername(cur, client, shown, room)));
    assert_eq!(guest.get(shown, 8), b"\x01\0/sock\0");
    assert_eq!(guest.get(room, 4), 8_u32.to_ne_bytes());
    // A bound socket stays what it is; the path made for a second bind is removed again.
    let other = path(&mut guest, b"/other");
    assert_eq!(err(guest.call(|cur| bind(cur, server, other, 9))), Errno::EINVAL);
    assert_eq!(err(guest.call(|cur| connect(cur, client, other, 9))), Errno::ENOENT);
}
