//! Commands and flags, with gVisor's names. Long flags work with one dash or two; boolean flags take an optional
//! `=true` or `=false`.

mod lifecycle;
mod overrides;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, FromArgMatches, Parser, Subcommand, ValueEnum};
use sentry_platform::systrap::Spin;

use crate::compat_flags;
use crate::sandbox::config::HostAccess;

pub(crate) use lifecycle::*;

/// Runs OCI containers in a sandbox with a guest kernel of its own.
#[derive(Debug, Parser)]
#[command(
    name = "runsc",
    disable_version_flag = true,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How guest code is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlatformKind {
    /// Seccomp trap and shared memory: fast, the default.
    Systrap,
    /// Ptrace: portable and slow.
    Ptrace,
}

impl PlatformKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            PlatformKind::Systrap => "systrap",
            PlatformKind::Ptrace => "ptrace",
        }
    }
}

/// What network the sandbox has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NetworkKind {
    /// Sockets of the host in the container's own network namespace, if that has an interface; else a loopback.
    Sandbox,
    /// Loopback only.
    None,
    /// Sockets of the host in whatever network namespace config.json names, or in the caller's.
    Host,
}

/// How file access is shared with others on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileAccess {
    /// Only the sandbox changes the files: everything may be cached.
    Exclusive,
    /// Others change them too: every lookup is checked.
    Shared,
}

/// What the guest may do with Unix sockets of the host in its file trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HostUds {
    /// Nothing: nobody listens at them.
    None,
    /// Connect to them.
    Open,
    /// Make them.
    Create,
    /// Both.
    All,
}

/// What the guest may do with FIFOs of the host in its file trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HostFifo {
    /// Nothing: they are pipes of the sandbox's own processes.
    None,
    /// Open them.
    Open,
}

/// Whether tools of the host that enter the container's mount namespace find its files there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HostView {
    /// For Podman, which looks for them there, where the host has FUSE.
    Auto,
    /// Yes.
    On,
    /// No: it is empty.
    Off,
}

/// Format of log records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One line of text.
    Text,
    /// One JSON object a line, as runc writes it.
    Json,
}

/// Flags before the command.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Directory for the state of containers.
    #[arg(long, global = true)]
    pub(crate) root: Option<PathBuf>,
    /// How guest code is run.
    #[arg(long, global = true, value_enum, default_value = "systrap")]
    pub(crate) platform: PlatformKind,
    /// What network the sandbox has.
    #[arg(long, global = true, value_enum, default_value = "sandbox")]
    pub(crate) network: NetworkKind,
    /// Write debug messages to the debug log.
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) debug: bool,
    /// File or directory (ending in /) for debug logs; %ID%, %COMMAND%, %TIMESTAMP% are replaced.
    #[arg(long, global = true)]
    pub(crate) debug_log: Option<String>,
    /// Log every system call of the guest to the debug log.
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) strace: bool,
    /// Where errors are written besides stderr: engines read the last line.
    #[arg(long, global = true)]
    pub(crate) log: Option<PathBuf>,
    /// Format of that log.
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Where writes to the root file system (root) or bind mounts too (all) go: none, {root|all}:{memory|self|dir=PATH}[,size=SIZE].
    #[arg(long, global = true, default_value = "root:self")]
    pub(crate) overlay2: String,
    /// Whether others change the root file system meanwhile.
    #[arg(long, global = true, value_enum, default_value = "exclusive")]
    pub(crate) file_access: FileAccess,
    /// Unix sockets of the host in bind mounts and the root: none, open (connect to them), create (bind makes one), all.
    #[arg(long, global = true, value_enum, default_value = "none")]
    pub(crate) host_uds: HostUds,
    /// gVisor's older name for --host-uds=open.
    #[arg(long, global = true, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) fsgofer_host_uds: bool,
    /// FIFOs of the host in bind mounts and the root: none, or open.
    #[arg(long, global = true, value_enum, default_value = "none")]
    pub(crate) host_fifo: HostFifo,
    /// Whether tools of the host that enter the container's mount namespace find its files there, by FUSE: auto is for Podman.
    #[arg(long, global = true, value_enum, default_value = "auto")]
    pub(crate) host_view: HostView,
    /// Leave the host's cgroups alone.
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) ignore_cgroups: bool,
    /// Have systemd make cgroups: linux.cgroupsPath is slice:prefix:name then.
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) systemd_cgroup: bool,
    /// Let annotations of config.json (dev.gvisor.flag.NAME) set any flag, not only harmless ones.
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) allow_flag_override: bool,
    /// Enforce the seccomp profile of config.json inside the sandbox.
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true")]
    pub(crate) oci_seccomp: bool,
    /// Run as an ordinary user, in a user namespace.
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) rootless: bool,
    /// For development: host calls that the sentry's seccomp filter doesn't know go to the host's audit log, and pass.
    #[arg(long = "TESTONLY-seccomp-log", global = true, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) seccomp_log: bool,
    /// For tests: the ways in which guest memory is copied (systrap).
    #[arg(long = "TESTONLY-copy", global = true, hide = true, default_value = "all", value_parser = ["all", "stub", "host"])]
    pub(crate) copies: String,
    /// How long both sides of a system call spin before they sleep: auto, off, or microseconds (systrap).
    #[arg(long, global = true, default_value = "auto", value_parser = spin)]
    pub(crate) spin: Spin,
    /// Flags of gVisor that were given and have no effect here.
    #[arg(skip)]
    pub(crate) ignored: Vec<String>,
}

