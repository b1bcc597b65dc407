//! [`Outward`]: a unix socket that may come to be one of the host (`--host-uds`).
//!
//! It begins as a socket of this kernel. Where `connect` or a datagram's address leads to a socket inode at which nobody of
//! this kernel listens, the inode is asked for a connection to the host's ([`sentry_fs::Inode::connect_host`]); where `bind` makes a
//! name in a tree of the host, the tree is asked to make a socket of the host. From then on calls go to that, by the same
//! [`HostSocket`] that serves internet sockets.
//!
//! Neither descriptors nor credentials pass in either direction: sending them is `EINVAL`, received ones are closed by the
//! host (`MSG_CTRUNC`), and the peer is shown as nobody. Names are those that the guest has used; what the host says
//! of a socket that a gofer has bound (`/fd/7/name`) is no name.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use abi::Errno;
use abi::flags::Ready;
use sentry_fs::Inode;
use sentry_fs::hostfd::HostReactor;
use sentry_sync::{Level, Mutex};

use crate::NetNamespace;
use crate::addr::{self, RawAddr, UnixName};
use crate::host::{HostSocket, exhausted};
use crate::socket::{Caller, Control, Core, FileRef, Incoming, Outgoing, PathKey, Received, Shutdown, Socket, Ucred};
use crate::uapi::{MsgFlags, SockType, af};
use crate::unix::dgram::copy_in;
use crate::unix::stream::UnixStream;
use crate::unix::{self, HANGUP, INPUT, OUTPUT};

/// Who a peer on the host is said to be.
const NOBODY: Ucred = Ucred { pid: 0, uid: 65534, gid: 65534 };

/// How long a `connect` waits before it tries again for the first time, and a datagram to a name, since the host doesn't tell when a queue has room.
const PAUSE: Duration = Duration::from_millis(10);

/// The socket of the host that a guest's has come to be.
struct Side {
    socket: Arc<HostSocket>,
    /// The guest's name for it, where it was bound on the host.
    local: Option<RawAddr>,
    /// The peer's name, where it is connected.
    peer: Option<RawAddr>,
    /// Keeps the inode of its name alive.
    pin: Option<FileRef>,
}

#[derive(Default)]
struct State {
    side: Option<Arc<Side>>,
    /// Where the last datagram with an address went.
    last: Option<(PathKey, Arc<HostSocket>)>,
}

/// A unix socket of a sandbox that may use those of the host.
pub(crate) struct Outward {
    /// What it is until then.
    inner: Arc<dyn Socket>,
    reactor: Arc<dyn HostReactor>,
    state: Mutex<State>,
}

impl Outward {
    /// Makes a socket, which is still one of this kernel.
    pub(crate) fn make(
        ns: &Arc<NetNamespace>,
        reactor: &Arc<dyn HostReactor>,
        cred: Ucred,
        kind: SockType,
        protocol: i32,
    ) -> Result<Arc<dyn Socket>, Errno> {
        let inner = unix::inward(ns, cred, kind, protocol)?;
        Ok(Arc::new(Outward::over(inner, reactor, None)))
    }

    fn over(inner: Arc<dyn Socket>, reactor: &Arc<dyn HostReactor>, side: Option<Side>) -> Outward {
        let state = State { side: side.map(Arc::new), last: None };
        Outward { inner, reactor: Arc::clone(reactor), state: Mutex::new(Level::Socket, state) }
    }

    fn side(&self) -> Option<Arc<Side>> {
        self.state.lock().side.clone()
    }

    /// Returns the socket that calls go to.
    fn now(&self) -> Arc<dyn Socket> {
        match self.side() {
            Some(side) => Arc::clone(&side.socket) as Arc<dyn Socket>,
            None => Arc::clone(&self.inner),
        }
    }

    fn is_datagram(&self) -> bool {
        self.core().kind == SockType::Dgram
    }

    fn adopt(&self, fd: OwnedFd) -> Result<Arc<HostSocket>, Errno> {
        HostSocket::of_unix(self.core(), &*self.reactor, fd)
    }

