//! The master side of a pseudo-terminal: what a terminal emulator holds.

use std::any::Any;
use std::sync::Arc;

use abi::Errno;
use abi::flags::{OpenFlags, Ready};
use sentry_sync::WaitQueue;

use super::ioctl;
use super::pty::{OUTPUT_MAX, PENDING_MAX};
use super::{Pty, PtySlave};
use crate::{FileOps, IoDst, IoFlags, IoSrc, UserMemory};

/// Called when the master goes.
type OnClose = Box<dyn Fn(u32) + Send + Sync>;

/// An open master.
pub struct PtyMaster {
    pty: Arc<Pty>,
    on_close: OnClose,
}

impl PtyMaster {
    pub(crate) fn new(pty: Arc<Pty>, on_close: OnClose) -> PtyMaster {
        PtyMaster { pty, on_close }
    }

    /// Returns the terminal.
    pub fn pty(&self) -> &Arc<Pty> {
        &self.pty
    }

    /// Opens the slave without its name (`TIOCGPTPEER`, which makes a descriptor and so is the system-call layer's).
    pub fn open_peer(&self, flags: OpenFlags) -> Result<Arc<PtySlave>, Errno> {
        self.pty.open_slave(flags)
    }
}

impl Drop for PtyMaster {
    fn drop(&mut self) {
        self.pty.state.lock().master_closed = true;
        self.pty.hang_up();
        (self.on_close)(self.pty.index());
    }
}

impl FileOps for PtyMaster {
    fn read(&self, _pos: &mut u64, _flags: IoFlags, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        if dst.remaining() == 0 {
            return Ok(0);
        }
        let mut state = self.pty.state.lock();
        if state.packet && state.packet_status != 0 {
            let status = std::mem::take(&mut state.packet_status);
            return dst.put(&[status]);
        }
        if state.ldisc.output.is_empty() {
            return Err(if state.slave_closed { Errno::EIO } else { Errno::EAGAIN });
        }
        let header = usize::from(state.packet);
        if header > 0 && dst.put(&[0])? == 0 {
            return Ok(0);
        }
        let want = dst.remaining().min(state.ldisc.output.len());
        let bytes: Vec<u8> = state.ldisc.output.iter().take(want).copied().collect();
        let put = if bytes.is_empty() { 0 } else { dst.put(&bytes)? };
        state.ldisc.output.drain(..put);
        drop(state);
        self.pty.slave_queue.wake(Ready::WRITABLE.bits());
        Ok(header + put)
    }

    fn write(&self, _pos: &mut u64, _flags: IoFlags, src: &mut dyn IoSrc) -> Result<usize, Errno> {
        let mut done = 0;
        let mut chunk = [0; 1024];
        while src.remaining() > 0 {
            let mut state = self.pty.state.lock();
            let room = PENDING_MAX.saturating_sub(state.pending.len());
            let want = room.min(chunk.len()).min(src.remaining());
            if want == 0 {
                break;
            }
            let taken = match src.take(&mut chunk[..want]) {
                Ok(taken) => taken,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            };
            state.pending.extend(&chunk[..taken]);
            let effects = Pty::pump(&mut state);
            self.pty.settle(state, effects);
            done += taken;
            if taken < want {
                break;
            }
        }
        if done == 0 && src.remaining() > 0 { Err(Errno::EAGAIN) } else { Ok(done) }
    }

    fn ready(&self) -> Ready {
        let state = self.pty.state.lock();
        let mut ready = Ready::empty();
        let status = state.packet && state.packet_status != 0;
        if status {
            ready |= Ready::PRI;
        }
        if status || !state.ldisc.output.is_empty() {
            ready |= Ready::READABLE;
        }
        if state.slave_closed {
            ready |= Ready::HUP;
        }
        if state.pending.len() < PENDING_MAX {
            ready |= Ready::WRITABLE;
        }
        ready
    }

    fn wait_queue(&self) -> Option<WaitQueue> {
        Some(self.pty.master_queue.clone())
    }

    fn ioctl(&self, memory: &dyn UserMemory, op: u32, arg: u64) -> Result<u64, Errno> {
        ioctl::master(&self.pty, memory, op, arg)
    }

    fn fdinfo(&self) -> String {
        format!("tty-index:\t{}\n", self.pty.index())
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl std::fmt::Debug for PtyMaster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PtyMaster({})", self.pty.index())
    }
}

/// Tells whether a program may print more.
pub(super) fn has_output_room(len: usize) -> bool {
    len < OUTPUT_MAX
}
