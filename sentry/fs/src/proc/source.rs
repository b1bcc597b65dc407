//! What `proc` needs from the kernel, as snapshots: the kernel implements [`KernelView`] and [`TaskView`].
//!
//! Called without any lock of this crate held. Ids are those that the caller of the file operation sees.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use abi::signal::SigSet;
use abi::types::Rlimit;
use abi::{Errno, Pid, Residency};

use crate::{Changes, DeviceId};

/// Memory of the sandbox, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // as in /proc/meminfo
pub struct MemoryInfo {
    pub total: u64,
    pub free: u64,
    pub available: u64,
    pub buffers: u64,
    pub cached: u64,
    pub anonymous: u64,
    pub mapped: u64,
    pub shmem: u64,
    pub slab: u64,
    pub page_tables: u64,
    pub swap_total: u64,
    pub swap_free: u64,
    pub committed: u64,
}

/// `/proc/loadavg`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadInfo {
    /// Averages over 1, 5 and 15 minutes.
    pub averages: [f64; 3],
    /// Threads that want to run.
    pub running: u64,
    /// Threads in all.
    pub total: u64,
    /// Id given out last.
    pub last_pid: i32,
}

/// Time of one processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // as in /proc/stat
pub struct CpuTimes {
    pub user: Duration,
    pub nice: Duration,
    pub system: Duration,
    pub idle: Duration,
}

/// `/proc/stat` without the times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SystemCounts {
    /// Context switches.
    pub switches: u64,
    /// Seconds since the epoch at which the sandbox started.
    pub boot_time: u64,
    /// Processes ever made.
    pub forks: u64,
    /// Threads that want to run.
    pub running: u64,
}

/// `uname(2)`, of the caller's UTS namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UtsInfo {
    pub nodename: String,
    pub domainname: String,
    pub release: String,
    pub version: String,
}

/// One mount as a task sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountInfo {
    /// Mount id.
    pub id: u64,
    /// Id of the mount that it is on.
    pub parent: u64,
    /// Device of the file system.
    pub dev: DeviceId,
    /// Directory of the file system that is mounted.
    pub root: Vec<u8>,
    /// Where, below the task's root.
    pub point: Vec<u8>,
    /// The mount itself is read-only.
    pub readonly: bool,
    /// Other options of the mount, for example `"nosuid,nodev,relatime"`.
    pub options: String,
    /// Propagation, for example `"shared:1"`; empty for private mounts.
    pub propagation: String,
    /// Type.
    pub kind: String,
    /// Source as given to `mount(2)`.
    pub source: Vec<u8>,
    /// The file system is read-only.
    pub fs_readonly: bool,
    /// Options of the file system: [`crate::FileSystem::show_options`], beginning with a comma where there are any.
    pub fs_options: String,
}

/// The kernel as a whole.
pub trait KernelView: Send + Sync {
    /// Returns the calling process and thread.
    fn caller(&self) -> Option<(Pid, Pid)>;
    /// Returns all processes that the caller sees.
    fn processes(&self) -> Vec<Pid>;
    /// Returns a process by the id of any of its threads (as `/proc/TID` works, though only leaders are listed).
    fn process(&self, pid: Pid) -> Option<Arc<dyn TaskView>>;
    /// Returns a thread of a process.
    fn thread(&self, process: Pid, thread: Pid) -> Option<Arc<dyn TaskView>>;
    /// Returns memory figures.
    fn memory(&self) -> MemoryInfo;
    /// Returns load figures.
    fn load(&self) -> LoadInfo;
    /// Returns how long the sandbox has been up, and the idle time summed over processors.
    fn uptime(&self) -> (Duration, Duration);
    /// Returns the times of each processor.
    fn cpus(&self) -> Vec<CpuTimes>;
    /// Returns the counters of `/proc/stat`.
    fn counts(&self) -> SystemCounts;
    /// Returns the text of `/proc/cpuinfo`; [`super::system::cpuinfo`] cuts the host's to size.
    fn cpuinfo(&self) -> Vec<u8>;
    /// Returns names and version.
    fn uts(&self) -> UtsInfo;
    /// Sets the host name (`sethostname(2)`, with its checks).
    fn set_hostname(&self, name: &[u8]) -> Result<(), Errno>;
    /// Sets the domain name.
    fn set_domainname(&self, name: &[u8]) -> Result<(), Errno>;
    /// Returns the command line of the kernel.
    fn command_line(&self) -> String {
        String::new()
    }
    /// Returns the lines of `/proc/locks`.
    fn file_locks(&self) -> String;
    /// Returns the names of file systems that `mount(2)` knows.
    fn filesystems(&self) -> Vec<&'static str>;
    /// Returns the files of `/proc/net`, in the caller's network namespace.
    fn net_files(&self) -> Vec<&'static str>;
    /// Renders a file of `/proc/net`.
    fn net_file(&self, name: &str) -> Option<Vec<u8>>;
    /// Renders `/proc/sysvipc/{msg,sem,shm}`.
    fn sysvipc(&self, name: &str) -> Option<Vec<u8>>;
}

