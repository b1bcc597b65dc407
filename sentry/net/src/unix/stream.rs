//! Connection-oriented unix sockets: `SOCK_STREAM` and `SOCK_SEQPACKET`.
//!
//! A connection is two [`Flow`]s. Each side's shutdown state is read off the flows: the receiving side has ended when the
//! incoming flow has its writer's end (`fin`) or its reader refuses more (`deaf`), and likewise for sending, since
//! `shutdown` of one side shows on both.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use abi::Errno;
use abi::flags::Ready;
use sentry_sync::{Level, Mutex};

use crate::NetNamespace;
use crate::addr::{RawAddr, UnixName};
use crate::flow::{Flow, FlowKind, ReadMode};
use crate::socket::{Caller, Control, Core, Incoming, Outgoing, Received, Shutdown, Socket, Ucred};
use crate::uapi::{MsgFlags, SockType, af, so};
use crate::unix::{self, Bound, Found, HANGUP, INPUT, Naming, OUTPUT, SOMAXCONN};

/// One side's view of a connection.
struct Link {
    rx: Arc<Flow>,
    tx: Arc<Flow>,
    peer: Arc<UnixStream>,
}

struct Listener {
    backlog: usize,
    queue: VecDeque<Arc<UnixStream>>,
    /// Connecting sockets that found the queue full.
    blocked: Vec<Weak<UnixStream>>,
    /// Credentials that clients see.
    cred: Ucred,
    shut: bool,
}

enum Phase {
    Idle,
    /// Between the checks and the pairing of a `connect`.
    Connecting,
    Listening(Listener),
    Connected(Arc<Link>),
    Closed,
}

struct State {
    naming: Naming,
    phase: Phase,
    peer_cred: Option<Ucred>,
    /// `shutdown` of a socket without connection: receiving, sending.
    shut: (bool, bool),
}

/// A stream or seqpacket socket.
pub(crate) struct UnixStream {
    core: Arc<Core>,
    me: Weak<UnixStream>,
    state: Mutex<State>,
}

impl UnixStream {
    fn build(core: Arc<Core>, naming: Naming) -> Arc<UnixStream> {
        let state = State { naming, phase: Phase::Idle, peer_cred: None, shut: (false, false) };
        Arc::new_cyclic(|me| UnixStream { core, me: me.clone(), state: Mutex::new(Level::Socket, state) })
    }

    /// Makes an unconnected socket.
    pub(crate) fn new(ns: &Arc<NetNamespace>, kind: SockType, cred: Ucred) -> Arc<UnixStream> {
        UnixStream::build(Core::new(ns, af::UNIX, kind, 0, cred), Naming::default())
    }

    /// Makes an unconnected socket with this common part.
    pub(crate) fn idle(core: Arc<Core>) -> Arc<UnixStream> {
        UnixStream::build(core, Naming::default())
    }

    /// Makes two connected sockets.
    pub(crate) fn pair(ns: &Arc<NetNamespace>, kind: SockType, cred: Ucred) -> (Arc<UnixStream>, Arc<UnixStream>) {
        let (a, b) = (UnixStream::new(ns, kind, cred), UnixStream::new(ns, kind, cred));
        let (to_a, to_b) = links(&a, &b);
        a.join(to_b, cred);
        b.join(to_a, cred);
        (a, b)
    }

    fn join(&self, link: Arc<Link>, peer_cred: Ucred) {
        let mut state = self.state.lock();
        state.phase = Phase::Connected(link);
        state.peer_cred = Some(peer_cred);
    }

    fn records(&self) -> bool {
        self.core.kind == SockType::Seqpacket
    }

    fn link(&self) -> Option<Arc<Link>> {
        match &self.state.lock().phase {
            Phase::Connected(link) => Some(Arc::clone(link)),
            _ => None,
        }
    }

    pub(crate) fn name(&self) -> Option<Arc<UnixName>> {
        self.state.lock().naming.name.clone()
    }

