//! Bytes that reach guest memory with the reply of the call that they belong to: the stub copies them from the window on its
//! way back to the guest, which saves the crossing that [`super::copier`] needs, or from a mapping of the file that they
//! belong to, which saves the way through the sentry as well. In that way they reach the file, too.
//!
//! Until then they are *pending*. Whatever else the worker that serves the call does to the same memory comes after them:
//! then, or when the worker turns to another task, or where the thread returns in another way, the host writes them
//! ([`Later::write_now`]). What the call returns where they can't all be written was said with them.
//!
//! A stub that can't copy all of a file's bytes leaves the rest to the host, whatever the reason: the mapping may be gone or
//! show another file (the guest can do that to itself), the file may have become shorter.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use abi::Errno;
use sentry_sync::{Level, Mutex};
use smallvec::SmallVec;

use super::hub::Hub;
use super::layout::{call, command, field};
use super::ops::RawOp;
use super::process::Proc;
use super::shared::Shared;
use super::{host, present};
use crate::{Direction, FileBytes, PLACES, Short};

/// Most bytes.
pub(super) const MOST: usize = field::WINDOW_LEN;
/// Most bytes that stand in the line of the reply itself, and so cost no line of their own.
const INSIDE: usize = 16;
const _: () = assert!(field::INSIDE + INSIDE <= field::RESULT);
/// Bytes of a file that the host copies at once.
const CHUNK: usize = 64 * 1024;

/// What is pending for a thread. Only the worker that serves the thread touches it.
#[derive(Debug)]
pub(super) struct Later {
    /// The thread waits in a patched call.
    possible: AtomicBool,
    addr: AtomicU64,
    /// 0: nothing is pending.
    len: AtomicU32,
    /// The bytes, where they are few; else they stand in the window.
    few: [AtomicU64; INSIDE / 8],
    short: AtomicU64,
    /// The bytes stand in `file` instead.
    mapped: AtomicBool,
    file: Mutex<Option<(Places, FileBytes)>>,
    /// What the call is to return, since bytes could not be written; [`NONE`]: what the kernel says.
    result: AtomicU64,
}

const NONE: u64 = u64::MAX;

impl Default for Later {
    fn default() -> Later {
        Later {
            possible: AtomicBool::new(false),
            addr: AtomicU64::new(0),
            len: AtomicU32::new(0),
            few: Default::default(),
            short: AtomicU64::new(0),
            mapped: AtomicBool::new(false),
            file: Mutex::new(Level::Leaf, None),
            result: AtomicU64::new(NONE),
        }
    }
}

/// Where bytes of a file go to or come from.
type Places = SmallVec<[(u64, usize); 2]>;
const _: () = assert!(PLACES <= field::OPS_MAX);

/// A copy that goes with a reply.
#[derive(Debug)]
pub(super) struct Reply {
    addr: u64,
    len: u32,
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    Few([u64; INSIDE / 8], Short),
    Window(Short),
    File(Places, FileBytes),
}

impl Reply {
    /// Writes what the stub needs for the copy, just before it is told of its reply; returns the command to tell it by. Where
    /// the bytes are few, the fields that they take are those of bases to be loaded: there are none with these commands.
    pub(super) fn write(&self, shared: &Shared, window: u64) -> u32 {
        if let Bytes::File(places, bytes) = &self.bytes
            && places.len() > 1
        {
            let mut at = bytes.at;
            for (number, (addr, len)) in places.iter().enumerate() {
                let (from, to) = if bytes.direction == Direction::Read { (at, *addr) } else { (*addr, at) };
                RawOp::new(call::WRITE, [to, from, *len as u64, 0, 0, 0]).write(shared, number);
                at += *len as u64;
            }
            shared.u32(field::OP_COUNT).store(u32::try_from(places.len()).unwrap_or(0), Ordering::Relaxed);
            return command::OPS_RETURN;
        }
        let from = match &self.bytes {
            Bytes::Few(few, _) => {
                for (at, word) in few.iter().enumerate() {
                    shared.set(field::INSIDE + at * 8, *word);
                }
                window - field::WINDOW as u64 + field::INSIDE as u64
            }
            Bytes::Window(_) => window,
            Bytes::File(_, bytes) => bytes.at,
        };
        let (from, to) = match &self.bytes {
            Bytes::File(_, FileBytes { direction: Direction::Write, .. }) => (self.addr, from),
            _ => (from, self.addr),
        };
        shared.set(field::COPY_FROM, from);
        shared.set(field::COPY_TO, to);
        shared.set(field::COPY_LEN, self.len.into());
        command::COPY_RETURN
    }

