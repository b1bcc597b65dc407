//! The host kernel as oracle: the same calls on a pair of host sockets and on a pair of ours must answer the same.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use abi::Errno;
use proptest::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use sentry_fs::{BytesDst, BytesSrc, FileOps};
use sentry_net::uapi::{MsgFlags, so};
use sentry_net::{Caller, Incoming, NetNamespace, Outgoing, Shutdown, SocketFile, Ucred, opts};

#[derive(Clone, Debug)]
enum Step {
    Send { end: usize, len: usize, oob: bool },
    Recv { end: usize, len: usize, peek: bool, trunc: bool, oob: bool },
    Shutdown { end: usize, how: i32 },
    Close { end: usize },
    Reset { end: usize },
    Inline { end: usize },
    Error { end: usize },
    Inq { end: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let end = 0_usize..2;
    prop_oneof![
        6 => (end.clone(), 0_usize..600, any::<u8>())
            .prop_map(|(end, len, dice)| Step::Send { end, len, oob: dice < 40 }),
        6 => (end.clone(), 1_usize..900, any::<u8>()).prop_map(|(end, len, dice)| {
            Step::Recv { end, len, peek: dice & 7 == 0, trunc: dice & 56 == 0, oob: dice < 30 }
        }),
        2 => (end.clone(), 0_i32..3).prop_map(|(end, how)| Step::Shutdown { end, how }),
        1 => end.clone().prop_map(|end| Step::Close { end }),
        1 => end.clone().prop_map(|end| Step::Reset { end }),
        1 => end.clone().prop_map(|end| Step::Inline { end }),
        1 => end.clone().prop_map(|end| Step::Error { end }),
        1 => end.prop_map(|end| Step::Inq { end }),
    ]
}

const RDHUP: u32 = 0x2000;

/// What a call answered: a count with the bytes received, or an error.
type Answer = Result<(usize, Vec<u8>), i32>;

struct Host([Option<OwnedFd>; 2]);
struct Ours([Option<Arc<SocketFile>>; 2]);

fn host_errno<T>(result: rustix::io::Result<T>) -> Result<T, i32> {
    result.map_err(rustix::io::Errno::raw_os_error)
}

fn our_errno<T>(result: Result<T, Errno>) -> Result<T, i32> {
    result.map_err(Errno::raw)
}

impl Host {
    fn pair(kind: Kind) -> Host {
        let flags = SocketFlags::NONBLOCK;
        let (a, b) = match kind {
            Kind::Tcp => {
                let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
                let a = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
                let (b, _) = listener.accept().expect("connected");
                for end in [&a, &b] {
                    end.set_nonblocking(true).expect("a socket");
                    // Nothing may be held back.
                    end.set_nodelay(true).expect("a socket");
                }
                (OwnedFd::from(a), OwnedFd::from(b))
            }
            Kind::Stream => net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).expect("a pair"),
            Kind::Dgram => net::socketpair(AddressFamily::UNIX, SocketType::DGRAM, flags, None).expect("a pair"),
            Kind::Seqpacket => {
                net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a pair")
            }
        };
        Host([Some(a), Some(b)])
    }

