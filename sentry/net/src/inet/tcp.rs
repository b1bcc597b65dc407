//! TCP sockets: binding, listening, connecting, and what state a socket is in. Data move in [`super::tcp_link`].
//!
//! A loopback handshake needs no time, but a caller that doesn't block still sees `EINPROGRESS`, as on Linux, where the
//! answer is processed after the call. Only a listener whose queue is full keeps a connection waiting.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use abi::Errno;
use abi::flags::Ready;
use sentry_sync::{Level, Mutex};

use crate::NetNamespace;
use crate::addr::{self, InetAddr, RawAddr};
use crate::inet::options::{IpOptions, Situation};
use crate::inet::ports::Binding;
use crate::inet::tcp_link::Link;
use crate::inet::tcp_options::TcpOptions;
use crate::inet::{self, Reach};
use crate::socket::{Caller, Core, Incoming, Outgoing, Received, Shutdown, Socket, Ucred};
use crate::uapi::{MsgFlags, SockType, af, ipproto, so, sol};
use crate::unix::{HANGUP, SOMAXCONN};

struct Listener {
    backlog: usize,
    queue: VecDeque<Arc<TcpSocket>>,
    /// Connecting sockets that found the queue full.
    waiting: Vec<Weak<TcpSocket>>,
}

enum Phase {
    Closed,
    Listening(Listener),
    /// Waits for the listener at this address.
    SynSent(InetAddr),
    Connected(Arc<Link>),
    /// A connect failed; the error hasn't been collected by another connect yet.
    Failed,
}

/// How far `connect` has told its caller (`enum socket_state`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    InProgress,
    Connected,
}

struct State {
    local: Option<InetAddr>,
    /// `bind` chose the address or port, which then outlive a disconnect.
    bound: bool,
    phase: Phase,
    told: Told,
    /// `shutdown` before there was a connection.
    shut: (bool, bool),
}

/// A TCP socket.
pub(crate) struct TcpSocket {
    core: Arc<Core>,
    me: Weak<TcpSocket>,
    state: Mutex<State>,
    ip: Mutex<IpOptions>,
    tcp: Mutex<TcpOptions>,
}

impl TcpSocket {
    fn build(core: Arc<Core>, state: State, ip: IpOptions, tcp: TcpOptions) -> Arc<TcpSocket> {
        Arc::new_cyclic(|me| TcpSocket {
            core,
            me: me.clone(),
            state: Mutex::new(Level::Socket, state),
            ip: Mutex::new(Level::Leaf, ip),
            tcp: Mutex::new(Level::Leaf, tcp),
        })
    }

    /// Makes an unconnected socket.
    pub(crate) fn new(ns: &Arc<NetNamespace>, domain: u16, cred: Ucred) -> Arc<TcpSocket> {
        let core = Core::new(ns, domain, SockType::Stream, ipproto::TCP, cred);
        let state =
            State { local: None, bound: false, phase: Phase::Closed, told: Told::Nothing, shut: (false, false) };
        TcpSocket::build(core, state, IpOptions::default(), TcpOptions::default())
    }

    fn link(&self) -> Option<Arc<Link>> {
        match &self.state.lock().phase {
            Phase::Connected(link) => Some(Arc::clone(link)),
            _ => None,
        }
    }

    fn binding(&self, addr: InetAddr) -> Binding<TcpSocket> {
        let (reuse, reuseport) = {
            let opts = self.core.opts.lock();
            (opts.has(so::REUSEADDR), opts.has(so::REUSEPORT))
        };
        Binding {
            id: self.core.id,
            ip: addr.ip,
            v6only: self.ip.lock().v6only(),
            reuse,
            reuseport,
            uid: self.core.creator.uid,
            listening: false,
            peer: None,
            socket: self.me.clone(),
        }
    }

    /// Takes a port for a socket that has none; runs under the socket's lock.
    fn autobind(&self, state: &mut State, addr: InetAddr) -> Result<InetAddr, Errno> {
        if let Some(local) = state.local {
            return Ok(local);
        }
        let port = self.core.ns.ports.tcp.bind(0, self.binding(addr)).map_err(|_| Errno::EADDRNOTAVAIL)?;
        let local = InetAddr { port, ..addr };
        state.local = Some(local);
        Ok(local)
    }

    fn release(&self, local: Option<InetAddr>) {
        if let Some(local) = local {
            self.core.ns.ports.tcp.release(local.port, self.core.id);
        }
    }

