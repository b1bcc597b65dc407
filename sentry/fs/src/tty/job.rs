//! Job control: the session and the foreground process group of a terminal (`man 4 tty_ioctl`, `drivers/tty/tty_jobctrl.c`).

use std::sync::Arc;

use abi::signal::Signal;
use abi::{Errno, Pid};
use sentry_sync::{Level, Mutex};

use super::{Terminal, TtyHost};

#[derive(Clone, Copy, Debug, Default)]
struct Owner {
    session: Option<Pid>,
    group: Option<Pid>,
}

/// Which session has this terminal, and which of its groups is in the foreground.
#[derive(Debug)]
pub struct JobControl {
    owner: Mutex<Owner>,
}

impl Default for JobControl {
    fn default() -> JobControl {
        JobControl { owner: Mutex::new(Level::Leaf, Owner::default()) }
    }
}

fn is_controlling(host: &dyn TtyHost, job: &JobControl) -> bool {
    host.controlling().is_some_and(|terminal| std::ptr::eq(terminal.job(), job))
}

impl JobControl {
    /// Returns the session.
    pub fn session(&self) -> Option<Pid> {
        self.owner.lock().session
    }

    /// Returns the foreground process group.
    pub fn group(&self) -> Option<Pid> {
        self.owner.lock().group
    }

    fn set(&self, session: Option<Pid>, group: Option<Pid>) {
        *self.owner.lock() = Owner { session, group };
    }

    /// Gives the terminal to a session from its start (the caller's terminal and the first process).
    pub fn assign(&self, session: Pid, group: Pid) {
        self.set(Some(session), Some(group));
    }

    /// Checks that the caller may read (`SIGTTIN`) or change (`SIGTTOU`) the terminal now. In the background it is
    /// signalled: `ERESTART`. `EIO` where that would stop it for ever.
    pub(crate) fn check(&self, host: &dyn TtyHost, signal: Signal) -> Result<(), Errno> {
        let Some(foreground) = self.group() else { return Ok(()) };
        let Some(caller) = host.caller() else { return Ok(()) };
        if caller.group == foreground || !is_controlling(host, self) {
            return Ok(());
        }
        let reads = signal == Signal::SIGTTIN;
        let ignored = if reads { caller.ignores_ttin } else { caller.ignores_ttou };
        if ignored {
            return if reads { Err(Errno::EIO) } else { Ok(()) };
        }
        if caller.orphaned {
            return Err(Errno::EIO);
        }
        host.signal_group(caller.group, signal);
        Err(Errno::ERESTART)
    }

    /// Signals the foreground group.
    pub(crate) fn signal(&self, host: &dyn TtyHost, signal: Signal) {
        if let Some(group) = self.group() {
            host.signal_group(group, signal);
        }
    }

    /// Makes this the controlling terminal of a session leader that has none, as `open(2)` without `O_NOCTTY` does.
    pub(crate) fn acquire_on_open(&self, host: &dyn TtyHost, terminal: &Arc<dyn Terminal>) {
        if let Some(caller) = host.caller()
            && caller.leader
            && self.session().is_none()
            && host.controlling().is_none()
        {
            self.set(Some(caller.session), Some(caller.group));
            host.set_controlling(caller.session, Some(Arc::clone(terminal)));
        }
    }

    /// `TIOCSCTTY`. `EPERM` if the caller is no leader, has one already, or another session has this one.
    pub(crate) fn acquire(
        &self,
        host: &dyn TtyHost,
        terminal: Arc<dyn Terminal>,
        steal: bool,
        readable: bool,
    ) -> Result<(), Errno> {
        let caller = host.caller().ok_or(Errno::EPERM)?;
        let session = self.session();
        if caller.leader && session == Some(caller.session) {
            return Ok(());
        }
        if !caller.leader || host.controlling().is_some() {
            return Err(Errno::EPERM);
        }
        if let Some(other) = session {
            if !(steal && caller.privileged) {
                return Err(Errno::EPERM);
            }
            host.set_controlling(other, None);
        }
        if !readable && !caller.privileged {
            return Err(Errno::EPERM);
        }
        self.set(Some(caller.session), Some(caller.group));
        host.set_controlling(caller.session, Some(terminal));
        Ok(())
    }

    /// `TIOCNOTTY`: the caller gives its controlling terminal up; a leader does so for its whole session.
    pub(crate) fn release(&self, host: &dyn TtyHost) -> Result<(), Errno> {
        if !is_controlling(host, self) {
            return Err(Errno::ENOTTY);
        }
        match host.caller() {
            Some(caller) if caller.leader => self.disassociate(host, false),
            _ => host.leave_controlling(),
        }
        Ok(())
    }

    /// Ends the tie between the session and the terminal. The kernel calls this with `exiting` when a session leader
    /// exits.
    pub fn disassociate(&self, host: &dyn TtyHost, exiting: bool) {
        let owner = std::mem::take(&mut *self.owner.lock());
        if let Some(group) = owner.group {
            host.signal_group(group, Signal::SIGHUP);
            if !exiting {
                host.signal_group(group, Signal::SIGCONT);
            }
        }
        if let Some(session) = owner.session {
            host.set_controlling(session, None);
        }
    }

    /// The terminal is gone: tells the leader and frees the session from it.
    pub(crate) fn hang_up(&self, host: &dyn TtyHost) {
        let owner = std::mem::take(&mut *self.owner.lock());
        if let Some(session) = owner.session {
            host.signal_leader(session, Signal::SIGHUP);
            host.signal_leader(session, Signal::SIGCONT);
            host.set_controlling(session, None);
        }
    }

    /// `TIOCGPGRP`. `any` lets everybody ask (the master side); else `ENOTTY` if it isn't the caller's terminal.
    pub(crate) fn get_group(&self, host: &dyn TtyHost, any: bool) -> Result<Pid, Errno> {
        if !any && !is_controlling(host, self) {
            return Err(Errno::ENOTTY);
        }
        Ok(self.group().unwrap_or(Pid(0)))
    }

    /// `TIOCGSID`.
    pub(crate) fn get_session(&self, host: &dyn TtyHost, any: bool) -> Result<Pid, Errno> {
        if !any && !is_controlling(host, self) {
            return Err(Errno::ENOTTY);
        }
        self.session().ok_or(Errno::ENOTTY)
    }

    /// `TIOCSPGRP`. `ENOTTY`, `EINVAL`, `ESRCH`, `EPERM` as in `tty_ioctl(4)`.
    pub(crate) fn set_group(&self, host: &dyn TtyHost, group: Pid) -> Result<(), Errno> {
        match self.check(host, Signal::SIGTTOU) {
            Err(Errno::EIO) => return Err(Errno::ENOTTY),
            result => result?,
        }
        let caller = host.caller().ok_or(Errno::ENOTTY)?;
        if !is_controlling(host, self) || self.session() != Some(caller.session) {
            return Err(Errno::ENOTTY);
        }
        if group.0 < 0 {
            return Err(Errno::EINVAL);
        }
        if host.group_session(group).ok_or(Errno::ESRCH)? != caller.session {
            return Err(Errno::EPERM);
        }
        self.owner.lock().group = Some(group);
        Ok(())
    }
}
