//! [`Flow`]: one direction of a connection, as a byte queue with boundaries where ancillary data or records end.
//!
//! A connected pair of stream or seqpacket sockets shares two. Whoever changes a flow wakes the sockets at its ends
//! *after* the lock is released. What is thrown away is handed back to the caller as [`Garbage`], to be dropped without
//! locks: dropping a file in flight may close another socket.

use std::collections::VecDeque;

use abi::Errno;
use sentry_fs::{IoDst, IoSrc};
use sentry_sync::{Level, Mutex, MutexGuard};

use crate::ring::Ring;
use crate::socket::Ucred;
use crate::unix::InFlight;

/// What a message is charged besides its bytes (Linux: `sizeof(struct sk_buff)` and a small head, in which the first bytes
/// find room).
pub(crate) fn overhead(len: usize) -> usize {
    768 - len.min(192)
}

/// Things to be dropped once no lock is held.
#[must_use = "drop it after the lock"]
pub(crate) struct Garbage(#[allow(dead_code)] Vec<InFlight>);

/// Bytes that belong together: from one writer, without a boundary inside.
struct Segment {
    len: usize,
    cred: Option<Ucred>,
    rights: Option<InFlight>,
    /// Charged besides the bytes.
    charge: usize,
}

/// The one urgent byte of a TCP stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Urgent {
    /// Distance from the head of the queue; the byte itself stands there in the queue unless it was taken inline-less.
    pub(crate) offset: usize,
    /// The byte has been read by `MSG_OOB`.
    pub(crate) taken: bool,
}

/// What moves in a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum FlowKind {
    /// Bytes between unix sockets.
    #[default]
    Bytes,
    /// Every write is a record (seqpacket).
    Records,
    /// Bytes between TCP sockets, which are writable again sooner.
    Tcp,
}

/// State of one direction.
#[derive(Default)]
pub(crate) struct FlowState {
    ring: Ring,
    segments: VecDeque<Segment>,
    /// Sum of overheads.
    charged: usize,
    kind: FlowKind,
    /// The writer's buffer at its last write, bytes.
    limit: usize,
    /// The writer will write no more.
    pub(crate) fin: bool,
    /// Nobody will read: what is written is lost, or refused.
    pub(crate) deaf: bool,
    /// Urgent mark.
    pub(crate) urgent: Option<Urgent>,
}

/// How a read is to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadMode {
    /// Leave the data in place.
    pub(crate) peek: bool,
    /// Where a peek starts.
    pub(crate) offset: usize,
    /// Writers with different credentials are kept apart.
    pub(crate) by_cred: bool,
}

/// What a read found.
#[derive(Default)]
pub(crate) struct ReadOut {
    /// Bytes delivered.
    pub(crate) len: usize,
    /// Length of the whole record (records only).
    pub(crate) record: usize,
    /// Credentials of the writer.
    pub(crate) cred: Option<Ucred>,
    /// Files.
    pub(crate) rights: Option<InFlight>,
    /// The read ended at a boundary.
    pub(crate) boundary: bool,
}

/// One direction of a connection.
pub(crate) struct Flow(Mutex<FlowState>);

impl Flow {
    /// Makes an empty flow.
    pub(crate) fn new(kind: FlowKind) -> Flow {
        Flow(Mutex::new(Level::SocketQueue, FlowState { kind, ..FlowState::default() }))
    }

    /// Locks the state.
    pub(crate) fn lock(&self) -> MutexGuard<'_, FlowState> {
        self.0.lock()
    }
}

impl FlowState {
    /// Bytes in the queue.
    pub(crate) fn len(&self) -> usize {
        self.ring.len()
    }

    /// Bytes that count against the writer's buffer.
    pub(crate) fn used(&self) -> usize {
        self.ring.len() + self.charged
    }

    /// Tells whether a writer with a buffer of `limit` bytes counts as ready: at most a quarter of the buffer is in use,
    /// of TCP's two thirds.
    pub(crate) fn writable(&self, limit: usize) -> bool {
        match self.kind {
            FlowKind::Tcp => self.used().saturating_mul(3) <= limit.saturating_mul(2),
            _ => self.used().saturating_mul(4) <= limit,
        }
    }

    /// Tells whether the writer, as it was at its last write, counts as ready.
    pub(crate) fn drained(&self) -> bool {
        self.writable(self.limit)
    }

    /// Tells whether the writer is to hear that its data were lost. As on Linux 6.18, an empty record at the head is none.
    pub(crate) fn loses(&self) -> bool {
        match self.segments.front() {
            Some(first) => first.len > 0 || self.segments.len() > 1,
            None => false,
        }
    }

    fn records(&self) -> bool {
        self.kind == FlowKind::Records
    }

