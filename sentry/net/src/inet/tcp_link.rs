//! [`Link`]: an established TCP connection as one side sees it: reading, writing, urgent data, FIN and RST.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use abi::Errno;
use abi::flags::Ready;

use crate::addr::InetAddr;
use crate::flow::{Flow, FlowKind, ReadMode, Urgent};
use crate::opts::Options;
use crate::socket::{Core, Incoming, Outgoing, Received, Shutdown};
use crate::uapi::{MsgFlags, so};
use crate::unix::HANGUP;

/// Send buffer after autotuning, bytes: what an unread loopback connection takes on Linux, with the receive buffer.
const AUTO_SNDBUF: usize = 2_626_560;
/// Receive buffer after autotuning, bytes.
const AUTO_RCVBUF: usize = 1_300_000;

/// What belongs to one end of a connection.
pub(crate) struct End {
    core: Arc<Core>,
    /// An RST ended the connection: the socket is in state `CLOSE`.
    reset: AtomicBool,
    /// `SHUT_RD` was called here; the other end doesn't notice.
    shut_read: AtomicBool,
}

/// A connection as one side sees it.
pub(crate) struct Link {
    rx: Flow0,
    tx: Flow0,
    mine: Arc<End>,
    theirs: Arc<End>,
    pub(crate) local: InetAddr,
    pub(crate) remote: InetAddr,
}

type Flow0 = Arc<Flow>;

impl Link {
    /// Connects two sockets: (the client's view, the server's).
    pub(crate) fn pair(client: (&Arc<Core>, InetAddr), server: (&Arc<Core>, InetAddr)) -> (Arc<Link>, Arc<Link>) {
        let end = |core: &Arc<Core>| {
            let (core, reset, shut_read) = (Arc::clone(core), AtomicBool::new(false), AtomicBool::new(false));
            Arc::new(End { core, reset, shut_read })
        };
        let (up, down) = (Arc::new(Flow::new(FlowKind::Tcp)), Arc::new(Flow::new(FlowKind::Tcp)));
        let (near, far) = (end(client.0), end(server.0));
        let client_view = Link {
            rx: Arc::clone(&down),
            tx: Arc::clone(&up),
            mine: Arc::clone(&near),
            theirs: Arc::clone(&far),
            local: client.1,
            remote: server.1,
        };
        let server_view = Link { rx: up, tx: down, mine: far, theirs: near, local: server.1, remote: client.1 };
        (Arc::new(client_view), Arc::new(server_view))
    }

    /// Tells whether an RST ended the connection.
    pub(crate) fn is_reset(&self) -> bool {
        self.mine.reset.load(Ordering::Acquire)
    }

    /// Bytes that may be under way, from both ends' buffers.
    fn limit(&self) -> usize {
        let snd = {
            let opts = self.mine.core.opts.lock();
            if opts.sndbuf_locked() { opts.sndbuf } else { AUTO_SNDBUF }
        };
        let opts = self.theirs.core.opts.lock();
        snd + if opts.rcvbuf_locked() { opts.rcvbuf } else { AUTO_RCVBUF }
    }

    /// Returns the bits of `poll(2)`.
    pub(crate) fn ready(&self, opts: &Options) -> Ready {
        let limit = self.limit();
        let reset = self.is_reset();
        let mut ready = Ready::empty();
        let read_ended = {
            let rx = self.rx.lock();
            let ended = rx.fin || reset || self.mine.shut_read.load(Ordering::Acquire);
            let at_mark = rx.urgent.is_some_and(|urgent| urgent.offset == 0) && !opts.has(so::OOBINLINE);
            let wanted = opts.rcvlowat.min(limit / 2) + usize::from(at_mark);
            ready.set(Ready::READABLE, ended || rx.len() >= wanted);
            ready.set(Ready::PRI, rx.urgent.is_some_and(|urgent| !urgent.taken));
            ended
        };
        let tx = self.tx.lock();
        let write_ended = tx.fin || reset;
        ready.set(Ready::RDHUP, read_ended);
        ready.set(Ready::HUP, (read_ended && write_ended) || reset);
        ready.set(Ready::WRITABLE, write_ended || tx.writable(limit));
        ready
    }

