//! Thread groups.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use abi::types::Rlimit;
use abi::{Errno, Pid};
use sentry_fs::tty::Terminal;
use sentry_sync::{Level, Mutex, WaitQueue};

use super::usage::Times;
use super::{Caps, ProcessEntry};
use crate::Task;
use crate::signal::ProcessSignals;
use crate::time::alarm::Alarm;
use crate::time::itimer::{IntervalTimers, PosixTimers};

/// How many resources have limits.
pub const RLIMITS: usize = 16;

/// `RLIMIT_*` of `getrlimit(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Resource {
    Cpu = 0,
    Fsize = 1,
    Data = 2,
    Stack = 3,
    Core = 4,
    Rss = 5,
    Nproc = 6,
    Nofile = 7,
    Memlock = 8,
    As = 9,
    Locks = 10,
    Sigpending = 11,
    Msgqueue = 12,
    Nice = 13,
    Rtprio = 14,
    Rttime = 15,
}

/// A thread group: what its threads share besides what `clone` lets them choose.
pub struct Process {
    /// Thread-group id.
    pub pid: Pid,
    /// Handlers and shared pending signals.
    pub signals: ProcessSignals,
    /// Woken when a child changes state (`wait4`).
    pub child_events: WaitQueue,
    /// Woken when this process ends (`pidfd` readiness).
    pub exit_event: WaitQueue,
    /// Woken when a thread of this process is gone (exec waits for the others).
    pub thread_gone: WaitQueue,
    /// Interval timers (`setitimer`).
    pub interval_timers: IntervalTimers,
    /// POSIX timers (`timer_create`).
    pub posix_timers: PosixTimers,
    /// Flags set by `prctl` that the whole group shares.
    pub attributes: Mutex<Attributes>,
    terminal: Mutex<Option<Arc<dyn Terminal>>>,
    /// Looks at the consumed time where `RLIMIT_CPU` is set.
    pub(super) cpu_alarm: Mutex<Option<Alarm>>,
    limits: Mutex<[Rlimit; RLIMITS]>,
    pub(super) times: Mutex<Times>,
    /// Name of the leader that has ended.
    last_comm: Mutex<Vec<u8>>,
    real_uid: AtomicU32,
    group_exit: AtomicI32,
    started: Instant,
    /// A thread is in exec and ends the others.
    in_exec: AtomicBool,
    /// Signals of guests without a handler pass this process by (kernel: `SIGNAL_UNKILLABLE`).
    unkillable: AtomicBool,
}

/// Attributes of a process that are remembered and reported.
#[derive(Clone, Copy, Debug)]
pub struct Attributes {
    /// `PR_SET_DUMPABLE`.
    pub dumpable: u32,
    /// `/proc/PID/oom_score_adj`.
    pub oom_score_adj: i32,
    /// `PR_SET_THP_DISABLE`.
    pub thp_disable: bool,
    /// `PR_SET_IO_FLUSHER`.
    pub io_flusher: bool,
    /// `PR_SET_MDWE`.
    pub mdwe: u32,
}

impl Default for Attributes {
    fn default() -> Attributes {
        Attributes { dumpable: 1, oom_score_adj: 0, thp_disable: false, io_flusher: false, mdwe: 0 }
    }
}

impl Resource {
    /// Accepts a number of `getrlimit(2)`.
    pub fn new(number: u32) -> Option<Resource> {
        use Resource::*;
        const ALL: [Resource; RLIMITS] = [
            Cpu, Fsize, Data, Stack, Core, Rss, Nproc, Nofile, Memlock, As, Locks, Sigpending, Msgqueue, Nice, Rtprio,
            Rttime,
        ];
        ALL.get(usize::try_from(number).ok()?).copied()
    }
}

impl Process {
    /// The first process.
    pub fn init(pid: Pid, signals: ProcessSignals, limits: [Rlimit; RLIMITS], real_uid: u32) -> Arc<Process> {
        Arc::new(Process {
            pid,
            signals,
            child_events: WaitQueue::new(),
            exit_event: WaitQueue::new(),
            thread_gone: WaitQueue::new(),
            interval_timers: IntervalTimers::default(),
            posix_timers: PosixTimers::default(),
            attributes: Mutex::new(Level::Leaf, Attributes::default()),
            terminal: Mutex::new(Level::Leaf, None),
            cpu_alarm: Mutex::new(Level::Timer, None),
            limits: Mutex::new(Level::Leaf, limits),
            times: Mutex::new(Level::Leaf, Times::default()),
            last_comm: Mutex::new(Level::Leaf, Vec::new()),
            real_uid: AtomicU32::new(real_uid),
            group_exit: AtomicI32::new(-1),
            started: Instant::now(),
            in_exec: AtomicBool::new(false),
            unkillable: AtomicBool::new(false),
        })
    }

