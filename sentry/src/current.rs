//! The running thread as its own handlers see it.

use std::sync::Arc;

use abi::{Errno, Fd, Restart};
use sentry_platform::{Context, ContextExt, Event, Registers};

use crate::mm::Mm;
use crate::task::rseq::Rseq;
use crate::usermem::UserMem;
use crate::vfs::{FdTable, File, FsContext, KnownFiles, Start};
use crate::{Kernel, Process, Task};

/// The thread that makes the call: everything that only it may touch, owned by its future. Not `Sync`: async functions
/// take it by `&mut`.
pub struct Current {
    /// What others may see and change of this thread.
    pub task: Arc<Task>,
    /// Registers at the last event; after a system call perhaps only its number, arguments and result.
    regs: Registers,
    /// The platform's side of the thread.
    pub context: Box<dyn Context>,
    /// The memory that this thread's addresses mean. Changes at exec.
    pub mem: UserMem,
    /// The books of that memory.
    pub mm: Arc<Mm>,
    files: Arc<FdTable>,
    fs: Arc<FsContext>,
    known: KnownFiles,
    /// Set when the last call was interrupted: resolved when signals are delivered.
    pub restart: Option<Restart>,
    /// Where a restarted call (`restart_syscall`) goes on.
    pub restart_block: Option<RestartBlock>,
    /// Mask to put back once the signal that ended `rt_sigsuspend`, `ppoll` and the like has been dealt with.
    pub saved_mask: Option<abi::signal::SigSet>,
    /// The hardware fault whose signal is being delivered: its numbers go into the signal frame.
    pub fault: Option<sentry_platform::Fault>,
    /// Bytes of the signal frame written last, floating-point state included: what `rt_sigreturn` will want.
    pub(crate) frame_len: usize,
    /// The area registered with `rseq(2)`.
    pub rseq: Option<Rseq>,
    /// Set by a blocking call that has replaced the registers itself (a successful `execve`).
    pub registers_final: bool,
}

/// A call that `restart_syscall(2)` continues with its original deadline.
pub type RestartBlock = Box<dyn for<'a> FnOnce(&'a mut Current) -> crate::Outcome<'a> + Send>;

impl Current {
    /// A thread that has not run yet.
    pub fn new(task: Arc<Task>, mem: UserMem, mm: Arc<Mm>, context: Box<dyn Context>, regs: Registers) -> Current {
        Current {
            files: task.files.load_full(),
            fs: task.fs.load_full(),
            known: KnownFiles::default(),
            task,
            regs,
            context,
            mem,
            mm,
            restart: None,
            restart_block: None,
            saved_mask: None,
            fault: None,
            frame_len: 0,
            rseq: None,
            registers_final: false,
        }
    }

    /// Returns the descriptors.
    pub fn files(&self) -> &Arc<FdTable> {
        &self.files
    }

    /// Replaces the descriptors.
    pub fn set_files(&mut self, files: Arc<FdTable>) {
        self.known = KnownFiles::default();
        self.files = Arc::clone(&files);
        self.task.files.store(files);
    }

    /// Returns the file behind a descriptor, remembering the descriptors that the thread uses again and again.
    pub fn file(&self, fd: Fd) -> Result<Arc<File>, Errno> {
        self.known.get(&self.files, fd)
    }

    /// Returns root, working directory and umask.
    pub fn fs(&self) -> &Arc<FsContext> {
        &self.fs
    }

    /// Returns who walks on behalf of this thread, and from where.
    pub fn start(&self) -> Start {
        Start::new(&self.fs, &self.task)
    }

    /// Replaces root, working directory and umask.
    pub fn set_fs(&mut self, fs: Arc<FsContext>) {
        self.fs = Arc::clone(&fs);
        self.task.fs.store(fs);
    }

    /// Runs guest code until the next event.
    pub(crate) async fn run_guest(&mut self) -> Event {
        self.context.run(&mut self.regs).await
    }

    /// Returns the registers at the last event; changed ones take effect when guest code goes on. A call that only needs
    /// its arguments is cheaper without.
    pub fn regs(&mut self) -> &mut Registers {
        self.context.complete(&mut self.regs);
        &mut self.regs
    }

    /// Returns the number of the system call that is being served, as the whole register holds it.
    pub fn call_number(&self) -> u64 {
        self.regs.orig_rax
    }

    /// Returns the arguments of the system call that is being served.
    pub fn call_args(&self) -> [u64; 6] {
        self.regs.syscall_args()
    }

    /// Sets what the system call returns.
    pub fn set_result(&mut self, value: u64) {
        self.regs.rax = value;
    }

    /// Becomes another program, about to run its first instruction.
    pub(crate) fn replace_program(&mut self, context: Box<dyn Context>, regs: Registers) {
        self.context = context;
        self.regs = regs;
    }

    /// Returns the kernel.
    pub fn kernel(&self) -> &Arc<Kernel> {
        &self.task.kernel
    }

    /// Tells, once, whether the call that has just ended set the registers itself.
    pub(crate) fn take_registers_final(&mut self) -> bool {
        std::mem::take(&mut self.registers_final)
    }

    /// Returns the thread group.
    pub fn process(&self) -> &Arc<Process> {
        &self.task.process
    }
}