    /// Sends what fits. A write to a socket that is gone is lost, and an RST comes back.
    pub(crate) fn send(&self, message: &mut Outgoing<'_>) -> Result<usize, Errno> {
        let core = &self.mine.core;
        core.take_error()?;
        if self.is_reset() {
            return Err(Errno::EPIPE);
        }
        let limit = self.limit();
        let urgent = message.flags.contains(MsgFlags::OOB);
        let inline = urgent && self.theirs.core.opts.lock().has(so::OOBINLINE);
        let sent = {
            // A peer that has ended both directions answers data with an RST, as one that is gone does.
            let ended = self.theirs.shut_read.load(Ordering::Acquire) && self.rx.lock().fin;
            let mut tx = self.tx.lock();
            if tx.fin {
                return Err(Errno::EPIPE);
            }
            if tx.deaf || ended {
                drop(tx);
                return Ok(self.send_in_vain(message.src.remaining()));
            }
            let whole = message.src.remaining();
            let sent = tx.write(message.src, limit, None, &mut None)?;
            if urgent && sent == whole && sent > 0 {
                // An older urgent byte that is next to be read gives way; elsewhere it becomes ordinary data.
                if !inline && tx.urgent.is_some_and(|old| old.offset == 0) {
                    tx.remove(0);
                }
                tx.urgent = Some(Urgent { offset: tx.len() - 1, taken: false });
            }
            sent
        };
        if sent > 0 {
            self.theirs.core.wake(if urgent { Ready::READABLE | Ready::PRI } else { Ready::READABLE });
        }
        Ok(sent)
    }

    /// Sends to nobody: the data are lost, and an RST ends what there is of the connection.
    fn send_in_vain(&self, len: usize) -> usize {
        if len > 0 {
            let fin = self.rx.lock().fin;
            Link::reset(&self.mine, fin);
            Link::reset(&self.theirs, false);
            self.mine.core.wake(HANGUP);
            self.theirs.core.wake(HANGUP);
        }
        len
    }

    /// An RST arrives at an end, whose peer had (`fin`) or had not said goodbye before.
    fn reset(end: &End, fin: bool) {
        if !end.reset.swap(true, Ordering::AcqRel) {
            end.core.set_error(if fin { Errno::EPIPE } else { Errno::ECONNRESET });
        }
    }

    /// Receives what is there.
    pub(crate) fn recv(&self, message: &mut Incoming<'_>, opts: &Options) -> Result<Received, Errno> {
        let flags = message.flags;
        let inline = opts.has(so::OOBINLINE);
        if flags.contains(MsgFlags::OOB) {
            return self.recv_urgent(message, inline);
        }
        let peek = flags.contains(MsgFlags::PEEK);
        let (received, wake) = {
            let mut rx = self.rx.lock();
            let full = !rx.drained();
            // The urgent byte stands outside the stream unless it is wanted inline.
            if let Some(urgent) = rx.urgent
                && urgent.offset == 0
                && !inline
                && !peek
            {
                rx.remove(0);
                rx.urgent = None;
            }
            let mark = rx.urgent.map_or(usize::MAX, |urgent| urgent.offset);
            let skip = usize::from(mark == 0 && !inline);
            let stop = if mark == 0 { usize::MAX } else { mark };
            let there = rx.len().saturating_sub(skip);
            if there == 0 {
                let fin = rx.fin;
                drop(rx);
                return self.nothing(fin);
            }
            let offset = if peek { skip + usize::try_from(opts.peek_off).unwrap_or(0) } else { skip };
            let mut bounded = Bounded { dst: message.dst, left: stop.min(there) };
            let read = if flags.contains(MsgFlags::TRUNC) {
                let want = bounded.left.min(sentry_fs::IoDst::remaining(&bounded));
                if peek { want } else { rx.discard(want) }
            } else {
                let mode = ReadMode { peek, offset, by_cred: false };
                rx.read(&mut bounded, mode)?.map_or(0, |read| read.len)
            };
            let boundary = peek || stop <= read;
            (Received { len: read, more: !boundary, ..Received::default() }, full && rx.drained())
        };
        if wake {
            self.theirs.core.wake(Ready::WRITABLE);
        }
        Ok(received)
    }