    /// A process that inherits what fork hands on.
    pub fn child_of(parent: &Process, pid: Pid, signals: ProcessSignals) -> Arc<Process> {
        let child = Process::init(pid, signals, parent.limits(), parent.real_uid());
        let attributes = *parent.attributes.lock();
        *child.attributes.lock() = attributes;
        child.set_terminal(parent.terminal());
        child
    }

    /// Shields this process from signals of guests that it has no handler for.
    pub(crate) fn make_unkillable(&self) {
        self.unkillable.store(true, Ordering::Relaxed);
    }

    /// Tells whether signals of guests without a handler pass this process by.
    pub(crate) fn is_unkillable(&self) -> bool {
        self.unkillable.load(Ordering::Relaxed)
    }

    /// Returns the name that the leader had when it ended.
    pub fn last_comm(&self) -> Vec<u8> {
        self.last_comm.lock().clone()
    }

    pub(super) fn set_last_comm(&self, comm: Vec<u8>) {
        *self.last_comm.lock() = comm;
    }

    /// Returns the controlling terminal.
    pub fn terminal(&self) -> Option<Arc<dyn Terminal>> {
        self.terminal.lock().clone()
    }

    /// Changes the controlling terminal.
    pub fn set_terminal(&self, terminal: Option<Arc<dyn Terminal>>) {
        let old = std::mem::replace(&mut *self.terminal.lock(), terminal);
        drop(old);
    }

    /// Returns when the process was made.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Returns all limits.
    pub fn limits(&self) -> [Rlimit; RLIMITS] {
        *self.limits.lock()
    }

    /// Returns the soft limit of a resource.
    pub fn limit(&self, resource: Resource) -> u64 {
        self.limits.lock()[resource as usize].cur
    }

    /// Returns the soft limits of several resources.
    pub fn soft_limits<const N: usize>(&self, resources: [Resource; N]) -> [u64; N] {
        let limits = self.limits.lock();
        resources.map(|resource| limits[resource as usize].cur)
    }

    /// Replaces a limit and returns the old one. The caller has checked that it may.
    pub fn set_limit(&self, resource: Resource, limit: Rlimit) -> Rlimit {
        std::mem::replace(&mut self.limits.lock()[resource as usize], limit)
    }

    /// Returns `RLIMIT_NOFILE` as a bound for descriptors.
    pub fn fd_limit(&self) -> usize {
        usize::try_from(self.limit(Resource::Nofile)).unwrap_or(usize::MAX)
    }

    /// Returns the leader's real user id.
    pub fn real_uid(&self) -> u32 {
        self.real_uid.load(Ordering::Relaxed)
    }

    pub(super) fn set_real_uid(&self, uid: u32) {
        self.real_uid.store(uid, Ordering::Relaxed);
    }

    /// Refuses with `EAGAIN` a process beyond `RLIMIT_NPROC` of its user.
    pub(crate) fn check_process_limit(&self, task: &Task) -> Result<(), Errno> {
        let cred = task.cred.load();
        if cred.ruid == 0 || cred.has(Caps::SYS_RESOURCE) || cred.has(Caps::SYS_ADMIN) {
            return Ok(());
        }
        let limit = self.limit(Resource::Nproc);
        let table = task.kernel.tasks.read();
        let same_user = table.processes.values().filter(|entry| entry.process.real_uid() == cred.ruid);
        let threads: usize = same_user.map(|entry| entry.threads.len()).sum();
        if threads as u64 >= limit { Err(Errno::EAGAIN) } else { Ok(()) }
    }

    /// Returns the processor time of all threads, dead ones too.
    pub fn cpu_time(&self, entry: &ProcessEntry) -> Duration {
        let living: Duration = entry.threads.values().map(|thread| thread.cpu_time()).sum();
        self.times.lock().dead_threads.time() + living
    }

    /// Notes that the whole group ends with this wait status; the first stays.
    pub(super) fn set_group_exit(&self, status: i32) {
        let _ = self.group_exit.compare_exchange(-1, status, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Claims the right to be the thread that survives exec; false where another has it.
    pub(super) fn begin_exec(&self) -> bool {
        !self.in_exec.swap(true, Ordering::SeqCst)
    }

    /// Gives that right back.
    pub(super) fn end_exec(&self) {
        self.in_exec.store(false, Ordering::SeqCst);
    }

    /// Returns the status with which the whole group ends, if it does.
    pub fn group_exit(&self) -> Option<i32> {
        let status = self.group_exit.load(Ordering::SeqCst);
        (status != -1).then_some(status)
    }
}