    /// Takes the place of the socket of this kernel, or of itself without a peer; of two threads that try, the first wins.
    fn become_host(&self, side: Side) -> Result<(), Errno> {
        let goes_on = |old: &Arc<Side>| old.peer.is_none() && Arc::ptr_eq(&old.socket, &side.socket);
        let old = {
            let mut state = self.state.lock();
            if !self.is_datagram() && state.side.as_ref().is_some_and(|old| !goes_on(old)) {
                return Err(Errno::EISCONN);
            }
            state.side.replace(Arc::new(side))
        };
        drop(old);
        // What the host told before this was so, the waiting have looked for at the other socket.
        self.core().wake(INPUT | OUTPUT | HANGUP);
        Ok(())
    }

    /// Ends the connection of a datagram socket.
    fn disconnect(&self) {
        let old = {
            let mut state = self.state.lock();
            if state.side.as_ref().is_some_and(|side| side.local.is_none()) { state.side.take() } else { None }
        };
        drop(old);
    }

    fn connect_out(&self, caller: &Caller<'_>, path: &[u8], name: &UnixName) -> Result<(), Errno> {
        if !self.is_datagram() && self.inner.peer_name().is_ok() {
            return Err(Errno::EISCONN);
        }
        if self.inner.is_listening() {
            return Err(Errno::EINVAL);
        }
        let (_, inode) = caller.paths.host_socket(path)?;
        let peer = Some(UnixName::write(Some(name)));
        if let Some(bound) = self.side().filter(|side| side.local.is_some()) {
            inode.connect_host_from(bound.socket.fd())?;
            let (socket, local) = (Arc::clone(&bound.socket), bound.local.clone());
            return self.become_host(Side { socket, local, peer, pin: bound.pin.clone() });
        }
        let fd = inode.connect_host(u32::from(self.core().kind as u8)).map_err(exhausted)?;
        let socket = self.adopt(fd)?;
        self.become_host(Side { socket, local: None, peer, pin: None })
    }

    /// Sends a datagram to a socket of the host that this one isn't connected to.
    fn send_out(&self, caller: &Caller<'_>, path: &[u8], message: &mut Outgoing<'_>) -> Result<usize, Errno> {
        let (key, inode) = caller.paths.host_socket(path)?;
        if let Some(bound) = self.side().filter(|side| side.local.is_some()) {
            return send_from(&bound.socket, &*inode, message);
        }
        let known = self.state.lock().last.clone().filter(|(known, _)| *known == key);
        if let Some((_, socket)) = known {
            match send_plain(&socket, caller, message) {
                // Whoever listened there may have begun anew.
                Err(Errno::ECONNREFUSED | Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN) => {
                    let gone = self.state.lock().last.take();
                    drop(gone);
                }
                sent => return sent,
            }
        }
        let fd = inode.connect_host(u32::from(SockType::Dgram as u8)).map_err(exhausted)?;
        let socket = self.adopt(fd)?;
        let old = self.state.lock().last.replace((key, Arc::clone(&socket)));
        drop(old);
        send_plain(&socket, caller, message)
    }
}

/// A name that the gofer has bound means nothing to the guest: it leads over the gofer's descriptors.
fn as_seen_inside(name: RawAddr) -> RawAddr {
    match UnixName::parse(name.bytes()) {
        Ok(Some(UnixName::Path(path))) if path.starts_with(b"/fd/") => UnixName::write(None),
        _ => name,
    }
}

/// Sends a datagram from a socket that has a name on the host.
fn send_from(socket: &HostSocket, to: &dyn Inode, message: &mut Outgoing<'_>) -> Result<usize, Errno> {
    check_plain(message)?;
    let len = message.src.remaining();
    let data = copy_in(message.src, len)?;
    let sent = to.send_host_from(socket.fd(), &data);
    if sent.is_err() {
        message.src.untake(data.len());
    }
    sent.map(|()| data.len())
}

