//! Arguments of the commands of a container's life, with runc's and gVisor's names. Flags that engines pass and that have
//! no meaning here are accepted: their help text says so.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

/// Arguments of `create` and `run`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Directory with config.json.
    #[arg(long, short, default_value = ".")]
    pub(crate) bundle: PathBuf,
    /// Socket to send the other end of the container's terminal to.
    #[arg(long)]
    pub(crate) console_socket: Option<PathBuf>,
    /// File to write the host process id to that ends with the container.
    #[arg(long)]
    pub(crate) pid_file: Option<PathBuf>,
    /// How many descriptors from 3 on the first process gets.
    #[arg(long, default_value_t = 0)]
    pub(crate) preserve_fds: u32,
    /// File for messages to the user: why the container could not be started.
    #[arg(long)]
    pub(crate) user_log: Option<PathBuf>,
    /// No meaning: the sandbox's processes change their root by pivot_root in any case.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) no_pivot: bool,
    /// No meaning: no key ring of the host is reachable from the sandbox.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) no_new_keyring: bool,
    /// Name of the container.
    pub(crate) id: String,
}

/// A descriptor of the caller, and what it is to be inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FdMapping {
    /// The caller's number.
    pub(crate) host: u32,
    /// The first process's.
    pub(crate) guest: u32,
}

impl FromStr for FdMapping {
    type Err = String;

    /// Reads `HOST:GUEST`, or one number for both.
    fn from_str(text: &str) -> Result<FdMapping, String> {
        let number =
            |text: &str| text.parse().map_err(|_| format!("{text:?} is no descriptor: use HOST:GUEST or one number"));
        let (host, guest) = text.split_once(':').unwrap_or((text, text));
        Ok(FdMapping { host: number(host)?, guest: number(guest)? })
    }
}

/// Descriptors of the caller for a new process.
#[derive(Debug, Default, Args)]
pub(crate) struct PassArgs {
    /// Descriptor to pass, HOST:GUEST or one number for both; may be given again.
    #[arg(long)]
    pub(crate) pass_fd: Vec<FdMapping>,
    /// Descriptor of the program to run, whatever the first argument names; -1 is none.
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1..), default_value_t = -1)]
    pub(crate) exec_fd: i32,
}

/// Arguments of commands that take a container only.
#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    /// Name of the container.
    pub(crate) id: String,
}

/// Arguments of `exec`.
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// Working directory.
    #[arg(long)]
    pub(crate) cwd: Option<String>,
    /// Environment variable, KEY=VALUE.
    #[arg(long, short)]
    pub(crate) env: Vec<String>,
    /// User, UID[:GID].
    #[arg(long, short)]
    pub(crate) user: Option<String>,
    /// Further groups.
    #[arg(long, short = 'g', value_delimiter = ',')]
    pub(crate) additional_gids: Vec<u32>,
    /// Further capability.
    #[arg(long, short)]
    pub(crate) cap: Vec<String>,
    /// Have a terminal.
    #[arg(long, short, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) tty: bool,
    /// Don't wait for the process.
    #[arg(long, short, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) detach: bool,
    /// JSON file with the process, as in config.json.
    #[arg(long, short)]
    pub(crate) process: Option<PathBuf>,
    /// File to write the host process id to that ends with the process.
    #[arg(long)]
    pub(crate) pid_file: Option<PathBuf>,
    /// File to write the process id to that the process has in the container.
    #[arg(long)]
    pub(crate) internal_pid_file: Option<PathBuf>,
    /// Socket to send the other end of the process's terminal to.
    #[arg(long)]
    pub(crate) console_socket: Option<PathBuf>,
    /// How many descriptors from 3 on the process gets.
    #[arg(long, default_value_t = 0)]
    pub(crate) preserve_fds: u32,
    #[command(flatten)]
    pub(crate) pass: PassArgs,
    /// Set no_new_privs.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) no_new_privs: bool,
    /// No meaning: there is no SELinux inside.
    #[arg(long)]
    pub(crate) process_label: Option<String>,
    /// No meaning: there is no AppArmor inside.
    #[arg(long)]
    pub(crate) apparmor: Option<String>,
    /// Name of the container.
    pub(crate) id: String,
    /// The command and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<OsString>,
}

/// Arguments of `kill`.
#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// Signal all processes.
    #[arg(long, short, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) all: bool,
    /// Signal the process with this id in the container.
    #[arg(long, conflicts_with_all = ["all", "pgid"])]
    pub(crate) pid: Option<i32>,
    /// Signal the process group with this id in the container.
    #[arg(long, conflicts_with = "all")]
    pub(crate) pgid: Option<i32>,
    /// Name of the container.
    pub(crate) id: String,
    /// Name or number of the signal.
    #[arg(default_value = "SIGTERM")]
    pub(crate) signal: String,
}

