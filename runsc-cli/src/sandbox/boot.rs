//! The sentry process: from an executed binary to a running guest kernel.
//!
//! Order matters: the identity comes before the platform (stubs are reached as the same user), the platform before any
//! thread, everything that needs `/proc` before [`confine::lock`], the seccomp filter before guest code.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use abi::flags::OpenFlags;
use abi::signal::SigSet;
use anyhow::{Context, Result, bail};
use sentry::Kernel;
use sentry::init::{Init, default_limits};
use sentry::ns::UtsNames;
use sentry::reactor::Reactor;
use sentry::task::{Caps, Cred, InitRole};
use sentry::vfs::File;
use sentry_fs::hostfd::{HostFd, HostTerminal};
use sentry_platform::Platform;
use sentry_platform::ptrace::Ptrace;
use sentry_platform::systrap::{Options, Systrap};

use super::config::{ProcessConfig, SandboxConfig};
use super::control::{self, FromSandbox, ToSandbox};
use super::serve::inherited;
use super::{confine, filter, home, mounts};

/// Bytes of each buffer that `--strace` shows.
const STRACE_BYTES: usize = 1024;

/// Boots the guest kernel and works until the sandbox ends.
pub(crate) fn main() -> Result<u8> {
    let config = SandboxConfig::from_fd(inherited(0, "the configuration")?)?;
    let log = inherited(1, "the debug log")?;
    let control = inherited(2, "the control socket")?;
    let terminals = config.terminals.into_iter().enumerate().map(|(at, passed)| {
        let before = config.terminals.iter().take(at).filter(|passed| **passed).count();
        passed.then(|| inherited(3 + before, "a terminal")).transpose()
    });
    let terminals = terminals.collect::<Result<Vec<_>>>()?;
    let sockets = 3 + terminals.iter().flatten().count();
    // Every further descriptor is taken over before one is opened that could be mistaken for it.
    let gofer: Vec<OwnedFd> = (sockets..).map_while(sentry_platform::spawn::inherited_fd).collect();
    let trace = config.strace.then(|| log.try_clone()).transpose().context("copying the debug log")?;
    crate::log::install(log.into(), config.debug);
    crate::log::log_panics();
    match run(config, &control, terminals, gofer, trace) {
        Ok(status) => control::send(control.as_fd(), &FromSandbox::Exited(status))?,
        Err(error) => {
            tracing::error!("{error:#}");
            control::send(control.as_fd(), &FromSandbox::Failed(format!("{error:#}")))?;
        }
    }
    Ok(0)
}

fn run(
    mut config: SandboxConfig,
    control: &OwnedFd,
    terminals: Vec<Option<OwnedFd>>,
    gofer: Vec<OwnedFd>,
    trace: Option<OwnedFd>,
) -> Result<i32> {
    confine::enter()?;
    let platform = platform(&config.platform)?;
    let kernel = Kernel::new(platform, &syscalls::TABLE);
    if let Some(trace) = trace {
        kernel.tracer.start(trace, STRACE_BYTES);
    }
    *kernel.uts.lock() =
        UtsNames { hostname: config.hostname.clone().into_bytes(), domainname: config.domainname.clone().into_bytes() };
    let reactor = Reactor::new().context("making the event loop for host descriptors")?;
    let (files, terminal) = standard_streams(&kernel, &reactor, config.closed_streams, terminals)?;
    mounts::build(&kernel, &config, gofer, terminal.clone())?;
    if let Some(namespace) = kernel.vfs.namespace().filter(|_| config.process.container) {
        home::complete(&mut config.process.env, namespace, config.process.uid);
    }
    confine::lock()?;
    sentry_fs::host::set_confined();
    filter::install(&config.platform, config.seccomp_log)?;
    reactor.start().context("starting the event loop for host descriptors")?;
    let init = init(&config.process, files)?;
    let failure = Arc::new(std::sync::OnceLock::new());
    let stops = control.try_clone().context("copying the control socket")?;
    // The first and only time that it is set.
    let _ = kernel.init_stopped.set(Box::new(move |signal| {
        // A caller that reads nothing need not know.
        let _ = control::send_now(stops.as_fd(), &FromSandbox::Stopped(signal.number()));
    }));
    start(&kernel, init, terminal.clone(), Arc::clone(&failure));
    listen(&kernel, control.try_clone().context("copying the control socket")?, terminal)?;
    let status = kernel.run();
    match failure.get() {
        Some(text) => bail!("{text}"),
        None => Ok(status),
    }
}

