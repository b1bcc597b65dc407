//! `runsc exec`: another process in a running container.
//!
//! The process stands under the connection of whoever waits for it: this command, or with `--detach` a child of it
//! (`exec-wait`) that an engine's shim takes over and waits for. It exits with the process's status, passes signals on, and
//! when it is killed the process is killed too; it ends with the sandbox at the latest. On its terminal it leads a session,
//! so that the host tells it of a new window size.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::signalfd::SignalFd;
use oci_spec::runtime::Process;
use rustix::event::{PollFd, PollFlags, poll};
use sentry::control::channel::{Channel, document};
use sentry::control::protocol::{Reply, Request};
use sentry_platform::spawn::{Spawn, Stdio, inherited_fd};

use super::create::write_pid_file;
use crate::cli::{ExecArgs, Global};
use crate::client::Client;
use crate::passed::Passed;
use crate::sandbox::config::ProcessConfig;
use crate::sandbox::wait::{FORWARDED, block_signals, exit_code};
use crate::state::{Container, HostProcess, Record, Status};
use crate::{oci, terminal};

/// Exit status for a process whose sandbox was killed.
const KILLED: u8 = 128 + 9;

/// Runs the process.
pub(crate) fn run(global: &Global, args: &ExecArgs) -> Result<u8> {
    let passed = Passed::new(args.preserve_fds, &args.pass)?;
    let container = Container::find(global, &args.id)?;
    let record = container.load()?;
    match container.status(&record) {
        Status::Running => {}
        Status::Stopped => bail!("cannot exec in a stopped container"),
        Status::Paused => bail!("cannot exec in a paused container"),
        status => bail!("cannot exec in a container that is {}", status.name()),
    }
    let (mut config, size) = process(args, &record)?;
    let extra = passed.give(&mut config);
    let console = match &args.console_socket {
        Some(socket) if config.terminal => Some(terminal::make(socket, size)?),
        Some(_) => bail!("--console-socket is given, and the process has no terminal: ask for one with --tty"),
        None if config.terminal && args.detach => bail!("a detached terminal needs a --console-socket"),
        None => None,
    };
    // Before the process is started, so that none is missed.
    let signals = if args.detach { None } else { Some(block_signals()?) };
    let streams = streams(console.as_ref())?;
    let document = document(&config).context("describing the process")?;
    let mut fds: Vec<BorrowedFd<'_>> = vec![document.as_fd()];
    fds.extend(streams.iter().chain(&extra).map(AsFd::as_fd));
    let client = Client::connect(&container)?;
    let pid = match client.call_with(&Request::Exec, &fds)?.body {
        Reply::Started(pid) => pid,
        other => bail!("the sandbox gave a wrong answer: {other:?}"),
    };
    if let Some(path) = &args.internal_pid_file {
        write_pid_file(path, pid)?;
    }
    drop(streams);
    let channel = client.into_channel();
    match signals {
        None => detach(args, &record, &channel, console.as_ref()),
        Some(signals) => {
            let own = i32::try_from(std::process::id()).context("our own process id")?;
            args.pid_file.as_deref().map(|path| write_pid_file(path, own)).transpose()?;
            follow(&channel, &signals)
        }
    }
}

/// What is to be run, and the size of its terminal.
fn process(args: &ExecArgs, record: &Record) -> Result<(ProcessConfig, Option<(u16, u16)>)> {
    if let Some(path) = &args.process {
        let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let process: Process = oci::document(&text).with_context(|| format!("parsing {}", path.display()))?;
        let size = process.console_size();
        let size = size.and_then(|size| Some((u16::try_from(size.height()).ok()?, u16::try_from(size.width()).ok()?)));
        let mut config = oci::process(&process)?;
        config.terminal |= args.tty;
        config.container = false;
        return Ok((config, size));
    }
    let (_, spec) = oci::read_bundle(&record.bundle)?;
    let mut config = oci::process(spec.process().as_ref().context("config.json has no \"process\"")?)?;
    config.args = args.command.iter().map(|word| word.as_bytes().to_vec()).collect();
    if config.args.is_empty() {
        bail!("no command is given, and no --process");
    }
    config.terminal = args.tty;
    config.container = false;
    config.no_new_privs |= args.no_new_privs;
    if let Some(cwd) = &args.cwd {
        config.cwd.clone_from(cwd);
    }
    for variable in &args.env {
        let (key, _) = variable.split_once('=').with_context(|| format!("--env {variable:?} has no ="))?;
        let prefix = format!("{key}=").into_bytes();
        config.env.retain(|known| !known.starts_with(&prefix));
        config.env.push(variable.clone().into_bytes());
    }
    if let Some(user) = &args.user {
        let (uid, gid) = user.split_once(':').unwrap_or((user, "0"));
        let parse = |text: &str| text.parse().with_context(|| format!("--user {user:?} is not UID[:GID]"));
        (config.uid, config.gid) = (parse(uid)?, parse(gid)?);
    }
    config.groups.extend(&args.additional_gids);
    for cap in &args.cap {
        oci::add_capability(&mut config.caps, cap)?;
    }
    Ok((config, None))
}

