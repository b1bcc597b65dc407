//! FIFOs: how `open(2)` brings readers and writers together (`man 7 fifo`), and which inode has which pipe.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use abi::Errno;
use abi::flags::OpenFlags;
use sentry_sync::{Level, Mutex, WaitQueue};

use super::{Pipe, PipeEnd, State};
use crate::DeviceId;

/// What an opener waits for.
#[derive(Clone, Copy, Debug)]
enum Partner {
    Reader,
    Writer,
}

impl Partner {
    fn opens(self, state: &State) -> u64 {
        match self {
            Partner::Reader => state.reader_opens,
            Partner::Writer => state.writer_opens,
        }
    }
}

/// A FIFO that is being opened. Dropping it before it is [`Fifo::ready`] undoes the opening (a signal came).
#[derive(Debug)]
pub struct Fifo {
    end: Arc<PipeEnd>,
    /// The other side, and how often it had been opened before.
    waits_for: Option<(Partner, u64)>,
}

impl Fifo {
    /// Starts to open a FIFO. `ENXIO` for a writer that would not wait for the reader that is missing.
    pub fn open(pipe: &Arc<Pipe>, flags: OpenFlags) -> Result<Fifo, Errno> {
        let (readable, writable) = (flags.readable(), flags.writable());
        let nonblock = flags.contains(OpenFlags::NONBLOCK);
        let mut state = pipe.state.lock();
        if writable && !readable && nonblock && state.readers == 0 {
            return Err(Errno::ENXIO);
        }
        state.readers += usize::from(readable);
        state.writers += usize::from(writable);
        state.reader_opens += u64::from(readable);
        state.writer_opens += u64::from(writable);
        let mut no_hang_up = u64::MAX;
        let waits_for = match (readable, writable) {
            (true, false) if state.writers == 0 && nonblock => {
                no_hang_up = state.writer_opens;
                None
            }
            (true, false) if state.writers == 0 => Some((Partner::Writer, state.writer_opens)),
            (false, true) if state.readers == 0 => Some((Partner::Reader, state.reader_opens)),
            _ => None,
        };
        drop(state);
        pipe.partners.wake(u32::MAX);
        let end = PipeEnd { pipe: Arc::clone(pipe), readable, writable, no_hang_up, named: true };
        Ok(Fifo { end: Arc::new(end), waits_for })
    }

    /// Tells whether the other side has come since (it may have gone again): `open` returns.
    pub fn ready(&self) -> bool {
        self.waits_for.is_none_or(|(partner, before)| partner.opens(&self.end.pipe.state.lock()) != before)
    }

    /// Returns the queue woken when a side is opened.
    pub fn wait_queue(&self) -> WaitQueue {
        self.end.pipe.partners.clone()
    }

    /// Returns the open end.
    pub fn into_end(self) -> Arc<PipeEnd> {
        self.end
    }
}

/// The pipes of the FIFO inodes that are open.
#[derive(Debug)]
pub struct FifoTable {
    pipes: Mutex<HashMap<(DeviceId, u64), Weak<Pipe>>>,
}

impl Default for FifoTable {
    fn default() -> FifoTable {
        FifoTable { pipes: Mutex::new(Level::Leaf, HashMap::new()) }
    }
}

impl FifoTable {
    /// Returns the pipe of an inode, a new one if nobody has it open.
    pub fn get(&self, dev: DeviceId, ino: u64) -> Arc<Pipe> {
        let mut pipes = self.pipes.lock();
        if let Some(pipe) = pipes.get(&(dev, ino)).and_then(Weak::upgrade) {
            return pipe;
        }
        if pipes.len() == pipes.capacity() {
            pipes.retain(|_, pipe| pipe.strong_count() > 0);
        }
        let pipe = Arc::new(Pipe::new());
        pipes.insert((dev, ino), Arc::downgrade(&pipe));
        pipe
    }
}
