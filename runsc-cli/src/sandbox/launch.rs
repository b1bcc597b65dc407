//! Creating a sandbox: the gofer, the sentry, and what joins them.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::{PipeFlags, pipe_with};
use sentry_platform::spawn::{Child, IdMap, Namespaces, Spawn};

use super::config::SandboxConfig;
use super::control;
use crate::cli::Global;

/// Connections between sentry and gofer: as many requests may be under way at once.
const GOFER_CONNECTIONS: usize = 2;

/// The user that a privileged caller's sentry runs as.
pub(crate) const NOBODY: u32 = 65534;

/// A sandbox whose processes have been started.
pub(crate) struct Sandbox {
    /// The sentry.
    pub(crate) sentry: Child,
    /// The gofer.
    pub(crate) gofer: Child,
    /// What the gofer says on its standard error: why it ends, if it does so by itself.
    pub(crate) gofer_words: OwnedFd,
    /// Our end of the control socket.
    pub(crate) control: OwnedFd,
}

/// Starts gofer and sentry. The guest's standard streams are the caller's.
pub(crate) fn launch(global: &Global, mut config: SandboxConfig) -> Result<Sandbox> {
    let terminals =
        [terminal(rustix::stdio::stdin()), terminal(rustix::stdio::stdout()), terminal(rustix::stdio::stderr())];
    config.terminals = terminals.each_ref().map(Option::is_some);
    let config = &config;
    let program = File::open("/proc/self/exe").context("opening /proc/self/exe, to start the sandbox from")?;
    for tree in &config.trees {
        // The gofer finds it by path, in a mount namespace of its own; asking here makes for a plain message.
        std::fs::metadata(&tree.path).with_context(|| format!("finding {} to serve it to the sandbox", tree.path))?;
    }
    let mut sentry_ends = Vec::new();
    let mut gofer_ends = Vec::new();
    for _ in 0..GOFER_CONNECTIONS {
        let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (one, other) = pair.context("making a socket between sentry and gofer")?;
        sentry_ends.push(one);
        gofer_ends.push(other);
    }
    let (control, sandbox_control) = control::pair()?;
    let (gofer, gofer_words) = start_gofer(global, &program, config, &gofer_ends)?;
    let sentry_fds = [sandbox_control].into_iter().chain(terminals.into_iter().flatten()).chain(sentry_ends);
    match start_sentry(global, &program, config, &sentry_fds.collect::<Vec<_>>()) {
        Ok(sentry) => Ok(Sandbox { sentry, gofer, gofer_words, control }),
        Err(error) => {
            super::wait::end(gofer.pid);
            Err(error)
        }
    }
}

/// Opens a standard stream again that is a terminal, so that the sentry can wait for it without making the caller's own
/// descriptor non-blocking.
fn terminal(stream: BorrowedFd<'_>) -> Option<OwnedFd> {
    if !rustix::termios::isatty(stream) {
        return None;
    }
    sentry_fs::hostfd::reopen_terminal(stream)
}

/// Starts the gofer; returns also what its standard error is read from.
fn start_gofer(
    global: &Global,
    program: &File,
    config: &SandboxConfig,
    sockets: &[OwnedFd],
) -> Result<(Child, OwnedFd)> {
    let config = config.to_memfd()?;
    let log = debug_log(global, "gofer")?;
    let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
    let (words, stderr) = pipe_with(flags).context("making a pipe for the gofer's errors")?;
    let mut fds: Vec<BorrowedFd<'_>> = vec![config.as_fd(), log.as_fd(), stderr.as_fd()];
    fds.extend(sockets.iter().map(AsFd::as_fd));
    let namespaces = libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    let child =
        start(program, "gofer", namespaces | user_namespace(false), fds, false).context("starting the gofer")?;
    Ok((child, words))
}

fn start_sentry(global: &Global, program: &File, config: &SandboxConfig, passed: &[OwnedFd]) -> Result<Child> {
    let config = config.to_memfd()?;
    let log = debug_log(global, "boot")?;
    let mut fds: Vec<BorrowedFd<'_>> = vec![config.as_fd(), log.as_fd()];
    fds.extend(passed.iter().map(AsFd::as_fd));
    let namespaces =
        libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    start(program, "boot", namespaces | user_namespace(true), fds, true).context("starting the sentry")
}

/// A descriptor for a process's debug log; `/dev/null` where none is asked for.
fn debug_log(global: &Global, command: &str) -> Result<File> {
    match &global.debug_log {
        Some(pattern) => crate::log::open(pattern, command)
            .with_context(|| format!("opening the debug log {pattern}; is the directory writable?")),
        None => File::options().write(true).open("/dev/null").context("opening /dev/null"),
    }
}

/// Privileged callers keep the gofer in the initial user namespace, where it may read any file; the sentry always gets
/// one of its own.
fn user_namespace(sentry: bool) -> Namespaces {
    if sentry || !rustix::process::geteuid().is_root() { libc::CLONE_NEWUSER } else { 0 }
}

fn start(
    program: &File,
    command: &str,
    namespaces: Namespaces,
    fds: Vec<BorrowedFd<'_>>,
    inherit_stdio: bool,
) -> Result<Child> {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    let map = |own: u32| {
        let mut lines = vec![IdMap { inside: 0, outside: own, count: 1 }];
        if uid == 0 {
            lines.push(IdMap { inside: NOBODY, outside: NOBODY, count: 1 });
        }
        lines
    };
    let spawn = Spawn {
        program: program.as_fd(),
        args: vec![CString::new(format!("runsc-{command}"))?, CString::new(command)?],
        env: Vec::new(),
        namespaces,
        uid_map: map(uid),
        gid_map: map(gid),
        fds,
        inherit_stdio,
    };
    match spawn.start() {
        Ok(child) => Ok(child),
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            bail!(
                "making namespaces: {error}; unprivileged user namespaces may be off on this host (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone), or run as root"
            )
        }
        Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
            bail!("making namespaces: {error}; raise the sysctl user.max_user_namespaces")
        }
        Err(error) => Err(error.into()),
    }
}
