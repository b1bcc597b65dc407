//! Unix datagram sockets.
//!
//! Every socket has an inbox of messages. A sender is charged for its messages until they are received, and waits when
//! the inbox of a socket that isn't connected back to it is full.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use abi::Errno;
use abi::flags::Ready;
use sentry_fs::IoSrc;
use sentry_sync::{Level, Mutex};

use crate::NetNamespace;
use crate::addr::{self, RawAddr, UnixName};
use crate::flow::overhead;
use crate::socket::{Caller, Control, Core, Incoming, Outgoing, Received, Shutdown, Socket, Ucred};
use crate::stamp::Stamp;
use crate::uapi::{MsgFlags, SockType, af, so};
use crate::unix::{self, Bound, Found, HANGUP, INPUT, InFlight, MAX_DGRAM_QLEN, Naming, OUTPUT};

struct Message {
    data: Vec<u8>,
    cred: Ucred,
    rights: Option<InFlight>,
    sender: Arc<UnixDgram>,
    stamp: Stamp,
}

impl Message {
    fn charge(&self) -> usize {
        self.data.len() + overhead(self.data.len())
    }
}

#[derive(Default)]
struct Inbox {
    queue: VecDeque<Message>,
    /// Senders that found the inbox full.
    blocked: Vec<Weak<UnixDgram>>,
    dead: bool,
}

struct State {
    naming: Naming,
    peer: Option<Arc<UnixDgram>>,
    peer_cred: Option<Ucred>,
    shut_read: bool,
    shut_write: bool,
}

/// A datagram socket.
pub(crate) struct UnixDgram {
    core: Arc<Core>,
    me: Weak<UnixDgram>,
    state: Mutex<State>,
    inbox: Mutex<Inbox>,
    /// Bytes sent and not yet received, overhead included.
    in_flight: AtomicUsize,
}

impl UnixDgram {
    /// Makes an unconnected socket.
    pub(crate) fn new(ns: &Arc<NetNamespace>, cred: Ucred) -> Arc<UnixDgram> {
        let state =
            State { naming: Naming::default(), peer: None, peer_cred: None, shut_read: false, shut_write: false };
        Arc::new_cyclic(|me| UnixDgram {
            core: Core::new(ns, af::UNIX, SockType::Dgram, 0, cred),
            me: me.clone(),
            state: Mutex::new(Level::Socket, state),
            inbox: Mutex::new(Level::SocketQueue, Inbox::default()),
            in_flight: AtomicUsize::new(0),
        })
    }

    /// Makes two sockets connected to each other.
    pub(crate) fn pair(ns: &Arc<NetNamespace>, cred: Ucred) -> (Arc<UnixDgram>, Arc<UnixDgram>) {
        let (a, b) = (UnixDgram::new(ns, cred), UnixDgram::new(ns, cred));
        for (socket, peer) in [(&a, &b), (&b, &a)] {
            let mut state = socket.state.lock();
            state.peer = Some(Arc::clone(peer));
            state.peer_cred = Some(cred);
        }
        (a, b)
    }

    pub(crate) fn name(&self) -> Option<Arc<UnixName>> {
        self.state.lock().naming.name.clone()
    }

    /// What a sender must know: does this socket take messages from `sender`, and is it connected back to it?
    fn accepts_from(&self, sender: &UnixDgram) -> Result<bool, Errno> {
        let state = self.state.lock();
        let back = state.peer.as_ref().map(|peer| std::ptr::eq(Arc::as_ptr(peer), sender));
        match back {
            Some(false) => Err(Errno::EPERM),
            _ if state.shut_read => Err(Errno::EPIPE),
            back => Ok(back == Some(true)),
        }
    }

    /// Settles accounts for messages that left an inbox.
    fn settle(message: &Message) {
        let before = message.sender.in_flight.fetch_sub(message.charge(), Ordering::AcqRel);
        if before > 0 {
            message.sender.core.wake(OUTPUT);
        }
    }