/// Memory of a process, in bytes, and where its parts lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // as in /proc/PID/status and stat
pub struct MemoryUsage {
    pub size: u64,
    pub peak: u64,
    pub locked: u64,
    pub rss: u64,
    pub rss_peak: u64,
    pub rss_anon: u64,
    pub rss_file: u64,
    pub rss_shmem: u64,
    pub data: u64,
    pub stack: u64,
    pub text: u64,
    pub lib: u64,
    pub page_tables: u64,
    pub swap: u64,
    pub start_code: u64,
    pub end_code: u64,
    pub start_stack: u64,
    pub start_data: u64,
    pub end_data: u64,
    pub start_brk: u64,
    pub arg_start: u64,
    pub arg_end: u64,
    pub env_start: u64,
    pub env_end: u64,
}

/// Everything about a thread that `stat`, `statm`, `status`, `sched` show.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // as in proc_pid_stat(5) and proc_pid_status(5)
pub struct TaskSnapshot {
    pub tid: Pid,
    pub tgid: Pid,
    pub comm: Vec<u8>,
    /// `R`, `S`, `D`, `T`, `t`, `Z`, `X`, `I`.
    pub state: char,
    pub ppid: Pid,
    pub pgrp: Pid,
    pub session: Pid,
    /// Controlling terminal.
    pub tty: Option<DeviceId>,
    /// Its foreground group.
    pub tty_pgrp: Option<Pid>,
    /// `PF_*` bits.
    pub flags: u32,
    pub min_flt: u64,
    pub child_min_flt: u64,
    pub maj_flt: u64,
    pub child_maj_flt: u64,
    pub user_time: Duration,
    pub system_time: Duration,
    pub child_user_time: Duration,
    pub child_system_time: Duration,
    pub nice: i32,
    pub policy: u32,
    pub rt_priority: u32,
    pub threads: u64,
    /// Since boot.
    pub start_time: Duration,
    pub exit_signal: i32,
    pub exit_code: i32,
    pub processor: u32,
    /// `None` for a zombie.
    pub memory: Option<MemoryUsage>,
    pub rss_limit: u64,
    /// Real, effective, saved, file-system.
    pub uids: [u32; 4],
    pub gids: [u32; 4],
    pub groups: Vec<u32>,
    /// Inheritable, permitted, effective, bounding, ambient.
    pub caps: [u64; 5],
    pub no_new_privs: bool,
    /// 0, 1 strict, 2 filter.
    pub seccomp: u32,
    pub seccomp_filters: u32,
    pub umask: u32,
    pub tracer: Pid,
    pub fd_size: u64,
    /// Ids in each pid namespace from the caller's down: thread, process, group, session.
    pub ns_ids: Vec<[Pid; 4]>,
    pub pending: SigSet,
    pub shared_pending: SigSet,
    pub blocked: SigSet,
    pub ignored: SigSet,
    pub caught: SigSet,
    pub queued_signals: u64,
    pub queued_limit: u64,
    /// Processors that it may run on, a bit each.
    pub cpus_allowed: Vec<u64>,
    pub cpus: u32,
    pub voluntary_switches: u64,
    pub involuntary_switches: u64,
}

/// One mapping of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // bytes, as in proc_pid_smaps(5)
pub struct Region {
    pub start: u64,
    pub end: u64,
    /// The line of `/proc/PID/maps`, newline included.
    pub line: Vec<u8>,
    /// The line `VmFlags: …`, newline included.
    pub flags: Vec<u8>,
    pub resident: Residency,
    pub locked: u64,
}

/// What `/proc/PID/io` counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct IoCounts {
    pub rchar: u64,
    pub wchar: u64,
    pub syscr: u64,
    pub syscw: u64,
    pub read_bytes: u64,
    pub write_bytes: u64,
}

/// Where a magic link leads.
pub struct MagicLink {
    /// What `readlink` shows.
    pub text: Vec<u8>,
    /// What the VFS goes on with: opaque here ([`crate::LinkTarget::Object`]).
    pub object: Box<dyn Any + Send + Sync>,
}

/// An open descriptor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FdInfo {
    /// Offset.
    pub pos: u64,
    /// Access mode and status flags, `O_CLOEXEC` included.
    pub flags: u32,
    /// Mount.
    pub mount_id: u64,
    /// Inode number.
    pub ino: u64,
    /// Further lines: [`crate::FileOps::fdinfo`], locks.
    pub extra: String,
    /// May be read, may be written: the mode bits of the link.
    pub access: (bool, bool),
}

/// A namespace of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceId {
    /// Name in `/proc/PID/ns`, for example `"pid_for_children"`.
    pub name: &'static str,
    /// Name in the link's text, for example `"pid"`.
    pub kind: &'static str,
    /// Number in the link's text.
    pub ino: u64,
}

