//! Threads and processes.
//!
//! [`Task`] is one guest thread as others see it, [`Process`] a thread group, [`TaskTable`] all of them with their
//! relations (parent, children, group, session), under one lock as Linux's `tasklist_lock`. A thread's own state is in
//! [`Current`](crate::Current), and its life is the future [`run`].

mod access;
pub(crate) mod answers;
pub mod clone;
pub mod cpu_limit;
mod cred;
mod current;
pub mod exec;
pub mod exit;
pub mod pidfd;
mod process;
pub mod rseq;
mod run;
mod sched;
pub mod seccomp;
pub mod session;
pub(crate) mod stragglers;
mod table;
mod thunk;
mod usage;
pub mod wait;

pub use access::{AccessMode, check_access};
pub use clone::VforkDone;
pub use cred::{Caps, Cred};
pub use current::{Serving, served};
pub use process::{Attributes, Process, RLIMITS, Resource};
pub use run::run;
pub use sched::{Sched, Schedule};
pub use table::{INIT, InitRole, ProcessEntry, TaskTable};
pub use usage::Usage;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use abi::Pid;
use arc_swap::ArcSwap;
use sentry_platform::Interrupt;
use sentry_sync::{Level, Mutex, Notify};

use crate::Kernel;
use crate::ipc::sem::UndoList;
use crate::mm::Mm;
use crate::ns::UtsNamespace;
use crate::signal::TaskSignals;
use crate::vfs::{FdTable, FsContext};
use crate::wait::Waiter;

/// Timer slack of a normal thread in nanoseconds.
pub const DEFAULT_SLACK: u64 = 50_000;

/// A memory policy as asked for: there is one node, so nothing follows from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemPolicy {
    /// `MPOL_*`, with the flags beside the mode.
    pub mode: i32,
    /// Set of nodes.
    pub nodes: u64,
}

/// As in `/proc/PID/numa_maps` (kernel: `mpol_to_str`).
impl std::fmt::Display for MemPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let modes = ["default", "prefer", "bind", "interleave", "local", "prefer (many)", "weighted interleave"];
        let at = usize::try_from(self.mode & 0x1fff).unwrap_or(0);
        f.write_str(modes.get(at).copied().unwrap_or("default"))?;
        let flags = [(1 << 15, "static"), (1 << 14, "relative"), (1 << 13, "balancing")];
        let set: Vec<&str> = flags.iter().filter(|(bit, _)| self.mode & bit != 0).map(|(_, name)| *name).collect();
        if !set.is_empty() {
            write!(f, "={}", set.join("|"))?;
        }
        // All memory is on the first node.
        if self.nodes == 0 { Ok(()) } else { f.write_str(":0") }
    }
}

/// `PR_MCE_KILL_DEFAULT`.
pub const MEMORY_FAILURE_DEFAULT: u8 = 2;

