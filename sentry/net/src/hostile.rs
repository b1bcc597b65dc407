//! Property tests: streams keep every byte in order, and no sequence of calls on any socket panics, breaks the lock
//! order or loses its mind.

use std::collections::VecDeque;
use std::sync::Arc;

use abi::Errno;
use proptest::prelude::*;
use sentry_fs::{BytesDst, BytesSrc};

use crate::addr::{InetAddr, UnixName};
use crate::socket::{Caller, Caps, Control, FileRef, Incoming, NoPaths, Outgoing, Shutdown, Socket, Ucred};
use crate::uapi::{MsgFlags, af};
use crate::{NetNamespace, SocketFile, opts};

fn caller() -> Caller<'static> {
    Caller {
        cred: Ucred { pid: 7, uid: 1000, gid: 100 },
        caps: Caps::all(),
        nofile: 64,
        paths: &NoPaths,
        socket_of: |file| Arc::clone(file).downcast::<SocketFile>().ok().map(|file| Arc::clone(file.socket())),
    }
}

fn send(socket: &dyn Socket, data: &[u8], flags: MsgFlags, control: Vec<Control>) -> Result<usize, Errno> {
    let mut src = BytesSrc::new(data);
    let flags = flags | MsgFlags::DONTWAIT;
    socket.send(&caller(), &mut Outgoing { flags, to: None, control, src: &mut src })
}

fn recv(socket: &dyn Socket, len: usize, flags: MsgFlags) -> Result<Vec<u8>, Errno> {
    let mut buf = vec![0; len];
    let mut dst = BytesDst::new(&mut buf);
    let received = socket.recv(&mut Incoming { flags: flags | MsgFlags::DONTWAIT, dst: &mut dst })?;
    buf.truncate(received.len.min(len));
    Ok(buf)
}

fn stream_pair(kind: u8) -> (Arc<dyn Socket>, Arc<dyn Socket>) {
    let ns = NetNamespace::new();
    if kind == 0 {
        return ns.socketpair(&caller(), 1, 1, 0).expect("a pair");
    }
    let make = || ns.socket(&caller(), 2, 1, 0).expect("a socket");
    let (server, client) = (make(), make());
    server.listen(&caller(), 1).expect("a port is free");
    let addr = server.local_name().expect("bound");
    let _ = client.connect(&caller(), addr.bytes());
    let accepted = server.accept().expect("connected");
    (client, accepted)
}

#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    Recv(usize),
    Peek(usize),
    Files,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_usize..300_000).prop_map(Step::Send),
        (1_usize..300_000).prop_map(Step::Recv),
        (1_usize..5000).prop_map(Step::Peek),
        Just(Step::Files),
    ]
}

fn call() -> impl Strategy<Value = (u8, usize, usize, u32, Vec<u8>)> {
    (0_u8..16, 0_usize..8, 0_usize..8, any::<u32>(), proptest::collection::vec(any::<u8>(), 0..40))
}