impl Global {
    /// Returns what the guest may use of the host's file trees besides files.
    pub(crate) fn host_access(&self) -> HostAccess {
        HostAccess {
            connect: self.fsgofer_host_uds || matches!(self.host_uds, HostUds::Open | HostUds::All),
            bind: matches!(self.host_uds, HostUds::Create | HostUds::All),
            fifo: self.host_fifo == HostFifo::Open,
        }
    }

    /// Returns the limit that `--spin` sets, in microseconds.
    pub(crate) fn spin_limit(&self) -> Option<u32> {
        match self.spin {
            Spin::Auto => None,
            Spin::Off => Some(0),
            Spin::Micros(limit) => Some(limit),
        }
    }
}

/// Reads the value of `--spin`.
fn spin(text: &str) -> Result<Spin, String> {
    match text {
        "auto" => Ok(Spin::Auto),
        "off" => Ok(Spin::Off),
        micros => micros.parse().map(Spin::Micros).map_err(|_| "use auto, off or a number of microseconds".to_owned()),
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command with the host's root file system, read-only behind a memory overlay.
    Do(DoArgs),
    /// Create and start a container from an OCI bundle, and wait for it.
    Run(RunArgs),
    /// Create a container from an OCI bundle, to be started later.
    Create(CreateArgs),
    /// Start a created container's first process.
    Start(IdArgs),
    /// Run a process in a running container.
    Exec(ExecArgs),
    /// Send a signal to a container.
    Kill(KillArgs),
    /// Remove containers.
    Delete(DeleteArgs),
    /// Print a container's state.
    State(IdArgs),
    /// List containers.
    List(ListArgs),
    /// List a container's processes.
    Ps(PsArgs),
    /// Show what goes on inside a sandbox.
    Debug(DebugArgs),
    /// Print a container's events and figures.
    Events(EventsArgs),
    /// Stop a container's processes where they are.
    Pause(IdArgs),
    /// Let a paused container go on.
    Resume(IdArgs),
    /// Wait for a container's end.
    Wait(WaitArgs),
    /// Change a container's limits.
    Update(UpdateArgs),
    /// Save a container: not there yet.
    Checkpoint(AnyArgs),
    /// Restore a saved container: not there yet.
    Restore(AnyArgs),
    /// Print what this runtime knows of the OCI specification.
    Features,
    /// Add this program as a runtime to the configuration of Docker, containerd or Podman.
    Install(InstallArgs),
    /// Remove the runtime from such a configuration.
    Uninstall(InstallArgs),
    /// Write a template config.json.
    Spec(SpecArgs),
    /// Show help on a topic: syscalls, host-calls, platforms.
    #[command(name = "help")]
    Help(HelpArgs),
    /// Print the version.
    Version,
    /// Internal: be the sentry.
    #[command(hide = true)]
    Boot,
    /// Internal: be the gofer.
    #[command(hide = true)]
    Gofer,
    /// Internal: wait for an executed process.
    #[command(hide = true)]
    ExecWait,
}

impl Command {
    /// Returns the name for log files.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Command::Do(_) => "do",
            Command::Run(_) => "run",
            Command::Spec(_) => "spec",
            Command::Help(_) => "help",
            Command::Version => "version",
            Command::Boot => "boot",
            Command::Gofer => "gofer",
            Command::Create(_) => "create",
            Command::Start(_) => "start",
            Command::Exec(_) => "exec",
            Command::Kill(_) => "kill",
            Command::Delete(_) => "delete",
            Command::State(_) => "state",
            Command::List(_) => "list",
            Command::Ps(_) => "ps",
            Command::Debug(_) => "debug",
            Command::Events(_) => "events",
            Command::Pause(_) => "pause",
            Command::Resume(_) => "resume",
            Command::Wait(_) => "wait",
            Command::Update(_) => "update",
            Command::Checkpoint(_) => "checkpoint",
            Command::Restore(_) => "restore",
            Command::Features => "features",
            Command::Install(_) => "install",
            Command::Uninstall(_) => "uninstall",
            Command::ExecWait => "exec-wait",
        }
    }
}

