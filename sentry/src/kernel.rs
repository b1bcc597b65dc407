//! One guest kernel: what all its tasks share.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};

use abi::signal::Signal;
use sentry_net::NetNamespace;
use sentry_platform::Platform;
use sentry_sync::{Level, RwLock};

use crate::futex::FutexTable;
use crate::ipc::Ipc;
use crate::ns::UtsNamespace;
use crate::syscall::SyscallTable;
use crate::task::TaskTable;
use crate::trace::Tracer;
use crate::tty_host::KernelTtyHost;
use crate::vfs::Vfs;
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
    /// Called with the signal when the first process has stopped.
    pub init_stopped: OnceLock<StopHook>,
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
            vfs: Vfs::default(),
            platform,
            table,
            net: NetNamespace::new(),
            tasks: RwLock::new(Level::Kernel, TaskTable::default()),
            init_stopped: OnceLock::new(),
            exit_status: AtomicI32::new(-1),
        })
    }

    /// Returns what terminals ask of this kernel.
    pub fn tty_host(&self) -> Arc<KernelTtyHost> {
        Arc::clone(&self.tty_host)
    }

    /// Ends the sandbox: init is gone with this wait status.
    pub fn end(&self, status: i32) {
        self.exit_status.store(status, Ordering::SeqCst);
        self.executor.stop();
    }

    /// Works until the sandbox ends, with as many threads as the platform and the machine allow; returns init's wait
    /// status.
    pub fn run(&self) -> i32 {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers = self.platform.max_workers().unwrap_or(cpus).max(1);
        std::thread::scope(|scope| {
            for _ in 1..workers {
                scope.spawn(|| self.executor.work());
            }
            self.executor.work();
        });
        self.exit_status.load(Ordering::SeqCst)
    }
}