    /// What a receive finds in an empty queue.
    fn nothing(&self, fin: bool) -> Result<Received, Errno> {
        if fin {
            return Ok(Received::default());
        }
        self.mine.core.take_error()?;
        if self.is_reset() || self.mine.shut_read.load(Ordering::Acquire) {
            return Ok(Received::default());
        }
        Err(Errno::EAGAIN)
    }

    fn recv_urgent(&self, message: &mut Incoming<'_>, inline: bool) -> Result<Received, Errno> {
        let mut rx = self.rx.lock();
        let urgent = match rx.urgent {
            Some(urgent) if !inline && !urgent.taken => urgent,
            _ => return Err(Errno::EINVAL),
        };
        if self.is_reset() && !rx.fin {
            return Err(Errno::ENOTCONN);
        }
        let byte = rx.byte(urgent.offset).ok_or(Errno::EAGAIN)?;
        let mut received = Received { flags: MsgFlags::OOB, ..Received::default() };
        if message.dst.remaining() == 0 {
            received.flags |= MsgFlags::TRUNC;
        } else {
            if !message.flags.contains(MsgFlags::TRUNC) {
                message.dst.put(&[byte])?;
            }
            received.len = 1;
        }
        if !message.flags.contains(MsgFlags::PEEK) {
            rx.urgent = Some(Urgent { taken: true, ..urgent });
        }
        Ok(received)
    }

    /// Ends directions.
    pub(crate) fn shutdown(&self, how: Shutdown) {
        if how.reads() {
            self.mine.shut_read.store(true, Ordering::Release);
        }
        if how.writes() {
            self.tx.lock().fin = true;
            self.theirs.core.wake(HANGUP);
        }
        self.mine.core.wake(HANGUP);
    }

    /// Ends the connection from this side: FIN, or RST where data are lost or `abort` asks for it.
    pub(crate) fn close(&self, abort: bool) {
        let over = self.state() == 7;
        let lost = {
            let mut rx = self.rx.lock();
            let lost = !rx.is_empty();
            rx.deaf = true;
            drop(rx.clear());
            lost
        };
        let reset = (lost || abort) && !over;
        {
            let mut tx = self.tx.lock();
            if reset {
                Link::reset(&self.theirs, tx.fin);
            } else if !over {
                tx.fin = true;
            }
            tx.deaf = true;
        }
        self.theirs.core.wake(HANGUP);
    }

    /// `SIOCINQ`: bytes before the urgent one, or all.
    pub(crate) fn inq(&self, inline: bool) -> usize {
        let rx = self.rx.lock();
        match rx.urgent {
            Some(urgent) if !inline => urgent.offset,
            _ => rx.len(),
        }
    }

    /// `SIOCOUTQ`: what the receiver has room for is acknowledged at once on loopback.
    pub(crate) fn outq(&self) -> usize {
        let room = self.theirs.core.opts.lock().rcvbuf;
        self.tx.lock().len().saturating_sub(room)
    }

    /// `SIOCATMARK`.
    pub(crate) fn at_mark(&self) -> bool {
        self.rx.lock().urgent.is_some_and(|urgent| urgent.offset == 0)
    }

    /// Returns the state as in `/proc/net/tcp` and `tcp_info`.
    pub(crate) fn state(&self) -> u8 {
        if self.is_reset() {
            return 7; // TCP_CLOSE
        }
        let received = self.rx.lock().fin;
        match (self.tx.lock().fin, received) {
            (false, false) => 1, // TCP_ESTABLISHED
            (true, false) => 5,  // TCP_FIN_WAIT2
            (false, true) => 8,  // TCP_CLOSE_WAIT
            (true, true) => 7,
        }
    }
}

/// A destination that takes no more than so many bytes.
struct Bounded<'a> {
    dst: &'a mut dyn sentry_fs::IoDst,
    left: usize,
}

impl sentry_fs::IoDst for Bounded<'_> {
    fn remaining(&self) -> usize {
        self.dst.remaining().min(self.left)
    }

    fn put(&mut self, data: &[u8]) -> Result<usize, Errno> {
        let put = self.dst.put(&data[..data.len().min(self.left)])?;
        self.left -= put.min(self.left);
        Ok(put)
    }
}
