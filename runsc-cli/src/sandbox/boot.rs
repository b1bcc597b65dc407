//! The sentry process: from an executed binary to a running guest kernel.
//!
//! Order matters: the identity comes before the platform (stubs are reached as the same user), the platform before any
//! thread, everything that needs `/proc` before [`confine::lock`], the seccomp filter before guest code.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sentry::Kernel;
use sentry::control::{Control, home, init_of, streams};
use sentry::host_view;
use sentry::init::Init;
use sentry::ns::UtsNames;
use sentry::reactor::Reactor;
use sentry::task::seccomp::{Insn, Program};
use sentry::vfs::File;
use sentry::wait::until;
use sentry_fs::hostfd::{HostReactor, HostTerminal};
use sentry_fs::tty::Terminal;
use sentry_platform::ptrace::Ptrace;
use sentry_platform::systrap::{Copies, Options, Spin, Systrap};
use sentry_platform::{MemoryLimits, Platform};
use sentry_sync::WaitQueue;

use super::config::SandboxConfig;
use super::control::{self, FromSandbox, ToSandbox};
use super::serve::inherited;
use super::{confine, filter, mounts, network, signals};

/// Bytes of each buffer that `--strace` shows.
const STRACE_BYTES: usize = 1024;

/// Descriptors that the command line has passed, besides the configuration and the debug log.
struct Passed {
    control: OwnedFd,
    /// `/dev/fuse`, and the mount that it is behind.
    view: Option<[OwnedFd; 2]>,
    terminals: [Option<OwnedFd>; 3],
    listener: Option<OwnedFd>,
    extra: Vec<OwnedFd>,
    /// What the gofer says; ends when it does.
    gofer_words: Option<OwnedFd>,
    gofer: Vec<OwnedFd>,
}

impl Passed {
    /// Takes them over, all before one is opened that could be mistaken for another.
    fn new(config: &SandboxConfig) -> Result<Passed> {
        let control = inherited(2, "the control socket")?;
        let mut next = 3;
        let mut take = |what: &str| {
            next += 1;
            inherited(next - 1, what)
        };
        let view = match config.view {
            Some(_) => Some([take("/dev/fuse")?, take("the mount of a view for the host")?]),
            None => None,
        };
        let mut terminals = [const { None }; 3];
        for (place, passed) in terminals.iter_mut().zip(config.terminals) {
            *place = passed.then(|| take("a terminal")).transpose()?;
        }
        let listener = config.listener.then(|| take("the listening socket")).transpose()?;
        let extra =
            (0..config.extra_files).map(|_| take("a descriptor of the first process")).collect::<Result<_>>()?;
        let gofer_words = config.detached.then(|| take("the gofer's words")).transpose()?;
        let gofer = (next..).map_while(sentry_platform::spawn::inherited_fd).collect();
        Ok(Passed { control, view, terminals, listener, extra, gofer_words, gofer })
    }
}

/// Boots the guest kernel and works until the sandbox ends; returns the exit status of its first process.
pub(crate) fn main() -> Result<u8> {
    let config = SandboxConfig::from_fd(inherited(0, "the configuration")?)?;
    let log = inherited(1, "the debug log")?;
    let passed = Passed::new(&config)?;
    let log_copy = log.try_clone().context("copying the debug log")?;
    sentry_platform::refused::speak_of_refused_calls("sentry", Some(log.as_raw_fd()));
    crate::log::install(log.into(), config.debug);
    crate::log::log_panics();
    let owner = passed.control.try_clone().context("copying the control socket")?;
    let (outcome, status) = match run(config, passed, log_copy) {
        Ok(status) => (FromSandbox::Exited(status), super::wait::exit_code(status)),
        Err(error) => {
            tracing::error!("{error:#}");
            (FromSandbox::Failed(format!("{error:#}")), crate::FAILURE)
        }
    };
    // The command line that has started a detached sandbox is gone.
    let _ = control::send(owner.as_fd(), &outcome);
    Ok(status)
}

