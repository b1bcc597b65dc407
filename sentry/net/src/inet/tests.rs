//! Behaviour of internet sockets, checked against what Linux 6.18 does.

use std::sync::Arc;

use abi::Errno;
use abi::flags::Ready;
use sentry_fs::{BytesDst, BytesSrc};

use crate::addr::InetAddr;
use crate::socket::{Caller, Caps, Control, Incoming, NoPaths, Outgoing, Received, Shutdown, Socket, Ucred};
use crate::uapi::{MsgFlags, af, ip, ipv6, so, sol, tcp};
use crate::{NetNamespace, opts};

const STREAM: u32 = 1;
const DGRAM: u32 = 2;

fn caller() -> Caller<'static> {
    Caller {
        cred: Ucred { pid: 7, uid: 1000, gid: 100 },
        caps: Caps::empty(),
        nofile: 4,
        paths: &NoPaths,
        socket_of: |_| None,
    }
}

fn make(ns: &Arc<NetNamespace>, domain: u16, kind: u32) -> Arc<dyn Socket> {
    ns.socket(&caller(), i32::from(domain), kind, 0).unwrap()
}

fn raw(text: &str) -> Vec<u8> {
    let addr: std::net::SocketAddr = text.parse().unwrap();
    let family = if addr.is_ipv4() { af::INET } else { af::INET6 };
    InetAddr::new(addr.ip(), addr.port()).write(family).bytes().to_vec()
}

fn send_to(socket: &Arc<dyn Socket>, data: &[u8], to: Option<&[u8]>, flags: MsgFlags) -> Result<usize, Errno> {
    let mut src = BytesSrc::new(data);
    let flags = flags | MsgFlags::DONTWAIT;
    socket.send(&caller(), &mut Outgoing { flags, to, control: Vec::new(), src: &mut src })
}