/// Credentials of the kernel itself: everything is allowed.
pub(crate) fn kernel_cred() -> Cred {
    Cred::new(0, 0, Vec::new(), Caps::all())
}

fn platform(name: &str) -> Result<Arc<dyn Platform>> {
    match name {
        "systrap" => Systrap::new(Options::default()).context("starting the systrap platform"),
        "ptrace" => Ptrace::new().context("starting the ptrace platform"),
        other => bail!("unknown platform {other:?}; use systrap or ptrace"),
    }
}

/// Makes guest files of the caller's standard streams; those that are closed stay closed.
fn standard_streams(
    kernel: &Arc<Kernel>,
    reactor: &Reactor,
    closed: [bool; 3],
    terminals: Vec<Option<OwnedFd>>,
) -> Result<(Vec<Option<Arc<File>>>, Option<Arc<HostTerminal>>)> {
    let mut terminal: Option<Arc<HostTerminal>> = None;
    let mut files = Vec::new();
    let streams: [(OwnedFd, &str); 3] = [
        (std::io::stdin().as_fd().try_clone_to_owned().context("copying standard input")?, "standard input"),
        (std::io::stdout().as_fd().try_clone_to_owned().context("copying standard output")?, "standard output"),
        (std::io::stderr().as_fd().try_clone_to_owned().context("copying standard error")?, "standard error"),
    ];
    for (((fd, name), closed), own) in streams.into_iter().zip(closed).zip(terminals) {
        if closed {
            files.push(None);
            continue;
        }
        let fd = own.unwrap_or(fd);
        let status = rustix::fs::fcntl_getfl(&fd).with_context(|| format!("asking for the flags of {name}"))?;
        let mut host = HostFd::new(fd, reactor).with_context(|| format!("taking over {name}"))?;
        if host.is_terminal() {
            let shared = terminal.get_or_insert_with(|| HostTerminal::new(kernel.tty_host()));
            host = host.with_terminal(Arc::clone(shared));
        }
        let host = Arc::new(host);
        if let Some(terminal) = terminal.as_ref().filter(|_| host.is_terminal()) {
            terminal.set_file(Arc::clone(&host));
        }
        // The host's own words for access mode and append are Linux's too.
        let kept = OpenFlags::from_bits_retain(OpenFlags::ACCMODE) | OpenFlags::APPEND;
        let flags = OpenFlags::from_bits_retain(status.bits()) & kept;
        let inode = host.inode();
        files.push(Some(File::new(host, Some(inode), flags)));
    }
    Ok((files, terminal))
}

fn init(config: &ProcessConfig, files: Vec<Option<Arc<File>>>) -> Result<Init> {
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
        let slot = slot.with_context(|| format!("unknown resource limit {number}"))?;
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
        oom_score_adj: config.oom_score_adj,
        ignored: SigSet(config.ignored_signals),
        role: if config.container { InitRole::Container } else { InitRole::Command },
    })
}

/// Starts the first process once the workers run; a failure ends the kernel.
fn start(
    kernel: &Arc<Kernel>,
    init: Init,
    terminal: Option<Arc<HostTerminal>>,
    failure: Arc<std::sync::OnceLock<String>>,
) {
    let kernel = Arc::clone(kernel);
    let executor = Arc::clone(&kernel.executor);
    executor.spawn(async move {
        match kernel.start_init(init).await {
            Ok(task) => {
                if let Some(terminal) = terminal {
                    mounts::give_terminal(&task, terminal);
                }
            }
            Err(error) => {
                let _ = failure.set(error.to_string());
                kernel.end(0);
            }
        }
    });
}

/// Listens to the command line in a thread of its own.
fn listen(kernel: &Arc<Kernel>, control: OwnedFd, terminal: Option<Arc<HostTerminal>>) -> Result<()> {
    let kernel = Arc::downgrade(kernel);
    let thread = std::thread::Builder::new().name("control".to_owned());
    let body = move || {
        while let Ok(Some(ToSandbox::Signal(number))) = control::receive(&control) {
            let Some(kernel) = kernel.upgrade() else { return };
            if let Some(signal) = abi::signal::Signal::new(number) {
                mounts::forward_signal(&kernel, terminal.as_ref(), signal);
            }
        }
        // The command line is gone: nobody waits for this sandbox any more.
        if let Some(kernel) = kernel.upgrade() {
            kernel.end(abi::signal::Signal::SIGKILL.number());
        }
    };
    thread.spawn(body).context("starting the control thread")?;
    Ok(())
}
