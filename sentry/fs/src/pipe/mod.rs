//! Pipes and FIFOs (`man 7 pipe`): one type for both.
//!
//! Key types: [`Pipe`], what lies between the ends; [`PipeEnd`], an open end; [`Fifo`] with the rendezvous of `open(2)`
//! on a FIFO; [`splice`], moving data between pipes and files without going through the guest. The rules are those of
//! the kernel's `fs/pipe.c`, down to slots: see `slots.rs`.
//!
//! A write returns how much fitted. For a blocking description the system-call layer waits for [`Ready::OUT`] and goes
//! on with the rest; it raises `SIGPIPE` on `EPIPE`.

mod fifo;
mod slots;
pub mod splice;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::flags::{OpenFlags, Ready};
use abi::{Errno, UserAddr};
use sentry_sync::{Level, Mutex, WaitQueue};

use crate::{FileOps, IoDst, IoFlags, IoSrc, UserMemory, anon_dev};
use slots::{SLOT, Slots};

pub use fifo::{Fifo, FifoTable};

/// Most bytes that are written as a whole or not at all.
pub const PIPE_BUF: usize = SLOT;

/// Slots of a new pipe: 64 KiB.
const DEFAULT_SLOTS: usize = 16;

/// Most bytes that an unprivileged `F_SETPIPE_SZ` gets (`/proc/sys/fs/pipe-max-size`).
static MAX_SIZE: AtomicU64 = AtomicU64::new(1 << 20);

/// Everything a change of who is there may mean to those who wait.
const ALL_EVENTS: Ready = Ready::READABLE.union(Ready::WRITABLE).union(Ready::ERR).union(Ready::HUP);

/// Returns `/proc/sys/fs/pipe-max-size`.
pub fn max_size() -> u64 {
    MAX_SIZE.load(Ordering::Relaxed)
}

/// Sets `/proc/sys/fs/pipe-max-size`, rounded up to a power of two: `EINVAL` below a page or beyond 2 GiB.
pub fn set_max_size(bytes: u64) -> Result<(), Errno> {
    let rounded = bytes.checked_next_power_of_two().ok_or(Errno::EINVAL)?;
    if !(SLOT as u64..=1 << 31).contains(&rounded) {
        return Err(Errno::EINVAL);
    }
    MAX_SIZE.store(rounded, Ordering::Relaxed);
    Ok(())
}

#[derive(Debug)]
struct State {
    slots: Slots,
    readers: usize,
    writers: usize,
    /// How often the reading side has been opened: what an opening writer waits for.
    reader_opens: u64,
    /// How often the writing side has been opened.
    writer_opens: u64,
}

/// What lies between the ends of a pipe.
#[derive(Debug)]
pub struct Pipe {
    ino: u64,
    queue: WaitQueue,
    /// Woken when an end of a FIFO is opened.
    partners: WaitQueue,
    state: Mutex<State>,
}

impl Pipe {
    fn new() -> Pipe {
        let slots = Slots::new(DEFAULT_SLOTS);
        let state = State { slots, readers: 0, writers: 0, reader_opens: 0, writer_opens: 0 };
        Pipe {
            ino: anon_dev::next_anon_ino(),
            queue: WaitQueue::new(),
            partners: WaitQueue::new(),
            state: Mutex::new(Level::Socket, state),
        }
    }

    /// Makes a pipe and returns its reading and writing end.
    pub fn pair() -> (Arc<PipeEnd>, Arc<PipeEnd>) {
        let pipe = Arc::new(Pipe::new());
        let reader = PipeEnd::open(&pipe, true, false);
        let writer = PipeEnd::open(&pipe, false, true);
        (reader, writer)
    }

    /// Returns the number in `pipe:[N]`, which is also what `fstat` shows for a pipe without a name.
    pub fn ino(&self) -> u64 {
        self.ino
    }

    /// Returns the queue that both ends share.
    pub fn queue(&self) -> WaitQueue {
        self.queue.clone()
    }

    /// `F_GETPIPE_SZ`.
    pub fn capacity(&self) -> usize {
        self.state.lock().slots.limit() * SLOT
    }

    /// `F_SETPIPE_SZ`; returns the new capacity. `privileged` is `CAP_SYS_RESOURCE`. Errors: `EINVAL` (beyond 2 GiB),
    /// `EPERM` (beyond what the unprivileged may have), `EBUSY` (more is in the pipe).
    pub fn set_capacity(&self, bytes: u64, privileged: bool) -> Result<usize, Errno> {
        let size = bytes.max(SLOT as u64).checked_next_power_of_two().filter(|size| *size <= 1 << 31);
        let size = size.ok_or(Errno::EINVAL)?;
        let limit = usize::try_from(size / SLOT as u64).map_err(|_| Errno::EINVAL)?;
        let mut state = self.state.lock();
        if limit > state.slots.limit() && size > max_size() && !privileged {
            return Err(Errno::EPERM);
        }
        let was_full = state.slots.is_full();
        state.slots.resize(limit)?;
        drop(state);
        if was_full {
            self.queue.wake(Ready::WRITABLE.bits());
        }
        Ok(limit * SLOT)
    }

