//! Behaviour of unix sockets, checked against what Linux 6.18 does.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use abi::Errno;
use abi::flags::Ready;
use sentry_fs::{BytesDst, BytesSrc};
use sentry_sync::{Level, Mutex, Notify};

use crate::addr::UnixName;
use crate::socket::{
    Caller, Caps, Control, FileRef, Incoming, NoPaths, Outgoing, PathBinding, PathKey, Received, Shutdown, Socket,
    Ucred, UnixPaths,
};
use crate::uapi::{MsgFlags, af, so};
use crate::{NetNamespace, SocketFile, opts};

const STREAM: u32 = 1;
const DGRAM: u32 = 2;
const SEQPACKET: u32 = 5;
const UNIX: i32 = af::UNIX as i32;

fn caller() -> Caller<'static> {
    Caller {
        cred: Ucred { pid: 7, uid: 1000, gid: 100 },
        caps: Caps::empty(),
        nofile: 4,
        paths: &NoPaths,
        socket_of: |file| Arc::clone(file).downcast::<SocketFile>().ok().map(|file| Arc::clone(file.socket())),
    }
}

fn pair(kind: u32) -> (Arc<dyn Socket>, Arc<dyn Socket>) {
    NetNamespace::new().socketpair(&caller(), UNIX, kind, 0).unwrap()
}

fn send(socket: &Arc<dyn Socket>, data: &[u8]) -> Result<usize, Errno> {
    send_with(socket, data, None, Vec::new())
}

fn send_with(socket: &Arc<dyn Socket>, data: &[u8], to: Option<&[u8]>, control: Vec<Control>) -> Result<usize, Errno> {
    let mut src = BytesSrc::new(data);
    socket.send(&caller(), &mut Outgoing { flags: MsgFlags::DONTWAIT, to, control, src: &mut src })
}

fn recv_full(socket: &Arc<dyn Socket>, len: usize, flags: MsgFlags) -> Result<(Vec<u8>, Received), Errno> {
    let mut buf = vec![0; len];
    let mut dst = BytesDst::new(&mut buf);
    let received = socket.recv(&mut Incoming { flags: flags | MsgFlags::DONTWAIT, dst: &mut dst })?;
    buf.truncate(received.len.min(len));
    Ok((buf, received))
}

fn recv(socket: &Arc<dyn Socket>, len: usize) -> Result<Vec<u8>, Errno> {
    recv_full(socket, len, MsgFlags::empty()).map(|(data, _)| data)
}

fn name(text: &[u8]) -> Vec<u8> {
    UnixName::write(Some(&UnixName::Abstract(text.to_vec()))).bytes().to_vec()
}

fn bits(socket: &Arc<dyn Socket>) -> u32 {
    socket.ready().bits()
}

#[test]
fn readiness_of_a_pair_is_linux_s_in_every_state() {
    let (a, b) = pair(STREAM);
    assert_eq!(bits(&a), 0x304);
    b.close();
    assert_eq!(bits(&a), 0x2355);
    assert_eq!(send(&a, b""), Err(Errno::EPIPE));

    let (a, b) = pair(STREAM);
    send(&a, b"1").unwrap();
    b.close();
    assert_eq!(bits(&a), 0x235d);
    assert_eq!(send(&a, b"1"), Err(Errno::EPIPE));
    assert_eq!(recv(&a, 1), Err(Errno::ECONNRESET));
    assert_eq!(recv(&a, 1), Ok(vec![]));
    assert_eq!(bits(&a), 0x2355);

    let (a, b) = pair(STREAM);
    a.shutdown(Shutdown::Write).unwrap();
    assert_eq!((bits(&a), bits(&b)), (0x304, 0x2345));
    b.shutdown(Shutdown::Write).unwrap();
    assert_eq!((bits(&a), bits(&b)), (0x2355, 0x2355));
}

