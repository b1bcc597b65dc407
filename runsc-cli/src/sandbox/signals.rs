//! Signals that others on the host send to a detached container's sentry, which stands for the container there.
//!
//! The sentry blocks them before it has any thread, reads them from a descriptor, and passes them on: to the guest's first
//! process, as the host would if that were its process. Where the container has a console (a terminal whose other end an
//! engine holds) the sentry leads a session that has it, so that the host tells it of a new window size and of the keys that
//! interrupt, which go to the guest's foreground group.

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

use super::wait::FORWARDED;

/// What only a terminal makes, and what is about the sentry itself, which never reads in the background.
const OF_BACKGROUND: &[HostSignal] = &[HostSignal::SIGTTIN, HostSignal::SIGTTOU];

/// Bytes of `struct signalfd_siginfo`, whose first word is the signal's number.
const INFO: usize = 128;

/// Blocks them and leaves the caller's session, whose terminal's keys are no concern of a container on its own; returns what
/// they are read from.
pub(super) fn own() -> Result<OwnedFd> {
    setsid().context("making a session")?;
    let mut set = SigSet::empty();
    FORWARDED.iter().chain(OF_BACKGROUND).for_each(|signal| set.add(*signal));
    set.thread_block().context("blocking signals")?;
    let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
    let signals = signals.context("making a signalfd")?;
    signals.as_fd().try_clone_to_owned().context("making a signalfd")
}

/// Makes standard input the controlling terminal.
pub(super) fn take_console() -> Result<()> {
    ioctl_tiocsctty(rustix::stdio::stdin()).context("making the console the controlling terminal")
}

/// Passes them on for as long as the kernel lives.
pub(super) fn watch(
    kernel: &Arc<Kernel>,
    reactor: &Reactor,
    signals: OwnedFd,
    console: Option<Arc<HostTerminal>>,
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
            if let Some(signal) = signal.filter(|signal| !matches!(*signal, Signal::SIGTTIN | Signal::SIGTTOU)) {
                super::mounts::forward_signal(&kernel, console.as_ref(), signal);
            }
        }
    });
    Ok(())
}