    /// The listener's half of a connect. `Ok(None)`: the queue is full, the client waits.
    fn admit(&self, client: &Arc<TcpSocket>, from: InetAddr, to: InetAddr) -> Result<Option<Arc<Link>>, Errno> {
        let core = Core::child(&self.core);
        let ip = self.ip.lock().clone();
        let tcp = self.tcp.lock().clone();
        let mut state = self.state.lock();
        let Phase::Listening(listener) = &mut state.phase else { return Err(Errno::ECONNREFUSED) };
        if listener.queue.len() > listener.backlog {
            listener.waiting.retain(|waiting| waiting.strong_count() > 0);
            listener.waiting.push(client.me.clone());
            return Ok(None);
        }
        let (near, far) = Link::pair((&client.core, from), (&core, to));
        let phase = Phase::Connected(far);
        let child = State { local: Some(to), bound: false, phase, told: Told::Connected, shut: (false, false) };
        let child = TcpSocket::build(core, child, ip, tcp);
        self.core.ns.ports.tcp.share(to.port, child.binding(to));
        listener.queue.push_back(child);
        Ok(Some(near))
    }

    /// Looks for the listener and, where it takes the connection, finishes it.
    fn handshake(self: &Arc<TcpSocket>) {
        let (from, to) = {
            let state = self.state.lock();
            match (&state.phase, state.local) {
                (Phase::SynSent(to), Some(from)) => (from, *to),
                _ => return,
            }
        };
        let listener = self.core.ns.ports.tcp.find(to, from, true);
        let admitted = match &listener {
            Some(listener) => listener.admit(self, from, to),
            None => Err(Errno::ECONNREFUSED),
        };
        let mut state = self.state.lock();
        let link = match admitted {
            Ok(None) => return,
            _ if !matches!(state.phase, Phase::SynSent(_)) => {
                drop(state); // closed or disconnected meanwhile
                if let Ok(Some(link)) = admitted {
                    link.close(true);
                }
                return;
            }
            Ok(Some(link)) => link,
            Err(errno) => {
                state.phase = Phase::Failed;
                drop(state);
                self.core.set_error(errno);
                self.core.wake(HANGUP);
                return;
            }
        };
        if state.shut != (false, false) {
            let (read, write) = state.shut;
            link.shutdown(match (read, write) {
                (true, true) => Shutdown::Both,
                (true, false) => Shutdown::Read,
                _ => Shutdown::Write,
            });
        }
        state.phase = Phase::Connected(link);
        drop(state);
        if let Some(listener) = listener {
            listener.core.wake(Ready::READABLE);
        }
        self.core.wake(Ready::WRITABLE);
    }

    /// Ends whatever the socket was doing; returns to the closed state.
    fn stop(&self, abort: bool, keep: bool) {
        let (phase, local) = {
            let mut state = self.state.lock();
            let keep = keep && state.bound;
            state.told = Told::Nothing;
            state.shut = (false, false);
            let local = if keep { None } else { state.local.take() };
            (std::mem::replace(&mut state.phase, Phase::Closed), local)
        };
        self.release(local);
        match phase {
            Phase::Connected(link) => link.close(abort),
            Phase::Listening(listener) => {
                for child in listener.queue {
                    child.stop(true, false);
                }
                for waiting in listener.waiting.iter().filter_map(Weak::upgrade) {
                    waiting.handshake();
                }
            }
            _ => {}
        }
    }

    fn situation(&self) -> Situation {
        let state = self.state.lock();
        let connected = matches!(state.phase, Phase::Connected(_));
        Situation { domain: self.core.domain, bound: state.local.is_some(), connected }
    }

    /// Returns the state, local and remote address, for `/proc/net/tcp`.
    pub(crate) fn describe(&self) -> (u8, InetAddr, Option<InetAddr>) {
        let state = self.state.lock();
        let local = state.local.unwrap_or(InetAddr::new(inet::any(self.core.domain), 0));
        match &state.phase {
            Phase::Closed | Phase::Failed => (7, local, None),
            Phase::Listening(_) => (10, local, None),
            Phase::SynSent(to) => (2, local, Some(*to)),
            Phase::Connected(link) => (link.state(), link.local, Some(link.remote)),
        }
    }
}

impl Socket for TcpSocket {
    fn core(&self) -> &Arc<Core> {
        &self.core
    }

    fn ready(&self) -> Ready {
        let error = if self.core.has_error() { Ready::ERR } else { Ready::empty() };
        let link = {
            let state = self.state.lock();
            match &state.phase {
                Phase::Connected(link) => Arc::clone(link),
                Phase::Listening(listener) if listener.queue.is_empty() => return error,
                Phase::Listening(_) => return error | Ready::READABLE,
                Phase::SynSent(_) => return error,
                Phase::Failed => return error | Ready::READABLE | Ready::RDHUP | Ready::HUP | Ready::WRITABLE,
                Phase::Closed => {
                    let ended = if state.shut.0 { Ready::READABLE | Ready::RDHUP } else { Ready::empty() };
                    return error | ended | Ready::HUP | Ready::WRITABLE;
                }
            }
        };
        let opts = self.core.opts.lock().clone();
        error | link.ready(&opts)
    }