/// A guest thread.
pub struct Task {
    /// Thread id.
    pub tid: Pid,
    /// Its thread group.
    pub process: Arc<Process>,
    /// The kernel it belongs to.
    pub kernel: Arc<Kernel>,
    /// Credentials; replaced as a whole.
    pub cred: ArcSwap<Cred>,
    /// Open files; shared by `CLONE_FILES`.
    pub files: ArcSwap<FdTable>,
    /// Root, working directory, umask; shared by `CLONE_FS`.
    pub fs: ArcSwap<FsContext>,
    /// Host and domain name as this thread sees them.
    pub uts: ArcSwap<UtsNamespace>,
    /// The memory of this thread; replaced at exec.
    pub mm: ArcSwap<Mm>,
    /// Blocked and pending signals of this thread.
    pub signals: TaskSignals,
    /// Name, as in `/proc/PID/comm`; at most 15 bytes.
    pub comm: Mutex<Vec<u8>>,
    /// Scheduling as asked for: remembered and reported.
    pub sched: Mutex<Sched>,
    /// `personality(2)`.
    pub personality: AtomicU32,
    /// Signal that the thread gets when its parent ends (`PR_SET_PDEATHSIG`).
    pub parent_death_signal: AtomicI32,
    /// Timer slack in nanoseconds (`PR_SET_TIMERSLACK`).
    pub timer_slack: AtomicU64,
    /// On which nodes memory is to be (`set_mempolicy`).
    pub mem_policy: Mutex<MemPolicy>,
    /// `PR_MCE_KILL_*`: late, early or default.
    pub memory_failure: AtomicU8,
    /// What is taken back from semaphores at exit (`SEM_UNDO`); shared by `CLONE_SYSVSEM`.
    pub(crate) sem_undo: Mutex<Option<Arc<UndoList>>>,
    /// What the thread has forbidden itself.
    pub seccomp: seccomp::Restriction,
    /// What was last told of its use of the machine.
    usage_seen: Mutex<Usage>,
    /// The call that is being logged, with `--strace`.
    pub(crate) traced: Mutex<Option<Box<crate::trace::Traced>>>,
    /// Set while a parent waits in vfork for this thread's exec or end.
    pub vfork_done: Mutex<Option<Arc<VforkDone>>>,
    /// Exit code in wait-status form once the thread was told to end; -1 before.
    exit_status: AtomicI32,
    interrupt: Mutex<Arc<dyn Interrupt>>,
    blocked_in: Mutex<Option<Arc<Waiter>>>,
    pub(crate) alarm: Mutex<Option<crate::wait::Alarm>>,
    /// For waits of which there is one at a time: what an earlier wait is told late wakes the later one for a look.
    pub(crate) waiter: Arc<Waiter>,
}

/// What a new task starts with.
pub struct NewTask {
    /// Thread id.
    pub tid: Pid,
    /// Thread group.
    pub process: Arc<Process>,
    /// Credentials.
    pub cred: Arc<Cred>,
    /// Open files.
    pub files: Arc<FdTable>,
    /// Root, working directory, umask.
    pub fs: Arc<FsContext>,
    /// Memory.
    pub mm: Arc<Mm>,
    /// Signal mask and alternate stack.
    pub signals: TaskSignals,
    /// Name.
    pub comm: Vec<u8>,
    /// Interrupts the task's context.
    pub interrupt: Arc<dyn Interrupt>,
}

impl Task {
    /// Creates a task; the caller enters it into the table and spawns [`run`].
    pub fn new(kernel: &Arc<Kernel>, new: NewTask) -> Arc<Task> {
        Arc::new(Task {
            tid: new.tid,
            process: new.process,
            kernel: Arc::clone(kernel),
            cred: ArcSwap::new(new.cred),
            files: ArcSwap::new(new.files),
            fs: ArcSwap::new(new.fs),
            uts: ArcSwap::new(Arc::clone(&kernel.uts)),
            mm: ArcSwap::new(new.mm),
            sched: Mutex::new(Level::Leaf, Sched::default()),
            personality: AtomicU32::new(0),
            parent_death_signal: AtomicI32::new(0),
            timer_slack: AtomicU64::new(DEFAULT_SLACK),
            mem_policy: Mutex::new(Level::Leaf, MemPolicy::default()),
            memory_failure: AtomicU8::new(MEMORY_FAILURE_DEFAULT),
            sem_undo: Mutex::new(Level::IpcObject, None),
            seccomp: seccomp::Restriction::default(),
            usage_seen: Mutex::new(Level::Leaf, Usage::default()),
            traced: Mutex::new(Level::Leaf, None),
            vfork_done: Mutex::new(Level::Leaf, None),
            signals: new.signals,
            comm: Mutex::new(Level::Leaf, new.comm),
            exit_status: AtomicI32::new(-1),
            interrupt: Mutex::new(Level::Leaf, new.interrupt),
            blocked_in: Mutex::new(Level::Leaf, None),
            alarm: Mutex::new(Level::Leaf, None),
            waiter: Waiter::new(),
        })
    }