#[test]
fn fresh_sockets_report_what_linux_reports() {
    let ns = NetNamespace::new();
    for (kind, expected) in [(STREAM, 0x314), (DGRAM, 0x304), (SEQPACKET, 0x314)] {
        let socket = ns.socket(&caller(), UNIX, kind, 0).unwrap();
        assert_eq!(bits(&socket), expected);
    }
    let stream = ns.socket(&caller(), UNIX, STREAM, 0).unwrap();
    assert_eq!(recv(&stream, 1), Err(Errno::EINVAL));
    assert_eq!(send(&stream, b"1"), Err(Errno::ENOTCONN));
    assert_eq!(stream.peer_name(), Err(Errno::ENOTCONN));
    assert!(matches!(stream.accept(), Err(Errno::EINVAL)));
    assert_eq!(stream.listen(&caller(), 1), Err(Errno::EINVAL));
    assert_eq!(stream.shutdown(Shutdown::Both), Ok(()));
    let seqpacket = ns.socket(&caller(), UNIX, SEQPACKET, 0).unwrap();
    assert_eq!(recv(&seqpacket, 1), Err(Errno::ENOTCONN));
}

#[test]
fn socket_types_that_do_not_exist_are_refused() {
    let ns = NetNamespace::new();
    let error = |domain, kind, protocol| ns.socket(&caller(), domain, kind, protocol).err();
    assert_eq!(error(UNIX, STREAM, 5), Some(Errno::EPROTONOSUPPORT));
    assert_eq!(error(UNIX, 4, 0), Some(Errno::ESOCKTNOSUPPORT));
    assert_eq!(error(UNIX, 15, 0), Some(Errno::EINVAL));
    assert_eq!(error(99, STREAM, 0), Some(Errno::EAFNOSUPPORT));
    assert_eq!(error(40, STREAM, 0), Some(Errno::EAFNOSUPPORT));
}

#[test]
fn a_full_stream_takes_no_more_until_three_quarters_are_read() {
    let (a, b) = pair(STREAM);
    let sent = send(&a, &vec![7; 1_000_000]).unwrap();
    assert_eq!(sent, 212_992);
    assert_eq!(send(&a, b"x"), Err(Errno::EAGAIN));
    assert_eq!(bits(&a), 0);
    recv(&b, 100_000).unwrap();
    assert_eq!(bits(&a) & Ready::OUT.bits(), 0);
    let woken = Arc::new(Count::default());
    let _watch = a.core().wait.register(Ready::OUT.bits(), Arc::clone(&woken) as Arc<dyn Notify>);
    recv(&b, 100_000).unwrap();
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert_eq!(bits(&a), 0x304);
}

#[derive(Default)]
struct Count(AtomicU32);

impl Notify for Count {
    fn notify(&self, _events: u32) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed);
        true
    }
}

#[test]
fn records_are_kept_apart_and_cut() {
    let (a, b) = pair(SEQPACKET);
    send(&a, b"hello").unwrap();
    send(&a, b"").unwrap();
    send(&a, b"world").unwrap();
    let (data, received) = recv_full(&b, 3, MsgFlags::empty()).unwrap();
    assert_eq!((data.as_slice(), received.flags), (&b"hel"[..], MsgFlags::TRUNC));
    assert_eq!(recv(&b, 9), Ok(vec![]));
    let (_, received) = recv_full(&b, 1, MsgFlags::TRUNC | MsgFlags::PEEK).unwrap();
    assert_eq!(received.len, 5);
    assert_eq!(recv(&b, 9), Ok(b"world".to_vec()));
    assert_eq!(recv(&b, 9), Err(Errno::EAGAIN));
}

#[test]
fn as_many_small_records_fit_as_on_linux() {
    for kind in [SEQPACKET, DGRAM] {
        let (a, _b) = pair(kind);
        let sent = (0..).take_while(|_| send(&a, b"x").is_ok()).count();
        assert_eq!(sent, 278);
        assert_eq!(bits(&a), 0);
    }
}

#[test]
fn files_end_a_stream_read_and_come_with_their_first_byte() {
    let (a, b) = pair(STREAM);
    let file: FileRef = Arc::new(42_u32);
    send(&a, b"before").unwrap();
    send_with(&a, b"with", None, vec![Control::Rights(vec![Arc::clone(&file)])]).unwrap();
    send(&a, b"after").unwrap();
    let (data, received) = recv_full(&b, 7, MsgFlags::empty()).unwrap();
    assert_eq!(data, b"beforew");
    assert!(matches!(&received.control[..], [Control::Rights(files)] if Arc::ptr_eq(&files[0], &file)));
    let (data, received) = recv_full(&b, 100, MsgFlags::empty()).unwrap();
    assert_eq!(data, b"ithafter");
    assert!(received.control.is_empty());
}