fn run(mut config: SandboxConfig, passed: Passed, log: OwnedFd) -> Result<i32> {
    let from_outside = config.detached.then(signals::own).transpose()?;
    if config.console {
        signals::take_console()?;
    }
    name_host(&config);
    // While the host's file systems are there.
    let limits = crate::cgroup::limits::of_memory();
    confine::enter(config.detached)?;
    let platform = platform(&config, limits)?;
    let kernel = Kernel::new(platform, &syscalls::TABLE);
    *kernel.uts.lock() =
        UtsNames { hostname: config.hostname.clone().into_bytes(), domainname: config.domainname.clone().into_bytes() };
    let reactor = Reactor::new().context("making the event loop for host descriptors")?;
    let (mut files, terminal) = standard_streams(&kernel, &reactor, config.closed_streams, passed.terminals)?;
    let extra = passed.extra.into_iter().map(Some).collect();
    let (extra, _) = streams::take_over(&kernel, &reactor, extra).context("taking over a passed descriptor")?;
    files.extend(extra);
    if config.detached {
        // The guest alone decides how long its streams are open.
        rustix::stdio::dup2_stdin(&log).context("letting go of standard input")?;
        rustix::stdio::dup2_stdout(&log).context("letting go of standard output")?;
        rustix::stdio::dup2_stderr(&log).context("letting go of standard error")?;
    }
    if config.strace {
        kernel.tracer.start(log, STRACE_BYTES);
    }
    mounts::build(&kernel, &config, passed.gofer, terminal.clone())?;
    if let Some(namespace) = kernel.vfs.namespace().filter(|_| config.process.container) {
        home::complete(&mut config.process.env, namespace, config.process.uid);
    }
    if config.host.fifo {
        kernel.vfs.use_host_fifos(Arc::new(reactor.clone()));
    }
    raise_limit()?;
    let internet = network::attach(&kernel, &reactor, &config)?;
    let on_host = filter::OnHost { internet, unix: config.host.sockets(), listening: config.host.bind };
    let (view, mount) = passed.view.map(|[device, mount]| (device, mount)).unzip();
    confine::lock(mount)?;
    filter::install(&config.platform, on_host, config.seccomp_log)?;
    // What tells it from its stubs and the command line.
    rustix::thread::set_name(c"runsc-boot").context("naming the process")?;
    reactor.start(&*kernel.platform).context("starting the event loop for host descriptors")?;
    let seccomp = guest_filter(&config.seccomp)?;
    let init = init_of(&config.process, files, seccomp.clone()).map_err(anyhow::Error::msg)?;
    let failure = Arc::new(std::sync::OnceLock::new());
    let stops = passed.control.try_clone().context("copying the control socket")?;
    // The first and only time that it is set.
    let _ = kernel.init_stopped.set(Box::new(move |signal| {
        // A caller that reads nothing need not know.
        let _ = control::send_now(stops.as_fd(), &FromSandbox::Stopped(signal.number()));
    }));
    let requests = Control::new(&kernel, &reactor, terminal.clone(), seccomp);
    if let Some(listener) = passed.listener {
        requests.listen(listener).context("listening on the control socket")?;
    }
    if let (Some(device), Some(ids)) = (view, config.view.take()) {
        host_view::serve(&kernel, &reactor, device, ids).context("serving a view for the host")?;
    }
    if let Some(descriptor) = from_outside {
        signals::watch(&kernel, &reactor, descriptor, terminal.clone().filter(|_| config.console))?;
    }
    if let Some(words) = passed.gofer_words {
        watch_gofer(&kernel, &reactor, words, Arc::clone(&failure))?;
    }
    kernel.tasks.write().max_tasks = config.max_tasks;
    let created = passed.control.try_clone().context("copying the control socket")?;
    let later = config.waits.then(|| (Arc::clone(&requests), created));
    start(&kernel, init, terminal.clone(), Arc::clone(&failure), later);
    if !config.waits {
        requests.running();
    }
    listen(&kernel, passed.control, terminal)?;
    let status = kernel.run();
    tracing::debug!(counters = ?kernel.platform.counters(), "the kernel has ended");
    match failure.get() {
        Some(text) => bail!("{text}"),
        None => {
            requests.ended(status);
            Ok(status)
        }
    }
}

/// Gives the sentry's own UTS namespace the guest's names: engines give its path to containers that are to have the same.
fn name_host(config: &SandboxConfig) {
    let named = rustix::system::sethostname(config.hostname.as_bytes())
        .and_then(|()| rustix::system::setdomainname(config.domainname.as_bytes()));
    if let Err(error) = named {
        tracing::debug!(%error, "others that are to share the guest's names won't");
    }
}

/// Makes the filter of the container's processes.
fn guest_filter(insns: &[(u16, u8, u8, u32)]) -> Result<Option<Arc<Program>>> {
    if insns.is_empty() {
        return Ok(None);
    }
    let insns: Vec<Insn> = insns.iter().map(|&(code, jt, jf, k)| Insn { code, jt, jf, k }).collect();
    let program = Program::new(&insns).map_err(|errno| anyhow::anyhow!("the seccomp profile's filter: {errno}"))?;
    Ok(Some(Arc::new(program)))
}