    /// Queues a connection from `client`: the listener's half of `connect`. Returns the client's link and the
    /// credentials it sees.
    fn admit(&self, client: &Arc<UnixStream>, cred: Ucred) -> Result<(Arc<Link>, Ucred), Errno> {
        let mut state = self.state.lock();
        let name = state.naming.name.clone();
        let Phase::Listening(listener) = &mut state.phase else { return Err(Errno::ECONNREFUSED) };
        if listener.shut {
            return Err(Errno::ECONNREFUSED);
        }
        if listener.queue.len() > listener.backlog {
            if !listener.blocked.iter().any(|waiting| waiting.ptr_eq(&client.me)) {
                listener.blocked.retain(|waiting| waiting.strong_count() > 0);
                listener.blocked.push(client.me.clone());
            }
            return Err(Errno::EAGAIN);
        }
        let child = UnixStream::build(Core::child(&self.core), Naming::borrowed(name));
        let (to_client, to_child) = links(client, &child);
        let seen = listener.cred;
        // The child is nobody else's yet, so its lock can't be contended; it is filled before it is shared.
        let child = child.with_link(to_client, cred);
        listener.queue.push_back(child);
        Ok((to_child, seen))
    }

    fn with_link(self: Arc<UnixStream>, link: Arc<Link>, cred: Ucred) -> Arc<UnixStream> {
        if let Some(mut state) = self.state.try_lock() {
            state.phase = Phase::Connected(link);
            state.peer_cred = Some(cred);
        }
        self
    }

    /// Ends a connection from this side. `reset` tells the peer that data were lost.
    fn hang_up(link: &Link, reset: bool) {
        let (lost, garbage) = {
            let mut rx = link.rx.lock();
            (rx.fin, rx.deaf) = (true, true);
            (rx.loses(), rx.clear())
        };
        {
            let mut tx = link.tx.lock();
            (tx.fin, tx.deaf) = (true, true);
        }
        if lost || reset {
            link.peer.core.set_error(Errno::ECONNRESET);
        }
        link.peer.core.wake(HANGUP);
        drop(garbage);
    }

    fn end(&self, embryo: bool) {
        let (phase, pin) = {
            let mut state = self.state.lock();
            let pin = state.naming.release(&self.core.ns.unix);
            (std::mem::replace(&mut state.phase, Phase::Closed), pin)
        };
        match phase {
            Phase::Connected(link) => UnixStream::hang_up(&link, embryo),
            Phase::Listening(listener) => {
                for child in listener.queue {
                    child.end(true);
                }
                wake_all(&listener.blocked);
            }
            _ => {}
        }
        drop(pin);
    }
}

/// Makes the two views of a new connection: (the link that leads to `a`, the link that leads to `b`).
fn links(a: &Arc<UnixStream>, b: &Arc<UnixStream>) -> (Arc<Link>, Arc<Link>) {
    let kind = if a.records() { FlowKind::Records } else { FlowKind::Bytes };
    let (x, y) = (Arc::new(Flow::new(kind)), Arc::new(Flow::new(kind)));
    let to_a = Link { rx: Arc::clone(&x), tx: Arc::clone(&y), peer: Arc::clone(a) };
    let to_b = Link { rx: y, tx: x, peer: Arc::clone(b) };
    (Arc::new(to_a), Arc::new(to_b))
}

fn wake_all(blocked: &[Weak<UnixStream>]) {
    for waiting in blocked.iter().filter_map(Weak::upgrade) {
        waiting.core.wake(HANGUP);
    }
}

impl Socket for UnixStream {
    fn core(&self) -> &Arc<Core> {
        &self.core
    }

    fn ready(&self) -> Ready {
        let mut ready = if self.core.has_error() { Ready::ERR } else { Ready::empty() };
        let link = {
            let state = self.state.lock();
            match &state.phase {
                Phase::Connected(link) => Arc::clone(link),
                Phase::Listening(listener) => {
                    if !listener.queue.is_empty() || listener.shut {
                        ready |= Ready::READABLE;
                    }
                    return ready;
                }
                _ => {
                    if state.shut.0 {
                        ready |= Ready::READABLE | Ready::RDHUP;
                    }
                    return ready | Ready::HUP | OUTPUT;
                }
            }
        };
        let (input, read_ended) = {
            let rx = link.rx.lock();
            (!rx.is_empty(), rx.fin || rx.deaf)
        };
        let sndbuf = self.core.opts.lock().sndbuf;
        let (writable, write_ended) = {
            let tx = link.tx.lock();
            (tx.writable(sndbuf), tx.fin || tx.deaf)
        };
        ready.set(Ready::READABLE, input || read_ended);
        ready.set(Ready::RDHUP, read_ended);
        ready.set(Ready::HUP, read_ended && write_ended);
        ready.set(OUTPUT, writable);
        ready
    }