#[test]
fn queued_files_are_dropped_with_the_socket() {
    let (a, b) = pair(STREAM);
    let file: FileRef = Arc::new(42_u32);
    send_with(&a, b"x", None, vec![Control::Rights(vec![Arc::clone(&file)])]).unwrap();
    assert_eq!(Arc::strong_count(&file), 2);
    let (_, peeked) = recv_full(&b, 1, MsgFlags::PEEK).unwrap();
    assert_eq!(peeked.control.len(), 1);
    drop(peeked);
    b.close();
    assert_eq!(Arc::strong_count(&file), 1);
}

#[test]
fn a_user_has_a_limit_of_files_in_flight() {
    let (a, b) = pair(STREAM);
    let one = || vec![Control::Rights(vec![Arc::new(1_u8) as FileRef; 3])];
    assert_eq!(send_with(&a, b"x", None, one()), Ok(1));
    assert_eq!(send_with(&a, b"x", None, one()), Ok(1));
    assert_eq!(send_with(&a, b"x", None, one()), Err(Errno::ETOOMANYREFS));
    recv(&b, 1).unwrap();
    assert_eq!(send_with(&a, b"x", None, one()), Ok(1));
}

#[test]
fn credentials_are_delivered_and_separate_writers() {
    let (a, b) = pair(STREAM);
    opts::set(&*b, &caller(), so::PASSCRED, &1_i32.to_ne_bytes()).unwrap();
    let other = Ucred { pid: 8, uid: 1, gid: 2 };
    send(&a, b"one").unwrap();
    send_with(&a, b"two", None, vec![Control::Credentials(other)]).unwrap();
    let (data, received) = recv_full(&b, 100, MsgFlags::empty()).unwrap();
    assert_eq!(data, b"one");
    assert!(matches!(received.control[..], [Control::Credentials(cred)] if cred == caller().cred));
    let (data, received) = recv_full(&b, 100, MsgFlags::empty()).unwrap();
    assert_eq!(data, b"two");
    assert!(matches!(received.control[..], [Control::Credentials(cred)] if cred == other));
}

#[test]
fn connections_queue_up_to_the_backlog_and_then_wait() {
    let ns = NetNamespace::new();
    let server = ns.socket(&caller(), UNIX, STREAM, 0).unwrap();
    let addr = name(b"srv");
    server.bind(&caller(), &addr).unwrap();
    assert_eq!(server.bind(&caller(), &name(b"two")), Err(Errno::EINVAL));
    let clients: Vec<_> = (0..3).map(|_| ns.socket(&caller(), UNIX, STREAM, 0).unwrap()).collect();
    assert_eq!(clients[0].connect(&caller(), &addr), Err(Errno::ECONNREFUSED));
    server.listen(&caller(), 1).unwrap();
    assert_eq!(bits(&server), 0);
    assert_eq!(clients[0].connect(&caller(), &addr), Ok(()));
    assert_eq!(clients[0].connect(&caller(), &addr), Err(Errno::EISCONN));
    assert_eq!(clients[1].connect(&caller(), &addr), Ok(()));
    assert_eq!(clients[2].connect(&caller(), &addr), Err(Errno::EAGAIN));
    assert_eq!(bits(&server), 0x41);
    let woken = Arc::new(Count::default());
    let _watch = clients[2].core().wait.register(Ready::OUT.bits(), Arc::clone(&woken) as Arc<dyn Notify>);
    let accepted = server.accept().unwrap();
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert_eq!(clients[2].connect(&caller(), &addr), Ok(()));
    send(&clients[0], b"hi").unwrap();
    assert_eq!(recv(&accepted, 9), Ok(b"hi".to_vec()));
    assert_eq!(accepted.local_name().unwrap().bytes(), addr);
    assert_eq!(clients[0].peer_name().unwrap().bytes(), addr);
    assert_eq!(accepted.peer_name().unwrap().bytes(), [1, 0]);
    assert_eq!(accepted.peer_cred(), Some(caller().cred));
    server.close();
    assert_eq!(recv(&clients[1], 1), Err(Errno::ECONNRESET));
    assert_eq!(ns.socket(&caller(), UNIX, STREAM, 0).unwrap().bind(&caller(), &addr), Ok(()));
}

