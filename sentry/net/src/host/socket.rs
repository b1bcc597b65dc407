//! [`HostSocket`]: one socket of the host behind a guest's.

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use abi::Errno;
use abi::flags::Ready;
use rustix::event::{PollFd, PollFlags, Timespec};
use sentry_fs::hostfd::{HostReactor, Watch};
use sentry_platform::host_socket as host;

use super::{HostNet, control, exhausted, options};
use crate::NetNamespace;
use crate::addr::{self, InetAddr, RawAddr};
use crate::opts::{self, int};
use crate::socket::{Caller, Caps, Core, Incoming, Outgoing, Received, Shutdown, Socket, Ucred};
use crate::uapi::{MsgFlags, SockType, af, sioc, so, sol, tcp};

/// Most bytes of a stream that move at once.
const CHUNK: usize = 128 * 1024;
/// Longest message of an internet datagram socket.
const MAX_DATAGRAM: usize = 0xffff;
/// Longest message of a Unix socket: the host's largest send buffer is far below.
const MAX_RECORD: usize = 1 << 20;
/// Room for control messages of a received message.
const CONTROL: usize = 1024;
/// Longest value of an option that is read.
const MAX_VALUE: usize = 512;
/// Flags of a send that mean something to the host.
const SEND: MsgFlags = MsgFlags::OOB
    .union(MsgFlags::DONTROUTE)
    .union(MsgFlags::EOR)
    .union(MsgFlags::CONFIRM)
    .union(MsgFlags::MORE)
    .union(MsgFlags::FASTOPEN);
/// Flags of a receive that mean something to the host.
const RECEIVE: MsgFlags = MsgFlags::OOB.union(MsgFlags::PEEK).union(MsgFlags::TRUNC).union(MsgFlags::ERRQUEUE);
/// Flags of a received message that are shown.
const SHOWN: MsgFlags =
    MsgFlags::OOB.union(MsgFlags::TRUNC).union(MsgFlags::ERRQUEUE).union(MsgFlags::EOR).union(MsgFlags::CTRUNC);

