//! Host sockets over the host's own loopback.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use abi::Errno;
use abi::flags::Ready;
use sentry_fs::hostfd::{HostReactor, Watch};
use sentry_fs::{BytesDst, BytesSrc};
use sentry_sync::WaitQueue;

use crate::addr::InetAddr;
use crate::socket::{Caller, Caps, Incoming, NoPaths, Outgoing, Received, Socket, Ucred};
use crate::uapi::{MsgFlags, af, ip, so, sol, tcp};
use crate::{HostNet, NetNamespace, opts};

struct NoReactor;

impl HostReactor for NoReactor {
    fn watch(&self, _fd: &Arc<OwnedFd>, _queue: &WaitQueue) -> Result<Watch, Errno> {
        Ok(Box::new(()))
    }
}

fn namespace() -> Arc<NetNamespace> {
    let ns = NetNamespace::new();
    ns.use_host(HostNet::new(Arc::new(NoReactor), "/proc").unwrap());
    ns
}

fn caller(caps: Caps) -> Caller<'static> {
    let cred = Ucred { pid: 7, uid: 1000, gid: 100 };
    Caller { cred, caps, nofile: 4, paths: &NoPaths, socket_of: |_| None }
}

fn nobody() -> Caller<'static> {
    caller(Caps::empty())
}

fn loopback(port: u16) -> Vec<u8> {
    InetAddr::new([127, 0, 0, 1].into(), port).write(af::INET).bytes().to_vec()
}

fn make(ns: &Arc<NetNamespace>, kind: u32) -> Arc<dyn Socket> {
    ns.socket(&nobody(), 2, kind, 0).unwrap()
}

fn send(socket: &dyn Socket, data: &[u8], to: Option<&[u8]>) -> Result<usize, Errno> {
    let mut src = BytesSrc::new(data);
    socket.send(&nobody(), &mut Outgoing { flags: MsgFlags::empty(), to, control: Vec::new(), src: &mut src })
}

fn recv(socket: &dyn Socket, len: usize, flags: MsgFlags) -> Result<(Vec<u8>, Received), Errno> {
    let mut buf = vec![0; len];
    let received = socket.recv(&mut Incoming { flags, dst: &mut BytesDst::new(&mut buf) })?;
    buf.truncate(received.len.min(len));
    Ok((buf, received))
}

fn wait(socket: &dyn Socket, wanted: Ready) {
    for _ in 0..10_000 {
        if socket.ready().intersects(wanted) {
            return;
        }
        std::thread::yield_now();
    }
    panic!("not ready: {:?}", socket.ready());
}

#[test]
fn a_connection_carries_data_both_ways_and_ends() {
    let ns = namespace();
    let (listener, client) = (make(&ns, 1), make(&ns, 1));
    listener.bind(&nobody(), &loopback(0)).unwrap();
    listener.listen(&nobody(), 1).unwrap();
    assert!(listener.is_listening());
    assert_eq!(listener.accept().err(), Some(Errno::EAGAIN));
    let to = listener.local_name().unwrap();
    assert_eq!(client.connect(&nobody(), to.bytes()), Err(Errno::EINPROGRESS));
    wait(&*client, Ready::OUT);
    assert_eq!(client.connect(&nobody(), to.bytes()), Ok(()));
    assert_eq!(client.connect(&nobody(), to.bytes()), Err(Errno::EISCONN));
    let server = listener.accept().unwrap();
    assert_eq!(server.accepted_name(), client.local_name());
    assert_eq!(send(&*client, b"hello", None), Ok(5));
    wait(&*server, Ready::IN);
    assert_eq!(server.inq(), Ok(5));
    assert_eq!(recv(&*server, 2, MsgFlags::PEEK).unwrap().0, b"he");
    let (_, dropped) = recv(&*server, 2, MsgFlags::TRUNC).unwrap();
    assert_eq!(dropped.len, 2);
    assert_eq!(recv(&*server, 9, MsgFlags::empty()).unwrap().0, b"llo");
    assert_eq!(recv(&*server, 9, MsgFlags::empty()).err(), Some(Errno::EAGAIN));
    let table = ns.proc_file("tcp").unwrap();
    assert_eq!(table.lines().count(), 4, "{table}");
    drop(client);
    wait(&*server, Ready::RDHUP);
    assert_eq!(recv(&*server, 9, MsgFlags::empty()).unwrap().0, b"");
}

#[test]
fn datagrams_keep_their_bounds_and_bring_what_was_asked_for() {
    let ns = namespace();
    let (a, b) = (make(&ns, 2), make(&ns, 2));
    a.bind(&nobody(), &loopback(0)).unwrap();
    b.bind(&nobody(), &loopback(0)).unwrap();
    a.set_option(&nobody(), sol::IP, ip::RECVTTL, &1_i32.to_ne_bytes()).unwrap();
    let to = a.local_name().unwrap();
    assert_eq!(send(&*b, b"hello", Some(to.bytes())), Ok(5));
    assert_eq!(send(&*b, b"", Some(to.bytes())), Ok(0));
    wait(&*a, Ready::IN);
    let (data, received) = recv(&*a, 2, MsgFlags::TRUNC).unwrap();
    assert_eq!((&data[..], received.len, received.flags), (&b"he"[..], 5, MsgFlags::TRUNC));
    assert_eq!(received.from, b.local_name().ok());
    assert_eq!(received.control.len(), 1);
    assert_eq!(recv(&*a, 9, MsgFlags::empty()).unwrap().1.len, 0);
    assert_eq!(send(&*b, &[0; 70_000], Some(to.bytes())), Err(Errno::EMSGSIZE));
}