#[test]
fn datagrams_carry_their_sender_and_fill_a_queue_of_eleven() {
    let ns = NetNamespace::new();
    let [a, b] = [(); 2].map(|()| ns.socket(&caller(), UNIX, DGRAM, 0).unwrap());
    let (name_a, name_b) = (name(b"a"), name(b"b"));
    a.bind(&caller(), &name_a).unwrap();
    b.bind(&caller(), &name_b).unwrap();
    assert_eq!(send(&a, b"x"), Err(Errno::ENOTCONN));
    assert_eq!(send_with(&a, b"x", Some(&name(b"none")), Vec::new()), Err(Errno::ECONNREFUSED));
    let sent = (0..).take_while(|_| send_with(&a, b"x", Some(&name_b), Vec::new()).is_ok()).count();
    assert_eq!(sent, 11);
    a.connect(&caller(), &name_b).unwrap();
    assert_eq!(bits(&a) & Ready::OUT.bits(), 0);
    let (_, received) = recv_full(&b, 9, MsgFlags::empty()).unwrap();
    assert_eq!(received.from.unwrap().bytes(), name_a);
    assert_ne!(bits(&a) & Ready::OUT.bits(), 0);
    b.connect(&caller(), &name_a).unwrap();
    let stranger = ns.socket(&caller(), UNIX, DGRAM, 0).unwrap();
    assert_eq!(stranger.connect(&caller(), &name_a), Err(Errno::EPERM));
    assert_eq!(send_with(&stranger, b"x", Some(&name_a), Vec::new()), Err(Errno::EPERM));
    let stream = ns.socket(&caller(), UNIX, STREAM, 0).unwrap();
    assert_eq!(stream.connect(&caller(), &name_a), Err(Errno::EPROTOTYPE));
}

#[test]
fn a_datagram_peer_that_went_away_refuses_once() {
    let (a, b) = pair(DGRAM);
    b.close();
    assert_eq!(bits(&a), 0x304);
    assert_eq!(send(&a, b"1"), Err(Errno::ECONNREFUSED));
    assert_eq!(send(&a, b"1"), Err(Errno::ENOTCONN));
}

#[test]
fn oversized_datagrams_are_refused() {
    let (a, _b) = pair(DGRAM);
    opts::set(&*a, &caller(), so::SNDBUF, &1_i32.to_ne_bytes()).unwrap();
    assert_eq!(opts::get(&*a, so::SNDBUF, 4), Ok(4608_i32.to_ne_bytes().to_vec()));
    assert_eq!(send(&a, &[0; 4600]), Err(Errno::EMSGSIZE));
    assert_eq!(send(&a, &[0; 4576]), Ok(4576));
}

#[test]
fn peek_offsets_walk_through_a_stream() {
    let (a, b) = pair(STREAM);
    opts::set(&*b, &caller(), so::PEEK_OFF, &1_i32.to_ne_bytes()).unwrap();
    send(&a, b"abcdef").unwrap();
    assert_eq!(recv_full(&b, 2, MsgFlags::PEEK).unwrap().0, b"bc");
    assert_eq!(recv_full(&b, 2, MsgFlags::PEEK).unwrap().0, b"de");
    assert_eq!(recv(&b, 4), Ok(b"abcd".to_vec()));
    assert_eq!(recv_full(&b, 2, MsgFlags::PEEK).unwrap().0, b"f");
}

#[test]
fn autobind_gives_five_hexadecimal_digits() {
    let ns = NetNamespace::new();
    let socket = ns.socket(&caller(), UNIX, DGRAM, 0).unwrap();
    socket.bind(&caller(), &af::UNIX.to_ne_bytes()).unwrap();
    assert_eq!(socket.local_name().unwrap().bytes(), [&[1, 0, 0][..], b"00000"].concat());
}

struct Vfs(Mutex<HashMap<Vec<u8>, u64>>);