    fn run(&mut self, step: &Step, data: &[u8]) -> Option<Answer> {
        Some(match *step {
            Step::Send { end, len, oob } => {
                let flags = if oob { net::SendFlags::OOB } else { net::SendFlags::empty() } | net::SendFlags::NOSIGNAL;
                host_errno(net::send(self.0[end].as_ref()?, &data[..len], flags)).map(|sent| (sent, Vec::new()))
            }
            Step::Recv { end, len, peek, trunc, oob } => {
                let mut flags = net::RecvFlags::empty();
                flags.set(net::RecvFlags::PEEK, peek);
                flags.set(net::RecvFlags::TRUNC, trunc);
                flags.set(net::RecvFlags::OOB, oob);
                let mut buf = vec![0; len];
                host_errno(net::recv(self.0[end].as_ref()?, &mut buf[..], flags)).map(|(filled, got)| {
                    buf.truncate(filled);
                    (got, buf)
                })
            }
            Step::Shutdown { end, how } => {
                let how = [net::Shutdown::Read, net::Shutdown::Write, net::Shutdown::Both][how as usize];
                host_errno(net::shutdown(self.0[end].as_ref()?, how)).map(|()| (0, Vec::new()))
            }
            Step::Close { end } => {
                self.0[end].take()?;
                Ok((0, Vec::new()))
            }
            Step::Reset { end } => {
                let fd = self.0[end].take()?;
                host_errno(net::sockopt::set_socket_linger(&fd, Some(std::time::Duration::ZERO)))
                    .map(|()| (0, Vec::new()))
            }
            Step::Inline { end } => {
                host_errno(net::sockopt::set_socket_oobinline(self.0[end].as_ref()?, true)).map(|()| (0, Vec::new()))
            }
            Step::Error { end } => host_errno(net::sockopt::socket_error(self.0[end].as_ref()?))
                .map(|error| (error.err().map_or(0, |error| error.raw_os_error() as usize), Vec::new())),
            Step::Inq { end } => {
                host_errno(rustix::io::ioctl_fionread(self.0[end].as_ref()?)).map(|count| (count as usize, Vec::new()))
            }
        })
    }

    fn ready(&self, end: usize) -> Option<u32> {
        let asked = PollFlags::from_bits_retain(0x27ff & !0x20);
        let mut fds = [PollFd::from_borrowed_fd(self.0[end].as_ref()?.as_fd(), asked)];
        let _ = rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        Some(u32::from(fds[0].revents().bits()))
    }
}

impl Host {
    /// Returns what is ready, giving packets under way a moment to arrive where that isn't what is `wanted`.
    fn settle(&self, end: usize, wanted: Option<u32>) -> Option<u32> {
        let start = std::time::Instant::now();
        loop {
            let ready = self.ready(end);
            if ready == wanted || start.elapsed() > std::time::Duration::from_secs(2) {
                return ready;
            }
            std::thread::yield_now();
        }
    }
}

fn caller() -> Caller<'static> {
    Caller::plain(Ucred { pid: 7, uid: 1000, gid: 100 })
}

impl Ours {
    fn pair(kind: Kind) -> Ours {
        let ns = NetNamespace::new();
        let unix = |kind| ns.socketpair(&caller(), 1, kind, 0).expect("a pair");
        let (a, b) = match kind {
            Kind::Stream => unix(1),
            Kind::Dgram => unix(2),
            Kind::Seqpacket => unix(5),
            Kind::Tcp => {
                let make = || ns.socket(&caller(), 2, 1, 0).expect("a socket");
                let (server, client) = (make(), make());
                server.listen(&caller(), 1).expect("a port");
                let addr = server.local_name().expect("bound");
                assert_eq!(client.connect(&caller(), addr.bytes()), Err(Errno::EINPROGRESS));
                assert_eq!(client.connect(&caller(), addr.bytes()), Ok(()));
                let accepted = server.accept().expect("connected");
                server.close();
                (client, accepted)
            }
        };
        Ours([Some(SocketFile::new(a)), Some(SocketFile::new(b))])
    }

