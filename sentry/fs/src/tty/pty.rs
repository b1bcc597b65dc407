//! [`Pty`]: what the two sides of a pseudo-terminal share.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use abi::Errno;
use abi::flags::{OpenFlags, Ready};
use abi::signal::Signal;
use sentry_sync::{Level, Mutex, MutexGuard, WaitQueue};

use super::ldisc::{Effects, LineDiscipline};
use super::{JobControl, PtySlave, Terminal, TtyHost};
use crate::{DeviceId, FileOps};

/// Output beyond this waits for the master to read.
pub(super) const OUTPUT_MAX: usize = 12 * 1024;
/// Typed bytes beyond this, which the line discipline has no room for, wait for the slave to read.
pub(super) const PENDING_MAX: usize = 8 * 1024;

/// What packet mode reports (`TIOCPKT_*` of `tty_ioctl(4)`).
pub(super) mod packet {
    pub(crate) const FLUSHREAD: u8 = 1;
    pub(crate) const FLUSHWRITE: u8 = 2;
    pub(crate) const STOP: u8 = 4;
    pub(crate) const START: u8 = 8;
    pub(crate) const NOSTOP: u8 = 16;
    pub(crate) const DOSTOP: u8 = 32;
}

/// `struct winsize`: rows, columns, and pixels of the same.
pub(super) type WinSize = [u16; 4];

#[derive(Debug)]
pub(super) struct State {
    pub(super) ldisc: LineDiscipline,
    /// Typed, but not yet received by the line discipline.
    pub(super) pending: VecDeque<u8>,
    pub(super) size: WinSize,
    /// `TIOCSPTLCK`: the slave can't be opened.
    pub(super) locked: bool,
    /// `TIOCEXCL`.
    pub(super) exclusive: bool,
    pub(super) packet: bool,
    pub(super) packet_status: u8,
    /// Open slave descriptions that haven't been hung up.
    pub(super) slaves: usize,
    /// The slave was open and is no longer.
    pub(super) slave_closed: bool,
    pub(super) master_closed: bool,
    /// Slaves opened before have been hung up.
    pub(super) generation: u64,
}

/// A pseudo-terminal.
pub struct Pty {
    index: u32,
    pub(super) host: Arc<dyn TtyHost>,
    pub(super) job: JobControl,
    pub(super) state: Mutex<State>,
    pub(super) master_queue: WaitQueue,
    pub(super) slave_queue: WaitQueue,
    this: Weak<Pty>,
}

impl std::fmt::Debug for Pty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pty({})", self.index)
    }
}

impl Pty {
    /// Makes a terminal, locked as Linux has it, whose slave is `/dev/pts/INDEX`.
    pub(crate) fn new(index: u32, host: Arc<dyn TtyHost>) -> Arc<Pty> {
        let state = State {
            ldisc: LineDiscipline::new(),
            pending: VecDeque::new(),
            size: [0; 4],
            locked: true,
            exclusive: false,
            packet: false,
            packet_status: 0,
            slaves: 0,
            slave_closed: false,
            master_closed: false,
            generation: 0,
        };
        Arc::new_cyclic(|this| Pty {
            index,
            host,
            job: JobControl::default(),
            state: Mutex::new(Level::Socket, state),
            master_queue: WaitQueue::new(),
            slave_queue: WaitQueue::new(),
            this: Weak::clone(this),
        })
    }

    /// Returns the number in `/dev/pts`.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Opens the slave. `EIO` while it is locked or once the master has gone, `EBUSY` after `TIOCEXCL`.
    pub(crate) fn open_slave(&self, flags: OpenFlags) -> Result<Arc<PtySlave>, Errno> {
        let pty = self.this.upgrade().ok_or(Errno::EIO)?;
        let privileged = self.host.caller().is_some_and(|caller| caller.privileged);
        let generation = {
            let mut state = self.state.lock();
            if state.locked || state.master_closed {
                return Err(Errno::EIO);
            }
            if state.exclusive && state.slaves > 0 && !privileged {
                return Err(Errno::EBUSY);
            }
            state.slaves += 1;
            state.slave_closed = false;
            state.generation
        };
        let slave = Arc::new(PtySlave::new(Arc::clone(&pty), generation, flags));
        if !flags.contains(OpenFlags::NOCTTY) && flags.readable() {
            let terminal: Arc<dyn Terminal> = pty;
            self.job.acquire_on_open(&*self.host, &terminal);
        }
        Ok(slave)
    }

    /// Lets the line discipline have what was typed, as far as it has room.
    pub(super) fn pump(state: &mut State) -> Effects {
        let mut effects = Effects::default();
        while state.ldisc.has_room() {
            let Some(byte) = state.pending.pop_front() else { break };
            state.ldisc.receive(byte, &mut effects);
        }
        if effects.flushed {
            state.packet_status |= packet::FLUSHREAD | packet::FLUSHWRITE;
        }
        state.note_stopped(effects.stopped);
        effects
    }

    /// Ends a change of the state: signals and wakes whom it may concern.
    pub(super) fn settle(&self, state: MutexGuard<'_, State>, effects: Effects) {
        drop(state);
        for signal in effects.signals {
            self.job.signal(&*self.host, signal);
        }
        let events = Ready::READABLE | Ready::WRITABLE | Ready::PRI;
        self.slave_queue.wake(events.bits());
        self.master_queue.wake(events.bits());
    }

    /// Changes the window size; the foreground group hears of it.
    pub(super) fn resize(&self, size: WinSize) {
        let changed = {
            let mut state = self.state.lock();
            std::mem::replace(&mut state.size, size) != size
        };
        if changed {
            self.job.signal(&*self.host, Signal::SIGWINCH);
        }
    }

    /// Makes all open slaves useless: reads end, writes fail.
    pub(crate) fn hang_up(&self) {
        {
            let mut state = self.state.lock();
            state.generation += 1;
            state.slaves = 0;
            state.slave_closed = true;
            state.ldisc = LineDiscipline::new();
            state.pending.clear();
        }
        self.job.hang_up(&*self.host);
        let events = Ready::READABLE | Ready::WRITABLE | Ready::ERR | Ready::HUP;
        self.slave_queue.wake(events.bits());
        self.master_queue.wake(events.bits());
    }
}

impl State {
    /// Records for packet mode that the output was stopped or started.
    pub(super) fn note_stopped(&mut self, stopped: Option<bool>) {
        if let Some(stopped) = stopped {
            self.packet_status &= !(packet::STOP | packet::START);
            self.packet_status |= if stopped { packet::STOP } else { packet::START };
        }
    }
}

impl Terminal for Pty {
    fn job(&self) -> &JobControl {
        &self.job
    }

    fn device(&self) -> DeviceId {
        slave_device(self.index)
    }

    fn open(self: Arc<Self>, flags: OpenFlags) -> Result<Arc<dyn FileOps>, Errno> {
        Ok(self.open_slave(flags | OpenFlags::NOCTTY)?)
    }
}

/// First major number of slaves (`UNIX98_PTY_SLAVE_MAJOR`); there are 2^20 minor numbers, so one is enough.
pub(crate) const SLAVE_MAJOR: u32 = 136;

pub(crate) fn slave_device(index: u32) -> DeviceId {
    DeviceId::new(SLAVE_MAJOR, index)
}
