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

use super::hub::Hub;
use super::layout::field;
use super::process::Proc;
use super::shared::Shared;
use super::{host, present};
use crate::{Direction, FileBytes, Short};

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
    file: Mutex<Option<FileBytes>>,
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
    File(FileBytes),
}

impl Reply {
    /// Writes what the stub needs for the copy, just before it is told of its reply. Where the bytes are few, the fields that
    /// they take are those of bases to be loaded: there are none with this command.
    pub(super) fn write(&self, shared: &Shared, window: u64) {
        let from = match &self.bytes {
            Bytes::Few(few, _) => {
                for (at, word) in few.iter().enumerate() {
                    shared.set(field::INSIDE + at * 8, *word);
                }
                window - field::WINDOW as u64 + field::INSIDE as u64
            }
            Bytes::Window(_) => window,
            Bytes::File(bytes) => bytes.at,
        };
        let (from, to) = match &self.bytes {
            Bytes::File(FileBytes { direction: Direction::Write, .. }) => (self.addr, from),
            _ => (from, self.addr),
        };
        shared.set(field::COPY_FROM, from);
        shared.set(field::COPY_TO, to);
        shared.set(field::COPY_LEN, self.len.into());
    }

    /// Ends a copy that the stub left with so many bytes to go; returns what the call returns then, `None`: all is well.
    pub(super) fn end(&self, hub: &Hub, proc: &Arc<Proc>, left: u64) -> Option<u64> {
        let copied = u64::from(self.len).saturating_sub(left);
        match &self.bytes {
            _ if left == 0 => None,
            Bytes::Few(_, short) | Bytes::Window(short) => Some(short.result(copied)),
            Bytes::File(bytes) => self.copy_rest(hub, proc, bytes, copied),
        }
    }

    /// Has the host copy what follows the first `copied` bytes.
    fn copy_rest(&self, hub: &Hub, proc: &Arc<Proc>, bytes: &FileBytes, copied: u64) -> Option<u64> {
        let len = u64::from(self.len);
        let mut buf = vec![0; CHUNK.min(self.len as usize)];
        let mut done = copied;
        let mut failure = 0;
        while done < len {
            let want = usize::try_from(len - done).map_or(buf.len(), |left| left.min(buf.len()));
            let (part, addr, offset) = (&mut buf[..want], self.addr + done, bytes.offset + done);
            // What there was of them, and where that has got to.
            let moved = match bytes.direction {
                Direction::Read => bytes.file.read_at(offset, part).and_then(|got| {
                    let put = present::write(hub, proc, addr, &part[..got]);
                    if put < got && put == 0 { Err(Errno::EFAULT) } else { Ok(put) }
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
    pub(super) fn put_file(&self, addr: u64, bytes: FileBytes) -> bool {
        if !self.is_free() {
            return false;
        }
        self.addr.store(addr, Ordering::Relaxed);
        self.len.store(bytes.len, Ordering::Relaxed);
        self.mapped.store(true, Ordering::Relaxed);
        *self.file.lock() = Some(bytes);
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
            let file = self.file.lock().take()?;
            return Some(Reply { addr, len, bytes: Bytes::File(file) });
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
            Bytes::File(_) => 0,
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
}
