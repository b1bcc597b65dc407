//! Creating a sandbox: the gofer, the sentry, and what joins them.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::{PipeFlags, pipe_with};
use sentry_platform::spawn::{Begun, Child, Namespaces, Spawn, Stdio};

use super::config::SandboxConfig;
use super::control;
use super::network::{self, Place};
use super::view::{self, Wanted};
use crate::cli::Global;
use crate::user::IdMaps;

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
    /// A standard stream is a terminal.
    pub(crate) terminal: bool,
    /// Our end of the control socket.
    pub(crate) control: OwnedFd,
}

/// What a sandbox is started with besides its configuration.
pub(crate) struct Extras<'a> {
    /// A terminal to have as standard streams in place of the caller's.
    pub(crate) console: Option<BorrowedFd<'a>>,
    /// What the sentry accepts other command lines on.
    pub(crate) listener: Option<OwnedFd>,
    /// What the first process gets as 3, 4, ….
    pub(crate) extra: Vec<OwnedFd>,
    /// The network namespace to be in.
    pub(crate) network: Place,
    /// The ids that the sandbox has; the caller's by default.
    pub(crate) ids: Option<IdMaps>,
    /// Whether the host's tools are to see the container's files.
    pub(crate) view: Wanted,
    /// Called with the id of each process before its program runs.
    pub(crate) before_program: &'a dyn Fn(i32) -> std::io::Result<()>,
    /// Files that each process writes `0` to after that.
    pub(crate) joins: &'a [OwnedFd],
    /// What is called by `namespaces_made` may change the trees, so that the gofer has to come after it.
    pub(crate) gofer_last: bool,
    /// Called with the sentry's id when its namespaces are made.
    pub(crate) namespaces_made: &'a dyn Fn(i32) -> Result<()>,
}

impl Default for Extras<'_> {
    fn default() -> Self {
        Extras {
            console: None,
            listener: None,
            extra: Vec::new(),
            network: Place::New,
            ids: None,
            view: Wanted::No,
            before_program: &|_| Ok(()),
            joins: &[],
            gofer_last: false,
            namespaces_made: &|_| Ok(()),
        }
    }
}

/// Starts sentry and gofer. The guest's standard streams are the caller's unless `extras` say otherwise.
pub(crate) fn launch(global: &Global, mut config: SandboxConfig, extras: Extras<'_>) -> Result<Sandbox> {
    let streams = match extras.console {
        Some(console) => [console; 3],
        None => [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()],
    };
    let terminals = streams.map(terminal);
    config.terminals = terminals.each_ref().map(Option::is_some);
    config.listener = extras.listener.is_some();
    config.extra_files = extras.extra.len();
    super::trees::mark(&mut config.trees, extras.ids.is_some());
    let view = view::make(extras.view)?;
    config.view = view.is_some().then(|| view::ids(extras.ids.as_ref()));
    let config = &config;
    let program = File::open("/proc/self/exe").context("opening /proc/self/exe, to start the sandbox from")?;
    for tree in config.trees.iter().filter(|tree| tree.layers.is_none()) {
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
    let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
    let (gofer_words, gofer_stderr) = pipe_with(flags).context("making a pipe for the gofer's errors")?;
    let words = config.detached.then(|| gofer_words.try_clone()).transpose().context("copying a pipe")?;
    let view = view.into_iter().flatten();
    let passed = [sandbox_control].into_iter().chain(view).chain(terminals.into_iter().flatten());
    let passed = passed.chain(extras.listener).chain(extras.extra).chain(words).chain(sentry_ends).collect::<Vec<_>>();
    let terminal = config.terminals.contains(&true);
    let network = extras.network;
    let plan = Plan {
        global,
        program: &program,
        config,
        stdio: extras.console.map_or(Stdio::Inherit, Stdio::Given),
        network: &network,
        own_ids: extras.ids.is_some(),
        ids: extras.ids.unwrap_or_else(IdMaps::of_caller),
        before_program: extras.before_program,
        joins: extras.joins,
    };
    let begin_gofer = || plan.begin_gofer(&gofer_ends, &gofer_stderr);
    // The sentry waits for it sooner or later.
    let mut early = if extras.gofer_last { None } else { Some(begin_gofer()?) };
    let started = plan.start_sentry(&passed).and_then(|sentry| {
        let mut finish_gofer = || {
            (extras.namespaces_made)(sentry.pid)?;
            network::prepare(&network, sentry.pid, config)?;
            let gofer = early.take().map_or_else(begin_gofer, Ok)?;
            explained(gofer.finish()).context("starting the gofer")
        };
        match finish_gofer() {
            Ok(gofer) => Ok((sentry, gofer)),
            Err(error) => {
                super::wait::end(sentry.pid);
                Err(error)
            }
        }
    });
    drop(passed);
    match started {
        Ok((sentry, gofer)) => Ok(Sandbox { sentry, gofer, gofer_words, terminal, control }),
        Err(error) => {
            if let Some(gofer) = early {
                super::wait::end(gofer.pid);
            }
            Err(error)
        }
    }
}

/// Says what a failure to start a process most likely comes of.
fn explained<T>(started: std::io::Result<T>) -> Result<T> {
    match started {
        Ok(started) => Ok(started),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES)) => {
            bail!(
                "making namespaces: {error}; unprivileged user namespaces may be off on this host (sysctls kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns), or run as root"
            )
        }
        Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
            bail!("making namespaces: {error}; raise the sysctl user.max_user_namespaces")
        }
        Err(error) => Err(error.into()),
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