    /// Tells whether nothing, not even an empty record, is queued.
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Appends stream bytes or a whole record as far as `limit` allows.
    ///
    /// Errors: `EAGAIN` where nothing fits, `EMSGSIZE` where a record never fits, `EFAULT`. `rights` are taken where
    /// something is sent.
    pub(crate) fn write(
        &mut self,
        src: &mut dyn IoSrc,
        limit: usize,
        cred: Option<Ucred>,
        rights: &mut Option<InFlight>,
    ) -> Result<usize, Errno> {
        self.limit = limit;
        let want = src.remaining();
        if self.records() && want > limit.saturating_sub(32) {
            return Err(Errno::EMSGSIZE);
        }
        let free = limit.saturating_sub(self.used());
        if free == 0 {
            return Err(Errno::EAGAIN);
        }
        let max = if self.records() { want } else { want.min(free) };
        if max == 0 && !self.records() {
            return Ok(0);
        }
        let got = self.ring.write_from(src, max)?;
        if self.records() && got < want {
            self.ring.unwrite(got);
            src.untake(got);
            return Err(Errno::EFAULT);
        }
        let rights = rights.take();
        let records = self.records();
        match self.segments.back_mut() {
            Some(last) if !records && rights.is_none() && last.rights.is_none() && last.cred == cred => {
                last.len += got;
            }
            _ => {
                let bare = !records && rights.is_none() && self.segments.is_empty();
                let charge = if bare { 0 } else { overhead(got) };
                self.charged += charge;
                self.segments.push_back(Segment { len: got, cred, rights, charge });
            }
        }
        Ok(got)
    }

    /// Reads a record, or stream bytes up to the next boundary. `Ok(None)` where nothing is queued.
    pub(crate) fn read(&mut self, dst: &mut dyn IoDst, mode: ReadMode) -> Result<Option<ReadOut>, Errno> {
        if self.records() { self.read_record(dst, mode) } else { self.read_stream(dst, mode) }
    }

    fn read_record(&mut self, dst: &mut dyn IoDst, mode: ReadMode) -> Result<Option<ReadOut>, Errno> {
        let Some(segment) = self.segments.front() else { return Ok(None) };
        let want = segment.len.saturating_sub(mode.offset).min(dst.remaining());
        let len = self.ring.peek_to(mode.offset, want, dst)?;
        if len < want {
            return Err(Errno::EFAULT);
        }
        let mut out = ReadOut { len, record: segment.len, cred: segment.cred, rights: None, boundary: true };
        if mode.peek {
            out.rights = segment.rights.clone();
        } else {
            self.ring.consume(segment.len);
            out.rights = self.pop();
        }
        Ok(Some(out))
    }

    fn read_stream(&mut self, dst: &mut dyn IoDst, mode: ReadMode) -> Result<Option<ReadOut>, Errno> {
        let mut out = ReadOut::default();
        let mut offset = if mode.peek { mode.offset } else { 0 };
        let mut skip = offset; // bytes of leading segments that a peek passes over
        let mut at = 0;
        let mut first = true;
        while let Some(segment) = self.segments.get(at) {
            if skip >= segment.len {
                skip -= segment.len;
                at += 1;
                continue;
            }
            if !first && mode.by_cred && segment.cred != out.cred {
                out.boundary = true;
                break;
            }
            if dst.remaining() == 0 {
                first = false;
                break;
            }
            let want = (segment.len - skip).min(dst.remaining());
            let got = match self.ring.peek_to(offset, want, dst) {
                Ok(got) => got,
                Err(errno) if first => return Err(errno),
                Err(_) => break,
            };
            if first {
                out.cred = segment.cred;
            }
            first = false;
            out.len += got;
            let has_rights = segment.rights.is_some();
            if mode.peek {
                out.rights = segment.rights.clone();
                offset += got;
                skip = 0;
                at += 1;
            } else {
                out.rights = self.take_front(got);
            }
            out.boundary = has_rights;
            if got < want || has_rights {
                break;
            }
        }
        Ok((!first).then_some(out))
    }

    /// Consumes bytes of the first segment and takes its files.
    fn take_front(&mut self, count: usize) -> Option<InFlight> {
        self.ring.consume(count);
        self.move_urgent(count);
        let segment = self.segments.front_mut()?;
        segment.len -= count.min(segment.len);
        if segment.len == 0 { self.pop() } else { segment.rights.take() }
    }

    fn pop(&mut self) -> Option<InFlight> {
        let segment = self.segments.pop_front()?;
        self.charged -= segment.charge.min(self.charged);
        segment.rights
    }

    fn move_urgent(&mut self, count: usize) {
        self.urgent = match self.urgent {
            Some(urgent) if urgent.offset >= count => Some(Urgent { offset: urgent.offset - count, ..urgent }),
            _ => None,
        };
    }

    /// Drops stream bytes from the front (`MSG_TRUNC` of TCP); returns how many.
    pub(crate) fn discard(&mut self, count: usize) -> usize {
        let count = count.min(self.ring.len());
        let mut left = count;
        while left > 0 {
            let Some(segment) = self.segments.front() else { break };
            let step = segment.len.min(left);
            drop(self.take_front(step));
            left -= step;
        }
        count
    }

    /// Removes one byte in the middle: the urgent one that isn't delivered in line.
    pub(crate) fn remove(&mut self, offset: usize) {
        let mut before = 0;
        for at in 0..self.segments.len() {
            let len = self.segments[at].len;
            if offset < before + len {
                self.ring.remove(offset);
                self.segments[at].len -= 1;
                if len == 1
                    && let Some(gone) = self.segments.remove(at)
                {
                    self.charged -= gone.charge.min(self.charged);
                }
                return;
            }
            before += len;
        }
    }

    /// Returns one byte of the queue.
    pub(crate) fn byte(&self, offset: usize) -> Option<u8> {
        self.ring.get(offset)
    }

    /// Empties the queue.
    pub(crate) fn clear(&mut self) -> Garbage {
        self.ring.consume(self.ring.len());
        self.charged = 0;
        self.urgent = None;
        Garbage(std::mem::take(&mut self.segments).into_iter().filter_map(|segment| segment.rights).collect())
    }
}