fn platform(config: &SandboxConfig, limits: MemoryLimits) -> Result<Arc<dyn Platform>> {
    let spin = config.spin.map_or(Spin::Auto, |limit| if limit == 0 { Spin::Off } else { Spin::Micros(limit) });
    let copies = match config.copies.as_str() {
        "stub" => Copies::Stub,
        "host" => Copies::Host,
        _ => Copies::All,
    };
    match config.platform.as_str() {
        "systrap" => {
            Systrap::new(Options { spin, copies, limits, no_clocks: false }).context("starting the systrap platform")
        }
        "ptrace" => Ptrace::new().context("starting the ptrace platform"),
        other => bail!("unknown platform {other:?}; use systrap or ptrace"),
    }
}

/// What the guest has open on the host is a descriptor of ours each; its own limit is the guest kernel's.
fn raise_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).context("raising the limit of descriptors")
}

/// Makes guest files of the caller's standard streams; those that are closed stay closed.
fn standard_streams(
    kernel: &Arc<Kernel>,
    reactor: &Reactor,
    closed: [bool; 3],
    terminals: [Option<OwnedFd>; 3],
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
        let file = streams::adopt(kernel, reactor, fd, status, &mut terminal);
        files.push(Some(file.with_context(|| format!("taking over {name}"))?));
    }
    Ok((files, terminal))
}

/// Makes the first process once the workers run, and starts it, or hands it over to be started later; a failure ends the
/// kernel.
fn start(
    kernel: &Arc<Kernel>,
    init: Init,
    terminal: Option<Arc<HostTerminal>>,
    failure: Arc<std::sync::OnceLock<String>>,
    later: Option<(Arc<Control>, OwnedFd)>,
) {
    let kernel = Arc::clone(kernel);
    let executor = Arc::clone(&kernel.executor);
    executor.spawn(async move {
        let made = match kernel.prepare(init).await {
            Ok(prepared) => match later {
                Some((requests, owner)) => {
                    requests.created(prepared);
                    // Where the owner is gone, its thread ends the kernel.
                    let _ = control::send(owner.as_fd(), &FromSandbox::Created);
                    Ok(())
                }
                None => {
                    let terminal = terminal.map(|terminal| terminal as Arc<dyn Terminal>);
                    prepared.start(terminal).await.map(drop)
                }
            },
            Err(error) => Err(error),
        };
        if let Err(error) = made {
            let _ = failure.set(error.to_string());
            kernel.end(0);
        }
    });
}

/// Ends the kernel when the gofer ends, which has no other reason to than a mistake or somebody's blow.
fn watch_gofer(
    kernel: &Arc<Kernel>,
    reactor: &Reactor,
    words: OwnedFd,
    failure: Arc<std::sync::OnceLock<String>>,
) -> Result<()> {
    let (words, queue) = (Arc::new(words), WaitQueue::new());
    let watch = reactor.watch(&words, &queue).context("watching the gofer")?;
    let weak = Arc::downgrade(kernel);
    kernel.executor.spawn(async move {
        let _watch = watch;
        let mut said = Vec::new();
        until(&[&queue], || {
            let mut buf = [0; 1024];
            loop {
                match rustix::io::read(&words, &mut buf) {
                    Ok(0) => return Some(()),
                    // A bounded number of words is enough.
                    Ok(got) if said.len() < 4 * buf.len() => said.extend_from_slice(&buf[..got]),
                    Ok(_) => {}
                    Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return None,
                    Err(_) => return Some(()),
                }
            }
        })
        .await;
        let said = String::from_utf8_lossy(&said);
        let said = said.trim().trim_start_matches("runsc: ").replace('\n', " ");
        let _ = failure.set(if said.is_empty() { "the gofer has ended".to_owned() } else { said });
        if let Some(kernel) = weak.upgrade() {
            kernel.end(abi::signal::Signal::SIGKILL.number());
        }
    });
    Ok(())
}

/// Listens to the command line in a thread of its own.
fn listen(kernel: &Arc<Kernel>, control: OwnedFd, terminal: Option<Arc<HostTerminal>>) -> Result<()> {
    let kernel = Arc::downgrade(kernel);
    let thread = std::thread::Builder::new().name("control".to_owned());
    let body = move || {
        while let Ok(Some(message)) = control::receive(&control) {
            let Some(kernel) = kernel.upgrade() else { return };
            let ToSandbox::Signal(number) = message else { return };
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
