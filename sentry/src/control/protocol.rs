//! Requests and replies of the control socket.
//!
//! A connection carries one request, except after [`Request::Exec`], when more may follow for the process that it has
//! started. Documents that may be long (a process to start, a list of processes) travel as a memfd beside the message.

use serde::{Deserialize, Serialize};

/// Changes with every incompatible change of what is here.
pub const VERSION: u32 = 3;

/// A message with the version of its sender.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// [`VERSION`] of the sender.
    pub version: u32,
    /// The message.
    pub body: T,
}

/// A process to start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessConfig {
    /// Program and arguments, as bytes.
    pub args: Vec<Vec<u8>>,
    /// Environment, as bytes.
    pub env: Vec<Vec<u8>>,
    /// Working directory.
    pub cwd: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// File mode creation mask.
    pub umask: u32,
    /// Capability sets, as bits.
    pub caps: CapsConfig,
    /// Resource limits: number, soft, hard.
    pub rlimits: Vec<(u32, u64, u64)>,
    /// `/proc/self/oom_score_adj`.
    pub oom_score_adj: i32,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privs: bool,
    /// Signals ignored from the start; bit 0 is signal 1.
    pub ignored_signals: u64,
    /// The process is the init of a container: shielded from signals of its own processes, with its working directory
    /// made and its home looked up.
    pub container: bool,
    /// The process is a hook of the engine's: it runs before the first one, outside of the container's filter.
    pub hook: bool,
    /// Make the terminal on standard input the controlling one.
    pub terminal: bool,
    /// What descriptors become that are passed after the three standard streams.
    pub further: Vec<u32>,
    /// The last descriptor passed is the program; the first argument only names it.
    pub given_program: bool,
}

/// Capability sets, as bits.
#[allow(missing_docs)] // as in capabilities(7)
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct CapsConfig {
    pub bounding: u64,
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub ambient: u64,
}

/// Whom a signal is for. Ids are the guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// The first process.
    Init,
    /// Every process.
    All,
    /// One process.
    Process(i32),
    /// A process group.
    Group(i32),
}

/// From the command line to the sandbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Start the first process: it runs once the connection ends.
    Start,
    /// Start another process. Descriptors: the [`ProcessConfig`] in a memfd, then what becomes 0, 1, 2
    /// and [`ProcessConfig::further`] of the process, and last its program where that is given.
    /// Answered with [`Reply::Started`], later with [`Reply::Exited`]. When the connection ends before, the process is
    /// killed.
    Exec,
    /// Send a signal.
    Signal {
        /// To whom.
        target: Target,
        /// Its number.
        number: i32,
    },
    /// After [`Request::Exec`]: pass a signal on to the process, or to the foreground group of its terminal.
    Forward(i32),
    /// Stop all processes where they are.
    Pause,
    /// Let them go on.
    Resume,
    /// List the processes: answered with [`Reply::Listing`].
    List,
    /// Wait for the end of the sandbox, or of one process.
    Wait(Option<i32>),
    /// Ask how the sandbox is.
    Status,
    /// Let there be this many processes and threads at most; `None` for any number.
    LimitTasks(Option<usize>),
    /// Ask what has happened how often: answered with [`Reply::Counters`].
    Counters,
}

/// How a sandbox is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SandboxStatus {
    /// Its first process has not been started.
    Created,
    /// Its first process runs.
    Running,
    /// It is paused.
    Paused,
}

/// From the sandbox to the command line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// Done.
    Done,
    /// Not done, for this reason.
    Refused(String),
    /// No such process is there.
    NoProcess,
    /// The process runs, with this id in the guest.
    Started(i32),
    /// The process or sandbox has ended with this wait status.
    Exited(i32),
    /// A list of [`ProcessInfo`], in a memfd.
    Listing,
    /// How it is.
    Status(SandboxStatus),
    /// Names and numbers.
    Counters(Vec<(String, u64)>),
}

/// A process, as `ps` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessInfo {
    /// Effective user id.
    pub uid: u32,
    /// Id.
    pub pid: i32,
    /// Parent's id.
    pub ppid: i32,
    /// Number of threads.
    pub threads: usize,
    /// Has a controlling terminal.
    pub terminal: bool,
    /// Milliseconds since it was made.
    pub age_ms: u64,
    /// Processor time in milliseconds.
    pub cpu_ms: u64,
    /// Name.
    pub comm: String,
    /// Id of the process of the host that runs its code, in the sandbox's pid namespace; 0 where there is none. Those that
    /// share memory share it.
    pub host_pid: i32,
}
