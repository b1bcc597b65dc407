//! Waiting for a sandbox in the foreground: signals go in, the exit status comes out.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};

use super::control::{self, FromSandbox, ToSandbox};
use super::launch::Sandbox;

/// Signals that are passed on to the program inside.
const FORWARDED: &[Signal] = &[
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGCONT,
    Signal::SIGALRM,
];

/// Blocks the signals that [`wait`] deals with. Called before the sandbox is started, so that none is missed.
pub(crate) fn block_signals() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    FORWARDED.iter().for_each(|signal| set.add(*signal));
    set.add(Signal::SIGCHLD);
    set.thread_block().context("blocking signals")?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context("making a signalfd")
}

/// Waits for the end of a sandbox; returns the exit status for the caller.
pub(crate) fn wait(sandbox: Sandbox, signals: &SignalFd) -> Result<u8> {
    let status = serve(&sandbox, signals);
    // The sentry's death takes every process of its pid namespace with it; the gofer ends with its connections.
    end(sandbox.sentry.pid);
    end(sandbox.gofer.pid);
    status
}

fn serve(sandbox: &Sandbox, signals: &SignalFd) -> Result<u8> {
    loop {
        let mut fds = [interest(sandbox.control.as_fd()), interest(signals.as_fd())];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => bail!("waiting for the sandbox: {error}"),
        }
        let (news, signalled) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        if news {
            match control::receive(&sandbox.control)? {
                Some(FromSandbox::Started) => {}
                Some(FromSandbox::Exited(status)) => return Ok(exit_code(status)),
                Some(FromSandbox::Failed(text)) => bail!("{text}"),
                None => bail!("the sentry has ended without a word{}", cause(sandbox.sentry.pid)),
            }
        }
        while signalled && let Some(info) = signals.read_signal().context("reading the signalfd")? {
            let number = i32::try_from(info.ssi_signo).unwrap_or_default();
            if number != libc::SIGCHLD {
                // A sandbox that is ending no longer listens.
                let _ = control::send(sandbox.control.as_fd(), &ToSandbox::Signal(number));
            }
        }
    }
}

fn interest(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::from_borrowed_fd(fd, PollFlags::IN)
}

/// Turns a wait status into an exit code: the program's own, or 128 + N for death by signal N.
fn exit_code(status: i32) -> u8 {
    let code = if status & 0x7f == 0 { (status >> 8) & 0xff } else { 128 + (status & 0x7f) };
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// Says how a process has died, for an error message.
fn cause(pid: i32) -> String {
    match waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT)) {
        Ok(WaitStatus::Exited(_, code)) => format!(" (exit status {code})"),
        Ok(WaitStatus::Signaled(_, signal, _)) => format!(" (killed by {signal})"),
        _ => String::new(),
    }
}

fn end(pid: i32) {
    let pid = Pid::from_raw(pid);
    // It may have ended by itself.
    let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
    let _ = waitpid(pid, None);
}
