//! A terminal with a program on it that is typed to and read, as a user would.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::Winsize;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(20);

/// A shell command on a terminal of its own, of which it is the session's leader.
pub(crate) struct Session {
    terminal: File,
    child: Child,
    /// What was printed and not yet looked for.
    unread: String,
}

impl Session {
    /// Starts a line of shell on a new terminal of 80 by 24.
    pub(crate) fn start(line: &str) -> Result<Session> {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).context("open a terminal")?;
        grantpt(&master).context("own the terminal")?;
        unlockpt(&master).context("unlock the terminal")?;
        let name = ptsname(&master, Vec::new()).context("name the terminal")?;
        let name = name.to_string_lossy().into_owned();
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size).context("size the terminal")?;
        let slave = || -> Result<OwnedFd> {
            use rustix::fs::{Mode, OFlags, open};
            open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
                .context("open the terminal's other side")
        };
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait", "bash", "--norc", "--noprofile", "-c", line]);
        command.env("PS1", "@ ").env("TERM", "dumb").env("LC_ALL", "C").env_remove("HISTFILE").current_dir("/");
        command.stdin(slave()?).stdout(slave()?).stderr(slave()?);
        let child = command.spawn().context("start setsid")?;
        Ok(Session { terminal: File::from(master), child, unread: String::new() })
    }

    /// Types.
    pub(crate) fn send(&mut self, text: &str) -> Result<()> {
        self.terminal.write_all(text.as_bytes()).context("type on the terminal")
    }

    /// Types, and waits for an answer.
    pub(crate) fn say(&mut self, text: &str, answer: &str) -> Result<()> {
        self.send(text)?;
        self.await_text(answer).with_context(|| format!("after {text:?}"))
    }

    /// Waits until this text is printed, and takes everything up to it.
    pub(crate) fn await_text(&mut self, text: &str) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(at) = self.unread.find(text) {
                self.unread.drain(..at + text.len());
                return Ok(());
            }
            if Instant::now() > deadline || !self.read()? {
                bail!("{text:?} did not come; the terminal shows {:?}", self.unread);
            }
        }
    }

    /// Reads what comes within a moment; false once the terminal is closed.
    fn read(&mut self) -> Result<bool> {
        let mut fds = [PollFd::new(&self.terminal, PollFlags::IN)];
        let moment = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        if poll(&mut fds, Some(&moment)).context("wait for the terminal")? == 0 {
            return Ok(true);
        }
        let mut buf = [0; 4096];
        match self.terminal.read(&mut buf) {
            Ok(0) | Err(_) => Ok(false),
            Ok(len) => {
                self.unread.push_str(&String::from_utf8_lossy(&buf[..len]));
                Ok(true)
            }
        }
    }

    /// Changes the window's size.
    pub(crate) fn resize(&self, size: Winsize) -> Result<()> {
        rustix::termios::tcsetwinsize(&self.terminal, size).context("resize the terminal")
    }

    /// Waits for the end; returns the exit code.
    pub(crate) fn finish(mut self) -> Result<i32> {
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().context("wait")? {
                return status.code().context("the session died by a signal");
            }
            self.read()?;
        }
        bail!("the session does not end; the terminal shows {:?}", self.unread)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Closing the terminal hangs its session up; this is for what doesn't listen to that.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