    /// Returns how many bytes a stub says that it has left.
    pub(super) fn left(&self, shared: &Shared) -> u64 {
        match &self.bytes {
            Bytes::File(places, _) if places.len() > 1 => {
                let done = shared.u32(field::OP_DONE).load(Ordering::Relaxed);
                places.iter().skip(done as usize).map(|place| place.1 as u64).sum()
            }
            _ => shared.get(field::COPY_LEFT),
        }
    }

    /// Ends a copy that the stub left with so many bytes to go; returns what the call returns then, `None`: all is well.
    pub(super) fn end(&self, hub: &Hub, proc: &Arc<Proc>, left: u64) -> Option<u64> {
        let copied = u64::from(self.len).saturating_sub(left);
        match &self.bytes {
            _ if left == 0 => None,
            Bytes::Few(_, short) | Bytes::Window(short) => Some(short.result(copied)),
            Bytes::File(places, bytes) => self.copy_rest(hub, proc, (places, bytes), copied),
        }
    }

    /// Has the host copy what follows the first `copied` bytes.
    fn copy_rest(
        &self,
        hub: &Hub,
        proc: &Arc<Proc>,
        (places, bytes): (&[(u64, usize)], &FileBytes),
        copied: u64,
    ) -> Option<u64> {
        let len = u64::from(self.len);
        let mut buf = vec![0; CHUNK.min(self.len as usize)];
        let mut done = copied;
        let mut failure = 0;
        while done < len {
            let Some((addr, room)) = place_of(places, done) else { break };
            let want = room.min(buf.len());
            let (part, offset) = (&mut buf[..want], bytes.offset + done);
            // What there was of them, and where that has got to.
            let moved = match bytes.direction {
                Direction::Read => bytes.file.read_at(offset, part).and_then(|got| {
                    let put = present::write(hub, proc, addr, &part[..got]);
                    if put == 0 && got > 0 { Err(Errno::EFAULT) } else { Ok(put) }
                }),
                Direction::Write => match host::read_memory(proc.pid, addr, part) {
                    0 => Err(Errno::EFAULT),
                    got => bytes.file.write_at(offset, &part[..got]),
                },
            };
            match moved {
                Ok(0) => break,
                Ok(moved) => done += moved as u64,
                Err(errno) => {
                    failure = (-i64::from(errno.raw())).cast_unsigned();
                    break;
                }
            }
        }
        if done == len {
            return None;
        }
        if bytes.moved {
            bytes.file.fell_short(bytes.offset + len, len - done);
        }
        Some(if done > 0 { done } else { failure })
    }
}

/// Returns where the bytes after the first `done` belong, and how many.
fn place_of(places: &[(u64, usize)], done: u64) -> Option<(u64, usize)> {
    let mut skip = usize::try_from(done).ok()?;
    for (addr, len) in places {
        if skip < *len {
            return Some((addr + skip as u64, len - skip));
        }
        skip -= len;
    }
    None
}

impl Later {
    /// Hears how the thread has come.
    pub(super) fn allow(&self, possible: bool) {
        self.possible.store(possible, Ordering::Relaxed);
    }

    /// Makes bytes pending; returns whether that was possible.
    pub(super) fn put(&self, shared: &Shared, addr: u64, buf: &[u8], short: Short) -> bool {
        let Ok(len) = u32::try_from(buf.len()) else { return false };
        if !self.is_free() || buf.len() > MOST {
            return false;
        }
        if len as usize <= INSIDE {
            for (word, bytes) in self.few.iter().zip(buf.chunks(8)) {
                let mut whole = [0; 8];
                whole[..bytes.len()].copy_from_slice(bytes);
                word.store(u64::from_le_bytes(whole), Ordering::Relaxed);
            }
        } else {
            shared.write(field::WINDOW, buf);
        }
        self.addr.store(addr, Ordering::Relaxed);
        self.short.store(short.before(), Ordering::Relaxed);
        self.len.store(len, Ordering::Relaxed);
        true
    }