    fn bind(&self, caller: &Caller<'_>, addr: &[u8]) -> Result<(), Errno> {
        let (v6only, freebind) = {
            let ip = self.ip.lock();
            (ip.v6only(), ip.freebind())
        };
        let addr = inet::bind_addr(&self.core, caller, addr, v6only, freebind)?;
        let mut state = self.state.lock();
        if state.local.is_some() || !matches!(state.phase, Phase::Closed) {
            return Err(Errno::EINVAL);
        }
        let port = self.core.ns.ports.tcp.bind(addr.port, self.binding(addr))?;
        state.local = Some(InetAddr { port, ..addr });
        state.bound = true;
        Ok(())
    }

    fn listen(&self, _caller: &Caller<'_>, backlog: i32) -> Result<(), Errno> {
        let backlog = usize::try_from(backlog).unwrap_or(SOMAXCONN).min(SOMAXCONN);
        let mut state = self.state.lock();
        match &mut state.phase {
            Phase::Listening(listener) => {
                listener.backlog = backlog;
                return Ok(());
            }
            Phase::Closed => {}
            _ => return Err(Errno::EINVAL),
        }
        let local = self.autobind(&mut state, InetAddr::new(inet::any(self.core.domain), 0))?;
        self.core.ns.ports.tcp.change(local.port, self.core.id, |binding| binding.listening = true)?;
        state.phase = Phase::Listening(Listener { backlog, queue: VecDeque::new(), waiting: Vec::new() });
        drop(state);
        self.core.wake(HANGUP);
        Ok(())
    }

    fn accept(&self) -> Result<Arc<dyn Socket>, Errno> {
        let mut state = self.state.lock();
        let Phase::Listening(listener) = &mut state.phase else { return Err(Errno::EINVAL) };
        let child = listener.queue.pop_front().ok_or(Errno::EAGAIN)?;
        let waiting = std::mem::take(&mut listener.waiting);
        drop(state);
        for waiting in waiting.iter().filter_map(Weak::upgrade) {
            waiting.handshake();
        }
        Ok(child)
    }

    fn connect(&self, _caller: &Caller<'_>, addr: &[u8]) -> Result<(), Errno> {
        if addr::family(addr).ok_or(Errno::EINVAL)? == af::UNSPEC {
            self.stop(true, true);
            self.core.wake(HANGUP);
            return Ok(());
        }
        let me = self.me.upgrade().ok_or(Errno::EINVAL)?;
        let v6only = self.ip.lock().v6only();
        {
            let mut state = self.state.lock();
            match (state.told, &state.phase) {
                (Told::Connected, _) => return Err(Errno::EISCONN),
                (Told::InProgress, Phase::SynSent(_)) => return Err(Errno::EALREADY),
                (Told::InProgress, Phase::Connected(link)) if !link.is_reset() => {
                    state.told = Told::Connected;
                    return Ok(());
                }
                (Told::InProgress, _) => {
                    drop(state);
                    let error = self.core.take_error().err();
                    self.stop(true, true);
                    return Err(error.unwrap_or(Errno::ECONNABORTED));
                }
                (Told::Nothing, Phase::Closed) => {}
                (Told::Nothing, _) => return Err(Errno::EISCONN),
            }
            let to = inet::peer_addr(&self.core, addr, v6only)?;
            if inet::reach(to.ip) != Reach::Local {
                return Err(Errno::ENETUNREACH);
            }
            let to = InetAddr { ip: inet::destination(to.ip), ..to };
            let from = InetAddr::new(inet::source_for(to.ip), 0);
            let local = self.autobind(&mut state, from)?;
            if local.ip.is_unspecified() {
                state.local = Some(InetAddr { ip: from.ip, ..local });
            } else if local.ip.is_ipv4() != to.ip.is_ipv4() {
                return Err(Errno::ENETUNREACH);
            }
            state.phase = Phase::SynSent(to);
            state.told = Told::InProgress;
        }
        me.handshake();
        Err(Errno::EINPROGRESS)
    }

