//! `splice(2)`, `tee(2)`, `vmsplice(2)`: pages change hands between pipes, and between pipes and files.
//!
//! Two pipes are locked together only with a try for the second, so that the order doesn't matter; with files the pages
//! are taken out first, so that no lock is held while a file works.

use std::collections::VecDeque;
use std::sync::Arc;

use abi::Errno;
use abi::flags::Ready;

use super::slots::{SLOT, Slot};
use super::{Pipe, State};
use crate::{IoDst, IoSrc};

/// Moves (`splice`) up to `max` bytes from one pipe to another. `Ok(0)` at the end of the first. `EAGAIN` if the first is
/// empty or the second full, `EPIPE` if nobody reads the second, `EINVAL` if they are the same.
pub fn move_between(from: &Arc<Pipe>, to: &Arc<Pipe>, max: usize) -> Result<usize, Errno> {
    let moved = transfer(from, to, max, |from, to, max| {
        let mut left = max;
        while left > 0 && !to.slots.is_full() {
            let Some(slot) = from.slots.pop(left) else { break };
            left -= slot.len();
            to.slots.push_back(slot);
        }
        max - left
    })?;
    if moved > 0 {
        from.queue.wake(Ready::WRITABLE.bits());
    }
    Ok(moved)
}

/// Copies (`tee`) up to `max` bytes, which stay in the first pipe. Errors as in [`move_between`].
pub fn copy_between(from: &Arc<Pipe>, to: &Arc<Pipe>, max: usize) -> Result<usize, Errno> {
    transfer(from, to, max, |from, to, max| {
        let mut left = max;
        for slot in from.slots.iter() {
            if left == 0 || to.slots.is_full() {
                break;
            }
            let copy = slot.front(left);
            left -= copy.len();
            to.slots.push_back(copy);
        }
        max - left
    })
}

fn transfer(
    from: &Arc<Pipe>,
    to: &Arc<Pipe>,
    max: usize,
    work: impl Fn(&mut State, &mut State, usize) -> usize,
) -> Result<usize, Errno> {
    if Arc::ptr_eq(from, to) {
        return Err(Errno::EINVAL);
    }
    if max == 0 {
        return Ok(0);
    }
    let done = loop {
        let mut source = from.state.lock();
        let Some(mut target) = to.state.try_lock() else {
            // The other way round is under way: let go, let it end.
            drop(source);
            std::thread::yield_now();
            continue;
        };
        if source.slots.is_empty() {
            return if source.writers == 0 { Ok(0) } else { Err(Errno::EAGAIN) };
        }
        if target.readers == 0 {
            return Err(Errno::EPIPE);
        }
        if target.slots.is_full() {
            return Err(Errno::EAGAIN);
        }
        break work(&mut source, &mut target, max);
    };
    to.queue.wake(Ready::READABLE.bits());
    Ok(done)
}

/// Pages on their way into a pipe: the destination for a file's read. [`Staged::commit`] puts them in.
#[derive(Debug)]
pub struct Staged {
    pipe: Arc<Pipe>,
    slots: Vec<Slot>,
    done: usize,
    max: usize,
}

impl Pipe {
    /// Prepares to take in up to `max` bytes from a file. `EPIPE` if nobody reads, `EAGAIN` if full.
    pub fn stage(self: &Arc<Pipe>, max: usize) -> Result<Staged, Errno> {
        let state = self.state.lock();
        if state.readers == 0 {
            return Err(Errno::EPIPE);
        }
        if state.slots.is_full() {
            return Err(Errno::EAGAIN);
        }
        let max = max.min(state.slots.free().saturating_mul(SLOT));
        Ok(Staged { pipe: Arc::clone(self), slots: Vec::new(), done: 0, max })
    }

    /// Takes up to `max` bytes out for a file to write; what it doesn't take goes back. `Ok(None)` at the end, `EAGAIN`
    /// if empty.
    pub fn take(self: &Arc<Pipe>, max: usize) -> Result<Option<Taken>, Errno> {
        let mut state = self.state.lock();
        if state.slots.is_empty() {
            return if state.writers == 0 { Ok(None) } else { Err(Errno::EAGAIN) };
        }
        let mut slots = VecDeque::new();
        let mut left = max;
        while left > 0 {
            let Some(slot) = state.slots.pop(left) else { break };
            left -= slot.len();
            slots.push_back(slot);
        }
        Ok(Some(Taken { pipe: Arc::clone(self), slots, done: 0, total: max - left }))
    }
}

impl Staged {
    /// Puts the pages into the pipe; returns the bytes.
    pub fn commit(self) -> Result<usize, Errno> {
        if self.done == 0 {
            return Ok(0);
        }
        let mut state = self.pipe.state.lock();
        if state.readers == 0 {
            return Err(Errno::EPIPE);
        }
        // A writer may have come in between: then the pipe is over-full for a moment.
        self.slots.into_iter().for_each(|slot| state.slots.push_back(slot));
        drop(state);
        self.pipe.queue.wake(Ready::READABLE.bits());
        Ok(self.done)
    }
}

impl IoDst for Staged {
    fn remaining(&self) -> usize {
        self.max - self.done
    }

    fn put(&mut self, data: &[u8]) -> Result<usize, Errno> {
        let data = &data[..data.len().min(self.remaining())];
        for piece in data.chunks(SLOT) {
            let mut page = [0; SLOT];
            page[..piece.len()].copy_from_slice(piece);
            self.slots.push(Slot::fixed(Arc::new(page), piece.len()));
            self.done += piece.len();
            if piece.len() < SLOT {
                // Each put starts a new slot: room is counted in slots.
                self.max = self.max.saturating_sub(SLOT - piece.len()).max(self.done);
            }
        }
        Ok(data.len())
    }
}

/// Bytes taken out of a pipe: the source for a file's write. Dropping it puts back what wasn't taken from it.
#[derive(Debug)]
pub struct Taken {
    pipe: Arc<Pipe>,
    slots: VecDeque<Slot>,
    done: usize,
    total: usize,
}

impl IoSrc for Taken {
    fn remaining(&self) -> usize {
        self.total - self.done
    }

    fn take(&mut self, buf: &mut [u8]) -> Result<usize, Errno> {
        let mut skip = self.done;
        let mut filled = 0;
        for slot in &self.slots {
            let bytes = slot.bytes();
            if skip >= bytes.len() {
                skip -= bytes.len();
                continue;
            }
            let piece = &bytes[skip..];
            let count = piece.len().min(buf.len() - filled);
            buf[filled..filled + count].copy_from_slice(&piece[..count]);
            filled += count;
            skip = 0;
            if filled == buf.len() {
                break;
            }
        }
        self.done += filled;
        Ok(filled)
    }

    fn untake(&mut self, bytes: usize) {
        self.done = self.done.saturating_sub(bytes);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut skip = self.done;
        while skip > 0 {
            let Some(first) = self.slots.front_mut() else { break };
            let count = skip.min(first.len());
            first.consume(count);
            skip -= count;
            if first.len() == 0 {
                self.slots.pop_front();
            }
        }
        let left = !self.slots.is_empty();
        if left {
            let mut state = self.pipe.state.lock();
            self.slots.drain(..).rev().for_each(|slot| state.slots.push_front(slot));
        }
        let events = if left { Ready::READABLE } else { Ready::empty() };
        let room = if self.done > 0 { Ready::WRITABLE } else { Ready::empty() };
        self.pipe.queue.wake((events | room).bits());
    }
}