fn address(choice: u32, sockets: &[Arc<SocketFile>], other: usize, noise: &[u8]) -> Vec<u8> {
    match choice % 6 {
        0 => noise.to_vec(),
        1 => UnixName::write(Some(&UnixName::Abstract(vec![b'a' + (choice >> 8) as u8 % 3]))).bytes().to_vec(),
        2 => InetAddr::new([127, 0, 0, 1].into(), 4000 + (choice >> 8) as u16 % 3).write(af::INET).bytes().to_vec(),
        3 => InetAddr::new([0_u16; 8].into(), 4000 + (choice >> 8) as u16 % 3).write(af::INET6).bytes().to_vec(),
        4 => vec![0; 16],
        _ => sockets[other % sockets.len()].socket().local_name().map(|name| name.bytes().to_vec()).unwrap_or_default(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn streams_keep_every_byte_in_order(kind in 0_u8..2, steps in proptest::collection::vec(step(), 1..40)) {
        let (a, b) = stream_pair(kind);
        let mut model: VecDeque<u8> = VecDeque::new();
        let mut next = 0_u8;
        for step in steps {
            match step {
                Step::Send(len) => {
                    let data: Vec<u8> = (0..len).map(|at| next.wrapping_add(at as u8)).collect();
                    let sent = match send(&*a, &data, MsgFlags::empty(), Vec::new()) {
                        Err(Errno::EAGAIN) => 0,
                        sent => sent.unwrap(),
                    };
                    model.extend(&data[..sent]);
                    next = next.wrapping_add(sent as u8);
                }
                Step::Files if kind == 0 => {
                    let rights = vec![Control::Rights(vec![Arc::new(0_u8) as FileRef])];
                    if send(&*a, &[next], MsgFlags::empty(), rights) == Ok(1) {
                        model.push_back(next);
                        next = next.wrapping_add(1);
                    }
                }
                Step::Files => {}
                Step::Peek(len) | Step::Recv(len) => {
                    let peek = matches!(step, Step::Peek(_));
                    let flags = if peek { MsgFlags::PEEK } else { MsgFlags::empty() };
                    match recv(&*b, len, flags) {
                        Err(errno) => prop_assert!(errno == Errno::EAGAIN && model.is_empty()),
                        Ok(data) => {
                            prop_assert!(!data.is_empty());
                            prop_assert!(data.iter().eq(model.iter().take(data.len())));
                            if !peek {
                                model.drain(..data.len());
                            }
                        }
                    }
                }
            }
            prop_assert_eq!(b.inq(), Ok(model.len()));
        }
    }

    #[test]
    fn no_sequence_of_calls_breaks_a_socket(calls in proptest::collection::vec(call(), 1..120)) {
        let ns = NetNamespace::new();
        let open = |choice: u32| {
            let kinds = [(1, 1), (1, 2), (1, 5), (2, 1), (2, 2), (10, 1), (10, 2), (16, 3)];
            let (domain, kind) = kinds[choice as usize % kinds.len()];
            SocketFile::new(ns.socket(&caller(), domain, kind, 0).expect("the family is there"))
        };
        let mut sockets: Vec<Arc<SocketFile>> = (0..8).map(open).collect();
        for (what, one, other, number, noise) in calls {
            let addr = address(number, &sockets, other, &noise);
            let socket = Arc::clone(sockets[one % sockets.len()].socket());
            let flags = MsgFlags::from_bits_retain(number);
            match what {
                0 => drop(socket.bind(&caller(), &addr)),
                1 => drop(socket.listen(&caller(), number as i32 % 4)),
                2 => drop(socket.connect(&caller(), &addr)),
                3 => {
                    if let Ok(accepted) = socket.accept() {
                        sockets[other] = SocketFile::new(accepted);
                    }
                }
                4 | 5 => {
                    let passed = vec![Control::Rights(vec![Arc::clone(&sockets[other]) as FileRef])];
                    let control = if number % 3 == 0 { passed } else { Vec::new() };
                    let _ = send(&*socket, &noise, flags & (MsgFlags::OOB | MsgFlags::EOR), control);
                }
                6 => {
                    let (mut src, flags) = (BytesSrc::new(&noise), MsgFlags::DONTWAIT);
                    let to = Some(&addr[..]);
                    let _ = socket.send(&caller(), &mut Outgoing { flags, to, control: Vec::new(), src: &mut src });
                }
                7 | 8 => drop(recv(&*socket, noise.len(), flags)),
                9 => drop(socket.shutdown(Shutdown::from_raw(number as i32 % 3).unwrap_or(Shutdown::Both))),
                10 => drop((socket.local_name(), socket.peer_name(), socket.ready(), socket.peer_cred())),
                11 => drop(opts::set(&*socket, &caller(), number as i32 % 80, &noise)),
                12 => drop(opts::get(&*socket, number as i32 % 80, noise.len())),
                13 => drop(socket.set_option(&caller(), other as i32 * 6, number as i32 % 80, &noise)),
                14 => drop(socket.get_option(other as i32 * 6, number as i32 % 80, noise.len())),
                _ => sockets[one] = open(number),
            }
            drop((socket.inq(), socket.outq(), socket.at_mark(), ns.unix_table()));
        }
    }
}