/// Arguments of `do`.
#[derive(Debug, Args)]
pub(crate) struct DoArgs {
    /// Root directory of the sandbox.
    #[arg(long = "root-dir", default_value = "/")]
    pub(crate) rootfs: PathBuf,
    /// Working directory; the caller's by default.
    #[arg(long)]
    pub(crate) cwd: Option<PathBuf>,
    /// Bind mount, SOURCE[:DESTINATION]; writes reach the host.
    #[arg(long)]
    pub(crate) volume: Vec<String>,
    /// Say nothing but what the command says.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) quiet: bool,
    /// Put a memory overlay over the root.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true")]
    pub(crate) force_overlay: bool,
    /// The command and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) create: CreateArgs,
    #[command(flatten)]
    pub(crate) pass: PassArgs,
    /// Return once the first process runs.
    #[arg(long, short, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) detach: bool,
    /// Leave the container's state once its first process has ended, for `state` and `delete`.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) keep: bool,
    /// No meaning: nobody but the sandbox's own processes would come to it.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) no_subreaper: bool,
}

/// Arguments of `spec`.
#[derive(Debug, Args)]
pub(crate) struct SpecArgs {
    /// Directory to write config.json to.
    #[arg(long, short, default_value = ".")]
    pub(crate) bundle: PathBuf,
    /// Working directory of the process.
    #[arg(long, default_value = "/")]
    pub(crate) cwd: String,
    /// Network namespace to join.
    #[arg(long)]
    pub(crate) netns: Option<PathBuf>,
    /// For an ordinary user: with a user namespace that has the caller's ids.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) for_user: bool,
    /// The command and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// Arguments of `help`.
#[derive(Debug, Args)]
pub(crate) struct HelpArgs {
    /// A topic (syscalls, platforms) or a command.
    pub(crate) topic: Option<String>,
    /// Format of the list of system calls.
    #[arg(long, default_value = "table")]
    pub(crate) format: String,
}

const COMMANDS: &[&str] = &[
    "do",
    "run",
    "create",
    "start",
    "exec",
    "kill",
    "delete",
    "state",
    "list",
    "ps",
    "events",
    "pause",
    "resume",
    "wait",
    "update",
    "checkpoint",
    "restore",
    "features",
    "install",
    "uninstall",
    "spec",
    "help",
    "version",
    "boot",
    "gofer",
    "exec-wait",
];

/// Parses a command line, gVisor's single-dash flags included.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut ignored = Vec::new();
    let words = normalise(args, &mut ignored)?;
    let mut cli = match lean(&words) {
        Some(cli) => cli,
        None => Cli::try_parse_from(words)?,
    };
    cli.global.ignored = ignored;
    Ok(cli)
}

