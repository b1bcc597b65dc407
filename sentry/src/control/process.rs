//! Processes that the command line runs beside the first.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use abi::signal::{SigInfo, SigSet, Signal};
use sentry_fs::hostfd::HostTerminal;
use sentry_fs::tty::Terminal;

use super::channel::{ChannelError, Received, read_document};
use super::connection::{Incoming, Peer};
use super::protocol::{ProcessConfig, Reply, Request};
use super::{Control, home, signals, streams};
use crate::init::{Init, default_limits};
use crate::signal::send;
use crate::task::{Caps, Cred, InitRole, seccomp};
use crate::vfs::File;
use crate::{Kernel, Process, Task};

/// Highest descriptor that a process may be given at its start.
const MAX_NUMBER: usize = 0xffff;

/// Puts the descriptors that were passed at their numbers; takes the program, which comes last, from them.
fn arrange(
    config: &ProcessConfig,
    mut passed: Vec<Option<Arc<File>>>,
) -> Result<(Vec<Option<Arc<File>>>, Option<Arc<File>>), String> {
    let program = if config.given_program { passed.pop().flatten() } else { None };
    let program = program.map(|file| streams::program(&file));
    let further = passed.split_off(passed.len().min(3));
    if further.len() != config.further.len() || config.given_program && program.is_none() {
        return Err(format!("{} descriptors came for {} places", further.len(), config.further.len()));
    }
    for (number, file) in config.further.iter().zip(further) {
        let at = usize::try_from(*number).ok().filter(|at| *at <= MAX_NUMBER);
        let at = at.ok_or_else(|| format!("descriptor {number} is above {MAX_NUMBER}"))?;
        if passed.len() <= at {
            passed.resize(at + 1, None);
        }
        passed[at] = file;
    }
    Ok((passed, program))
}

/// Turns what the command line says of a process into what the kernel starts, under the container's filter; `passed` are the
/// descriptors in the order of [`Request::Exec`]. Fails for an unknown resource limit.
pub fn init_of(
    config: &ProcessConfig,
    passed: Vec<Option<Arc<File>>>,
    seccomp: Option<Arc<seccomp::Program>>,
) -> Result<Init, String> {
    let (files, program) = arrange(config, passed)?;
    let caps = &config.caps;
    let mut cred = Cred::new(config.uid, config.gid, Vec::new(), Caps::empty());
    cred.groups = config.groups.clone();
    cred.groups.sort_unstable();
    cred.bounding = Caps::from_bits_truncate(caps.bounding);
    cred.permitted = Caps::from_bits_truncate(caps.permitted);
    cred.effective = Caps::from_bits_truncate(caps.effective);
    cred.inheritable = Caps::from_bits_truncate(caps.inheritable);
    cred.ambient = Caps::from_bits_truncate(caps.ambient);
    cred.no_new_privs = config.no_new_privs;
    let mut limits = default_limits();
    for (number, cur, max) in &config.rlimits {
        let slot = usize::try_from(*number).ok().and_then(|at| limits.get_mut(at));
        let slot = slot.ok_or_else(|| format!("unknown resource limit {number}"))?;
        *slot = abi::types::Rlimit { cur: *cur, max: *max };
    }
    Ok(Init {
        args: config.args.clone(),
        env: config.env.clone(),
        cwd: config.cwd.clone().into_bytes(),
        umask: config.umask,
        cred,
        limits,
        files,
        program,
        oom_score_adj: config.oom_score_adj,
        ignored: SigSet(config.ignored_signals),
        role: if config.container { InitRole::Container } else { InitRole::Command },
        seccomp,
    })
}

/// Returns the wait status of a process that has ended.
pub(super) fn end_of(kernel: &Kernel, process: &Process) -> Option<i32> {
    let living = kernel.tasks.read().processes.get(&process.pid).is_some_and(|entry| {
        // Another process may have got the id by now.
        std::ptr::eq(Arc::as_ptr(&entry.process), process) && entry.zombie.is_none()
    });
    (!living).then(|| process.group_exit().unwrap_or_default())
}