    /// Empties the inbox; with `dead`, for good.
    fn purge(&self, dead: bool) {
        let (messages, blocked) = {
            let mut inbox = self.inbox.lock();
            inbox.dead |= dead;
            (std::mem::take(&mut inbox.queue), std::mem::take(&mut inbox.blocked))
        };
        for message in &messages {
            UnixDgram::settle(message);
        }
        for waiting in blocked.iter().filter_map(Weak::upgrade) {
            waiting.core.wake(OUTPUT);
        }
    }

    fn is_dead(&self) -> bool {
        self.inbox.lock().dead
    }

    /// Changes the peer; the old one hears of it where it was connected back.
    fn set_peer(&self, peer: Option<Arc<UnixDgram>>, cred: Option<Ucred>) {
        let old = {
            let mut state = self.state.lock();
            state.peer_cred = cred;
            std::mem::replace(&mut state.peer, peer.clone())
        };
        let Some(old) = old else { return };
        if peer.is_some_and(|peer| Arc::ptr_eq(&peer, &old)) {
            return;
        }
        let mutual = old.state.lock().peer.as_ref().is_some_and(|back| std::ptr::eq(Arc::as_ptr(back), self));
        if !self.inbox.lock().queue.is_empty() {
            self.purge(false);
            if mutual && !old.is_dead() {
                old.core.set_error(Errno::ECONNRESET);
                old.core.wake(HANGUP);
            }
        }
    }

    fn autobind(&self) -> Result<(), Errno> {
        let bound = Bound::Dgram(self.me.clone());
        self.state.lock().naming.autobind(&self.core, &bound)
    }

    fn find(&self, caller: &Caller<'_>, name: &UnixName) -> Result<Arc<UnixDgram>, Errno> {
        match self.core.ns.unix.find(caller, name, SockType::Dgram)? {
            Found::Dgram(socket) => Ok(socket),
            Found::Stream(_) => Err(Errno::EPROTOTYPE),
        }
    }

    /// Queues a message at `self`. `EAGAIN` registers the sender to be woken.
    fn deliver(&self, sender: &Arc<UnixDgram>, mutual: bool, message: Message) -> Result<(), (Errno, Message)> {
        let mut inbox = self.inbox.lock();
        if inbox.dead {
            return Err((Errno::ECONNREFUSED, message));
        }
        if !mutual && !std::ptr::eq(self, Arc::as_ptr(sender)) && inbox.queue.len() > MAX_DGRAM_QLEN {
            inbox.block(sender);
            return Err((Errno::EAGAIN, message));
        }
        sender.in_flight.fetch_add(message.charge(), Ordering::AcqRel);
        inbox.queue.push_back(message);
        Ok(())
    }
}

impl Inbox {
    fn block(&mut self, sender: &Arc<UnixDgram>) {
        if !self.blocked.iter().any(|waiting| std::ptr::eq(waiting.as_ptr(), Arc::as_ptr(sender))) {
            self.blocked.retain(|waiting| waiting.strong_count() > 0);
            self.blocked.push(Arc::downgrade(sender));
        }
    }
}

/// Copies a whole datagram in: `EFAULT` where a part of it can't be read.
pub(crate) fn copy_in(src: &mut dyn IoSrc, len: usize) -> Result<Vec<u8>, Errno> {
    let mut data = vec![0; len];
    let got = src.take(&mut data)?;
    if got < len {
        src.untake(got);
        return Err(Errno::EFAULT);
    }
    Ok(data)
}

impl Socket for UnixDgram {
    fn core(&self) -> &Arc<Core> {
        &self.core
    }