    fn bind(&self, caller: &Caller<'_>, addr: &[u8]) -> Result<(), Errno> {
        let bound = Bound::Stream(self.me.clone());
        unix::bind(&self.core, caller, addr, bound, &mut |change| change(&mut self.state.lock().naming))
    }

    fn listen(&self, caller: &Caller<'_>, backlog: i32) -> Result<(), Errno> {
        let backlog = usize::try_from(backlog).unwrap_or(SOMAXCONN).min(SOMAXCONN);
        let mut state = self.state.lock();
        let named = state.naming.name.is_some();
        let blocked = match &mut state.phase {
            Phase::Idle | Phase::Listening(_) if !named => return Err(Errno::EINVAL),
            Phase::Listening(listener) => {
                listener.backlog = backlog;
                listener.cred = caller.cred;
                std::mem::take(&mut listener.blocked)
            }
            phase @ Phase::Idle => {
                let (queue, blocked) = (VecDeque::new(), Vec::new());
                *phase = Phase::Listening(Listener { backlog, queue, blocked, cred: caller.cred, shut: false });
                Vec::new()
            }
            _ => return Err(Errno::EINVAL),
        };
        drop(state);
        wake_all(&blocked);
        Ok(())
    }

    fn accept(&self) -> Result<Arc<dyn Socket>, Errno> {
        let mut state = self.state.lock();
        let Phase::Listening(listener) = &mut state.phase else { return Err(Errno::EINVAL) };
        let child = match listener.queue.pop_front() {
            Some(child) => child,
            None if listener.shut => return Err(Errno::EINVAL),
            None => return Err(Errno::EAGAIN),
        };
        let blocked = std::mem::take(&mut listener.blocked);
        drop(state);
        wake_all(&blocked);
        Ok(child)
    }

    fn connect(&self, caller: &Caller<'_>, addr: &[u8]) -> Result<(), Errno> {
        let name = UnixName::parse(addr)?.ok_or(Errno::EINVAL)?;
        let me = self.me.upgrade().ok_or(Errno::EINVAL)?;
        let Found::Stream(listener) = self.core.ns.unix.find(caller, &name, self.core.kind)? else {
            return Err(Errno::EPROTOTYPE);
        };
        {
            let mut state = self.state.lock();
            match state.phase {
                Phase::Idle => state.phase = Phase::Connecting,
                Phase::Connected(_) => return Err(Errno::EISCONN),
                _ => return Err(Errno::EINVAL),
            }
        }
        let result = listener.admit(&me, caller.cred);
        let mut state = self.state.lock();
        match result {
            Ok((link, cred)) if matches!(state.phase, Phase::Connecting) => {
                state.phase = Phase::Connected(link);
                state.peer_cred = Some(cred);
                drop(state);
                listener.core.wake(INPUT);
                self.core.wake(OUTPUT);
                Ok(())
            }
            Ok((link, _)) => {
                drop(state); // closed meanwhile
                UnixStream::hang_up(&link, true);
                Err(Errno::EINVAL)
            }
            Err(errno) => {
                if matches!(state.phase, Phase::Connecting) {
                    state.phase = Phase::Idle;
                }
                Err(errno)
            }
        }
    }

    fn send(&self, caller: &Caller<'_>, message: &mut Outgoing<'_>) -> Result<usize, Errno> {
        if message.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let link = self.link();
        if message.to.is_some() && !self.records() {
            return Err(if link.is_some() { Errno::EISCONN } else { Errno::EOPNOTSUPP });
        }
        let link = link.ok_or(Errno::ENOTCONN)?;
        if self.records() {
            self.core.take_error()?;
        }
        let (cred, mut rights) = unix::scm(&self.core.ns.unix, caller, &message.control)?;
        let limit = self.core.opts.lock().sndbuf;
        if let Some(rights) = &rights {
            rights.arrive(link.peer.core.id);
        }
        let sent = {
            let mut tx = link.tx.lock();
            if tx.fin || tx.deaf {
                return Err(Errno::EPIPE);
            }
            tx.write(message.src, limit, Some(cred), &mut rights)?
        };
        message.control.clear();
        if sent > 0 || self.records() {
            link.peer.core.wake(INPUT);
        }
        Ok(sent)
    }

