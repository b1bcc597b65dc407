//! `clone(2)` and its relatives: new threads and processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use abi::flags::OpenFlags;
use abi::signal::Signal;
use abi::{Errno, Fd, Pid, UserAddr, UserRef};
use sentry_platform::PlatformError;
use sentry_sync::{Notify, WaitQueue};

use super::pidfd::{PidFd, Target};
use super::{NewTask, ProcessEntry, Serving, run};
use crate::ipc::sem::UndoList;
use crate::signal::{ProcessSignals, TaskSignals};
use crate::usermem::UserMem;
use crate::vfs::{FdFlags, File};
use crate::wait::{Interruptible, Waiter};
use crate::{Current, Process, Task};

#[allow(missing_docs)] // Linux names, documented in clone(2)
mod words {
    use bitflags::bitflags;

    bitflags! {
        /// `CLONE_*`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct CloneFlags: u64 {
            const NEWTIME = 0x80;
            const VM = 0x100;
            const FS = 0x200;
            const FILES = 0x400;
            const SIGHAND = 0x800;
            const PIDFD = 0x1000;
            const PTRACE = 0x2000;
            const VFORK = 0x4000;
            const PARENT = 0x8000;
            const THREAD = 0x1_0000;
            const NEWNS = 0x2_0000;
            const SYSVSEM = 0x4_0000;
            const SETTLS = 0x8_0000;
            const PARENT_SETTID = 0x10_0000;
            const CHILD_CLEARTID = 0x20_0000;
            const DETACHED = 0x40_0000;
            const UNTRACED = 0x80_0000;
            const CHILD_SETTID = 0x100_0000;
            const NEWCGROUP = 0x200_0000;
            const NEWUTS = 0x400_0000;
            const NEWIPC = 0x800_0000;
            const NEWUSER = 0x1000_0000;
            const NEWPID = 0x2000_0000;
            const NEWNET = 0x4000_0000;
            const IO = 0x8000_0000;
            const CLEAR_SIGHAND = 0x1_0000_0000;
            const INTO_CGROUP = 0x2_0000_0000;
        }
    }
}

pub use words::CloneFlags;

/// What is asked of `clone`, after decoding.
#[derive(Clone, Copy, Debug)]
pub struct CloneArgs {
    /// What is shared and told.
    pub flags: CloneFlags,
    /// Signal at the end of a new process; `None` for none.
    pub exit_signal: Option<Signal>,
    /// Initial stack pointer; null keeps the caller's.
    pub stack: UserAddr,
    /// Thread pointer, with `SETTLS`.
    pub tls: u64,
    /// Where the parent gets the id, with `PARENT_SETTID`.
    pub parent_tid: UserRef<i32>,
    /// Where the child gets its id, with `CHILD_SETTID`, and has it cleared, with `CHILD_CLEARTID`.
    pub child_tid: UserRef<i32>,
    /// Where the parent gets a pidfd, with `PIDFD`.
    pub pidfd: UserRef<i32>,
    /// The id that it must get (`set_tid`).
    pub set_tid: Option<i32>,
    /// The directory of the cgroup that it must be in (`INTO_CGROUP`).
    pub cgroup: Option<Fd>,
}

/// The end of a vfork: the child has called exec or ended.
#[derive(Default)]
pub struct VforkDone {
    done: AtomicBool,
    queue: WaitQueue,
}

impl VforkDone {
    /// Lets the parent go on.
    pub fn finish(&self) {
        self.done.store(true, Ordering::SeqCst);
        self.queue.wake(!0);
    }
}

/// Namespaces that are not offered.
const UNSUPPORTED: CloneFlags = CloneFlags::NEWTIME
    .union(CloneFlags::NEWNS)
    .union(CloneFlags::NEWCGROUP)
    .union(CloneFlags::NEWIPC)
    .union(CloneFlags::NEWUSER)
    .union(CloneFlags::NEWPID)
    .union(CloneFlags::NEWNET);

fn check(flags: CloneFlags) -> Result<(), Errno> {
    let needs = |flag: CloneFlags, other: CloneFlags| !flags.contains(flag) || flags.contains(other);
    let never = |flag: CloneFlags, other: CloneFlags| !flags.contains(flag) || !flags.intersects(other);
    let sound = needs(CloneFlags::THREAD, CloneFlags::SIGHAND)
        && needs(CloneFlags::SIGHAND, CloneFlags::VM)
        && never(CloneFlags::NEWNS, CloneFlags::FS)
        && never(CloneFlags::NEWUSER, CloneFlags::FS)
        && never(CloneFlags::CLEAR_SIGHAND, CloneFlags::SIGHAND)
        && never(CloneFlags::THREAD, CloneFlags::NEWUSER | CloneFlags::NEWPID);
    // Namespaces that a kernel was built without are EINVAL too.
    if !sound || flags.intersects(UNSUPPORTED) { Err(Errno::EINVAL) } else { Ok(()) }
}