    fn ready(&self) -> Ready {
        let (peer, shut_read, shut_write) = {
            let state = self.state.lock();
            (state.peer.clone(), state.shut_read, state.shut_write)
        };
        let mut ready = Ready::empty();
        ready.set(Ready::ERR, self.core.has_error());
        ready.set(Ready::HUP, shut_read && shut_write);
        ready.set(Ready::RDHUP, shut_read);
        ready.set(Ready::READABLE, shut_read || !self.inbox.lock().queue.is_empty());
        let sndbuf = self.core.opts.lock().sndbuf;
        let mut writable = self.in_flight.load(Ordering::Acquire).saturating_mul(4) <= sndbuf;
        if let (true, Some(peer), Some(me)) = (writable, peer, self.me.upgrade())
            && !matches!(peer.accepts_from(self), Ok(true))
            && !Arc::ptr_eq(&peer, &me)
        {
            let mut inbox = peer.inbox.lock();
            if inbox.queue.len() > MAX_DGRAM_QLEN {
                inbox.block(&me);
                writable = false;
            }
        }
        ready.set(OUTPUT, writable);
        ready
    }

    fn bind(&self, caller: &Caller<'_>, addr: &[u8]) -> Result<(), Errno> {
        let bound = Bound::Dgram(self.me.clone());
        unix::bind(&self.core, caller, addr, bound, &mut |change| change(&mut self.state.lock().naming))
    }

    fn connect(&self, caller: &Caller<'_>, addr: &[u8]) -> Result<(), Errno> {
        if addr::family(addr).ok_or(Errno::EINVAL)? == af::UNSPEC {
            self.set_peer(None, None);
            return Ok(());
        }
        let name = UnixName::parse(addr)?.ok_or(Errno::EINVAL)?;
        if self.core.opts.lock().wants_sender() {
            self.autobind()?;
        }
        let peer = self.find(caller, &name)?;
        match peer.accepts_from(self) {
            Err(Errno::EPERM) => return Err(Errno::EPERM),
            _ => self.set_peer(Some(peer), None),
        }
        self.core.wake(OUTPUT);
        Ok(())
    }

    fn send(&self, caller: &Caller<'_>, message: &mut Outgoing<'_>) -> Result<usize, Errno> {
        if message.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let me = self.me.upgrade().ok_or(Errno::EINVAL)?;
        let name = message.to.map(|to| UnixName::parse(to)?.ok_or(Errno::EINVAL)).transpose()?;
        let (peer, shut_write) = {
            let state = self.state.lock();
            (state.peer.clone(), state.shut_write)
        };
        let (named, sndbuf, stamp) = {
            let opts = self.core.opts.lock();
            (opts.wants_sender(), opts.sndbuf, Stamp::now())
        };
        if named {
            self.autobind()?;
        }
        let (cred, rights) = unix::scm(&self.core.ns.unix, caller, &message.control)?;
        let len = message.src.remaining();
        if len > sndbuf.saturating_sub(32) {
            return Err(Errno::EMSGSIZE);
        }
        self.core.take_error()?;
        if shut_write {
            return Err(Errno::EPIPE);
        }
        if self.in_flight.load(Ordering::Acquire) >= sndbuf {
            return Err(Errno::EAGAIN);
        }
        let to = match (&name, peer) {
            (Some(name), _) => self.find(caller, name)?,
            (None, Some(peer)) => peer,
            (None, None) => return Err(Errno::ENOTCONN),
        };
        let mutual = match to.accepts_from(self) {
            // A socket that is gone refuses rather than having ended its reading; delivery finds that out.
            Err(Errno::EPIPE) if to.is_dead() => false,
            answer => answer?,
        };
        let data = copy_in(message.src, len)?;
        if let Some(rights) = &rights {
            rights.arrive(to.core.id);
        }
        match to.deliver(&me, mutual, Message { data, cred, rights, sender: Arc::clone(&me), stamp }) {
            Ok(()) => {
                message.control.clear();
                to.core.wake(INPUT);
                Ok(len)
            }
            Err((errno, unsent)) => {
                message.src.untake(len);
                if errno == Errno::ECONNREFUSED && name.is_none() {
                    self.set_peer(None, None);
                }
                drop(unsent);
                Err(errno)
            }
        }
    }