impl UnixPaths for Vfs {
    fn create(&self, path: &[u8]) -> Result<PathBinding, Errno> {
        let mut files = self.0.lock();
        if files.contains_key(path) {
            return Err(Errno::EADDRINUSE);
        }
        let ino = files.len() as u64 + 1;
        files.insert(path.to_vec(), ino);
        Ok(PathBinding { key: PathKey { dev: 1, ino }, pin: Arc::new(()) })
    }

    fn remove(&self, path: &[u8]) {
        self.0.lock().remove(path);
    }

    fn resolve(&self, path: &[u8]) -> Result<PathKey, Errno> {
        self.0.lock().get(path).map(|ino| PathKey { dev: 1, ino: *ino }).ok_or(Errno::ENOENT)
    }
}

#[test]
fn paths_belong_to_the_file_system() {
    let vfs = Vfs(Mutex::new(Level::Mount, HashMap::new()));
    let caller = Caller { paths: &vfs, ..caller() };
    let ns = NetNamespace::new();
    let path = UnixName::write(Some(&UnixName::Path(b"/tmp/s".to_vec()))).bytes().to_vec();
    let server = ns.socket(&caller, UNIX, STREAM, 0).unwrap();
    let client = ns.unshare().socket(&caller, UNIX, STREAM, 0).unwrap();
    assert_eq!(client.connect(&caller, &path), Err(Errno::ENOENT));
    server.bind(&caller, &path).unwrap();
    assert_eq!(client.bind(&caller, &path), Err(Errno::EADDRINUSE));
    server.listen(&caller, 0).unwrap();
    client.connect(&caller, &path).unwrap();
    server.close();
    let late = ns.socket(&caller, UNIX, STREAM, 0).unwrap();
    assert_eq!(late.connect(&caller, &path), Err(Errno::ECONNREFUSED));
}

#[test]
fn dropping_the_file_closes_the_socket() {
    let (a, b) = pair(STREAM);
    let file = SocketFile::new(a);
    drop(file);
    assert_eq!(recv(&b, 1), Ok(vec![]));
}

#[test]
fn a_long_chain_of_sockets_in_flight_is_closed_without_recursion() {
    let ns = NetNamespace::new();
    let build = move || {
        let caller = Caller { caps: Caps::all(), ..caller() };
        let mut chain: Option<FileRef> = None;
        for _ in 0..20_000 {
            let (a, b) = ns.socketpair(&caller, UNIX, STREAM, 0).unwrap();
            let control = chain.take().map(|file| Control::Rights(vec![file])).into_iter().collect();
            let (mut src, flags) = (BytesSrc::new(b"x"), MsgFlags::DONTWAIT);
            a.send(&caller, &mut Outgoing { flags, to: None, control, src: &mut src }).unwrap();
            // Only the receiving end lives on, in the next queue.
            drop(SocketFile::new(a));
            chain = Some(SocketFile::new(b));
        }
    };
    std::thread::Builder::new().stack_size(256 * 1024).spawn(build).unwrap().join().unwrap();
}

#[test]
fn sockets_that_only_hold_each_other_are_closed() {
    let ns = NetNamespace::new();
    let caller = Caller { nofile: 1000, ..caller() };
    for kind in [STREAM, DGRAM, SEQPACKET] {
        let pair =
            || ns.socketpair(&caller, UNIX, kind, 0).map(|(a, b)| (SocketFile::new(a), SocketFile::new(b))).unwrap();
        let pass = |to: &Arc<SocketFile>, files: Vec<FileRef>| {
            let (mut src, flags) = (BytesSrc::new(b"x"), MsgFlags::DONTWAIT);
            let control = vec![Control::Rights(files)];
            to.socket().send(&caller, &mut Outgoing { flags, to: None, control, src: &mut src }).unwrap();
        };
        let witness: FileRef = Arc::new(42_u32);
        let ((a, b), (c, d)) = (pair(), pair());
        pass(&a, vec![Arc::clone(&d) as FileRef, Arc::clone(&witness)]);
        pass(&c, vec![Arc::clone(&b) as FileRef, Arc::clone(&witness)]);
        drop((a, c, d));
        assert_eq!(Arc::strong_count(&witness), 3, "b can still be read");
        drop(b);
        // The last closing socket of all looks for garbage.
        drop(pair());
        assert_eq!(Arc::strong_count(&witness), 1);
    }
}