    /// Takes over what a child inherits and no flag governs.
    pub(crate) fn inherit(&self, parent: &Task) {
        self.uts.store(parent.uts.load_full());
        let sched = parent.sched.lock().for_child();
        *self.sched.lock() = sched;
        self.personality.store(parent.personality.load(Ordering::Relaxed), Ordering::Relaxed);
        self.memory_failure.store(parent.memory_failure.load(Ordering::Relaxed), Ordering::Relaxed);
        let policy = *parent.mem_policy.lock();
        *self.mem_policy.lock() = policy;
        self.timer_slack.store(parent.timer_slack.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Replaces the credentials.
    pub fn set_cred(&self, cred: Cred) {
        if self.is_leader() {
            self.process.set_real_uid(cred.ruid);
        }
        self.tell_cred(&cred);
        self.cred.store(Arc::new(cred));
    }

    /// Tells whether the thread waits for something.
    pub fn is_blocked(&self) -> bool {
        self.blocked_in.lock().is_some() || self.interrupter().sleeps()
    }

    /// Returns the processor time of this thread.
    pub fn cpu_time(&self) -> Duration {
        self.interrupter().cpu_time()
    }

    /// Returns the context's interrupter.
    pub(crate) fn interrupter(&self) -> Arc<dyn Interrupt> {
        Arc::clone(&self.interrupt.lock())
    }

    /// Returns a number of the thread's list of semaphore adjustments, 0 where it has none.
    pub fn semaphore_undo(&self) -> usize {
        self.sem_undo.lock().as_ref().map_or(0, |list| Arc::as_ptr(list).addr())
    }

    /// Tells whether the thread leads its group.
    pub fn is_leader(&self) -> bool {
        self.tid == self.process.pid
    }

    /// Gets the thread's attention: it looks at its signals and its end soon, whether it runs guest code or waits.
    pub fn kick(&self) {
        // The caller has changed what `interrupted` looks at. The thread looks there before it starts its context, which
        // ends at once if there was an interrupt before: no flag of ours says whether guest code runs. A thread that
        // serves itself is on its way there.
        if !current::serves(self) {
            let interrupt = Arc::clone(&self.interrupt.lock());
            interrupt.interrupt();
        }
        let waiter = self.blocked_in.lock().clone();
        if let Some(waiter) = waiter {
            waiter.notify(0);
        }
    }

    /// Tells the thread to end with this wait status. The first status stays.
    pub fn request_exit(self: &Arc<Task>, status: i32) {
        if self.exit_status.compare_exchange(-1, status, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            self.kick();
            if !current::serves(self) {
                stragglers::watch(self);
            }
        }
    }

    /// Returns the wait status that the thread was told to end with.
    pub fn exit_status(&self) -> Option<i32> {
        let status = self.exit_status.load(Ordering::SeqCst);
        (status != -1).then_some(status)
    }

    /// Tells whether the thread is to end.
    pub fn killed(&self) -> bool {
        self.exit_status().is_some()
    }

    /// Tells whether an interruptible wait must end: a signal is to be delivered, the group is to stop, or the thread is
    /// to end.
    pub fn interrupted(&self) -> bool {
        self.killed() || self.signals.attention(&self.process.signals)
    }

    /// Replaces the context's interrupter (exec).
    pub fn set_interrupt(&self, interrupt: Arc<dyn Interrupt>) {
        *self.interrupt.lock() = interrupt;
    }

    pub(crate) fn set_blocked_in(&self, waiter: &Arc<Waiter>) -> Unblock<'_> {
        let outer = self.blocked_in.lock().replace(Arc::clone(waiter));
        Unblock { task: self, outer }
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Task({}/{})", self.process.pid.0, self.tid.0)
    }
}

/// Ends "blocked in a wait" when dropped.
pub(crate) struct Unblock<'a> {
    task: &'a Task,
    outer: Option<Arc<Waiter>>,
}

impl Drop for Unblock<'_> {
    fn drop(&mut self) {
        *self.task.blocked_in.lock() = self.outer.take();
    }
}
