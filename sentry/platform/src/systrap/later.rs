//! Bytes that reach guest memory with the reply of the call that they belong to: the stub copies them from the window on its
//! way back to the guest, which saves the crossing that [`super::copier`] needs.
//!
//! Until then they are *pending*. Whatever else the worker that serves the call does to the same memory comes after them:
//! then, or when the worker turns to another task, or where the thread returns in another way, the host writes them
//! ([`Later::write_now`]). What the call returns where they can't all be written was said with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::hub::Hub;
use super::layout::field;
use super::present;
use super::process::Proc;
use super::shared::Shared;
use crate::Short;

/// Most bytes.
pub(super) const MOST: usize = field::WINDOW_LEN;
/// Most bytes that stand in the line of the reply itself, and so cost no line of their own.
const INSIDE: usize = 16;
const _: () = assert!(field::INSIDE + INSIDE <= field::RESULT);

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
            result: AtomicU64::new(NONE),
        }
    }
}

/// A copy that goes with a reply.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply {
    pub(super) addr: u64,
    pub(super) len: u32,
    /// The bytes, where they are few.
    few: [u64; INSIDE / 8],
    short: Short,
}

impl Reply {
    /// Writes what the stub needs for the copy, just before it is told of its reply. Where the bytes are few, the fields that
    /// they take are those of bases to be loaded: there are none with this command.
    pub(super) fn write(&self, shared: &Shared, window: u64) {
        let mut from = window;
        if self.is_inside() {
            from = window - field::WINDOW as u64 + field::INSIDE as u64;
            for (at, word) in self.few.iter().enumerate() {
                shared.set(field::INSIDE + at * 8, *word);
            }
        }
        shared.set(field::COPY_FROM, from);
        shared.set(field::COPY_TO, self.addr);
        shared.set(field::COPY_LEN, self.len.into());
    }

    fn is_inside(&self) -> bool {
        self.len as usize <= INSIDE
    }

    /// Returns what the call returns where so many bytes were left; `None`: all is well.
    pub(super) fn result(&self, left: u64) -> Option<u64> {
        let written = u64::from(self.len).saturating_sub(left);
        (left > 0).then(|| self.short.result(written))
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
        let free = self.len.load(Ordering::Relaxed) == 0 && self.result.load(Ordering::Relaxed) == NONE;
        if !free || !self.possible.load(Ordering::Relaxed) || buf.len() > MOST {
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

    /// Takes what is pending.
    pub(super) fn take(&self) -> Option<Reply> {
        let len = self.len.load(Ordering::Relaxed);
        if len == 0 {
            return None;
        }
        self.len.store(0, Ordering::Relaxed);
        let short = Short::from_before(self.short.load(Ordering::Relaxed));
        let few = self.few.each_ref().map(|word| word.load(Ordering::Relaxed));
        Some(Reply { addr: self.addr.load(Ordering::Relaxed), len, few, short })
    }

    /// Has the host write what was pending.
    pub(super) fn write_now(&self, hub: &Hub, proc: &Arc<Proc>, shared: &Shared, reply: Reply) {
        let mut bytes = vec![0; reply.len as usize];
        if reply.is_inside() {
            bytes.copy_from_slice(&reply.few.map(u64::to_le_bytes).concat()[..reply.len as usize]);
        } else {
            shared.read(field::WINDOW, &mut bytes);
        }
        let done = present::write(hub, proc, reply.addr, &bytes);
        if let Some(result) = reply.result((bytes.len() - done) as u64) {
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
        let fails = Reply { addr: 0, len: 10, few: [0; 2], short: Short::Fails };
        let counts = |before| Reply { addr: 0, len: 10, few: [0; 2], short: Short::Counts(before) };
        let fault = (-i64::from(libc::EFAULT)).cast_unsigned();
        assert_eq!([fails.result(0), fails.result(1), fails.result(10)], [None, Some(fault), Some(fault)]);
        assert_eq!([counts(0).result(0), counts(0).result(3), counts(0).result(10)], [None, Some(7), Some(fault)]);
        assert_eq!([counts(5).result(3), counts(5).result(10)], [Some(12), Some(5)]);
        // A stub that lies.
        assert_eq!([counts(0).result(11), counts(0).result(u64::MAX)], [Some(fault), Some(fault)]);
    }
}