/// Arguments of `delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Kill it first if it runs; a container that isn't there is no error.
    #[arg(long, short, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) force: bool,
    /// Names of containers.
    #[arg(required = true)]
    pub(crate) ids: Vec<String>,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Names only.
    #[arg(long, short, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) quiet: bool,
    /// table (text) or json.
    #[arg(long, short, default_value = "table")]
    pub(crate) format: String,
}

/// Arguments of `debug`.
#[derive(Debug, Args)]
pub(crate) struct DebugArgs {
    /// Print how often calls of the guests have come by which way, and what was copied, woken and moved for them.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) counters: bool,
    /// Print the processes, as `ps`.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) ps: bool,
    /// Name of the container.
    pub(crate) id: String,
}

/// Arguments of `ps`.
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// table: the processes inside, by the ids that they have there. json: the ids of the host's processes that run the
    /// sandbox, as engines want them.
    #[arg(long, short, default_value = "table")]
    pub(crate) format: String,
    /// Name of the container.
    pub(crate) id: String,
    /// No meaning: arguments for the host's ps.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) rest: Vec<OsString>,
}

/// Arguments of `events`.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Seconds between figures, also as runc writes them ("5s").
    #[arg(long, default_value = "5")]
    pub(crate) interval: String,
    /// Print the figures once.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) stats: bool,
    /// Name of the container.
    pub(crate) id: String,
}

/// Arguments of `wait`.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// Wait for the process with this id in the container.
    #[arg(long)]
    pub(crate) pid: Option<i32>,
    /// The same: all processes have one pid namespace.
    #[arg(long, conflicts_with = "pid")]
    pub(crate) rootpid: Option<i32>,
    /// Name of the container.
    pub(crate) id: String,
}

/// Arguments of `update`.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// JSON file with linux.resources; - is standard input.
    #[arg(long, short)]
    pub(crate) resources: Option<PathBuf>,
    /// Weight of block input and output.
    #[arg(long)]
    pub(crate) blkio_weight: Option<u16>,
    /// Period of the processor quota in microseconds.
    #[arg(long)]
    pub(crate) cpu_period: Option<u64>,
    /// Processor time per period in microseconds.
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) cpu_quota: Option<i64>,
    /// Processor time that may be saved up, in microseconds.
    #[arg(long)]
    pub(crate) cpu_burst: Option<u64>,
    /// Shares of the processors.
    #[arg(long, alias = "cpu-shares")]
    pub(crate) cpu_share: Option<u64>,
    /// Run only what no other cgroup wants (1), or not (0).
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) cpu_idle: Option<i64>,
    /// Period of the quota of processes of real time, in microseconds.
    #[arg(long)]
    pub(crate) cpu_rt_period: Option<u64>,
    /// Processor time of processes of real time per period, in microseconds.
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) cpu_rt_runtime: Option<i64>,
    /// Processors.
    #[arg(long)]
    pub(crate) cpuset_cpus: Option<String>,
    /// Memory nodes.
    #[arg(long)]
    pub(crate) cpuset_mems: Option<String>,
    /// Memory in bytes.
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) memory: Option<i64>,
    /// Memory below which none is taken away, in bytes.
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) memory_reservation: Option<i64>,
    /// Memory and swap in bytes.
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) memory_swap: Option<i64>,
    /// Processes.
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) pids_limit: Option<i64>,
    /// Name of the container.
    pub(crate) id: String,
}

/// Arguments of commands that aren't there yet.
#[derive(Debug, Args)]
pub(crate) struct AnyArgs {
    /// Ignored.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) rest: Vec<OsString>,
}

/// Whose configuration is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// daemon.json.
    Docker,
    /// config.toml: a runtime of its CRI plugin, for Kubernetes.
    Containerd,
    /// A file of its own in containers.conf.d.
    Podman,
}

/// Arguments of `install` and `uninstall`.
#[derive(Debug, Args)]
pub(crate) struct InstallArgs {
    /// Whose configuration is changed.
    #[arg(long, value_enum, default_value = "docker")]
    pub(crate) engine: Engine,
    /// The configuration file, where it isn't the engine's usual one.
    #[arg(long = "config_file", alias = "config-file")]
    pub(crate) config_file: Option<PathBuf>,
    /// Have the engine's cgroups made by systemd or by itself: systemd or cgroupfs; left as it is by default.
    #[arg(long = "cgroupdriver", value_parser = ["", "systemd", "cgroupfs"], default_value = "")]
    pub(crate) cgroup_driver: String,
    /// No meaning: Docker's experimental features are not needed.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) experimental: bool,
    /// Name of the runtime.
    #[arg(long, default_value = "runsc")]
    pub(crate) runtime: String,
    /// Replace an entry of that name.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true")]
    pub(crate) clobber: bool,
    /// Flags that Docker is to run the runtime with, after --. The other engines pass none.
    #[arg(last = true)]
    pub(crate) arguments: Vec<String>,
}
