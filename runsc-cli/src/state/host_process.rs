//! Processes of the host that may have ended, and whose ids may belong to others by now.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

/// A process by its id and start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostProcess {
    /// Process id.
    pub(crate) pid: i32,
    /// When it was started, in clock ticks since the host's boot.
    start: u64,
}

impl HostProcess {
    /// Notes a live process.
    pub(crate) fn new(pid: i32) -> Option<HostProcess> {
        let (_, start) = look(pid)?;
        Some(HostProcess { pid, start })
    }

    /// Tells whether the process is there and no zombie.
    pub(crate) fn lives(self) -> bool {
        look(self.pid).is_some_and(|(state, start)| start == self.start && !matches!(state, 'Z' | 'X'))
    }

    /// Kills the process.
    pub(crate) fn kill(self) {
        if self.lives() {
            // It may have ended by itself.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid), nix::sys::signal::Signal::SIGKILL);
        }
    }

    /// Returns a descriptor that becomes readable when the process ends (`man 2 pidfd_open`).
    pub(crate) fn end(self) -> std::io::Result<OwnedFd> {
        let gone = std::io::Error::from(rustix::io::Errno::SRCH);
        let process = pidfd_open(Pid::from_raw(self.pid).ok_or(rustix::io::Errno::SRCH)?, PidfdFlags::empty())?;
        // Whoever has the number by now.
        if self.lives() { Ok(process) } else { Err(gone) }
    }

    /// Waits until the process has ended; returns whether it has.
    pub(crate) fn wait_for_end(self, limit: Duration) -> bool {
        // The descriptor stands for whoever has the number by now; if that is our process, its end is what it tells.
        if let Some(process) = Pid::from_raw(self.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
            && self.lives()
        {
            wait_for_exit(&process, limit);
        }
        !self.lives()
    }
}

/// Sleeps until a process has ended (`man 2 pidfd_open`) or the time is over.
pub(crate) fn wait_for_exit(process: &OwnedFd, limit: Duration) {
    let deadline = Instant::now() + limit;
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        let timeout = Timespec::try_from(left).ok();
        if poll(&mut [PollFd::new(process, PollFlags::IN)], timeout.as_ref()) != Err(rustix::io::Errno::INTR) {
            return;
        }
    }
}

/// State and start of a process (`man 5 proc_pid_stat`).
fn look(pid: i32) -> Option<(char, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let start = fields.nth(18)?.parse().ok()?;
    Some((state, start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_lives_until_it_ends() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = HostProcess::new(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(process.lives());
        assert!(!HostProcess { start: process.start + 1, ..process }.lives());
        process.kill();
        assert!(process.wait_for_end(std::time::Duration::from_secs(5)));
        child.wait().unwrap();
        assert!(!process.lives());
    }
}