#[test]
fn what_the_sentry_decides_is_not_left_to_the_host() {
    let ns = namespace();
    let stream = make(&ns, 1);
    assert_eq!(stream.bind(&nobody(), &loopback(80)), Err(Errno::EACCES));
    assert_eq!(ns.socket(&nobody(), 2, 3, 1).err(), Some(Errno::EPERM));
    assert_eq!(ns.socket(&nobody(), 2, 2, 1).err(), Some(Errno::EACCES));
    assert_eq!(ns.socket(&nobody(), 2, 1, 132).err(), Some(Errno::EPROTONOSUPPORT));
    assert_eq!(ns.socket(&nobody(), 17, 3, 0).err(), Some(Errno::EAFNOSUPPORT));
    let filter = opts::set(&*stream, &nobody(), 26, &[0; 16]);
    assert_eq!(filter, Err(Errno::ENOPROTOOPT));
    assert_eq!(opts::set(&*stream, &nobody(), so::BINDTODEVICE, b"lo\0\0"), Err(Errno::EPERM));
    assert_eq!(stream.set_option(&nobody(), sol::IP, 64, &[0; 84]), Err(Errno::ENOPROTOOPT));
    assert_eq!(stream.set_option(&nobody(), sol::TCP, tcp::ULP, b"tls\0"), Err(Errno::ENOPROTOOPT));
    // Time limits and lingering are the sentry's: the host's own would hold a worker.
    let linger = [1_i32.to_ne_bytes(), 5_i32.to_ne_bytes()].concat();
    opts::set(&*stream, &nobody(), so::LINGER, &linger).unwrap();
    assert_eq!(opts::get(&*stream, so::LINGER, 8), Ok(linger));
}

#[test]
fn options_and_interfaces_are_the_host_s() {
    let ns = namespace();
    let stream = make(&ns, 1);
    opts::set(&*stream, &nobody(), so::REUSEADDR, &1_i32.to_ne_bytes()).unwrap();
    assert_eq!(opts::get(&*stream, so::REUSEADDR, 4), Ok(1_i32.to_ne_bytes().to_vec()));
    stream.set_option(&nobody(), sol::TCP, tcp::NODELAY, &1_i32.to_ne_bytes()).unwrap();
    assert_eq!(stream.get_option(sol::TCP, tcp::NODELAY, 4), Ok(1_i32.to_ne_bytes().to_vec()));
    assert_eq!(stream.get_option(sol::TCP, tcp::INFO, 4).unwrap().len(), 4);
    assert!(ns.proc_file("dev").unwrap().contains("lo:"));
    ns.host().unwrap().links_up().unwrap();
}

#[test]
fn netlink_questions_get_the_host_s_answers() {
    let ns = namespace();
    let socket = ns.socket(&nobody(), 16, 3, 0).unwrap();
    let ask = |kind: u16, flags: u16, body: &[u8]| {
        let len = u32::try_from(16 + body.len()).unwrap();
        let head = [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &77_u32.to_ne_bytes(), &[0; 4]];
        send(&*socket, &[&head.concat(), body].concat(), None).unwrap();
        let mut kinds = Vec::new();
        while let Ok((data, _)) = recv(&*socket, 65_536, MsgFlags::empty()) {
            let mut rest = &data[..];
            while let Some(message) = crate::netlink::wire::next(&mut rest) {
                assert_eq!(message.seq, 77);
                kinds.push((message.kind, message.body.first_chunk().map_or(0, |raw| i32::from_ne_bytes(*raw))));
            }
        }
        kinds
    };
    let links = ask(18, 0x301, &[0]);
    assert!(links.len() >= 2 && links[0].0 == 16 && links.last().unwrap().0 == 3, "{links:?}");
    let addresses = ask(22, 0x301, &[2, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(addresses.last().map(|last| last.0), Some(3));
    let index = [&[0; 4][..], &1_i32.to_ne_bytes(), &[0; 8]].concat();
    assert_eq!(ask(18, 1, &index).iter().map(|answer| answer.0).collect::<Vec<_>>(), [16]);
    assert_eq!(ask(18, 5, &index).iter().map(|answer| answer.0).collect::<Vec<_>>(), [16, 2]);
    let nowhere = [&[0; 4][..], &9999_i32.to_ne_bytes(), &[0; 8]].concat();
    assert_eq!(ask(18, 1, &nowhere), [(2, -Errno::ENODEV.raw())]);
    // RTM_NEWLINK, whoever asks.
    assert_eq!(ask(16, 5, &index), [(2, -Errno::EPERM.raw())]);
}
