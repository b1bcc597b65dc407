//! Waiting for a sandbox in the foreground: signals go in, the exit status comes out.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::control::{self, FromSandbox, ToSandbox};
use super::launch::Sandbox;

/// Signals that are passed on to the program inside: all that aren't the sign of a mistake of ours.
pub(crate) const FORWARDED: &[Signal] = &[
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGCONT,
    Signal::SIGTSTP,
    Signal::SIGALRM,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGIO,
    Signal::SIGURG,
    Signal::SIGPWR,
];

/// Signals that the terminal sends to all processes of the sandbox, and that none of them may be stopped by.
const BLOCKED: &[Signal] = &[Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGCHLD];

/// Blocks the signals that [`wait`] deals with. Called before the sandbox is started, so that none is missed and its
/// processes, which belong to the caller's job, have them blocked too.
pub(crate) fn block_signals() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    FORWARDED.iter().for_each(|signal| set.add(*signal));
    BLOCKED.iter().for_each(|signal| set.add(*signal));
    set.thread_block().context("blocking signals")?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context("making a signalfd")
}

/// Waits for the end of a sandbox; returns the exit status for the caller.
pub(crate) fn wait(sandbox: Sandbox, signals: &SignalFd) -> Result<u8> {
    let status = serve(&sandbox, signals);
    abandon(&sandbox);
    status
}

/// Ends a sandbox: the sentry's death takes every process of its pid namespace with it.
pub(crate) fn abandon(sandbox: &Sandbox) {
    // Both take a while, side by side.
    kill(sandbox.sentry.pid);
    kill(sandbox.gofer.pid);
    reap(sandbox.sentry.pid);
    reap(sandbox.gofer.pid);
}

/// How long a program runs before this process lets go of memory, some of which it needs to end.
const SHORT: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

fn serve(sandbox: &Sandbox, signals: &SignalFd) -> Result<u8> {
    let (mut gofer_ended, mut at_rest) = (false, false);
    loop {
        let mut fds = [interest(sandbox.control.as_fd()), interest(signals.as_fd())];
        // What the sentry has said before comes first.
        let timeout = match gofer_ended {
            true => Some(Timespec { tv_sec: 0, tv_nsec: 0 }),
            false => (!at_rest).then_some(SHORT),
        };
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) if gofer_ended => bail!("{}", gofer_failure(sandbox)),
            Ok(0) => {
                // Whatever comes now takes its time: nothing that was needed until here is.
                sentry_platform::trim::trim();
                at_rest = true;
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => bail!("waiting for the sandbox: {error}"),
        }
        let (news, signalled) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        if news {
            match control::receive(&sandbox.control)? {
                Some(FromSandbox::Created) => {}
                // Without a terminal there is no job control, and who continues the program does so inside.
                Some(FromSandbox::Stopped(number)) if sandbox.terminal => stop(sandbox, number),
                Some(FromSandbox::Stopped(_)) => {}
                Some(FromSandbox::Exited(status)) => return Ok(exit_code(status)),
                Some(FromSandbox::Failed(text)) => bail!("{}", words(sandbox).unwrap_or(text)),
                None => bail!("the sentry has ended without a word{}", cause(sandbox.sentry.pid)),
            }
        }
        while signalled && let Some(info) = signals.read_signal().context("reading the signalfd")? {
            let number = i32::try_from(info.ssi_signo).unwrap_or_default();
            if FORWARDED.iter().any(|signal| *signal as i32 == number) {
                // A sandbox that is ending no longer listens.
                let _ = control::send(sandbox.control.as_fd(), &ToSandbox::Signal(number));
            } else if number == libc::SIGCHLD {
                // With status 0 it ends once the sentry has let go of it: the sentry's last word is on its way.
                let ended = state(sandbox.gofer.pid);
                gofer_ended = ended.is_some_and(|status| !matches!(status, WaitStatus::Exited(_, 0)));
            }
        }
    }
}

/// Stops this process as the program inside has stopped, so that the caller's shell takes notice; returns once the shell
/// has it continue.
fn stop(sandbox: &Sandbox, number: i32) {
    let signal = Signal::try_from(number).unwrap_or(Signal::SIGSTOP);
    let mut set = SigSet::empty();
    set.add(signal);
    // Fails for no valid set; without it the signal waits and nothing stops.
    let _ = nix::sys::signal::raise(signal);
    let _ = set.thread_unblock();
    let _ = set.thread_block();
    // Where the host didn't stop us (nobody could continue an orphaned job) the program must not stay stopped either.
    let _ = control::send(sandbox.control.as_fd(), &ToSandbox::Signal(libc::SIGCONT));
}

fn interest(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::from_borrowed_fd(fd, PollFlags::IN)
}

/// Turns a wait status into an exit code: the program's own, or 128 + N for death by signal N.
pub(crate) fn exit_code(status: i32) -> u8 {
    let code = if status & 0x7f == 0 { (status >> 8) & 0xff } else { 128 + (status & 0x7f) };
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// Returns how a process of ours has ended, if it has.
fn state(pid: i32) -> Option<WaitStatus> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::Pid(Pid::from_raw(pid)), flags).ok().filter(|status| *status != WaitStatus::StillAlive)
}

/// Says how a process has died, for an error message.
pub(crate) fn cause(pid: i32) -> String {
    // Its sockets close a moment before it can be waited for.
    for _ in 0..100 {
        match state(pid) {
            Some(WaitStatus::Exited(_, code)) => return format!(" (exit status {code})"),
            Some(WaitStatus::Signaled(_, signal, _)) => return format!(" (killed by {signal})"),
            _ => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    String::new()
}

/// What the gofer has written on its standard error, as one line.
pub(crate) fn words(sandbox: &Sandbox) -> Option<String> {
    let mut buf = [0; 4096];
    let len = rustix::io::read(&sandbox.gofer_words, &mut buf).ok()?;
    let text = String::from_utf8_lossy(&buf[..len]);
    let text = text.trim().trim_start_matches("runsc: ").replace('\n', " ");
    (!text.is_empty()).then_some(text)
}

/// Says why the gofer has ended before the sentry.
fn gofer_failure(sandbox: &Sandbox) -> String {
    words(sandbox).unwrap_or_else(|| format!("the gofer has ended without a word{}", cause(sandbox.gofer.pid)))
}

/// Ends a process that we have started, and takes its status.
pub(super) fn end(pid: i32) {
    kill(pid);
    reap(pid);
}

fn kill(pid: i32) {
    // It may have ended by itself.
    let _ = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
}

fn reap(pid: i32) {
    // Nobody wants its status.
    let _ = waitpid(Pid::from_raw(pid), None);
}
