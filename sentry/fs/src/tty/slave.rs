//! The slave side of a pseudo-terminal: what programs have as their terminal.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use abi::Errno;
use abi::flags::{OpenFlags, Ready};
use abi::signal::Signal;
use sentry_sync::WaitQueue;

use super::Pty;
use super::ioctl;
use super::master::has_output_room;
use super::termios::Lflag;
use crate::{FileOps, IoDst, IoFlags, IoSrc, UserMemory};

/// An open slave.
#[derive(Debug)]
pub struct PtySlave {
    pty: Arc<Pty>,
    /// Hung up if the terminal is in a later one.
    generation: u64,
    flags: OpenFlags,
}

impl PtySlave {
    pub(super) fn new(pty: Arc<Pty>, generation: u64, flags: OpenFlags) -> PtySlave {
        PtySlave { pty, generation, flags }
    }

    /// Returns the terminal.
    pub fn pty(&self) -> &Arc<Pty> {
        &self.pty
    }

    pub(super) fn hung_up(&self) -> bool {
        self.pty.state.lock().generation != self.generation
    }
}

impl Drop for PtySlave {
    fn drop(&mut self) {
        let closed = {
            let mut state = self.pty.state.lock();
            if state.generation == self.generation {
                state.slaves -= 1;
                state.slave_closed = state.slaves == 0;
            }
            state.slave_closed
        };
        if closed {
            self.pty.master_queue.wake((Ready::READABLE | Ready::HUP).bits());
        }
    }
}

impl FileOps for PtySlave {
    fn read(&self, _pos: &mut u64, flags: IoFlags, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        if self.hung_up() || dst.remaining() == 0 {
            return Ok(0);
        }
        self.pty.job.check(&*self.pty.host, Signal::SIGTTIN)?;
        let mut state = self.pty.state.lock();
        if state.generation != self.generation {
            return Ok(0);
        }
        let nonblock = flags.intersects(IoFlags::NONBLOCK | IoFlags::NOWAIT);
        let got = state.ldisc.read(dst, nonblock, flags.contains(IoFlags::TIMED_OUT))?;
        let effects = Pty::pump(&mut state);
        self.pty.settle(state, effects);
        Ok(got)
    }

    fn write(&self, _pos: &mut u64, _flags: IoFlags, src: &mut dyn IoSrc) -> Result<usize, Errno> {
        if self.hung_up() {
            return Err(Errno::EIO);
        }
        if self.pty.state.lock().ldisc.termios.local(Lflag::TOSTOP) {
            self.pty.job.check(&*self.pty.host, Signal::SIGTTOU)?;
        }
        let mut done = 0;
        let mut chunk = [0; 1024];
        let mut state = self.pty.state.lock();
        while src.remaining() > 0 && !state.ldisc.is_stopped() && has_output_room(state.ldisc.output.len()) {
            let want = chunk.len().min(src.remaining());
            let taken = match src.take(&mut chunk[..want]) {
                Ok(taken) => taken,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            };
            state.ldisc.write(&chunk[..taken]);
            done += taken;
            if taken < want {
                break;
            }
        }
        drop(state);
        if done > 0 {
            self.pty.master_queue.wake(Ready::READABLE.bits());
        }
        if done == 0 && src.remaining() > 0 { Err(Errno::EAGAIN) } else { Ok(done) }
    }

    fn ready(&self) -> Ready {
        let state = self.pty.state.lock();
        if state.generation != self.generation {
            return Ready::READABLE | Ready::WRITABLE | Ready::ERR | Ready::HUP;
        }
        let mut ready = Ready::empty();
        if state.ldisc.poll_readable() {
            ready |= Ready::READABLE;
        }
        if !state.ldisc.is_stopped() && has_output_room(state.ldisc.output.len()) {
            ready |= Ready::WRITABLE;
        }
        ready
    }

    fn wait_queue(&self) -> Option<WaitQueue> {
        Some(self.pty.slave_queue.clone())
    }

    fn read_timeout(&self) -> Option<Duration> {
        let tenths = self.pty.state.lock().ldisc.read_timeout()?;
        Some(Duration::from_millis(u64::from(tenths) * 100))
    }

    fn ioctl(&self, memory: &dyn UserMemory, op: u32, arg: u64) -> Result<u64, Errno> {
        if self.hung_up() {
            return Err(if op == ioctl::TIOCSPGRP { Errno::ENOTTY } else { Errno::EIO });
        }
        ioctl::slave(&self.pty, self.flags.readable(), memory, op, arg)
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