/// Parses with nothing but the flags of one command: to make the parsers of all others takes longer than the rest. `None` where
/// that fails: then the whole parser has to say why, or finds another command.
fn lean(words: &[OsString]) -> Option<Cli> {
    let (name, args) = words.iter().find_map(|word| LEAN.iter().find(|(name, _)| *word == **name))?;
    let parser = Global::augment_args(clap::Command::new("runsc").subcommand_required(true));
    let parser = parser.disable_help_flag(true).disable_help_subcommand(true);
    let matches = parser.subcommand(args(clap::Command::new(*name))).try_get_matches_from(words).ok()?;
    Cli::from_arg_matches(&matches).ok()
}

/// What the life of a container consists of.
const LEAN: &[(&str, fn(clap::Command) -> clap::Command)] = &[
    ("do", DoArgs::augment_args),
    ("run", RunArgs::augment_args),
    ("create", CreateArgs::augment_args),
    ("start", IdArgs::augment_args),
    ("state", IdArgs::augment_args),
    ("exec", ExecArgs::augment_args),
    ("kill", KillArgs::augment_args),
    ("delete", DeleteArgs::augment_args),
];

/// Finds `--log` and `--log-format` on a command line that doesn't parse.
pub(crate) fn log_flags(args: impl IntoIterator<Item = OsString>) -> (Option<PathBuf>, LogFormat) {
    let (mut path, mut format) = (None, LogFormat::Text);
    let mut args = args.into_iter().skip(1).map(|arg| arg.to_string_lossy().into_owned());
    while let Some(arg) = args.next() {
        let flag = arg.trim_start_matches('-').to_owned();
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (flag, None),
        };
        match name.as_str() {
            "log" => path = value.or_else(|| args.next()).map(PathBuf::from),
            "log-format" if value.or_else(|| args.next()).as_deref() == Some("json") => format = LogFormat::Json,
            _ => {}
        }
    }
    (path, format)
}

/// Gives single-dash long flags their second dash, up to the guest's own command; `--version` becomes the command; flags
/// without effect go to `ignored`.
fn normalise(
    args: impl IntoIterator<Item = OsString>,
    ignored: &mut Vec<String>,
) -> Result<Vec<OsString>, clap::Error> {
    let mut out = Vec::new();
    let mut command: Option<String> = None;
    let mut done = false;
    let mut args = args.into_iter().enumerate();
    while let Some((at, arg)) = args.next() {
        let text = arg.to_str().unwrap_or_default().to_owned();
        if at == 0 || done {
            out.push(arg);
        } else if text == "--" {
            done = true;
            out.push(arg);
        } else if text.starts_with('-') {
            let name = text.trim_start_matches('-');
            let (bare, value) = name.split_once('=').map_or((name, None), |(bare, value)| (bare, Some(value)));
            if let Some(takes) = compat_flags::ignored(bare) {
                let value = match value {
                    None if takes != compat_flags::Takes::Switch && !compat_flags::is_switch(bare) => {
                        args.next().and_then(|(_, value)| value.into_string().ok()).unwrap_or_default()
                    }
                    value => value.unwrap_or("true").to_owned(),
                };
                compat_flags::check(bare, &value)
                    .map_err(|text| clap::Error::raw(clap::error::ErrorKind::InvalidValue, text))?;
                ignored.push(bare.to_owned());
                continue;
            }
            if command.is_none() && (name == "version" || text == "-v") {
                out.push("version".into());
            } else if name.len() > 1 {
                // gVisor's `do` has a flag --root of its own, after the command.
                let own_root = command.as_deref() == Some("do") && (name == "root" || name.starts_with("root="));
                // runc's `spec` has a flag --rootless of its own.
                let own_rootless = command.as_deref() == Some("spec") && bare == "rootless";
                let name = match (own_root, own_rootless) {
                    (true, _) => name.replacen("root", "root-dir", 1),
                    (_, true) => name.replacen("rootless", "for-user", 1),
                    _ => name.to_owned(),
                };
                out.push(format!("--{name}").into());
            } else {
                out.push(arg);
            }
        } else {
            match command.as_deref() {
                None if COMMANDS.contains(&text.as_str()) && !takes_value(out.last()) => command = Some(text),
                // The value of a flag, or the first word of the guest's command.
                Some("do" | "spec" | "exec" | "ps" | "checkpoint" | "restore") if !takes_value(out.last()) => {
                    done = true
                }
                _ => {}
            }
            out.push(arg);
        }
    }
    Ok(out)
}