async fn start(
    control: &Control,
    kernel: &Arc<Kernel>,
    mut fds: Vec<OwnedFd>,
) -> Result<(Arc<Task>, Option<Arc<HostTerminal>>), String> {
    if kernel.is_paused() {
        return Err("cannot exec in a paused container".to_owned());
    }
    if fds.is_empty() {
        return Err("no process was described".to_owned());
    }
    let config: ProcessConfig = read_document(&fds.remove(0)).map_err(|error| error.to_string())?;
    let ready = control.is_running() || config.hook && control.is_created();
    if !ready {
        return Err("cannot exec in a container that is not running".to_owned());
    }
    let fds = fds.into_iter().map(Some).collect();
    let (files, terminal) = streams::take_over(kernel, &control.reactor, fds).map_err(|errno| errno.to_string())?;
    match begin(control, kernel, config, files, terminal.as_ref()).await {
        Ok(task) => Ok((task, terminal)),
        Err(text) => {
            if let Some(terminal) = terminal {
                terminal.release();
            }
            Err(text)
        }
    }
}

async fn begin(
    control: &Control,
    kernel: &Arc<Kernel>,
    mut config: ProcessConfig,
    files: Vec<Option<Arc<File>>>,
    terminal: Option<&Arc<HostTerminal>>,
) -> Result<Arc<Task>, String> {
    if let (Some(terminal), Some(devices)) = (terminal, kernel.vfs.devices()) {
        terminal.settle(devices.devpts()).map_err(|errno| errno.to_string())?;
    }
    if let Some(namespace) = kernel.vfs.namespace() {
        home::complete(&mut config.env, namespace, config.uid);
    }
    let filter = control.seccomp.clone().filter(|_| !config.hook);
    let init = init_of(&config, files, filter)?;
    let prepared = kernel.prepare(init).await.map_err(|error| error.to_string())?;
    let controlling = terminal.filter(|_| config.terminal).map(|terminal| Arc::clone(terminal) as Arc<dyn Terminal>);
    prepared.start(controlling).await.map_err(|error| error.to_string())
}

/// Runs a process, and stays with it until it ends or the command line goes away.
pub(super) async fn exec(
    control: &Control,
    kernel: &Arc<Kernel>,
    peer: &Peer,
    fds: Vec<OwnedFd>,
) -> Result<(), ChannelError> {
    let (task, terminal) = match start(control, kernel, fds).await {
        Ok(started) => started,
        Err(text) => return peer.reply(&Reply::Refused(text)),
    };
    let process = Arc::clone(&task.process);
    drop(task);
    let told = peer.reply(&Reply::Started(process.pid.0));
    let outcome = match told {
        Ok(()) => follow(kernel, peer, &process, terminal.as_ref()).await,
        Err(error) => Err(error),
    };
    if outcome.is_err() || end_of(kernel, &process).is_none() {
        // Nobody waits for it any more.
        let _ = send::to_process(kernel, &process, SigInfo::from_kernel(Signal::SIGKILL));
    }
    let status = crate::wait::until(&[&process.exit_event], || end_of(kernel, &process)).await;
    reap(kernel, &process);
    if let Some(terminal) = terminal {
        terminal.release();
    }
    outcome?;
    // A peer that has gone doesn't want to know.
    if peer.reply(&Reply::Exited(status)).is_ok() {
        control.told(&peer.channel);
    }
    Ok(())
}

/// Passes the peer's signals on until the process ends, or the peer does.
async fn follow(
    kernel: &Arc<Kernel>,
    peer: &Peer,
    process: &Arc<Process>,
    terminal: Option<&Arc<HostTerminal>>,
) -> Result<(), ChannelError> {
    enum News {
        Ended,
        Incoming(Incoming),
    }
    let queues = [&process.exit_event, peer.queue()];
    loop {
        let news = crate::wait::until(&queues, || {
            let ended = end_of(kernel, process).map(|_| News::Ended);
            ended.or_else(|| peer.try_receive().map(News::Incoming))
        });
        let message = match news.await {
            News::Ended => return Ok(()),
            News::Incoming(incoming) => incoming?,
        };
        match message {
            None => return Ok(()),
            Some(Received { body: Request::Forward(number), .. }) => {
                if let Some(signal) = Signal::new(number) {
                    signals::forward(kernel, terminal, process, signal);
                }
            }
            Some(_) => return Err(ChannelError::Malformed("a second request on one connection".to_owned())),
        }
    }
}

/// Takes an ended process out: it has no parent in the sandbox that could.
fn reap(kernel: &Kernel, process: &Arc<Process>) {
    let mut table = kernel.tasks.write();
    let ours = table.processes.get(&process.pid).is_some_and(|entry| Arc::ptr_eq(&entry.process, process));
    let removed = if ours { table.remove_process(process.pid) } else { None };
    drop(table);
    drop(removed);
    process.exit_event.wake(!0);
}