    fn run(&mut self, step: &Step, data: &[u8]) -> Option<Answer> {
        Some(match *step {
            Step::Send { end, len, oob } => {
                let mut flags = MsgFlags::DONTWAIT;
                flags.set(MsgFlags::OOB, oob);
                let mut src = BytesSrc::new(&data[..len]);
                let mut message = Outgoing { flags, to: None, control: Vec::new(), src: &mut src };
                our_errno(self.0[end].as_ref()?.socket().send(&caller(), &mut message)).map(|sent| (sent, Vec::new()))
            }
            Step::Recv { end, len, peek, trunc, oob } => {
                let mut flags = MsgFlags::DONTWAIT;
                flags.set(MsgFlags::PEEK, peek);
                flags.set(MsgFlags::TRUNC, trunc);
                flags.set(MsgFlags::OOB, oob);
                let mut buf = vec![0; len];
                let mut dst = BytesDst::new(&mut buf);
                let received = self.0[end].as_ref()?.socket().recv(&mut Incoming { flags, dst: &mut dst });
                our_errno(received).map(|received| {
                    buf.truncate(received.len);
                    (received.len, buf)
                })
            }
            Step::Shutdown { end, how } => {
                let how = Shutdown::from_raw(how).expect("one of three");
                our_errno(self.0[end].as_ref()?.socket().shutdown(how)).map(|()| (0, Vec::new()))
            }
            Step::Close { end } => {
                self.0[end].take()?;
                Ok((0, Vec::new()))
            }
            Step::Reset { end } => {
                let file = self.0[end].take()?;
                let linger = [1, 0, 0, 0, 0, 0, 0, 0];
                our_errno(opts::set(&**file.socket(), &caller(), so::LINGER, &linger)).map(|()| (0, Vec::new()))
            }
            Step::Inline { end } => {
                let socket = self.0[end].as_ref()?.socket();
                our_errno(opts::set(&**socket, &caller(), so::OOBINLINE, &[1, 0, 0, 0])).map(|()| (0, Vec::new()))
            }
            Step::Error { end } => {
                let value = opts::get(&**self.0[end].as_ref()?.socket(), so::ERROR, 4);
                our_errno(value).map(|raw| (usize::from(raw[0]), Vec::new()))
            }
            Step::Inq { end } => our_errno(self.0[end].as_ref()?.socket().inq()).map(|count| (count, Vec::new())),
        })
    }

    fn ready(&self, end: usize) -> Option<u32> {
        Some(self.0[end].as_ref()?.ready().bits())
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Tcp,
    Stream,
    Dgram,
    Seqpacket,
}

fn compare(kind: Kind, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (mut host, mut ours) = (Host::pair(kind), Ours::pair(kind));
    let data: Vec<u8> = (0..600_u32).map(|at| (at * 7 % 251) as u8).collect();
    for (at, step) in steps.iter().enumerate() {
        let skipped = match step {
            // Linux announces the urgent byte of a packet that it then answers with an RST; nobody relies on that.
            Step::Send { oob: true, end, .. } if ours.ready(*end).is_some_and(|bits| bits & RDHUP != 0) => true,
            // Urgent data of unix sockets are a matter of the host's configuration.
            Step::Send { oob: true, .. } | Step::Recv { oob: true, .. } => kind != Kind::Tcp,
            _ => false,
        };
        if skipped {
            continue;
        }
        let there = host.run(step, &data[at % 50..]);
        let here = ours.run(step, &data[at % 50..]);
        let clean = |answer: Option<Answer>| {
            answer.map(|answer| answer.map(|(len, data)| (len, if discards(kind, step) { Vec::new() } else { data })))
        };
        prop_assert_eq!(clean(here), clean(there), "{:?}: step {} of {:?}", kind, at, &steps[..=at]);
        for end in 0..2 {
            let here = ours.ready(end);
            let there = host.settle(end, here);
            prop_assert_eq!(here, there, "{:?}: readiness of {} after step {} of {:?}", kind, end, at, &steps[..=at]);
        }
    }
    Ok(())
}

/// TCP's `MSG_TRUNC` delivers no bytes.
fn discards(kind: Kind, step: &Step) -> bool {
    kind == Kind::Tcp && matches!(step, Step::Recv { trunc: true, .. })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn stream_pairs_answer_as_the_host_s(steps in proptest::collection::vec(step().prop_map(limit), 1..30)) {
        compare(Kind::Stream, steps)?;
    }

    #[test]
    fn datagram_pairs_answer_as_the_host_s(steps in proptest::collection::vec(step().prop_map(limit), 1..30)) {
        compare(Kind::Dgram, steps)?;
    }

    #[test]
    fn seqpacket_pairs_answer_as_the_host_s(steps in proptest::collection::vec(step().prop_map(limit), 1..30)) {
        compare(Kind::Seqpacket, steps)?;
    }

    #[test]
    fn tcp_connections_answer_as_the_host_s(steps in proptest::collection::vec(step().prop_map(limit), 1..30)) {
        compare(Kind::Tcp, steps)?;
    }
}

/// Keeps sends within the data there is from any offset.
fn limit(step: Step) -> Step {
    match step {
        Step::Send { end, len, oob } => Step::Send { end, len: len.min(550), oob },
        step => step,
    }
}
