//! Signals from outside the sandbox.

use std::sync::Arc;

use abi::Pid;
use abi::signal::{SigInfo, Signal, si};
use sentry_fs::hostfd::HostTerminal;
use sentry_fs::tty::Terminal;

use super::Control;
use super::protocol::{Reply, Target};
use crate::signal::{DefaultAction, default_action, send};
use crate::task::INIT;
use crate::{Kernel, Process};

/// A signal of somebody whom the guest can't see. Only those that nobody can handle act on an init that has no handler.
fn info(signal: Signal) -> SigInfo {
    match signal {
        Signal::SIGKILL | Signal::SIGSTOP => SigInfo::from_kernel(signal),
        _ => SigInfo::from_process(signal, si::USER, 0, 0, 0),
    }
}

/// Sends a signal; number 0 only looks whether there is anybody.
pub(super) fn send(control: &Control, kernel: &Arc<Kernel>, target: Target, number: i32) -> Reply {
    let signal = Signal::new(number);
    if signal.is_none() && number != 0 {
        return Reply::Refused(format!("there is no signal {number}"));
    }
    if !control.is_running() {
        return before_start(kernel, target, signal);
    }
    let all: Vec<(Arc<Process>, Pid)> = {
        let table = kernel.tasks.read();
        let living = table.processes.values().filter(|entry| entry.zombie.is_none());
        living.map(|entry| (Arc::clone(&entry.process), entry.pgid)).collect()
    };
    let meant = |process: &Process, group: Pid| match target {
        Target::Init => process.pid == INIT,
        Target::All => true,
        Target::Process(pid) => process.pid.0 == pid,
        Target::Group(id) => group.0 == id,
    };
    let mut any = false;
    for (process, _) in all.iter().filter(|(process, group)| meant(process, *group)) {
        any = true;
        if let Some(signal) = signal {
            // Only a real-time signal can find its queue full; kill(2) says so, the tools' users can't act on it.
            let _ = send::to_process(kernel, process, info(signal));
        }
    }
    if any { Reply::Done } else { Reply::NoProcess }
}

/// The first process waits for its start: what would end it ends the sandbox.
fn before_start(kernel: &Kernel, target: Target, signal: Option<Signal>) -> Reply {
    if !matches!(target, Target::Init | Target::All | Target::Process(1) | Target::Group(1)) {
        return Reply::NoProcess;
    }
    let fatal = |signal: &Signal| matches!(default_action(*signal), DefaultAction::Terminate | DefaultAction::Core);
    if let Some(signal) = signal.filter(fatal) {
        kernel.end(signal.number());
    }
    Reply::Done
}

/// Passes on a signal that the command line has got: to the foreground group of the terminal, or to the process.
pub(super) fn forward(
    kernel: &Arc<Kernel>,
    terminal: Option<&Arc<HostTerminal>>,
    process: &Arc<Process>,
    signal: Signal,
) {
    let from_terminal = matches!(signal, Signal::SIGINT | Signal::SIGQUIT | Signal::SIGTSTP);
    if let Some(terminal) = terminal {
        if signal == Signal::SIGWINCH {
            return terminal.resized();
        }
        if let Some(group) = terminal.job().group().filter(|_| from_terminal) {
            send::to_group(kernel, group, SigInfo::from_kernel(signal));
            return;
        }
    }
    let _ = send::to_process(kernel, process, info(signal));
}