    fn recv(&self, message: &mut Incoming<'_>) -> Result<Received, Errno> {
        let flags = message.flags;
        if flags.intersects(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let link = self.link().ok_or(if self.records() { Errno::ENOTCONN } else { Errno::EINVAL })?;
        if self.records() {
            self.core.take_error()?;
        }
        let peek = flags.contains(MsgFlags::PEEK);
        let (passcred, passpidfd, peek_off) = {
            let opts = self.core.opts.lock();
            (opts.has(so::PASSCRED), opts.has(so::PASSPIDFD), opts.peek_off)
        };
        let mode = ReadMode { peek, offset: usize::try_from(peek_off).unwrap_or(0), by_cred: passcred || passpidfd };
        let (read, wake) = {
            let mut rx = link.rx.lock();
            let full = !rx.drained();
            match rx.read(message.dst, mode)? {
                Some(read) => (read, full && rx.drained()),
                None => {
                    let ended = rx.fin || rx.deaf;
                    drop(rx);
                    self.core.take_error()?;
                    return if ended { Ok(Received::default()) } else { Err(Errno::EAGAIN) };
                }
            }
        };
        if wake {
            link.peer.core.wake(OUTPUT);
        }
        if peek_off >= 0 {
            let step = i32::try_from(read.len).unwrap_or(i32::MAX);
            let mut opts = self.core.opts.lock();
            opts.peek_off = if peek { peek_off.saturating_add(step) } else { peek_off.saturating_sub(step).max(0) };
        }
        let mut received = Received { len: read.len, more: !read.boundary && !peek, ..Received::default() };
        if self.records() {
            received.flags.set(MsgFlags::TRUNC, read.record > read.len);
            if flags.contains(MsgFlags::TRUNC) {
                received.len = read.record;
            }
        }
        if passcred {
            received.control.push(Control::Credentials(read.cred.unwrap_or_default()));
        }
        if let Some(rights) = &read.rights {
            received.control.push(Control::Rights(rights.files()));
        }
        if passpidfd {
            received.control.push(Control::Process(read.cred.map_or(0, |cred| cred.pid)));
        }
        received.from = unix::source(link.peer.name().as_ref());
        Ok(received)
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        let mut state = self.state.lock();
        let link = match &mut state.phase {
            Phase::Connected(link) => Arc::clone(link),
            Phase::Listening(listener) => {
                listener.shut |= how.reads();
                let blocked = std::mem::take(&mut listener.blocked);
                drop(state);
                wake_all(&blocked);
                self.core.wake(HANGUP);
                return Ok(());
            }
            _ => {
                state.shut.0 |= how.reads();
                state.shut.1 |= how.writes();
                drop(state);
                self.core.wake(HANGUP);
                return Ok(());
            }
        };
        drop(state);
        if how.reads() {
            link.rx.lock().deaf = true;
        }
        if how.writes() {
            link.tx.lock().fin = true;
        }
        self.core.wake(HANGUP);
        link.peer.core.wake(HANGUP);
        Ok(())
    }

    fn local_name(&self) -> Result<RawAddr, Errno> {
        Ok(UnixName::write(self.name().as_deref()))
    }

    fn peer_name(&self) -> Result<RawAddr, Errno> {
        let link = self.link().ok_or(Errno::ENOTCONN)?;
        Ok(UnixName::write(link.peer.name().as_deref()))
    }

    fn is_listening(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Listening(_))
    }

    fn peer_cred(&self) -> Option<Ucred> {
        self.state.lock().peer_cred
    }

    fn backlog(&self) -> Option<(usize, usize)> {
        match &self.state.lock().phase {
            Phase::Listening(listener) => Some((listener.queue.len(), listener.backlog)),
            _ => None,
        }
    }

    fn peer_id(&self) -> Option<u64> {
        Some(self.link()?.peer.core.id)
    }

    fn inq(&self) -> Result<usize, Errno> {
        if self.is_listening() {
            return Err(Errno::EINVAL);
        }
        Ok(self.link().map_or(0, |link| link.rx.lock().len()))
    }

    fn outq(&self) -> Result<usize, Errno> {
        Ok(self.link().map_or(0, |link| link.tx.lock().used()))
    }

    fn raises_sigpipe(&self) -> bool {
        !self.records()
    }

    fn discard_files(&self) {
        let garbage = self.link().map(|link| link.rx.lock().clear());
        drop(garbage);
    }

    fn close(&self) {
        self.end(false);
        self.core.ns.unix.flights().closed();
    }
}

impl Drop for UnixStream {
    fn drop(&mut self) {
        // A socket that never became a file (an accept that failed half-way) is closed here.
        self.end(false);
    }
}
