//! A thread of a guest kernel without a platform: handlers are called on it directly.

use std::ops::Range;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use abi::signal::{SigSet, StackT};
use abi::types::Rlimit;
use abi::{Pid, UserAddr};
use sentry::mm::{Layout, Mm};
use sentry::signal::{ProcessSignals, TaskSignals};
use sentry::syscall::IntoOutcome;
use sentry::task::{Caps, Cred, NewTask, Process, RLIMITS};
use sentry::usermem::UserMem;
use sentry::vfs::{FdTable, FsContext, Mount, MountFlags, MountNamespace};
use sentry::{Current, Kernel, Outcome, SysResult, Task};
use sentry_fs::tmpfs::{TmpFs, TmpfsOptions};
use sentry_platform::{
    AddressSpace, BoxFuture, Context, Event, Interrupt, MemOp, MemOpError, NewProcess, Platform, PlatformError,
    Registers, Vdso,
};
use sentry_sync::{Level, Mutex};

/// Where the memory of the guest lies.
const BASE: u64 = 0x10_0000;
const SIZE: usize = 1 << 20;

struct Memory(Mutex<Vec<u8>>);

fn window(addr: u64, len: usize) -> Range<usize> {
    match addr.checked_sub(BASE).and_then(|at| usize::try_from(at).ok()) {
        Some(at) if at < SIZE => at..at.saturating_add(len).min(SIZE),
        _ => 0..0,
    }
}

impl AddressSpace for Memory {
    fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        let range = window(addr, buf.len());
        let len = range.len();
        buf[..len].copy_from_slice(&self.0.lock()[range]);
        len
    }

    fn write(&self, addr: u64, buf: &[u8]) -> usize {
        let range = window(addr, buf.len());
        let len = range.len();
        self.0.lock()[range].copy_from_slice(&buf[..len]);
        len
    }

    fn host_pid(&self) -> i32 {
        0
    }
}

/// Neither runs guest code nor makes processes.
struct Nothing;

impl Platform for Nothing {
    fn name(&self) -> &'static str {
        "none"
    }

    fn max_workers(&self) -> Option<usize> {
        Some(1)
    }

    fn user_range(&self) -> Range<u64> {
        BASE..1 << 47
    }

    fn vdso(&self) -> Vdso {
        Vdso { image: 0..0, data: 0..0 }
    }

    fn new_process(&self) -> BoxFuture<'_, Result<NewProcess, PlatformError>> {
        Box::pin(std::future::pending())
    }

    fn poll(&self) -> bool {
        false
    }

    fn park(&self, _timeout: Option<Duration>) {}

    fn unpark(&self) {}
}

impl Interrupt for Nothing {
    fn interrupt(&self) {}

    fn cpu_time(&self) -> Duration {
        Duration::ZERO
    }
}

impl Context for Nothing {
    fn start(&mut self, _regs: &Registers) {}

    fn poll_event(&mut self, _cx: &mut TaskContext<'_>, _regs: &mut Registers) -> Poll<Event> {
        Poll::Pending
    }

    fn submit(&mut self, _ops: &[MemOp]) {}

    fn poll_ops(&mut self, _cx: &mut TaskContext<'_>) -> Poll<Result<u64, MemOpError>> {
        Poll::Pending
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        Arc::new(Nothing)
    }

    fn new_thread(&mut self) -> BoxFuture<'_, Result<Box<dyn Context>, PlatformError>> {
        Box::pin(std::future::pending())
    }

    fn fork(&mut self) -> BoxFuture<'_, Result<NewProcess, PlatformError>> {
        Box::pin(std::future::pending())
    }

    fn fpstate(&mut self) -> BoxFuture<'_, Result<Vec<u8>, PlatformError>> {
        Box::pin(std::future::pending())
    }

    fn set_fpstate<'a>(&'a mut self, _xsave: &'a [u8]) -> BoxFuture<'a, Result<(), PlatformError>> {
        Box::pin(std::future::pending())
    }

    fn reset_fpstate(&mut self) {}

    fn aborts_rseq(&self) -> bool {
        true
    }
}

/// A guest thread to call handlers on.
pub(crate) struct Guest {
    pub(crate) cur: Current,
    next: u64,
}

impl Guest {
    /// A thread of an ordinary user (1000) in process 7, with memory and no files.
    pub(crate) fn new() -> Guest {
        let memory = Arc::new(Memory(Mutex::new(Level::Platform, vec![0; SIZE])));
        let kernel = Kernel::new(Arc::new(Nothing), &crate::TABLE);
        let limits = [Rlimit { cur: 64, max: 64 }; RLIMITS];
        let tmpfs = Arc::new(TmpFs::new(TmpfsOptions::unlimited()).expect("nothing limits it"));
        let root = Mount::of(tmpfs, b"tmpfs", MountFlags::empty()).expect("a root directory has attributes");
        let namespace = MountNamespace::new(root);
        kernel.vfs.set_namespace(Arc::clone(&namespace));
        let layout = Layout::new(BASE..1 << 47, 8 << 20, None);
        let mm = Arc::new(Mm::new(Arc::clone(&memory) as _, layout, Vdso { image: 0..0, data: 0..0 }));
        let new = NewTask {
            tid: Pid(7),
            process: Process::init(Pid(7), ProcessSignals::default(), limits, 1000),
            cred: Arc::new(Cred::new(1000, 100, Vec::new(), Caps::empty())),
            files: Arc::default(),
            fs: Arc::new(FsContext::new(&namespace, 0o22)),
            mm: Arc::clone(&mm),
            signals: TaskSignals::new(SigSet::default(), StackT::default()),
            comm: b"test".to_vec(),
            interrupt: Arc::new(Nothing),
        };
        let task = Task::new(&kernel, new);
        let cur = Current::new(task, UserMem::new(memory), mm, Box::new(Nothing), Registers::default());
        Guest { cur, next: BASE }
    }

    /// Returns the descriptor table.
    pub(crate) fn files(&self) -> Arc<FdTable> {
        self.cur.task.files.load_full()
    }

    /// Puts bytes into guest memory, 16-aligned.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> UserAddr {
        let addr = UserAddr::new(self.next);
        self.cur.mem.write_bytes(addr, bytes).expect("the test's own memory is large enough");
        self.next += (bytes.len() as u64).next_multiple_of(16);
        addr
    }

    /// Reads guest memory.
    pub(crate) fn get(&self, addr: UserAddr, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.cur.mem.read_bytes(addr, &mut bytes).expect("the test's own memory");
        bytes
    }

    /// Makes a call that doesn't wait; `None` where it does.
    pub(crate) fn call<'a, O: IntoOutcome<'a>>(
        &'a mut self,
        call: impl FnOnce(&'a mut Current) -> O,
    ) -> Option<SysResult> {
        match call(&mut self.cur).into_outcome() {
            Outcome::Done(result) => Some(result),
            Outcome::Block(mut future) => match future.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())) {
                Poll::Ready(result) => Some(result),
                Poll::Pending => None,
            },
            Outcome::NoReturn => None,
        }
    }
}
