//! Terminals: pseudo-terminals with a line discipline, and what they need to know about tasks.
//!
//! Key types: [`Pty`] (both sides of a pseudo-terminal), [`JobControl`] (which session and which foreground group a
//! terminal has; also used by terminals of the host), [`TtyHost`] (what the kernel does for terminals: signals, sessions)
//! and [`Terminal`] (what a session holds as its controlling terminal). Knows groups and sessions as numbers only.
//!
//! A background process that reads, or writes where that is forbidden, gets its signal and the call returns
//! `Errno::ERESTART`: the system-call layer turns that into `ERESTARTSYS`.

pub mod ioctl;
mod job;
mod ldisc;
mod master;
mod pty;
mod slave;
mod termios;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use abi::flags::OpenFlags;
use abi::signal::Signal;
use abi::{Errno, Pid};

use crate::{DeviceId, FileOps};

pub use job::JobControl;
pub use master::PtyMaster;
pub use pty::Pty;
pub(crate) use pty::SLAVE_MAJOR;
pub use slave::PtySlave;

/// Who makes the call that is being served.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Session id.
    pub session: Pid,
    /// Process-group id.
    pub group: Pid,
    /// The process leads its session.
    pub leader: bool,
    /// The process has `CAP_SYS_ADMIN`.
    pub privileged: bool,
    /// The thread ignores or blocks `SIGTTIN`.
    pub ignores_ttin: bool,
    /// The thread ignores or blocks `SIGTTOU`.
    pub ignores_ttou: bool,
    /// The process group is orphaned: nobody would continue it.
    pub orphaned: bool,
    /// User and group id for files.
    pub ids: (u32, u32),
}

/// What the kernel does for terminals. Called without any lock of this crate held.
pub trait TtyHost: Send + Sync {
    /// Returns who makes the current call; `None` in a thread of the kernel's own.
    fn caller(&self) -> Option<Caller>;

    /// Returns the controlling terminal of the current caller's process.
    fn controlling(&self) -> Option<Arc<dyn Terminal>>;

    /// Makes a terminal the controlling one of a session's leader and thereby of the session, or takes it away from all
    /// of its processes.
    fn set_controlling(&self, session: Pid, terminal: Option<Arc<dyn Terminal>>);

    /// Takes the controlling terminal away from the current caller's process alone.
    fn leave_controlling(&self);

    /// Signals a process group. A group that is gone is ignored.
    fn signal_group(&self, group: Pid, signal: Signal);

    /// Signals the leader of a session.
    fn signal_leader(&self, session: Pid, signal: Signal);

    /// Returns the session of a process group: `None` if there is no such group.
    fn group_session(&self, group: Pid) -> Option<Pid>;
}

/// What can be a controlling terminal.
pub trait Terminal: Send + Sync {
    /// Returns which session and foreground group it has.
    fn job(&self) -> &JobControl;

    /// Returns its number, as in `/proc/PID/stat`.
    fn device(&self) -> DeviceId;

    /// Opens it again (`/dev/tty`).
    fn open(self: Arc<Self>, flags: OpenFlags) -> Result<Arc<dyn FileOps>, Errno>;
}