/// Refuses what can't go to the host.
fn check_plain(message: &Outgoing<'_>) -> Result<(), Errno> {
    if message.flags.contains(MsgFlags::OOB) {
        return Err(Errno::EOPNOTSUPP);
    }
    let special = |one: &Control| matches!(one, Control::Rights(_) | Control::Credentials(_));
    if message.control.iter().any(special) { Err(Errno::EINVAL) } else { Ok(()) }
}

/// Sends without an address: one would mean something else to the host.
fn send_plain(socket: &HostSocket, caller: &Caller<'_>, message: &mut Outgoing<'_>) -> Result<usize, Errno> {
    check_plain(message)?;
    message.control.clear();
    message.to = None;
    socket.send(caller, message)
}

impl Socket for Outward {
    fn core(&self) -> &Arc<Core> {
        self.inner.core()
    }

    fn ready(&self) -> Ready {
        self.now().ready()
    }

    fn bind(&self, caller: &Caller<'_>, addr: &[u8]) -> Result<(), Errno> {
        if self.side().is_some_and(|side| side.local.is_some()) {
            return Err(Errno::EINVAL);
        }
        let name = UnixName::parse(addr)?;
        let unnamed = UnixName::write(None) == self.inner.local_name()?;
        let (Some(UnixName::Path(path)), true, None) = (&name, unnamed, self.side()) else {
            return self.inner.bind(caller, addr);
        };
        match caller.paths.create_host(path, u32::from(self.core().kind as u8)) {
            Err(Errno::EOPNOTSUPP) => self.inner.bind(caller, addr),
            made => {
                let (binding, fd) = made?;
                let local = Some(UnixName::write(name.as_ref()));
                let side = |socket| Side { socket, local, peer: None, pin: Some(binding.pin) };
                let bound = self.adopt(fd).and_then(|socket| self.become_host(side(socket)));
                if bound.is_err() {
                    caller.paths.remove(path);
                }
                bound
            }
        }
    }

    fn listen(&self, caller: &Caller<'_>, backlog: i32) -> Result<(), Errno> {
        let Some(side) = self.side() else { return self.inner.listen(caller, backlog) };
        match (self.is_datagram(), &side.local, &side.peer) {
            (true, ..) => Err(Errno::EOPNOTSUPP),
            (false, Some(_), None) => side.socket.listen(caller, backlog),
            // Not bound, or connected. The host would say the same, and need not be asked.
            _ => Err(Errno::EINVAL),
        }
    }

    fn accept(&self) -> Result<Arc<dyn Socket>, Errno> {
        let Some(side) = self.side() else { return self.inner.accept() };
        let (fd, from) = side.socket.accept_host()?;
        let core = Core::child(self.core());
        let socket = HostSocket::of_unix(&core, &*self.reactor, fd)?;
        let child = Side { socket, local: side.local.clone(), peer: Some(as_seen_inside(from)), pin: None };
        Ok(Arc::new(Outward::over(UnixStream::idle(core), &self.reactor, Some(child))))
    }

    fn pause(&self) -> Option<Duration> {
        Some(PAUSE)
    }

    fn connect(&self, caller: &Caller<'_>, addr: &[u8]) -> Result<(), Errno> {
        if self.is_datagram() && addr::family(addr) == Some(af::UNSPEC) {
            if self.side().is_some_and(|side| side.local.is_some() && side.peer.is_some()) {
                return Err(Errno::EOPNOTSUPP);
            }
            self.disconnect();
            return self.inner.connect(caller, addr);
        }
        let name = UnixName::parse(addr)?.ok_or(Errno::EINVAL)?;
        if let (false, Some(side)) = (self.is_datagram(), self.side()) {
            return match (&side.peer, &name) {
                (Some(_), _) => Err(Errno::EISCONN),
                (None, _) if side.socket.is_listening() => Err(Errno::EINVAL),
                // Who has a name on the host finds nobody but those on the host.
                (None, UnixName::Path(path)) => self.connect_out(caller, path, &name),
                (None, _) => Err(Errno::ECONNREFUSED),
            };
        }
        match (self.inner.connect(caller, addr), &name) {
            (Err(Errno::ECONNREFUSED), UnixName::Path(path)) => self.connect_out(caller, path, &name),
            // The host's socket would still hear its peer only.
            (Ok(()), _) if self.side().is_some_and(|side| side.local.is_some() && side.peer.is_some()) => {
                self.inner.connect(caller, &af::UNSPEC.to_ne_bytes())?;
                Err(Errno::EOPNOTSUPP)
            }
            (Ok(()), _) => {
                self.disconnect();
                Ok(())
            }
            (refused, _) => refused,
        }
    }