/// How the processes of one sandbox are started.
struct Plan<'a> {
    global: &'a Global,
    program: &'a File,
    config: &'a SandboxConfig,
    stdio: Stdio<'a>,
    network: &'a Place,
    ids: IdMaps,
    /// These ids are not the caller's.
    own_ids: bool,
    before_program: &'a dyn Fn(i32) -> std::io::Result<()>,
    joins: &'a [OwnedFd],
}

impl Plan<'_> {
    /// Privileged callers keep the gofer in their own user namespace, where it may read any file, unless the container has
    /// ids of its own; the sentry always gets one.
    fn user_namespace(&self, sentry: bool) -> Namespaces {
        let own = sentry || self.own_ids || !rustix::process::geteuid().is_root();
        if own { libc::CLONE_NEWUSER } else { 0 }
    }

    /// Starts the gofer; doesn't wait for its program.
    fn begin_gofer(&self, sockets: &[OwnedFd], stderr: &OwnedFd) -> Result<Begun> {
        let config = self.config.to_memfd()?;
        let log = debug_log(self.global, "gofer")?;
        let trees = super::trees::detached(&self.config.trees)?;
        let mut fds: Vec<BorrowedFd<'_>> = vec![config.as_fd(), log.as_fd(), stderr.as_fd()];
        fds.extend(trees.iter().chain(sockets).map(AsFd::as_fd));
        // A network namespace takes half a millisecond to make, in which the sentry can be started.
        let later = libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
        let begun = self.begin("gofer", [self.user_namespace(false), later], fds, Stdio::Null);
        begun.context("starting the gofer")
    }

    fn start_sentry(&self, passed: &[OwnedFd]) -> Result<Child> {
        let config = self.config.to_memfd()?;
        let log = debug_log(self.global, "boot")?;
        let mut fds: Vec<BorrowedFd<'_>> = vec![config.as_fd(), log.as_fd()];
        fds.extend(passed.iter().map(AsFd::as_fd));
        let first = libc::CLONE_NEWPID | self.user_namespace(true);
        let later = libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
        let started = match self.network {
            Place::New => self.begin("boot", [first, later | libc::CLONE_NEWNET], fds, self.stdio),
            Place::Callers => self.begin("boot", [first, later], fds, self.stdio),
            // Over none of its rights: it belongs to another user namespace than the sentry.
            Place::Given(network) => network::inside(network, || self.begin("boot", [first, later], fds, self.stdio)),
        };
        started.and_then(|begun| explained(begun.finish())).context("starting the sentry")
    }

    fn begin(
        &self,
        command: &str,
        [namespaces, later_namespaces]: [Namespaces; 2],
        fds: Vec<BorrowedFd<'_>>,
        stdio: Stdio<'_>,
    ) -> Result<Begun> {
        let spawn = Spawn {
            program: self.program.as_fd(),
            args: vec![CString::new(format!("runsc-{command}"))?, CString::new(command)?],
            env: Vec::new(),
            namespaces,
            later_namespaces,
            uid_map: self.ids.users.clone(),
            gid_map: self.ids.groups.clone(),
            becomes_root: self.own_ids,
            fds,
            stdio,
            dies_with_caller: !self.config.detached,
            before_program: self.before_program,
            joins: self.joins.iter().map(AsFd::as_fd).collect(),
        };
        explained(spawn.begin())
    }
}

/// A descriptor for a process's debug log; `/dev/null` where none is asked for.
fn debug_log(global: &Global, command: &str) -> Result<File> {
    match &global.debug_log {
        Some(pattern) => crate::log::open(pattern, command)
            .with_context(|| format!("opening the debug log {pattern}; is the directory writable?")),
        None => File::options().write(true).open("/dev/null").context("opening /dev/null"),
    }
}