/// Copies of the standard streams for the sandbox: the terminal three times, or our own.
fn streams(console: Option<&OwnedFd>) -> Result<[OwnedFd; 3]> {
    let own = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    let from = console.map_or(own, |console| [console.as_fd(); 3]);
    let [stdin, stdout, stderr] = from;
    Ok([terminal::for_sandbox(stdin)?, terminal::for_sandbox(stdout)?, terminal::for_sandbox(stderr)?])
}

/// Has our children be in the sandbox's pid namespace. The host ends them before the sentry then, and an engine hears of the end
/// of what it has executed before that of the container: in the other order Docker would wait for it for ever. Nothing inside
/// can reach them: they belong to the caller's user namespace.
fn enter_pid_namespace(record: &Record) -> Result<()> {
    let Some(sentry) = record.sentry else { bail!("container not running") };
    let gone = || anyhow::anyhow!("container not running: it ended meanwhile");
    let namespace = File::open(format!("/proc/{}/ns/pid", sentry.pid)).map_err(|_| gone())?;
    if !sentry.lives() {
        return Err(gone());
    }
    match setns(namespace, CloneFlags::CLONE_NEWPID) {
        // An ordinary user without rights in a user namespace of its own.
        Err(Errno::EPERM) => tracing::debug!("not in the sandbox's pid namespace"),
        entered => entered.context("entering the sandbox's pid namespace")?,
    }
    Ok(())
}

/// Leaves the process to a child that outlives this command.
fn detach(args: &ExecArgs, record: &Record, channel: &Channel, console: Option<&OwnedFd>) -> Result<u8> {
    let program = File::open("/proc/self/exe").context("opening /proc/self/exe, to wait for the process")?;
    let mut fds = vec![channel.as_fd()];
    fds.extend(console.map(AsFd::as_fd));
    let spawn = Spawn {
        program: program.as_fd(),
        args: vec![CString::from(c"runsc-exec"), CString::from(c"exec-wait")],
        env: Vec::new(),
        namespaces: 0,
        later_namespaces: 0,
        uid_map: Vec::new(),
        gid_map: Vec::new(),
        becomes_root: false,
        fds,
        stdio: Stdio::Null,
        dies_with_caller: false,
        before_program: &|_| Ok(()),
        joins: Vec::new(),
    };
    enter_pid_namespace(record)?;
    let child = spawn.start().map_err(|error| match record.sentry.is_some_and(HostProcess::lives) {
        true => anyhow::Error::new(error).context("starting a process that waits for the executed one"),
        false => anyhow::anyhow!("container not running: it ended meanwhile"),
    })?;
    if let Some(path) = &args.pid_file {
        write_pid_file(path, child.pid)?;
    }
    Ok(0)
}

/// Is the process that waits.
pub(crate) fn wait() -> Result<u8> {
    let channel = inherited_fd(0).context("the connection was not passed: this command is started by runsc itself")?;
    let channel = Channel::new(channel);
    // Taken over before a descriptor is opened that could be mistaken for it.
    let console = inherited_fd(1);
    let signals = block_signals()?;
    rustix::process::setsid().context("making a session")?;
    if let Some(console) = console {
        // Without it sizes aren't told, and everything else works.
        let _ = rustix::process::ioctl_tiocsctty(&console);
        // It may have changed meanwhile.
        channel.send(&Request::Forward(libc::SIGWINCH), &[]).context("telling the window size")?;
    }
    follow(&channel, &signals)
}

/// Passes signals on until the process has ended; returns its exit status.
fn follow(channel: &Channel, signals: &SignalFd) -> Result<u8> {
    loop {
        let mut fds = [PollFd::from_borrowed_fd(channel.as_fd(), PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => bail!("waiting for the process: {error}"),
        }
        if !fds[0].revents().is_empty() {
            return match channel.receive().context("waiting for the process")? {
                Some(received) => match received.body {
                    Reply::Exited(status) => Ok(exit_code(status)),
                    other => bail!("the sandbox gave a wrong answer: {other:?}"),
                },
                None => Ok(KILLED),
            };
        }
        while let Some(info) = signals.read_signal().context("reading the signalfd")? {
            let number = i32::try_from(info.ssi_signo).unwrap_or_default();
            if FORWARDED.iter().any(|signal| *signal as i32 == number) {
                // A sandbox that is ending no longer listens.
                let _ = channel.send(&Request::Forward(number), &[]);
            }
        }
    }
}