    fn send(&self, caller: &Caller<'_>, message: &mut Outgoing<'_>) -> Result<usize, Errno> {
        // One that is bound on the host may be connected to a socket of this kernel.
        let side = self.side().filter(|side| side.peer.is_some() || self.inner.peer_name().is_err());
        if let (Some(side), true) = (&side, !self.is_datagram() || message.to.is_none()) {
            if message.to.is_some() && self.core().kind == SockType::Stream {
                return Err(if side.peer.is_some() { Errno::EISCONN } else { Errno::EOPNOTSUPP });
            }
            return send_plain(&side.socket, caller, message);
        }
        let to = message.to;
        match (self.inner.send(caller, message), to.map(UnixName::parse)) {
            (Err(Errno::ECONNREFUSED), Some(Ok(Some(UnixName::Path(path))))) => self.send_out(caller, &path, message),
            (result, _) => result,
        }
    }

    fn recv(&self, message: &mut Incoming<'_>) -> Result<Received, Errno> {
        let Some(side) = self.side() else { return self.inner.recv(message) };
        if message.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut received = side.socket.recv(message)?;
        received.from = received.from.map(as_seen_inside);
        if let Some(peer) = &side.peer {
            // As of a socket of this kernel: nothing where the peer has no name.
            received.from = Some(peer.clone()).filter(|peer| *peer != UnixName::write(None));
        }
        Ok(received)
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        self.now().shutdown(how)
    }

    fn local_name(&self) -> Result<RawAddr, Errno> {
        match self.side().and_then(|side| side.local.clone()) {
            Some(local) => Ok(local),
            None => self.inner.local_name(),
        }
    }

    fn peer_name(&self) -> Result<RawAddr, Errno> {
        match self.side() {
            Some(side) => side.peer.clone().ok_or(Errno::ENOTCONN),
            None => self.inner.peer_name(),
        }
    }

    fn is_listening(&self) -> bool {
        self.now().is_listening()
    }

    fn backlog(&self) -> Option<(usize, usize)> {
        if self.side().is_some() { None } else { self.inner.backlog() }
    }

    fn peer_id(&self) -> Option<u64> {
        if self.side().is_some() { None } else { self.inner.peer_id() }
    }

    fn peer_cred(&self) -> Option<Ucred> {
        match self.side() {
            Some(side) => side.peer.as_ref().filter(|_| !self.is_datagram()).map(|_| NOBODY),
            None => self.inner.peer_cred(),
        }
    }

    fn set_generic(&self, caller: &Caller<'_>, name: i32, value: &[u8]) -> Option<Result<(), Errno>> {
        self.now().set_generic(caller, name, value)
    }

    fn get_generic(&self, name: i32, len: usize) -> Option<Result<Vec<u8>, Errno>> {
        self.now().get_generic(name, len)
    }

    fn inq(&self) -> Result<usize, Errno> {
        self.now().inq()
    }

    fn outq(&self) -> Result<usize, Errno> {
        self.now().outq()
    }

    fn raises_sigpipe(&self) -> bool {
        self.inner.raises_sigpipe()
    }

    fn discard_files(&self) {
        self.inner.discard_files();
    }

    /// The host's sockets end with the last reference: whoever waits for one in another call holds it too, as on Linux.
    fn close(&self) {
        self.inner.close();
        let ended = std::mem::take(&mut *self.state.lock());
        drop(ended);
    }
}

#[cfg(test)]
mod tests;