/// One thread. A leader stands for its process. `ESRCH` from anything that has gone since.
pub trait TaskView: Send + Sync {
    /// Returns everything that `stat` and `status` show.
    fn snapshot(&self) -> Result<TaskSnapshot, Errno>;
    /// Returns process and thread id.
    fn ids(&self) -> (Pid, Pid);
    /// Returns who owns the files of this task: its effective ids, or root if it isn't dumpable.
    fn owner(&self) -> (u32, u32);
    /// Checks that the caller may look into the task (`PTRACE_MODE_READ_FSCREDS`): `EACCES`.
    fn may_inspect(&self) -> Result<(), Errno>;
    /// Returns the arguments as they lie in its memory.
    fn cmdline(&self) -> Result<Vec<u8>, Errno>;
    /// Returns the environment as it lies in its memory.
    fn environ(&self) -> Result<Vec<u8>, Errno>;
    /// Returns the auxiliary vector.
    fn auxv(&self) -> Result<Vec<u8>, Errno>;
    /// Sets the name; only threads of the same process may: `EINVAL`.
    fn set_comm(&self, name: &[u8]) -> Result<(), Errno>;
    /// Returns the mappings in order. `usage` tells whether the costly figures are wanted.
    fn regions(&self, usage: bool) -> Result<Vec<Region>, Errno>;
    /// Returns entries of `/proc/PID/pagemap` for so many pages, from one on; none of a zombie.
    fn page_entries(&self, first: u64, count: u64) -> Result<Vec<u64>, Errno>;
    /// Reads from its memory for `/proc/PID/mem`.
    fn read_memory(&self, addr: u64, buf: &mut [u8]) -> Result<usize, Errno>;
    /// Writes to its memory for `/proc/PID/mem`.
    fn write_memory(&self, addr: u64, buf: &[u8]) -> Result<usize, Errno>;
    /// Returns the limits in the order of their numbers.
    fn limits(&self) -> Result<[Rlimit; 16], Errno>;
    /// Returns its descriptors.
    fn fds(&self) -> Result<Vec<i32>, Errno>;
    /// Returns one descriptor: `None` if it isn't open.
    fn fd(&self, fd: i32) -> Option<FdInfo>;
    /// Returns where a descriptor's link leads.
    fn fd_link(&self, fd: i32) -> Result<MagicLink, Errno>;
    /// Returns the program: `ENOENT` if it has none.
    fn exe(&self) -> Result<MagicLink, Errno>;
    /// Returns the working directory.
    fn cwd(&self) -> Result<MagicLink, Errno>;
    /// Returns the root directory.
    fn root(&self) -> Result<MagicLink, Errno>;
    /// Returns the namespaces.
    fn namespaces(&self) -> Vec<NamespaceId>;
    /// Returns where a namespace's link leads.
    fn namespace_link(&self, name: &str) -> Result<MagicLink, Errno>;
    /// Returns the mounts of its mount namespace below its root.
    fn mounts(&self) -> Result<Vec<MountInfo>, Errno>;
    /// Returns what counts the changes of those: `None` for a zombie.
    fn mount_changes(&self) -> Option<Arc<Changes>>;
    /// Returns the memory policy, as `numa_maps` shows it.
    fn memory_policy(&self) -> Result<String, Errno>;
    /// Returns `PR_GET_TIMERSLACK` of a thread, 0 with real-time scheduling.
    fn timer_slack(&self) -> Result<u64, Errno>;
    /// Sets it, 0 for the default: `EPERM`.
    fn set_timer_slack(&self, nanoseconds: u64) -> Result<(), Errno>;
    /// Returns the threads of its process.
    fn threads(&self) -> Vec<Pid>;
    /// Returns the children made by this thread.
    fn children(&self) -> Vec<Pid>;
    /// Returns what it read and wrote.
    fn io(&self) -> Result<IoCounts, Errno>;
    /// Returns `oom_score_adj`.
    fn oom_score_adj(&self) -> i32;
    /// Sets it, -1000 to 1000: `EACCES` below what it was without `CAP_SYS_RESOURCE`.
    fn set_oom_score_adj(&self, value: i32) -> Result<(), Errno>;
    /// Returns `personality(2)`.
    fn personality(&self) -> u32;
    /// Returns the user or group ids mapped into its user namespace: inside, outside, count.
    fn id_map(&self, groups: bool) -> Vec<[u32; 3]>;
    /// Sets that mapping, with the checks of `user_namespaces(7)`.
    fn set_id_map(&self, groups: bool, map: &[[u32; 3]]) -> Result<(), Errno>;
    /// Tells whether `setgroups(2)` is allowed.
    fn setgroups_allowed(&self) -> bool;
    /// Forbids `setgroups(2)`.
    fn deny_setgroups(&self) -> Result<(), Errno>;
    /// Returns the lines of `/proc/PID/cgroup`.
    fn cgroup(&self) -> String {
        "0::/\n".to_owned()
    }
}