/// Tells whether the last word is a flag whose value comes next.
fn takes_value(last: Option<&OsString>) -> bool {
    const VALUED: &[&str] = &[
        "--root-dir",
        "--cwd",
        "--volume",
        "--bundle",
        "-b",
        "--platform",
        "--network",
        "--root",
        "--spin",
        "--log",
        "--log-format",
        "--debug-log",
        "--overlay2",
        "--file-access",
        "--host-uds",
        "--host-fifo",
        "--host-view",
        "--env",
        "-e",
        "--user",
        "-u",
        "--additional-gids",
        "-g",
        "--cap",
        "-c",
        "--process",
        "-p",
        "--pid-file",
        "--internal-pid-file",
        "--console-socket",
        "--preserve-fds",
        "--user-log",
        "--engine",
        "--config_file",
        "--config-file",
        "--runtime",
        "--cgroupdriver",
        "--pass-fd",
        "--exec-fd",
        "--netns",
        "--process-label",
        "--apparmor",
        "--format",
        "-f",
    ];
    last.and_then(|word| word.to_str()).is_some_and(|word| VALUED.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Cli {
        parse(line.split(' ').map(OsString::from)).expect("parses")
    }

    #[test]
    fn single_dashes_work_up_to_the_guests_command() {
        let cli = parsed("runsc -platform=ptrace -debug do -cwd /tmp ls -la --color=auto");
        assert_eq!(cli.global.platform, PlatformKind::Ptrace);
        assert!(cli.global.debug);
        let Command::Do(args) = cli.command else { panic!("not do") };
        assert_eq!(args.command, ["ls", "-la", "--color=auto"]);
        assert_eq!(args.cwd, Some(PathBuf::from("/tmp")));
    }

    #[test]
    fn do_has_a_root_of_its_own() {
        let cli = parsed("runsc --root /run/x do --root /srv true");
        assert_eq!(cli.global.root, Some(PathBuf::from("/run/x")));
        let Command::Do(args) = cli.command else { panic!("not do") };
        assert_eq!(args.rootfs, PathBuf::from("/srv"));
        assert_eq!(args.command, ["true"]);
    }

    #[test]
    fn what_is_executed_keeps_its_flags() {
        let cli =
            parsed("runsc --root /r --log-format json exec --process /p -detach --pid-file f -e A=b web ls -t -pid");
        let Command::Exec(args) = cli.command else { panic!("not exec") };
        assert_eq!((args.id.as_str(), args.detach, args.tty), ("web", true, false));
        assert_eq!(args.command, ["ls", "-t", "-pid"]);
        let cli = parsed("runsc kill --all web 9");
        let Command::Kill(args) = cli.command else { panic!("not kill") };
        assert_eq!((args.all, args.signal.as_str()), (true, "9"));
        let cli = parsed("runsc update --resources - web");
        let Command::Update(args) = cli.command else { panic!("not update") };
        assert_eq!(args.resources, Some(PathBuf::from("-")));
    }

    #[test]
    fn flags_without_effect_are_taken_out_with_their_values() {
        let cli = parsed("runsc --vfs2 -qdisc none --dcache=5 --lisafs=false --spin=20 do --directfs ls --directfs");
        assert_eq!(cli.global.ignored, ["vfs2", "qdisc", "dcache", "lisafs", "directfs"]);
        let Command::Do(args) = cli.command else { panic!("not do") };
        assert_eq!(args.command, ["ls", "--directfs"]);
    }

    #[test]
    fn the_lean_parser_understands_what_the_whole_one_does() {
        let words = |line: &str| normalise(line.split(' ').map(OsString::from), &mut Vec::new()).unwrap();
        for line in [
            "runsc --root /r --log /l --log-format json --systemd-cgroup create --bundle /b --pid-file /p -no-pivot web",
            "runsc --root create create -b /b web",
            "runsc --debug=false start web",
            "runsc state web --platform ptrace",
            "runsc delete -force web other",
            "runsc run --detach --keep web",
            "runsc exec -e A=b --cwd / web delete --force",
            "runsc do --volume /a:/b -- run --help",
        ] {
            let whole = Cli::try_parse_from(words(line)).map_err(|error| error.to_string());
            let lean = lean(&words(line)).ok_or("not understood");
            assert_eq!(format!("{:?}", lean.ok()), format!("{:?}", whole.ok()), "{line}");
        }
        for line in [
            "runsc",
            "runsc list",
            "runsc --root run list",
            "runsc --root state kill web KILL",
            "runsc state --help",
            "runsc do",
            "runsc create -x",
        ] {
            assert!(lean(&words(line)).is_none(), "{line}");
        }
    }

    #[test]
    fn descriptors_are_passed_by_two_numbers_or_one() {
        let cli = parsed("runsc run --pass-fd 7:3 -pass-fd=9 --exec-fd 5 web");
        let Command::Run(args) = cli.command else { panic!("not run") };
        assert_eq!(args.pass.pass_fd, [FdMapping { host: 7, guest: 3 }, FdMapping { host: 9, guest: 9 }]);
        assert_eq!((args.pass.exec_fd, args.create.id.as_str()), (5, "web"));
        let cli = parsed("runsc exec --exec-fd -1 web ls");
        let Command::Exec(args) = cli.command else { panic!("not exec") };
        assert_eq!((args.pass.exec_fd, args.command), (-1, vec![OsString::from("ls")]));
        for wrong in ["x", "-1:3", "3:", "1:2:3", ""] {
            assert!(
                parse(["runsc", "run", &format!("--pass-fd={wrong}"), "web"].map(OsString::from)).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn spinning_has_three_ways() {
        assert_eq!(parsed("runsc --spin off version").global.spin, Spin::Off);
        assert_eq!(parsed("runsc --spin=15 version").global.spin, Spin::Micros(15));
        assert!(parse(["runsc", "--spin=-1", "version"].map(OsString::from)).is_err());
    }

    #[test]
    fn what_of_the_host_may_be_used_is_said_flag_by_flag() {
        let access = |line: &str| {
            let host = parsed(line).global.host_access();
            (host.connect, host.bind, host.fifo)
        };
        assert_eq!(access("runsc version"), (false, false, false));
        assert_eq!(access("runsc --host-uds=open version"), (true, false, false));
        assert_eq!(access("runsc --fsgofer-host-uds version"), (true, false, false));
        assert_eq!(access("runsc --host-uds create version"), (false, true, false));
        assert_eq!(access("runsc -host-uds=all -host-fifo=open version"), (true, true, true));
        assert!(parse(["runsc", "--host-uds=some", "version"].map(OsString::from)).is_err());
    }

    #[test]
    fn booleans_take_an_optional_value() {
        assert!(!parsed("runsc --debug=false version").global.debug);
        assert!(parsed("runsc --rootless version").global.rootless);
    }
}