/// Checks the id that `clone3` is to give (kernel: `alloc_pid`).
fn check_wanted(cur: &Current, tid: i32) -> Result<(), Errno> {
    if !(1..super::table::PID_MAX).contains(&tid) {
        return Err(Errno::EINVAL);
    }
    let cred = cur.task.cred.load();
    if !cred.has(super::Caps::SYS_ADMIN) && !cred.has(super::Caps::CHECKPOINT_RESTORE) {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// Checks that a descriptor is a directory of the one hierarchy: `EBADF`. There is one group, which all are in already.
fn check_cgroup(cur: &Current, fd: Fd) -> Result<(), Errno> {
    let file = cur.task.files.load().get(fd)?;
    let dentry = file.path.as_ref().map(|path| &path.dentry);
    let known = dentry.is_some_and(|dentry| dentry.sb.fs.kind() == "cgroup2" && dentry.is_dir());
    if known { Ok(()) } else { Err(Errno::EBADF) }
}

fn platform_errno(error: &PlatformError) -> Errno {
    tracing::warn!(%error, "the platform could not make a thread or process");
    match error.errno() {
        Errno::ENOMEM => Errno::ENOMEM,
        _ => Errno::EAGAIN,
    }
}

/// Makes a thread or process; returns its id in the caller.
pub async fn clone(cur: &mut Current, args: &CloneArgs) -> Result<Pid, Errno> {
    let flags = args.flags;
    check(flags)?;
    if flags.contains(CloneFlags::NEWUTS) && !cur.task.cred.load().has(super::Caps::SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    if flags.contains(CloneFlags::PIDFD | CloneFlags::PARENT_SETTID) && args.pidfd.addr() == args.parent_tid.addr() {
        return Err(Errno::EINVAL);
    }
    if let Some(tid) = args.set_tid {
        check_wanted(cur, tid)?;
    }
    if flags.contains(CloneFlags::PARENT) && cur.process().pid == super::table::INIT {
        return Err(Errno::EINVAL);
    }
    cur.task.process.check_process_limit(&cur.task)?;
    if let Some(cgroup) = args.cgroup {
        check_cgroup(cur, cgroup)?;
    }
    let (mem, mm, context) = if flags.contains(CloneFlags::VM) {
        let context = cur.context.new_thread().await.map_err(|error| platform_errno(&error))?;
        (cur.mem.clone(), Arc::clone(&cur.mm), context)
    } else {
        let (mm, context) = cur.mm.fork(cur.context.as_mut()).await.map_err(|error| platform_errno(&error))?;
        (UserMem::new(Arc::clone(mm.space())), mm, context)
    };
    let tid = cur.kernel().tasks.write().allocate_pid(args.set_tid)?;
    let process =
        if flags.contains(CloneFlags::THREAD) { Arc::clone(cur.process()) } else { new_process(cur, tid, flags) };
    let parent = &cur.task;
    let share = |flag| flags.contains(flag);
    let keeps_altstack = !share(CloneFlags::VM) || share(CloneFlags::VFORK);
    let altstack = if keeps_altstack { parent.signals.altstack() } else { TaskSignals::no_altstack() };
    let files = parent.files.load_full();
    let fs = parent.fs.load_full();
    let task = Task::new(
        cur.kernel(),
        NewTask {
            tid,
            process,
            cred: parent.cred.load_full(),
            files: if share(CloneFlags::FILES) { files } else { Arc::new(files.duplicate()) },
            fs: if share(CloneFlags::FS) { fs } else { Arc::new(fs.duplicate()) },
            mm: Arc::clone(&mm),
            signals: TaskSignals::new(parent.signals.mask(), altstack),
            comm: parent.comm.lock().clone(),
            interrupt: context.interrupter(),
        },
    );
    task.inherit(parent);
    if share(CloneFlags::NEWUTS) {
        task.uts.store(parent.uts.load().duplicate());
    }
    if share(CloneFlags::SYSVSEM) {
        *task.sem_undo.lock() = Some(UndoList::of(parent));
    }
    if share(CloneFlags::CHILD_CLEARTID) {
        task.set_clear_child_tid(args.child_tid.addr());
    }
    if share(CloneFlags::CHILD_SETTID) {
        // A bad address is ignored, as on Linux.
        let _ = mem.write(args.child_tid, &tid.0);
    }
    let mut regs = *cur.regs();
    regs.rax = 0;
    regs.orig_rax = u64::MAX;
    if !args.stack.is_null() {
        regs.rsp = args.stack.raw();
    }
    if share(CloneFlags::SETTLS) {
        regs.fs_base = args.tls;
    }
    let mut child = Current::new(Arc::clone(&task), mem, mm, context, regs);
    if !share(CloneFlags::VM) {
        child.rseq = cur.rseq;
    }
    let vfork = share(CloneFlags::VFORK).then(|| {
        let done = Arc::new(VforkDone::default());
        *task.vfork_done.lock() = Some(Arc::clone(&done));
        done
    });
    if share(CloneFlags::PIDFD) {
        give_pidfd(cur, &task, args)?;
    }
    if share(CloneFlags::VM) {
        child.mm.add_user();
    }
    enter(cur, &task, args);
    if share(CloneFlags::PARENT_SETTID) {
        let _ = cur.mem.write(args.parent_tid, &tid.0);
    }
    cur.kernel().executor.spawn(Serving::new(task, run(child)));
    if let Some(done) = vfork {
        let waiter = Waiter::new();
        let _registration = done.queue.register(!0, Arc::clone(&waiter) as Arc<dyn Notify>);
        let ended = || done.done.load(Ordering::SeqCst).then_some(());
        // Killed meanwhile: the child goes on alone.
        let _ = cur.task.wait_for(&waiter, None, Interruptible::Kill, ended).await;
    }
    Ok(tid)
}

fn new_process(cur: &Current, pid: Pid, flags: CloneFlags) -> Arc<Process> {
    let hand = cur.process().signals.hand.load_full();
    let hand = if flags.contains(CloneFlags::SIGHAND) {
        hand
    } else if flags.contains(CloneFlags::CLEAR_SIGHAND) {
        Arc::new(hand.cleared())
    } else {
        Arc::new(hand.duplicate())
    };
    Process::child_of(cur.process(), pid, ProcessSignals::new(hand))
}

/// Opens a pidfd of the new task in the caller. Nobody has seen the task yet, so a failure just drops it.
fn give_pidfd(cur: &Current, task: &Arc<Task>, args: &CloneArgs) -> Result<(), Errno> {
    let target = if args.flags.contains(CloneFlags::THREAD) { Target::Thread(task.tid) } else { Target::Process };
    let ops = PidFd::new(cur.kernel(), Arc::clone(&task.process), target);
    let file = File::new(ops, None, OpenFlags::RDWR);
    let files = cur.task.files.load();
    let fd = files.install(file, FdFlags::CLOEXEC, 0, cur.process().fd_limit())?;
    cur.mem.write(args.pidfd, &fd.0).inspect_err(|_| {
        // Nobody could name it.
        let _ = files.remove(fd);
    })
}

/// Enters a new task into the table, with its process unless it is a thread.
fn enter(cur: &Current, task: &Arc<Task>, args: &CloneArgs) {
    let mut table = cur.kernel().tasks.write();
    // Not before: another thread may have put a filter on this one.
    task.seccomp.inherit(&cur.task.seccomp);
    if !args.flags.contains(CloneFlags::THREAD)
        && let Some(own) = table.processes.get(&cur.process().pid)
    {
        let (pgid, sid) = (own.pgid, own.sid);
        let (parent, parent_thread, exit_signal) = if args.flags.contains(CloneFlags::PARENT) {
            (own.parent, own.parent_thread, own.exit_signal)
        } else {
            (own.process.pid, cur.task.tid, args.exit_signal)
        };
        let entry = ProcessEntry::new(Arc::clone(&task.process), parent, pgid, sid, exit_signal);
        table.insert_process(ProcessEntry { parent_thread, ..entry });
    }
    table.insert_task(task);
    drop(table);
    if !args.flags.contains(CloneFlags::THREAD) {
        super::cpu_limit::watch(cur.kernel(), &task.process);
    }
    // A group that is being killed takes its new thread along.
    if let Some(status) = task.process.group_exit() {
        task.request_exit(status);
    }
}