thread_local! {
    /// A buffer that each worker reuses, so that no transfer pays for allocating and clearing one.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Runs `act` with a buffer of `len` bytes, content unspecified.
fn with_scratch<R>(len: usize, act: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut buf = SCRATCH.take();
    if buf.len() < len {
        buf.resize(len.next_power_of_two(), 0);
    }
    let result = act(&mut buf[..len]);
    SCRATCH.set(buf);
    result
}

/// A guest's socket that is one of the host: an internet socket, or a Unix socket that has come to be one
/// (`unix::outward`).
pub(crate) struct HostSocket {
    core: Arc<Core>,
    /// Of internet sockets.
    net: Option<Arc<HostNet>>,
    fd: Arc<OwnedFd>,
    /// Whom an accepted connection came from, even where it is gone again.
    from: RawAddr,
    /// Control messages may come along with data.
    chatty: AtomicBool,
    _watch: Watch,
}

impl HostSocket {
    /// Makes an unconnected socket.
    pub(super) fn new(
        ns: &Arc<NetNamespace>,
        net: &Arc<HostNet>,
        domain: u16,
        kind: SockType,
        protocol: i32,
        cred: Ucred,
    ) -> Result<Arc<HostSocket>, Errno> {
        let fd = host::socket(domain, kind as u8, protocol).map_err(exhausted)?;
        let core = Core::new(ns, domain, kind, protocol, cred);
        HostSocket::listed(core, net, fd, RawAddr::default(), false)
    }

    /// Takes over a Unix socket of the host.
    pub(crate) fn of_unix(core: &Arc<Core>, reactor: &dyn HostReactor, fd: OwnedFd) -> Result<Arc<HostSocket>, Errno> {
        let socket = HostSocket::over(Arc::clone(core), None, reactor, fd, RawAddr::default(), false)?;
        Ok(Arc::new(socket))
    }

    /// Takes over an internet socket and enters it in the list.
    fn listed(
        core: Arc<Core>,
        net: &Arc<HostNet>,
        fd: OwnedFd,
        from: RawAddr,
        chatty: bool,
    ) -> Result<Arc<HostSocket>, Errno> {
        let id = core.id;
        let socket = HostSocket::over(core, Some(Arc::clone(net)), &*net.reactor, fd, from, chatty)?;
        let socket = Arc::new(socket);
        net.sockets.lock().insert(id, Arc::downgrade(&socket) as Weak<HostSocket>);
        Ok(socket)
    }

    fn over(
        core: Arc<Core>,
        net: Option<Arc<HostNet>>,
        reactor: &dyn HostReactor,
        fd: OwnedFd,
        from: RawAddr,
        chatty: bool,
    ) -> Result<HostSocket, Errno> {
        let fd = Arc::new(fd);
        let watch = reactor.watch(&fd, &core.wait)?;
        Ok(HostSocket { core, net, fd, from, chatty: AtomicBool::new(chatty), _watch: watch })
    }

    fn is_unix(&self) -> bool {
        self.core.domain == af::UNIX
    }

    /// Longest message, or most bytes of a stream that move at once.
    fn longest(&self) -> usize {
        match (self.is_stream(), self.is_unix()) {
            (true, _) => CHUNK,
            (false, true) => MAX_RECORD,
            (false, false) => MAX_DATAGRAM,
        }
    }

    /// Room for control messages of a received message. Descriptors must never come in: the host closes those that find no
    /// room, and says so (`MSG_CTRUNC`).
    fn control_room(&self) -> usize {
        if self.is_unix() { 0 } else { CONTROL }
    }

    /// What may be asked of the host at `SOL_SOCKET`.
    fn generic(&self) -> &'static options::Level {
        if self.is_unix() { &options::UNIX } else { &options::SOCKET }
    }

    /// `accept(2)`: the new socket, and whom it is connected to.
    pub(crate) fn accept_host(&self) -> Result<(OwnedFd, RawAddr), Errno> {
        let (fd, from) = host::accept(self.fd()).map_err(exhausted)?;
        Ok((fd, RawAddr::new(from.bytes())))
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn is_stream(&self) -> bool {
        self.core.kind == SockType::Stream
    }

    fn poll(&self) -> Ready {
        let flags = PollFlags::IN | PollFlags::PRI | PollFlags::OUT | PollFlags::RDHUP;
        let mut fds = [PollFd::new(&self.fd, flags)];
        match rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(_) => Ready::from_bits_truncate(u32::from(fds[0].revents().bits())),
            Err(_) => Ready::ERR,
        }
    }

    /// Refuses ports that the caller may not have; the host's rule is laxer, as it knows the sentry only.
    fn check_port(&self, caller: &Caller<'_>, raw: &[u8]) -> Result<(), Errno> {
        let port = raw.get(2..4).map_or(0, |raw| u32::from(u16::from_be_bytes([raw[0], raw[1]])));
        let family = addr::family(raw).unwrap_or(af::UNSPEC);
        let known = matches!(family, af::INET | af::INET6 | af::UNSPEC);
        let low = port != 0 && port < self.core.ns.unprivileged_port();
        // Ping sockets have identifiers, not ports.
        let ports = self.is_stream() || self.core.protocol == crate::uapi::ipproto::UDP;
        if known && low && ports && !caller.caps.contains(Caps::NET_BIND_SERVICE) {
            return Err(Errno::EACCES);
        }
        Ok(())
    }

    fn receive_into(&self, message: &mut Incoming<'_>, buf: &mut [u8]) -> Result<Received, Errno> {
        let flags = message.flags & RECEIVE;
        // Of Unix sockets it must be seen that descriptors were lost.
        let plain = self.is_stream() && !self.is_unix();
        let simple = plain && !self.chatty.load(Ordering::Relaxed) && !flags.contains(MsgFlags::ERRQUEUE);
        let mut received = Received::default();
        let len = if simple {
            let len = host::recv(self.fd(), buf, flags.bits())?;
            received.flags.set(MsgFlags::OOB, flags.contains(MsgFlags::OOB));
            len
        } else {
            let mut extra = [0; CONTROL];
            let arrived = host::receive(self.fd(), buf, &mut extra[..self.control_room()], flags.bits())?;
            received.flags = MsgFlags::from_bits_retain(arrived.flags) & SHOWN;
            received.control = control::incoming(&extra[..arrived.control]);
            let from = arrived.from.bytes();
            received.from = (!from.is_empty()).then(|| RawAddr::new(from));
            arrived.len
        };
        // A stream throws away what MSG_TRUNC takes; nothing was written.
        let written = if self.is_stream() && flags.contains(MsgFlags::TRUNC) { 0 } else { len.min(buf.len()) };
        let put = if written == 0 { 0 } else { message.dst.put(&buf[..written])? };
        if put < written && !self.is_stream() {
            return Err(Errno::EFAULT);
        }
        received.len = if written == 0 { len } else { len - (written - put) };
        let quiet = MsgFlags::PEEK | MsgFlags::OOB | MsgFlags::ERRQUEUE;
        received.more = self.is_stream() && received.len > 0 && !flags.intersects(quiet);
        Ok(received)
    }

    /// `SO_LINGER`: the host is told of aborts only, since it would wait in `close`, and a worker with it.
    fn set_linger(&self, value: &[u8]) -> Result<(), Errno> {
        let on = int(value)?;
        let seconds = int(value.get(4..).ok_or(Errno::EINVAL)?)?;
        let abort = i32::from(on != 0 && seconds == 0);
        host::set_option(self.fd(), sol::SOCKET, so::LINGER, &[abort.to_ne_bytes(), [0; 4]].concat())
    }

    /// Returns `tcpi_state`, local and remote address, for `/proc/net/tcp`.
    pub(super) fn describe(&self) -> (u8, InetAddr, Option<InetAddr>) {
        let mut state = [7];
        if self.is_stream() {
            const INFO: i32 = crate::uapi::tcp::INFO;
            // A socket that can't say is closed.
            let _ = host::option(self.fd(), sol::TCP, INFO, &mut state);
        }
        let parse = |raw: &[u8]| match self.core.domain {
            af::INET => InetAddr::parse_v4(raw),
            _ => InetAddr::parse_v6(raw),
        };
        let none = InetAddr::new(crate::inet::any(self.core.domain), 0);
        let local = host::local_name(self.fd()).and_then(|name| parse(name.bytes())).unwrap_or(none);
        let remote = host::peer_name(self.fd()).and_then(|name| parse(name.bytes())).ok();
        let state = if self.is_stream() || remote.is_none() { state[0] } else { 1 };
        (state, local, remote)
    }
}