    fn send(&self, caller: &Caller<'_>, message: &mut Outgoing<'_>) -> Result<usize, Errno> {
        if message.flags.contains(MsgFlags::FASTOPEN) {
            return Err(Errno::EOPNOTSUPP);
        }
        let _ = caller;
        let link = {
            let state = self.state.lock();
            match &state.phase {
                Phase::Connected(link) => Some(Arc::clone(link)),
                Phase::SynSent(_) => return Err(Errno::EAGAIN),
                _ => None,
            }
        };
        match link {
            Some(link) => link.send(message),
            None => {
                self.core.take_error()?;
                Err(Errno::EPIPE)
            }
        }
    }

    fn recv(&self, message: &mut Incoming<'_>) -> Result<Received, Errno> {
        if message.flags.contains(MsgFlags::ERRQUEUE) {
            return Err(Errno::EAGAIN);
        }
        let (link, failed) = {
            let state = self.state.lock();
            match &state.phase {
                Phase::Connected(link) => (Some(Arc::clone(link)), false),
                Phase::SynSent(_) => return Err(Errno::EAGAIN),
                phase => (None, matches!(phase, Phase::Failed)),
            }
        };
        let Some(link) = link else {
            self.core.take_error()?;
            return if failed { Ok(Received::default()) } else { Err(Errno::ENOTCONN) };
        };
        let opts = self.core.opts.lock().clone();
        let received = link.recv(message, &opts)?;
        if opts.peek_off >= 0 {
            let step = i32::try_from(received.len).unwrap_or(i32::MAX);
            let peek = message.flags.contains(MsgFlags::PEEK);
            self.core.opts.lock().peek_off =
                if peek { opts.peek_off.saturating_add(step) } else { opts.peek_off.saturating_sub(step).max(0) };
        }
        Ok(received)
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        let mut state = self.state.lock();
        match &state.phase {
            Phase::Connected(link) if link.state() != 7 => {
                let link = Arc::clone(link);
                drop(state);
                link.shutdown(how);
                Ok(())
            }
            Phase::Listening(_) | Phase::SynSent(_) => {
                let stops = how.reads() || matches!(state.phase, Phase::SynSent(_));
                drop(state);
                if stops {
                    self.stop(true, true);
                    self.core.wake(HANGUP);
                }
                Ok(())
            }
            _ => {
                state.shut.0 |= how.reads();
                state.shut.1 |= how.writes();
                Err(Errno::ENOTCONN)
            }
        }
    }

    fn local_name(&self) -> Result<RawAddr, Errno> {
        let state = self.state.lock();
        Ok(inet::write_addr(&self.core, state.local))
    }

    fn peer_name(&self) -> Result<RawAddr, Errno> {
        let link = self.link().filter(|link| link.state() != 7).ok_or(Errno::ENOTCONN)?;
        Ok(inet::write_addr(&self.core, Some(link.remote)))
    }

    fn is_listening(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Listening(_))
    }

    fn set_option(&self, caller: &Caller<'_>, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        match level {
            sol::TCP => self.tcp.lock().set(name, value),
            sol::IP | sol::IPV6 => {
                let situation = self.situation();
                self.ip.lock().set(caller, situation, level, name, value)
            }
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    fn get_option(&self, level: i32, name: i32, len: usize) -> Result<Vec<u8>, Errno> {
        let situation = self.situation();
        match level {
            sol::TCP => {
                let state = self.describe().0;
                let unread = self.inq().unwrap_or(0);
                self.tcp.lock().get(name, state, unread)
            }
            sol::IP | sol::IPV6 => self.ip.lock().report(situation, level, name, len),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    fn backlog(&self) -> Option<(usize, usize)> {
        match &self.state.lock().phase {
            Phase::Listening(listener) => Some((listener.queue.len(), listener.backlog)),
            _ => None,
        }
    }

    fn inq(&self) -> Result<usize, Errno> {
        if self.is_listening() {
            return Err(Errno::EINVAL);
        }
        let inline = self.core.opts.lock().has(so::OOBINLINE);
        Ok(self.link().map_or(0, |link| link.inq(inline)))
    }

    fn outq(&self) -> Result<usize, Errno> {
        if self.is_listening() {
            return Err(Errno::EINVAL);
        }
        Ok(self.link().map_or(0, |link| link.outq()))
    }

    fn at_mark(&self) -> Result<bool, Errno> {
        Ok(self.link().is_some_and(|link| link.at_mark()))
    }

    fn raises_sigpipe(&self) -> bool {
        true
    }

    fn close(&self) {
        let abort = self.core.opts.lock().linger == Some(0);
        self.stop(abort, false);
    }
}

impl Drop for TcpSocket {
    fn drop(&mut self) {
        // A socket that never became a file (an accept that failed half-way) is closed here.
        self.stop(true, false);
    }
}