    fn recv(&self, message: &mut Incoming<'_>) -> Result<Received, Errno> {
        let flags = message.flags;
        if flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.core.take_error()?;
        let peek = flags.contains(MsgFlags::PEEK);
        let opts = self.core.opts.lock().clone();
        let shut_read = self.state.lock().shut_read;
        let mut skip = if peek { usize::try_from(opts.peek_off).unwrap_or(0) } else { 0 };
        let mut inbox = self.inbox.lock();
        let mut at = 0;
        // A peek offset passes over whole messages, and never stops at their end.
        while let Some(queued) = inbox.queue.get(at)
            && skip > 0
            && skip >= queued.data.len()
        {
            skip -= queued.data.len();
            at += 1;
        }
        let Some(queued) = inbox.queue.get(at) else {
            drop(inbox);
            let ended = shut_read && !flags.contains(MsgFlags::DONTWAIT);
            return if ended { Ok(Received::default()) } else { Err(Errno::EAGAIN) };
        };
        let data = &queued.data[skip.min(queued.data.len())..];
        let want = data.len().min(message.dst.remaining());
        let got = if want == 0 { 0 } else { message.dst.put(&data[..want])? };
        if got < want {
            return Err(Errno::EFAULT);
        }
        let mut received = Received { len: got, ..Received::default() };
        received.flags.set(MsgFlags::TRUNC, data.len() > got);
        if flags.contains(MsgFlags::TRUNC) {
            received.len = data.len();
        }
        queued.stamp.control(&opts, &mut received.control);
        if opts.has(so::PASSCRED) {
            received.control.push(Control::Credentials(queued.cred));
        }
        if let Some(rights) = &queued.rights {
            received.control.push(Control::Rights(rights.files()));
        }
        if opts.has(so::PASSPIDFD) {
            received.control.push(Control::Process(queued.cred.pid));
        }
        let sender = Arc::clone(&queued.sender);
        let taken = if peek { None } else { inbox.queue.remove(at) };
        let blocked = if peek { Vec::new() } else { std::mem::take(&mut inbox.blocked) };
        drop(inbox);
        if let Some(taken) = &taken {
            UnixDgram::settle(taken);
        }
        for waiting in blocked.iter().filter_map(Weak::upgrade) {
            waiting.core.wake(OUTPUT);
        }
        if opts.peek_off >= 0 {
            let step = i32::try_from(got).unwrap_or(i32::MAX);
            let whole = taken.as_ref().map_or(0, |taken| i32::try_from(taken.data.len()).unwrap_or(i32::MAX));
            self.core.opts.lock().peek_off =
                if peek { opts.peek_off.saturating_add(step) } else { opts.peek_off.saturating_sub(whole).max(0) };
        }
        received.from = unix::source(sender.name().as_ref());
        Ok(received)
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        let mut state = self.state.lock();
        state.shut_read |= how.reads();
        state.shut_write |= how.writes();
        drop(state);
        self.core.wake(HANGUP);
        Ok(())
    }

    fn local_name(&self) -> Result<RawAddr, Errno> {
        Ok(UnixName::write(self.name().as_deref()))
    }

    fn peer_name(&self) -> Result<RawAddr, Errno> {
        let peer = self.state.lock().peer.clone().ok_or(Errno::ENOTCONN)?;
        Ok(UnixName::write(peer.name().as_deref()))
    }

    fn peer_cred(&self) -> Option<Ucred> {
        self.state.lock().peer_cred
    }

    fn inq(&self) -> Result<usize, Errno> {
        Ok(self.inbox.lock().queue.front().map_or(0, |message| message.data.len()))
    }

    fn outq(&self) -> Result<usize, Errno> {
        Ok(self.in_flight.load(Ordering::Acquire))
    }

    fn discard_files(&self) {
        self.purge(false);
    }

    fn close(&self) {
        let (peer, pin) = {
            let mut state = self.state.lock();
            (state.peer.take(), state.naming.release(&self.core.ns.unix))
        };
        self.purge(true);
        drop((peer, pin));
        self.core.ns.unix.flights().closed();
    }
}
