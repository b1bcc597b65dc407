//! One guest kernel: what all its tasks share.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use abi::signal::Signal;
use sentry_net::NetNamespace;
use sentry_platform::Platform;
use sentry_sync::{Level, Notify, RwLock, WaitQueue};

use crate::Task;
use crate::futex::FutexTable;
use crate::ipc::Ipc;
use crate::mm::Learned;
use crate::ns::UtsNamespace;
use crate::syscall::SyscallTable;
use crate::task::TaskTable;
use crate::task::stragglers::Stragglers;
use crate::trace::Tracer;
use crate::tty_host::KernelTtyHost;
use crate::vfs::Vfs;
use crate::wait::{Interruptible, Waiter};
use crate::worker::Executor;

/// Kernel release that `uname` reports: calls newer than this answer `ENOSYS`.
pub const RELEASE: &str = "6.12.0-runsc";

/// Build text that `uname` reports.
pub const VERSION: &str = "#1 SMP PREEMPT_DYNAMIC";

/// What the caller does when the first process stops.
pub type StopHook = Box<dyn Fn(Signal) + Send + Sync>;

/// The guest kernel of one sandbox.
pub struct Kernel {
    /// How guest code is run.
    pub platform: Arc<dyn Platform>,
    /// Dispatch table.
    pub table: &'static SyscallTable,
    /// All tasks and their relations.
    pub tasks: RwLock<TaskTable>,
    /// The names that the first process starts with.
    pub uts: Arc<UtsNamespace>,
    /// Sleepers on futexes.
    pub futexes: FutexTable,
    /// The network namespace of all tasks.
    pub net: Arc<NetNamespace>,
    /// Memfds, System V shared memory.
    pub ipc: Ipc,
    /// Mounts, file-system types, devices.
    pub vfs: Vfs,
    /// The log of system calls.
    pub tracer: Tracer,
    /// Run queue.
    pub executor: Arc<Executor>,
    /// System-call sites that programs have used.
    pub learned: Learned,
    /// Called with the signal when the first process has stopped.
    pub init_stopped: OnceLock<StopHook>,
    /// No guest code runs.
    paused: AtomicBool,
    /// Threads that were told to end.
    pub(crate) stragglers: Stragglers,
    /// Woken when a pause ends.
    pause_end: WaitQueue,
    tty_host: Arc<KernelTtyHost>,
    exit_status: AtomicI32,
}

impl Kernel {
    /// Creates a kernel without tasks.
    pub fn new(platform: Arc<dyn Platform>, table: &'static SyscallTable) -> Arc<Kernel> {
        Arc::new_cyclic(|kernel| Kernel {
            tty_host: KernelTtyHost::new(kernel),
            executor: Executor::new(Arc::clone(&platform)),
            uts: UtsNamespace::initial(),
            futexes: FutexTable::default(),
            ipc: Ipc::default(),
            tracer: Tracer::default(),
            learned: Learned::default(),
            vfs: Vfs::default(),
            platform,
            table,
            net: NetNamespace::new(),
            tasks: RwLock::new(Level::Kernel, TaskTable::default()),
            init_stopped: OnceLock::new(),
            paused: AtomicBool::new(false),
            stragglers: Stragglers::default(),
            pause_end: WaitQueue::new(),
            exit_status: AtomicI32::new(-1),
        })
    }

    /// Returns what terminals ask of this kernel.
    pub fn tty_host(&self) -> Arc<KernelTtyHost> {
        Arc::clone(&self.tty_host)
    }

    /// Keeps guest code from running until [`Kernel::resume`]; returns once none runs, or after a while, whether none does.
    /// What the kernel does on behalf of a thread goes on, up to the thread's return to its program.
    pub async fn pause(&self) -> bool {
        const STEP: Duration = Duration::from_millis(1);
        const STEPS: usize = 5000;
        self.paused.store(true, Ordering::SeqCst);
        for _ in 0..STEPS {
            let tasks: Vec<Arc<Task>> = self.tasks.read().tasks.values().cloned().collect();
            let running = tasks.iter().filter(|task| !task.is_blocked());
            if running.map(|task| task.kick()).count() == 0 {
                return true;
            }
            async_io::Timer::after(STEP).await;
        }
        false
    }

    /// Lets guest code run again.
    pub fn resume(&self) {
        self.paused.store(false, Ordering::SeqCst);
        self.pause_end.wake(!0);
    }

    /// Tells whether guest code is kept from running.
    #[inline]
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Waits for the end of a pause, or of the thread.
    pub(crate) async fn wait_while_paused(&self, task: &Task) {
        let waiter = Waiter::new();
        let _registration = self.pause_end.register(!0, Arc::clone(&waiter) as Arc<dyn Notify>);
        // Killed meanwhile: the caller looks.
        let _ = task.wait_for(&waiter, None, Interruptible::Kill, || (!self.is_paused()).then_some(())).await;
    }

    /// Ends the sandbox: init is gone with this wait status.
    pub fn end(&self, status: i32) {
        self.exit_status.store(status, Ordering::SeqCst);
        self.executor.stop();
    }

    /// Works until the sandbox ends, with as many threads as the platform and the machine allow; returns init's wait
    /// status.
    pub fn run(&self) -> i32 {
        let cpus = cpus();
        match self.platform.max_workers() {
            Some(1) => self.executor.work(),
            most => self.executor.employ(most.unwrap_or(cpus).min(cpus)),
        }
        self.exit_status.load(Ordering::SeqCst)
    }
}

/// Returns how many CPUs the host lets the sandbox use, as it said first: a worker may keep to one of them later.
pub fn cpus() -> usize {
    static CPUS: LazyLock<usize> =
        LazyLock::new(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    *CPUS
}