    /// Makes bytes of a mapped file pending; returns whether that was possible.
    pub(super) fn put_file(&self, places: &[(u64, usize)], bytes: FileBytes) -> bool {
        if !self.is_free() || places.is_empty() || places.len() > PLACES {
            return false;
        }
        self.addr.store(places[0].0, Ordering::Relaxed);
        self.len.store(bytes.len, Ordering::Relaxed);
        self.mapped.store(true, Ordering::Relaxed);
        *self.file.lock() = Some((places.into(), bytes));
        true
    }

    fn is_free(&self) -> bool {
        let free = self.len.load(Ordering::Relaxed) == 0 && self.result.load(Ordering::Relaxed) == NONE;
        free && self.possible.load(Ordering::Relaxed)
    }

    /// Takes what is pending.
    pub(super) fn take(&self) -> Option<Reply> {
        let len = self.len.load(Ordering::Relaxed);
        if len == 0 {
            return None;
        }
        self.len.store(0, Ordering::Relaxed);
        let addr = self.addr.load(Ordering::Relaxed);
        if self.mapped.load(Ordering::Relaxed) {
            self.mapped.store(false, Ordering::Relaxed);
            let (places, file) = self.file.lock().take()?;
            return Some(Reply { addr, len, bytes: Bytes::File(places, file) });
        }
        let short = Short::from_before(self.short.load(Ordering::Relaxed));
        let bytes = if len as usize <= INSIDE {
            Bytes::Few(self.few.each_ref().map(|word| word.load(Ordering::Relaxed)), short)
        } else {
            Bytes::Window(short)
        };
        Some(Reply { addr, len, bytes })
    }

    /// Has the host write what was pending.
    pub(super) fn write_now(&self, hub: &Hub, proc: &Arc<Proc>, shared: &Shared, reply: &Reply) {
        let len = reply.len as usize;
        let written = match &reply.bytes {
            Bytes::Few(few, _) => present::write(hub, proc, reply.addr, &few.map(u64::to_le_bytes).concat()[..len]),
            Bytes::Window(_) => {
                let mut bytes = vec![0; len];
                shared.read(field::WINDOW, &mut bytes);
                present::write(hub, proc, reply.addr, &bytes)
            }
            Bytes::File(..) => 0,
        };
        if let Some(result) = reply.end(hub, proc, (len - written) as u64) {
            self.result.store(result, Ordering::Relaxed);
        }
    }

    /// Takes what the call is to return instead of what the kernel says.
    pub(super) fn take_result(&self) -> Option<u64> {
        let result = self.result.load(Ordering::Relaxed);
        if result == NONE {
            return None;
        }
        self.result.store(NONE, Ordering::Relaxed);
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_returns_follows_from_what_was_written() {
        let result = |short: Short, left: u64| short.result(10_u64.saturating_sub(left));
        let fault = (-i64::from(libc::EFAULT)).cast_unsigned();
        assert_eq!([1, 10].map(|left| result(Short::Fails, left)), [fault; 2]);
        assert_eq!([3, 10].map(|left| result(Short::Counts(0), left)), [7, fault]);
        assert_eq!([3, 10].map(|left| result(Short::Counts(5), left)), [12, 5]);
        // A stub that lies.
        assert_eq!([11, u64::MAX].map(|left| result(Short::Counts(0), left)), [fault; 2]);
    }

    #[test]
    fn what_is_left_belongs_where_the_rest_begins() {
        let places = [(0x1000, 10), (0x2000, 1), (0x3000, 5)];
        let rests = [0, 9, 10, 11, 15, 16].map(|done| place_of(&places, done));
        let rest = [(0x1000, 10), (0x1009, 1), (0x2000, 1), (0x3000, 5), (0x3004, 1)].map(Some);
        assert_eq!(rests, [rest[0], rest[1], rest[2], rest[3], rest[4], None]);
    }
}
