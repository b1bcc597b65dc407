//! The console of a detached container: a terminal of the host whose other end an engine holds.
//!
//! The sentry leads a session on the host that has this terminal, so that the host tells it of a new window size and of
//! the keys that interrupt. It blocks those signals before it has any thread, reads them from a descriptor, and passes
//! them on to the guest.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use abi::signal::Signal;
use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal as HostSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::process::{ioctl_tiocsctty, setsid};
use sentry::Kernel;
use sentry::reactor::Reactor;
use sentry::wait::until;
use sentry_fs::hostfd::{HostReactor, HostTerminal};
use sentry_sync::WaitQueue;

/// Signals that a terminal makes.
const SIGNALS: &[HostSignal] = &[
    HostSignal::SIGHUP,
    HostSignal::SIGINT,
    HostSignal::SIGQUIT,
    HostSignal::SIGTSTP,
    HostSignal::SIGWINCH,
    HostSignal::SIGTTIN,
    HostSignal::SIGTTOU,
    HostSignal::SIGCONT,
];

/// Bytes of `struct signalfd_siginfo`, whose first word is the signal's number.
const INFO: usize = 128;

/// Makes standard input the controlling terminal of a new session; returns what its signals are read from.
pub(crate) fn own() -> Result<OwnedFd> {
    let mut set = SigSet::empty();
    SIGNALS.iter().for_each(|signal| set.add(*signal));
    set.thread_block().context("blocking signals")?;
    setsid().context("making a session for the console")?;
    ioctl_tiocsctty(rustix::stdio::stdin()).context("making the console the controlling terminal")?;
    let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
    let signals = signals.context("making a signalfd")?;
    signals.as_fd().try_clone_to_owned().context("making a signalfd")
}

/// Passes the console's signals on for as long as the kernel lives.
pub(crate) fn watch(
    kernel: &Arc<Kernel>,
    reactor: &Reactor,
    signals: OwnedFd,
    terminal: Arc<HostTerminal>,
) -> Result<()> {
    let (signals, queue) = (Arc::new(signals), WaitQueue::new());
    let watch = reactor.watch(&signals, &queue).context("watching for signals")?;
    let weak = Arc::downgrade(kernel);
    kernel.executor.spawn(async move {
        let _watch = watch;
        let queues = [&queue];
        loop {
            let mut info = [0; INFO];
            let number = until(&queues, || match rustix::io::read(&signals, &mut info) {
                Ok(INFO) => Some(u32::from_ne_bytes([info[0], info[1], info[2], info[3]])),
                _ => None,
            });
            let number = number.await;
            let Some(kernel) = weak.upgrade() else { return };
            let signal = i32::try_from(number).ok().and_then(Signal::new);
            // Those that stop background processes are about the sentry itself, which never reads in the background.
            if let Some(signal) = signal.filter(|signal| !matches!(*signal, Signal::SIGTTIN | Signal::SIGTTOU)) {
                super::mounts::forward_signal(&kernel, Some(&terminal), signal);
            }
        }
    });
    Ok(())
}