    /// Returns the bytes that can be read (`FIONREAD`).
    pub fn readable_bytes(&self) -> usize {
        self.state.lock().slots.bytes()
    }

    fn read(&self, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        if dst.remaining() == 0 {
            return Ok(0);
        }
        let mut state = self.state.lock();
        if state.slots.is_empty() {
            return if state.writers == 0 { Ok(0) } else { Err(Errno::EAGAIN) };
        }
        let result = state.slots.drain(dst);
        let room = !state.slots.is_full();
        drop(state);
        if room && result.is_ok() {
            self.queue.wake(Ready::WRITABLE.bits());
        }
        result
    }

    fn write(&self, src: &mut dyn IoSrc, packet: bool) -> Result<usize, Errno> {
        if src.remaining() == 0 {
            return Ok(0);
        }
        let mut state = self.state.lock();
        if state.readers == 0 {
            return Err(Errno::EPIPE);
        }
        let result = state.slots.fill(src, packet);
        drop(state);
        match result {
            Ok(0) => Err(Errno::EAGAIN),
            Ok(done) => {
                self.queue.wake(Ready::READABLE.bits());
                Ok(done)
            }
            Err(errno) => Err(errno),
        }
    }
}

/// An open end of a pipe or FIFO, or both ends at once (a FIFO opened with `O_RDWR`).
#[derive(Debug)]
pub struct PipeEnd {
    pipe: Arc<Pipe>,
    readable: bool,
    writable: bool,
    /// A reader of a FIFO that never had a writer since then sees no hang-up: `writer_opens` at its open.
    no_hang_up: u64,
    /// Comes from a named FIFO.
    named: bool,
}

impl PipeEnd {
    fn open(pipe: &Arc<Pipe>, readable: bool, writable: bool) -> Arc<PipeEnd> {
        let mut state = pipe.state.lock();
        state.readers += usize::from(readable);
        state.writers += usize::from(writable);
        drop(state);
        Arc::new(PipeEnd { pipe: Arc::clone(pipe), readable, writable, no_hang_up: u64::MAX, named: false })
    }

    /// Returns the pipe.
    pub fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }

    /// Tells whether this end can be read.
    pub fn readable(&self) -> bool {
        self.readable
    }

    /// Tells whether this end can be written.
    pub fn writable(&self) -> bool {
        self.writable
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        let mut state = self.pipe.state.lock();
        state.readers -= usize::from(self.readable);
        state.writers -= usize::from(self.writable);
        let lonely = (state.readers == 0) != (state.writers == 0);
        // What nobody can ever read any more needn't be kept, even if the FIFO's inode is.
        let unread = if state.readers == 0 && state.writers == 0 {
            let limit = state.slots.limit();
            Some(std::mem::replace(&mut state.slots, Slots::new(limit)))
        } else {
            None
        };
        drop(state);
        drop(unread);
        if lonely {
            self.pipe.queue.wake(ALL_EVENTS.bits());
        }
    }
}

impl FileOps for PipeEnd {
    fn read(&self, _pos: &mut u64, _flags: IoFlags, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        if !self.readable {
            return Err(Errno::EBADF);
        }
        self.pipe.read(dst)
    }

    fn write(&self, _pos: &mut u64, flags: IoFlags, src: &mut dyn IoSrc) -> Result<usize, Errno> {
        if !self.writable {
            return Err(Errno::EBADF);
        }
        self.pipe.write(src, flags.contains(IoFlags::DIRECT))
    }

    fn ready(&self) -> Ready {
        let state = self.pipe.state.lock();
        let mut ready = Ready::empty();
        if self.readable {
            if !state.slots.is_empty() {
                ready |= Ready::READABLE;
            }
            if state.writers == 0 && state.writer_opens != self.no_hang_up {
                ready |= Ready::HUP;
            }
        }
        if self.writable {
            if !state.slots.is_full() {
                ready |= Ready::WRITABLE;
            }
            if state.readers == 0 {
                ready |= Ready::ERR;
            }
        }
        ready
    }

    fn wait_queue(&self) -> Option<WaitQueue> {
        Some(self.pipe.queue())
    }

    fn ioctl(&self, memory: &dyn UserMemory, op: u32, arg: u64) -> Result<u64, Errno> {
        /// `FIONREAD` of `ioctl_tty(2)`.
        const FIONREAD: u32 = 0x541b;
        if op != FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let bytes = i32::try_from(self.pipe.readable_bytes()).unwrap_or(i32::MAX);
        memory.write(UserAddr::new(arg), &bytes.to_ne_bytes())?;
        Ok(0)
    }

    fn set_status_flags(&self, _flags: OpenFlags) -> Result<(), Errno> {
        // O_DIRECT is looked at for each write.
        Ok(())
    }

    fn anon_name(&self) -> Option<String> {
        (!self.named).then(|| format!("pipe:[{}]", self.pipe.ino))
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