fn send(socket: &Arc<dyn Socket>, data: &[u8]) -> Result<usize, Errno> {
    send_to(socket, data, None, MsgFlags::empty())
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

fn bits(socket: &Arc<dyn Socket>) -> u32 {
    socket.ready().bits()
}

fn local(socket: &Arc<dyn Socket>) -> Vec<u8> {
    socket.local_name().unwrap().bytes().to_vec()
}

fn listener(ns: &Arc<NetNamespace>, addr: &str, backlog: i32) -> Arc<dyn Socket> {
    let addr = raw(addr);
    let server = make(ns, if addr.len() == 16 { af::INET } else { af::INET6 }, STREAM);
    server.bind(&caller(), &addr).unwrap();
    server.listen(&caller(), backlog).unwrap();
    server
}

fn connected() -> (Arc<dyn Socket>, Arc<dyn Socket>) {
    let ns = NetNamespace::new();
    let server = listener(&ns, "127.0.0.1:0", 5);
    let client = make(&ns, af::INET, STREAM);
    assert_eq!(client.connect(&caller(), &local(&server)), Err(Errno::EINPROGRESS));
    let accepted = server.accept().unwrap();
    (client, accepted)
}

fn set(socket: &Arc<dyn Socket>, name: i32, value: i32) {
    opts::set(&**socket, &caller(), name, &value.to_ne_bytes()).unwrap();
}

#[test]
fn a_connect_that_does_not_block_is_told_twice() {
    let ns = NetNamespace::new();
    let server = listener(&ns, "127.0.0.1:0", 1);
    let client = make(&ns, af::INET, STREAM);
    assert_eq!((bits(&client), bits(&server)), (0x114, 0));
    let addr = local(&server);
    assert_eq!(client.connect(&caller(), &addr), Err(Errno::EINPROGRESS));
    assert_eq!((bits(&client), bits(&server)), (0x104, 0x41));
    assert_eq!(client.connect(&caller(), &addr), Ok(()));
    assert_eq!(client.connect(&caller(), &addr), Err(Errno::EISCONN));
    let accepted = server.accept().unwrap();
    assert_eq!(local(&accepted), addr);
    assert_eq!(accepted.peer_name().unwrap().bytes(), local(&client));
    assert!(matches!(server.accept(), Err(Errno::EAGAIN)));
}

#[test]
fn a_refused_connect_leaves_an_error_and_then_a_fresh_socket() {
    let ns = NetNamespace::new();
    let client = make(&ns, af::INET, STREAM);
    assert_eq!(client.connect(&caller(), &raw("127.0.0.1:9")), Err(Errno::EINPROGRESS));
    assert_eq!(bits(&client), 0x215d);
    assert_eq!(opts::get(&*client, so::ERROR, 4), Ok(111_i32.to_ne_bytes().to_vec()));
    assert_eq!(bits(&client), 0x2155);
    assert_eq!(client.connect(&caller(), &raw("127.0.0.1:9")), Err(Errno::ECONNABORTED));
    assert_eq!(client.connect(&caller(), &raw("127.0.0.1:9")), Err(Errno::EINPROGRESS));
    assert_eq!(client.connect(&caller(), &raw("127.0.0.1:9")), Err(Errno::ECONNREFUSED));
    assert_eq!(client.connect(&caller(), &raw("10.0.0.1:9")), Err(Errno::ENETUNREACH));
}

#[test]
fn closing_is_seen_as_on_linux() {
    let (c, a) = connected();
    a.close();
    assert_eq!(bits(&c), 0x2145);
    assert_eq!(send(&c, b"x"), Ok(1));
    assert_eq!(bits(&c), 0x215d);
    assert_eq!(send(&c, b"x"), Err(Errno::EPIPE));
    assert_eq!(bits(&c), 0x2155);
    assert_eq!(recv(&c, 1), Ok(vec![]));

    let (c, a) = connected();
    opts::set(&*a, &caller(), so::LINGER, &[1, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    a.close();
    assert_eq!(bits(&c), 0x215d);
    assert_eq!(recv(&c, 1), Err(Errno::ECONNRESET));
    assert_eq!(recv(&c, 1), Ok(vec![]));
    assert_eq!(c.peer_name(), Err(Errno::ENOTCONN));
    assert_eq!(send(&c, b"x"), Err(Errno::EPIPE));

    let (c, a) = connected();
    send(&c, b"unread").unwrap();
    a.close();
    assert_eq!(send(&c, b"x"), Err(Errno::ECONNRESET));
    assert_eq!(send(&c, b"x"), Err(Errno::EPIPE));
}

#[test]
fn shutdown_is_seen_as_on_linux() {
    let (c, a) = connected();
    a.shutdown(Shutdown::Write).unwrap();
    assert_eq!((bits(&c), bits(&a)), (0x2145, 0x104));
    c.shutdown(Shutdown::Write).unwrap();
    assert_eq!((bits(&c), bits(&a)), (0x2155, 0x2155));

    let (c, a) = connected();
    a.shutdown(Shutdown::Read).unwrap();
    assert_eq!((bits(&c), bits(&a)), (0x104, 0x2145));
    send(&c, b"x").unwrap();
    assert_eq!(recv(&a, 3), Ok(b"x".to_vec()));
    assert_eq!(recv(&a, 3), Ok(vec![]));

    let fresh = make(&NetNamespace::new(), af::INET, STREAM);
    assert_eq!(fresh.shutdown(Shutdown::Both), Err(Errno::ENOTCONN));
    assert_eq!(recv(&fresh, 1), Err(Errno::ENOTCONN));
    assert_eq!(send(&fresh, b"1"), Err(Errno::EPIPE));
    assert!(matches!(fresh.accept(), Err(Errno::EINVAL)));
}

#[test]
fn the_urgent_byte_stands_beside_the_stream() {
    let (c, a) = connected();
    send(&c, b"ab").unwrap();
    assert_eq!(recv_full(&a, 1, MsgFlags::OOB).err(), Some(Errno::EINVAL));
    send_to(&c, b"cD", None, MsgFlags::OOB).unwrap();
    send(&c, b"ef").unwrap();
    assert_ne!(bits(&a) & Ready::PRI.bits(), 0);
    assert_eq!(a.inq(), Ok(3));
    assert_eq!(recv(&a, 9), Ok(b"abc".to_vec()));
    assert_eq!(a.at_mark(), Ok(true));
    assert_eq!(recv_full(&a, 1, MsgFlags::OOB).unwrap().0, b"D");
    assert_eq!(bits(&a) & Ready::PRI.bits(), 0);
    assert_eq!(recv(&a, 9), Ok(b"ef".to_vec()));
    assert_eq!(a.at_mark(), Ok(false));

    set(&a, so::OOBINLINE, 1);
    send_to(&c, b"xyZ", None, MsgFlags::OOB).unwrap();
    assert_eq!(recv(&a, 9), Ok(b"xy".to_vec()));
    assert_eq!(recv(&a, 9), Ok(b"Z".to_vec()));
}

#[test]
fn a_full_accept_queue_keeps_connections_waiting() {
    let ns = NetNamespace::new();
    let server = listener(&ns, "127.0.0.1:0", 0);
    let addr = local(&server);
    let [first, second] = [(); 2].map(|()| make(&ns, af::INET, STREAM));
    let _ = first.connect(&caller(), &addr);
    let _ = second.connect(&caller(), &addr);
    assert_eq!(bits(&second), 0);
    assert_eq!(second.connect(&caller(), &addr), Err(Errno::EALREADY));
    server.accept().unwrap();
    assert_eq!(second.connect(&caller(), &addr), Ok(()));
    server.close();
    assert_eq!(recv(&second, 1), Err(Errno::ECONNRESET));
}

#[test]
fn ports_are_shared_only_by_those_who_agree() {
    let ns = NetNamespace::new();
    let server = listener(&ns, "127.0.0.1:0", 5);
    let addr = local(&server);
    let port = u16::from_be_bytes([addr[2], addr[3]]);
    let any = raw(&format!("0.0.0.0:{port}"));
    let rival = make(&ns, af::INET, STREAM);
    assert_eq!(rival.bind(&caller(), &addr), Err(Errno::EADDRINUSE));
    assert_eq!(rival.bind(&caller(), &any), Err(Errno::EADDRINUSE));
    set(&rival, so::REUSEADDR, 1);
    assert_eq!(rival.bind(&caller(), &any), Err(Errno::EADDRINUSE));
    assert_eq!(rival.bind(&caller(), &raw(&format!("127.0.0.2:{port}"))), Ok(()));
    assert_eq!(rival.bind(&caller(), &any), Err(Errno::EINVAL));
    let six = make(&ns, af::INET6, STREAM);
    assert_eq!(six.bind(&caller(), &raw(&format!("[::]:{port}"))), Err(Errno::EADDRINUSE));
    six.set_option(&caller(), sol::IPV6, ipv6::V6ONLY, &1_i32.to_ne_bytes()).unwrap();
    assert_eq!(six.bind(&caller(), &raw(&format!("[::]:{port}"))), Ok(()));
    assert_eq!(six.set_option(&caller(), sol::IPV6, ipv6::V6ONLY, &0_i32.to_ne_bytes()), Err(Errno::EINVAL));
    let low = make(&ns, af::INET, STREAM);
    assert_eq!(low.bind(&caller(), &raw("127.0.0.1:80")), Err(Errno::EACCES));
    assert_eq!(low.bind(&caller(), &raw("10.1.2.3:8080")), Err(Errno::EADDRNOTAVAIL));
    assert_eq!(low.bind(&caller(), &raw("127.0.0.1:8080")[..8]), Err(Errno::EINVAL));
}

#[test]
fn a_port_with_an_open_connection_needs_reuseaddr() {
    let ns = NetNamespace::new();
    let server = listener(&ns, "127.0.0.1:0", 5);
    let addr = local(&server);
    let client = make(&ns, af::INET, STREAM);
    let _ = client.connect(&caller(), &addr);
    let accepted = server.accept().unwrap();
    server.close();
    assert_eq!(make(&ns, af::INET, STREAM).bind(&caller(), &addr), Err(Errno::EADDRINUSE));
    accepted.close();
    assert_eq!(make(&ns, af::INET, STREAM).bind(&caller(), &addr), Ok(()));
}

#[test]
fn an_ipv6_wildcard_takes_mapped_ipv4() {
    let ns = NetNamespace::new();
    let server = listener(&ns, "[::]:0", 5);
    let port = u16::from_be_bytes([local(&server)[2], local(&server)[3]]);
    let client = make(&ns, af::INET, STREAM);
    let _ = client.connect(&caller(), &raw(&format!("127.0.0.1:{port}")));
    let accepted = server.accept().unwrap();
    assert_eq!(local(&accepted), raw(&format!("[::ffff:127.0.0.1]:{port}")));
    let six = make(&ns, af::INET6, STREAM);
    let _ = six.connect(&caller(), &raw(&format!("[::1]:{port}")));
    assert_eq!(local(&server.accept().unwrap()), raw(&format!("[::1]:{port}")));
}

#[test]
fn tcp_options_are_checked_and_remembered() {
    let (c, _a) = connected();
    let get = |level, name| c.get_option(level, name, 4).map(|raw| i32::from_ne_bytes(raw[..4].try_into().unwrap()));
    assert_eq!(get(sol::TCP, tcp::NODELAY), Ok(0));
    c.set_option(&caller(), sol::TCP, tcp::NODELAY, &5_i32.to_ne_bytes()).unwrap();
    assert_eq!(get(sol::TCP, tcp::NODELAY), Ok(1));
    assert_eq!(c.set_option(&caller(), sol::TCP, tcp::KEEPIDLE, &0_i32.to_ne_bytes()), Err(Errno::EINVAL));
    assert_eq!(c.set_option(&caller(), sol::TCP, tcp::CONGESTION, b"none"), Err(Errno::ENOENT));
    assert_eq!(c.set_option(&caller(), sol::TCP, tcp::NODELAY, b"x"), Err(Errno::EINVAL));
    assert_eq!(c.set_option(&caller(), sol::TCP, 999, &[0; 4]), Err(Errno::ENOPROTOOPT));
    assert_eq!(get(sol::IP, ip::TTL), Ok(64));
    assert_eq!(c.get_option(sol::IP, ip::TTL, 1), Ok(vec![64]));
    assert_eq!(c.get_option(sol::TCP, tcp::INFO, 8).unwrap()[0], 1);
}

#[test]
fn datagrams_find_their_way_and_carry_their_source() {
    let ns = NetNamespace::new();
    let server = make(&ns, af::INET, DGRAM);
    assert_eq!(bits(&server), 0x304);
    server.bind(&caller(), &raw("0.0.0.0:0")).unwrap();
    let port = u16::from_be_bytes([local(&server)[2], local(&server)[3]]);
    let to = raw(&format!("127.0.0.1:{port}"));
    let client = make(&ns, af::INET, DGRAM);
    assert_eq!(send(&client, b"x"), Err(Errno::EDESTADDRREQ));
    assert_eq!(send_to(&client, b"hello", Some(&to), MsgFlags::empty()), Ok(5));
    server.set_option(&caller(), sol::IP, ip::PKTINFO, &1_i32.to_ne_bytes()).unwrap();
    let (data, received) = recv_full(&server, 3, MsgFlags::TRUNC).unwrap();
    assert_eq!((data.as_slice(), received.len, received.flags), (&b"hel"[..], 5, MsgFlags::TRUNC));
    assert_eq!(received.from.unwrap().bytes()[2..4], local(&client)[2..4]);
    assert!(matches!(&received.control[..],
        [Control::Other { level: 0, kind: ip::PKTINFO, data }] if data == &[1, 0, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]));
    assert_eq!(send_to(&client, &[0; 65_508], Some(&to), MsgFlags::empty()), Err(Errno::EMSGSIZE));
    assert_eq!(send_to(&client, b"x", Some(&raw("10.0.0.1:1")), MsgFlags::empty()), Err(Errno::ENETUNREACH));
}

#[test]
fn connected_datagram_sockets_hear_of_refusal_and_only_from_their_peer() {
    let ns = NetNamespace::new();
    let [a, b, c] = [(); 3].map(|()| make(&ns, af::INET, DGRAM));
    for socket in [&a, &b] {
        socket.bind(&caller(), &raw("127.0.0.1:0")).unwrap();
    }
    a.connect(&caller(), &local(&b)).unwrap();
    send_to(&c, b"stranger", Some(&local(&a)), MsgFlags::empty()).unwrap();
    assert_eq!(recv(&a, 9), Err(Errno::EAGAIN));
    send_to(&b, b"friend", Some(&local(&a)), MsgFlags::empty()).unwrap();
    assert_eq!(recv(&a, 9), Ok(b"friend".to_vec()));
    let gone = local(&b);
    b.close();
    assert_eq!(send(&a, b"x"), Ok(1));
    assert_eq!(bits(&a) & Ready::ERR.bits(), Ready::ERR.bits());
    assert_eq!(send(&a, b"x"), Err(Errno::ECONNREFUSED));
    a.connect(&caller(), &[0; 16]).unwrap();
    assert_eq!(a.peer_name(), Err(Errno::ENOTCONN));
    assert_eq!(send_to(&a, b"x", Some(&gone), MsgFlags::empty()), Ok(1));
    assert_eq!(send_to(&a, b"x", Some(&gone), MsgFlags::empty()), Ok(1));
}

#[test]
fn multicast_reaches_members_on_loopback() {
    let ns = NetNamespace::new();
    let [sender, member, other] = [(); 3].map(|()| make(&ns, af::INET, DGRAM));
    for socket in [&member, &other] {
        set(socket, so::REUSEADDR, 1);
        socket.bind(&caller(), &raw("0.0.0.0:5353")).unwrap();
    }
    let join = [224, 0, 0, 251, 127, 0, 0, 1];
    member.set_option(&caller(), sol::IP, ip::ADD_MEMBERSHIP, &join).unwrap();
    let again = member.set_option(&caller(), sol::IP, ip::ADD_MEMBERSHIP, &join);
    assert_eq!(again, Err(Errno::EADDRINUSE));
    let group = raw("224.0.0.251:5353");
    assert_eq!(send_to(&sender, b"x", Some(&group), MsgFlags::empty()), Err(Errno::ENETUNREACH));
    sender.set_option(&caller(), sol::IP, ip::MULTICAST_IF, &[127, 0, 0, 1]).unwrap();
    assert_eq!(send_to(&sender, b"x", Some(&group), MsgFlags::empty()), Ok(1));
    assert_eq!(recv(&member, 9), Ok(b"x".to_vec()));
    assert_eq!(recv(&other, 9), Err(Errno::EAGAIN));
}

#[test]
fn sockets_without_protocol_or_right_are_refused() {
    let ns = NetNamespace::new();
    let error = |domain, kind, protocol| ns.socket(&caller(), domain, kind, protocol).err();
    assert_eq!(error(2, 3, 0), Some(Errno::EPROTONOSUPPORT));
    assert_eq!(error(2, 3, 255), Some(Errno::EPERM));
    assert_eq!(error(2, 2, 1), Some(Errno::EACCES));
    assert_eq!(error(2, 1, 17), Some(Errno::EPROTONOSUPPORT));
    assert_eq!(error(2, 5, 0), Some(Errno::ESOCKTNOSUPPORT));
    assert_eq!(error(2, 7, 0), Some(Errno::ESOCKTNOSUPPORT));
    assert_eq!(error(2, 14, 0), Some(Errno::EINVAL));
}