impl Socket for HostSocket {
    fn core(&self) -> &Arc<Core> {
        &self.core
    }

    fn ready(&self) -> Ready {
        let mut ready = self.poll();
        ready.set(Ready::RDNORM, ready.contains(Ready::IN));
        ready.set(Ready::WRNORM, ready.contains(Ready::OUT));
        if self.core.has_error() { ready | Ready::ERR } else { ready }
    }

    fn bind(&self, caller: &Caller<'_>, addr: &[u8]) -> Result<(), Errno> {
        self.check_port(caller, addr)?;
        host::bind(self.fd(), addr)
    }

    fn listen(&self, _caller: &Caller<'_>, backlog: i32) -> Result<(), Errno> {
        host::listen(self.fd(), backlog)
    }

    fn accept(&self) -> Result<Arc<dyn Socket>, Errno> {
        let net = self.net.as_ref().ok_or(Errno::EOPNOTSUPP)?;
        let (fd, from) = self.accept_host()?;
        let chatty = self.chatty.load(Ordering::Relaxed);
        let socket = HostSocket::listed(Core::child(&self.core), net, fd, from, chatty)?;
        Ok(socket)
    }

    fn accepted_name(&self) -> Result<RawAddr, Errno> {
        Ok(self.from.clone())
    }

    fn connect(&self, _caller: &Caller<'_>, addr: &[u8]) -> Result<(), Errno> {
        host::connect(self.fd(), addr)
    }

    fn send(&self, _caller: &Caller<'_>, message: &mut Outgoing<'_>) -> Result<usize, Errno> {
        self.core.take_error()?;
        let len = message.src.remaining();
        let stream = self.is_stream();
        if !stream && len > self.longest() {
            return Err(Errno::EMSGSIZE);
        }
        let control = control::outgoing(&message.control)?;
        let flags = (message.flags & SEND).bits();
        with_scratch(if stream { len.min(CHUNK) } else { len }, |buf| {
            let taken = if buf.is_empty() { 0 } else { message.src.take(buf)? };
            if !stream && taken < len {
                message.src.untake(taken);
                return Err(Errno::EFAULT);
            }
            let sent = match (message.to, control.is_empty()) {
                (None, true) => host::send(self.fd(), &buf[..taken], flags),
                (to, _) => host::send_to(self.fd(), to.unwrap_or(&[]), &buf[..taken], &control, flags),
            };
            let used = sent.unwrap_or(0).min(taken);
            message.src.untake(taken - used);
            // A connection that a send with MSG_FASTOPEN has begun.
            sent
        })
    }

    fn recv(&self, message: &mut Incoming<'_>) -> Result<Received, Errno> {
        self.core.take_error()?;
        with_scratch(message.dst.remaining().min(self.longest()), |buf| self.receive_into(message, buf))
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        let raw = match how {
            Shutdown::Read => 0,
            Shutdown::Write => 1,
            Shutdown::Both => 2,
        };
        host::shutdown(self.fd(), raw)
    }

    fn local_name(&self) -> Result<RawAddr, Errno> {
        Ok(RawAddr::new(host::local_name(self.fd())?.bytes()))
    }

    fn peer_name(&self) -> Result<RawAddr, Errno> {
        Ok(RawAddr::new(host::peer_name(self.fd())?.bytes()))
    }

