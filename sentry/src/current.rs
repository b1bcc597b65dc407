//! The running thread as its own handlers see it.

mod mapped;

use std::future::poll_fn;
use std::sync::Arc;

use abi::{Errno, Fd, Restart};
use sentry_platform::{Context, ContextExt, Event, Interrupt, MemOp, Registers};

use crate::mm::{Begun, Mm, OwnChange, OwnPlace};
use crate::syscall::Outcome;
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
    /// To be performed on the way back to guest code.
    later: Option<Later>,
    /// As what memory is held that others could change, for what is to be written on the way back to guest code.
    holder: Option<Arc<dyn Interrupt>>,
    /// A change of the kernel's own mappings to be performed then, which nobody waits for.
    own_change: Option<OwnChange>,
    /// Where this thread copies from or to then.
    place: Option<OwnPlace>,
    /// Set by a blocking call that has replaced the registers itself (a successful `execve`).
    pub registers_final: bool,
}

/// A call that `restart_syscall(2)` continues with its original deadline.
pub type RestartBlock = Box<dyn for<'a> FnOnce(&'a mut Current) -> crate::Outcome<'a> + Send>;

/// What was left for the way back.
enum Later {
    /// A change of memory, and what the call returns if it fails, unless that is the error.
    Change { change: Begun, failed: Option<u64> },
    /// The registration of this thread's area, entered already.
    Rseq(MemOp),
}

/// What `rax` holds after a system call that failed.
pub(crate) fn error_value(errno: Errno) -> u64 {
    i64::from(-errno.raw()).cast_unsigned()
}

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
            later: None,
            holder: None,
            own_change: None,
            place: None,
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

    /// Runs guest code until the next event; `None`: a system call. Other events are large, and so elsewhere.
    #[inline]
    pub(crate) async fn run_guest(&mut self) -> Option<Box<Event>> {
        let unless_call = |event| if event == Event::Syscall { None } else { Some(Box::new(event)) };
        // What is left is large, too, and to take it is to move it.
        let event = if self.later.is_none() && self.own_change.is_none() {
            self.context.start(&self.regs);
            poll_fn(|cx| self.context.poll_event(cx, &mut self.regs).map(unless_call)).await
        } else {
            unless_call(self.run_behind_what_is_left().await)
        };
        self.release_memory();
        event
    }

    async fn run_behind_what_is_left(&mut self) -> Event {
        match (self.later.take(), self.own_change.take()) {
            (None, None) => self.context.run(&mut self.regs).await,
            (None, Some(change)) => self.run_behind_own(change).await,
            (Some(later), own) => {
                if let Some(change) = own {
                    self.finish_own(change).await;
                }
                self.run_behind(later).await
            }
        }
    }

    /// Tells whether nothing will keep bytes from being written there on the way back to guest code. No other thread changes
    /// this memory until then: [`Current::release_memory`] is to follow where nothing is left to be written after all.
    pub fn hold_memory(&mut self, addr: u64, len: u64) -> bool {
        if !self.mm.is_shared() {
            return self.mm.books().is_plainly_writable(addr, len);
        }
        let thread = self.task.interrupter();
        let held = self.mm.hold(&thread, self.context.next_run(), addr, len);
        if held {
            self.holder = Some(thread);
        }
        held
    }

    /// Ends that.
    pub fn release_memory(&mut self) {
        if let Some(place) = self.place.take() {
            self.mm.own.release(&place);
        }
        if let Some(thread) = self.holder.take() {
            self.mm.end_under_way(&thread, true);
        }
    }

    /// The same, with what was left before it.
    async fn run_behind(&mut self, later: Later) -> Event {
        match later {
            Later::Change { change, failed } => self.run_behind_change(change, failed).await,
            Later::Rseq(op) if self.context.start_after(std::slice::from_ref(&op), &self.regs) => {
                let event = poll_fn(|cx| self.context.poll_event(cx, &mut self.regs)).await;
                let Event::Refused(failure) = event else { return event };
                self.refuse_rseq(failure.errno);
                self.context.run(&mut self.regs).await
            }
            Later::Rseq(op) => {
                self.finish(Later::Rseq(op)).await;
                self.context.run(&mut self.regs).await
            }
        }
    }

    async fn run_behind_change(&mut self, change: Begun, failed: Option<u64>) -> Event {
        let thread = self.task.interrupter();
        if let Some(change) = change.start(self.context.as_mut(), &self.regs, &thread) {
            self.finish(Later::Change { change, failed }).await;
            return self.context.run(&mut self.regs).await;
        }
        let event = poll_fn(|cx| self.context.poll_event(cx, &mut self.regs)).await;
        self.mm.end_under_way(&thread, !matches!(event, Event::Refused(_)));
        let Event::Refused(failure) = event else { return event };
        self.set_result(failed.unwrap_or_else(|| error_value(failure.errno)));
        self.context.run(&mut self.regs).await
    }

    /// The same, with a change of the kernel's own mappings before it.
    async fn run_behind_own(&mut self, change: OwnChange) -> Event {
        if !self.context.start_after(&change.ops, &self.regs) {
            self.finish_own(change).await;
            return self.context.run(&mut self.regs).await;
        }
        let event = poll_fn(|cx| self.context.poll_event(cx, &mut self.regs)).await;
        let refused = matches!(event, Event::Refused(_));
        self.mm.own.settle(change, !refused);
        if refused { self.context.run(&mut self.regs).await } else { event }
    }

    async fn finish_own(&mut self, change: OwnChange) {
        let done = self.context.memory(&change.ops).await.is_ok();
        self.mm.own.settle(change, done);
    }

    /// Has a change performed on the way back to guest code. The call returns `value` if that succeeds, `failed` or the
    /// error if not.
    pub fn change_later(&mut self, change: Begun, value: u64, failed: Option<u64>) -> Outcome<'static> {
        self.later = Some(Later::Change { change, failed });
        Outcome::Done(Ok(value))
    }

    /// Has the host register the area on the way back to guest code.
    pub(crate) fn rseq_later(&mut self, area: Rseq, op: MemOp) {
        self.rseq = Some(area);
        self.later = Some(Later::Rseq(op));
    }

    fn refuse_rseq(&mut self, errno: Errno) {
        self.rseq = None;
        self.set_failure(errno);
    }

    /// Has what was left for the way back performed now: something else comes first.
    pub(crate) async fn flush(&mut self) {
        if let Some(value) = self.context.flush() {
            self.set_result(value);
        }
        self.release_memory();
        if let Some(change) = self.own_change.take() {
            self.finish_own(change).await;
        }
        if let Some(later) = self.later.take() {
            self.finish(later).await;
        }
    }

    async fn finish(&mut self, later: Later) {
        match later {
            Later::Change { change, failed } => {
                if let Err(errno) = change.finish(self.context.as_mut()).await {
                    self.set_result(failed.unwrap_or_else(|| error_value(errno)));
                }
            }
            Later::Rseq(op) => {
                let mm = Arc::clone(&self.mm);
                if let Err(errno) = mm.host_op(self.context.as_mut(), op).await {
                    self.refuse_rseq(errno);
                }
            }
        }
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

    /// Makes the system call fail.
    pub(crate) fn set_failure(&mut self, errno: Errno) {
        self.set_result(error_value(errno));
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