    fn is_listening(&self) -> bool {
        let mut value = [0; 4];
        host::option(self.fd(), sol::SOCKET, so::ACCEPTCONN, &mut value).is_ok() && value != [0; 4]
    }

    /// Of TCP, by `TCP_INFO`, whose `tcpi_unacked` and `tcpi_sacked` tell that of a listener.
    fn backlog(&self) -> Option<(usize, usize)> {
        let mut info = [0; 32];
        if !self.is_listening() || host::option(self.fd(), sol::TCP, tcp::INFO, &mut info).is_err() {
            return None;
        }
        let word = |at: usize| u32::from_ne_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]);
        Some((usize::try_from(word(24)).ok()?, usize::try_from(word(28)).ok()?))
    }

    fn set_generic(&self, caller: &Caller<'_>, name: i32, value: &[u8]) -> Option<Result<(), Errno>> {
        match name {
            // Remembered for the guest too.
            so::LINGER if !self.is_unix() => self.set_linger(value).err().map(Err),
            so::RCVLOWAT if !self.is_unix() => host::set_option(self.fd(), sol::SOCKET, name, value).err().map(Err),
            so::SNDBUFFORCE | so::RCVBUFFORCE => {
                if !caller.caps.contains(Caps::NET_ADMIN) {
                    return Some(Err(Errno::EPERM));
                }
                // As far as the host allows its ordinary users.
                let name = if name == so::SNDBUFFORCE { so::SNDBUF } else { so::RCVBUF };
                Some(host::set_option(self.fd(), sol::SOCKET, name, value))
            }
            _ if self.is_unix() && !self.generic().may_set(name) => None,
            so::BINDTODEVICE | so::BINDTOIFINDEX if !caller.caps.contains(Caps::NET_RAW) => Some(Err(Errno::EPERM)),
            // What the host would refuse to the sentry whoever asks.
            so::MARK | so::BUSY_POLL => Some(Err(Errno::EPERM)),
            _ if self.generic().may_set(name) => {
                if self.generic().is_chatty(name) {
                    self.chatty.store(true, Ordering::Relaxed);
                }
                let result = host::set_option(self.fd(), sol::SOCKET, name, value);
                if matches!(name, so::SNDBUF | so::RCVBUF) {
                    self.core.wake(self.ready());
                }
                Some(result)
            }
            _ => None,
        }
    }

    fn get_generic(&self, name: i32, len: usize) -> Option<Result<Vec<u8>, Errno>> {
        let own = matches!(name, so::LINGER | so::RCVLOWAT);
        if own || !self.generic().may_get(name) {
            return None;
        }
        if name == so::ERROR
            && let Err(errno) = self.core.take_error()
        {
            return Some(Ok(opts::bytes(errno.raw())));
        }
        Some(self.option(sol::SOCKET, name, len))
    }

    fn set_option(&self, _caller: &Caller<'_>, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        let known = options::of(level).filter(|known| known.may_set(name) && level != sol::SOCKET);
        let Some(known) = known else { return Err(Errno::ENOPROTOOPT) };
        if known.is_chatty(name) {
            self.chatty.store(true, Ordering::Relaxed);
        }
        host::set_option(self.fd(), level, name, value)
    }

    fn get_option(&self, level: i32, name: i32, len: usize) -> Result<Vec<u8>, Errno> {
        match options::of(level) {
            Some(known) if known.may_get(name) => self.option(level, name, len),
            Some(_) => Err(Errno::ENOPROTOOPT),
            None => Err(Errno::EOPNOTSUPP),
        }
    }

    fn inq(&self) -> Result<usize, Errno> {
        self.figure(sioc::FIONREAD)
    }

    fn outq(&self) -> Result<usize, Errno> {
        self.figure(sioc::TIOCOUTQ)
    }

    fn at_mark(&self) -> Result<bool, Errno> {
        self.figure(sioc::SIOCATMARK).map(|mark| mark != 0)
    }

    fn raises_sigpipe(&self) -> bool {
        self.is_stream()
    }

    /// The host's socket ends with the last reference: whoever waits for it in another call holds one too, as on Linux.
    fn close(&self) {}
}

impl HostSocket {
    fn option(&self, level: i32, name: i32, len: usize) -> Result<Vec<u8>, Errno> {
        let mut value = [0; MAX_VALUE];
        let got = host::option(self.fd(), level, name, &mut value[..len.min(MAX_VALUE)])?;
        Ok(value[..got].to_vec())
    }

    fn figure(&self, request: u32) -> Result<usize, Errno> {
        Ok(usize::try_from(host::figure(self.fd(), request)?).unwrap_or(0))
    }
}

impl Drop for HostSocket {
    fn drop(&mut self) {
        if let Some(net) = &self.net {
            net.sockets.lock().remove(&self.core.id);
        }
    }
}
