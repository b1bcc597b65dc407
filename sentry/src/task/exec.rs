//! `execve`: a process goes on with another program (`man 2 execve`, kernel: `fs/exec.c`, `security/commoncap.c`).
//!
//! The new address space is made completely before anything of the old program is touched, so that nearly every
//! failure leaves the caller as it was.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::signal::StackT;
use abi::types::mode;
use abi::{Errno, Fd};
use rustix::rand::{GetRandomFlags, getrandom};
use sentry_fs::{BytesDst, FileKind, IoFlags, MapSource};

use super::exit::{release_memory, threads_of};
use super::{Caps, Cred, NewTask, Task};
use crate::Current;
use crate::loader::{Args, Executable, Identity, Image, LoadError, LoadRequest, MachineInfo, Opener, plan};
use crate::mm::{Entropy, Limits, MappedDescription, MappedFile};
use crate::usermem::UserMem;
use crate::vfs::{self, FdFlags, File};
use crate::wait::{Interruptible, Waiter};

/// `ADDR_NO_RANDOMIZE` of `personality(2)`, and what a set-id program clears.
const ADDR_NO_RANDOMIZE: u32 = 0x004_0000;
const PER_CLEAR_ON_SETID: u32 = 0x0040_0000 | 0x0010_0000 | 0x0020_0000 | ADDR_NO_RANDOMIZE;
/// `SECBIT_NOROOT`, `SECBIT_KEEP_CAPS`.
const NO_ROOT: u32 = 1;
const KEEP_CAPS: u32 = 1 << 4;
/// Longest thread name, without its NUL.
const COMM_MAX: usize = 15;

/// What is to be executed.
pub struct ExecRequest {
    /// The program, opened for execution.
    pub file: Arc<File>,
    /// Its name as given, for `AT_EXECFN` and scripts.
    pub name: Vec<u8>,
    /// The name leads through a descriptor that exec closes.
    pub name_vanishes: bool,
    /// Arguments and environment.
    pub args: Args,
}

/// A file that is being executed.
struct Program(Arc<File>);

impl Executable for Program {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        let mut pos = offset;
        self.0.ops.read(&mut pos, IoFlags::POSITIONED, &mut BytesDst::new(buf))
    }

    fn map(&self) -> Result<MapSource, Errno> {
        self.0.ops.map(false)
    }

    fn mapped(&self) -> Arc<dyn MappedFile> {
        MappedDescription::new(Arc::clone(&self.0))
    }
}

struct TaskOpener<'a>(&'a Task);

impl Opener for TaskOpener<'_> {
    fn open_exec(&self, path: &[u8]) -> Result<Arc<dyn Executable>, Errno> {
        let file = vfs::open_exec(self.0, Fd::CWD, path, true)?;
        Ok(Arc::new(Program(file)))
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // The host's generator has been ready since boot; a short answer leaves zeros, which are still valid.
    let _ = getrandom(&mut bytes, GetRandomFlags::empty());
    bytes
}

fn entropy() -> Entropy {
    // One question to the host for all of them.
    let bytes: [u8; 40] = random();
    let mut words = bytes.chunks_exact(8).map(|word| word.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)));
    let mut word = || words.next().unwrap_or_default();
    Entropy { stack: word(), mmap: word(), brk: word(), pie: word(), stack_align: word() }
}

/// Returns the credentials after the exec, and whether it gains rights.
fn new_cred(task: &Task, file: &File) -> Result<(Cred, bool), Errno> {
    let old = task.cred.load_full();
    let mut new = (*old).clone();
    let set_ids = !old.no_new_privs && vfs::honours_set_ids(file);
    if set_ids && let Some(inode) = &file.inode {
        let attr = inode.attr()?;
        if attr.kind == FileKind::Regular && attr.perm & mode::ISUID != 0 {
            new.euid = attr.uid;
        }
        // Set-gid without group execution meant mandatory locking once, and changes nothing.
        if attr.perm & (mode::ISGID | 0o010) == mode::ISGID | 0o010 {
            new.egid = attr.gid;
        }
    }
    (new.suid, new.fsuid) = (new.euid, new.euid);
    (new.sgid, new.fsgid) = (new.egid, new.egid);
    let root = old.securebits & NO_ROOT == 0 && (new.ruid == 0 || new.euid == 0);
    let set_id = new.euid != old.euid || new.egid != old.egid;
    if set_id {
        new.ambient = Caps::empty();
    }
    // P'(permitted) = (P(inheritable) & F(inheritable)) | (F(permitted) & P(bounding)) | P'(ambient), where a root's
    // files count as having everything.
    new.permitted = if root { new.inheritable | new.bounding } else { Caps::empty() } | new.ambient;
    new.effective = if root && new.euid == 0 { new.permitted } else { new.ambient };
    new.securebits &= !KEEP_CAPS;
    let secure = set_id || (new.ruid != 0 && !old.permitted.contains(new.permitted));
    Ok((new, secure))
}

fn identity(cred: &Cred, secure: bool) -> Identity {
    Identity { uid: cred.ruid, euid: cred.euid, gid: cred.rgid, egid: cred.egid, secure, random: random() }
}

/// Plans the new program. Nothing has changed if it fails.
fn plan_for(task: &Task, request: &ExecRequest, cred: &Cred, secure: bool) -> Result<Image, LoadError> {
    let platform = &task.kernel.platform;
    let randomize = task.personality.load(Ordering::Relaxed) & ADDR_NO_RANDOMIZE == 0;
    plan(LoadRequest {
        file: Arc::new(Program(Arc::clone(&request.file))),
        file_name: &request.name,
        name_vanishes: request.name_vanishes,
        args: request.args.clone(),
        opener: &TaskOpener(task),
        limits: Limits::of(task),
        user: platform.user_range(),
        entropy: randomize.then(entropy),
        identity: identity(cred, secure),
        machine: MachineInfo::of_host(&platform.vdso().image),
    })
}

fn comm(name: &[u8]) -> Vec<u8> {
    let base = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    base[..base.len().min(COMM_MAX)].to_vec()
}

/// Loads a program for a task that has none yet: the first of a process.
pub(crate) async fn load_first(task: &Task, request: &ExecRequest) -> Result<crate::loader::Loaded, Errno> {
    let (cred, secure) = new_cred(task, &request.file)?;
    let image = plan_for(task, request, &cred, secure).map_err(LoadError::errno)?;
    let class = super::thunk::class(task, &cred);
    task.process.attributes.lock().dumpable = u32::from(!secure);
    task.set_cred(cred);
    *task.comm.lock() = comm(&request.name);
    image.load(&task.kernel, class).await.map_err(LoadError::errno)
}

/// Replaces the caller's program.
pub async fn exec(cur: &mut Current, request: ExecRequest) -> Result<(), Errno> {
    let (cred, secure) = new_cred(&cur.task, &request.file)?;
    let image = plan_for(&cur.task, &request, &cred, secure).map_err(|error| failed(&cur.task, error))?;
    let kernel = Arc::clone(cur.kernel());
    let class = super::thunk::class(&cur.task, &cred);
    let loaded = image.load(&kernel, class).await.map_err(|error| failed(&cur.task, error))?;
    become_only_thread(cur).await?;
    // From here on nothing fails.
    release_memory(cur).await;
    let task = Arc::clone(&cur.task);
    task.process.note_end_of(&cur.mm);
    task.signals.answers.leave();
    task.set_interrupt(loaded.context.interrupter());
    task.mm.store(Arc::clone(&loaded.mm));
    cur.mem = UserMem::new(Arc::clone(loaded.mm.space()));
    cur.mm = loaded.mm;
    cur.replace_program(loaded.context, loaded.regs);
    cur.restart_block = None;
    *task.comm.lock() = comm(&request.name);
    // The flags stay (kernel: `begin_new_exec`).
    let stack = StackT { flags: task.signals.altstack().flags, ..StackT::default() };
    task.signals.set_altstack(stack);
    let hand = task.process.signals.hand.load().after_exec();
    task.process.signals.hand.store(Arc::new(hand));
    task.process.posix_timers.clear();
    task.signals.discard_timers();
    task.process.signals.discard_timers();
    close_on_exec(cur);
    if secure {
        task.parent_death_signal.store(0, Ordering::Relaxed);
        task.personality.fetch_and(!PER_CLEAR_ON_SETID, Ordering::Relaxed);
    }
    task.process.attributes.lock().dumpable = u32::from(!secure);
    task.set_cred(cred);
    let mut table = kernel.tasks.write();
    if let Some(entry) = table.processes.get_mut(&task.process.pid) {
        entry.has_execed = true;
        task.begin_answers(entry);
        entry.exit_signal = Some(abi::signal::Signal::SIGCHLD);
    }
    drop(table);
    task.process.end_exec();
    cur.registers_final = true;
    Ok(())
}

/// Returns the error of an exec that Linux would refuse; one that fails there once the old program is gone ends the
/// process.
fn failed(task: &Task, error: LoadError) -> Errno {
    if let LoadError::Fatal(errno) = error {
        tracing::debug!(?task, ?errno, "exec failed past the point of no return");
        super::exit::exit_group(task, abi::signal::Signal::SIGSEGV.number());
    }
    error.errno()
}

/// Closes what is marked so, in a table of the program's own.
fn close_on_exec(cur: &mut Current) {
    // One for the task, one for the thread itself; more for those that share it.
    if Arc::strong_count(cur.files()) > 2 {
        let own = cur.files().duplicate();
        cur.set_files(Arc::new(own));
    }
    let files = cur.files();
    for file in files.remove_where(|_, flags| flags.contains(FdFlags::CLOEXEC)) {
        // A failure to write back has nobody to go to.
        let _ = file.closed(files.lock_owner());
    }
}

/// Ends all other threads of the process and takes over the leader's id. `EAGAIN` where another thread is at it.
async fn become_only_thread(cur: &mut Current) -> Result<(), Errno> {
    let process = Arc::clone(cur.process());
    if !process.begin_exec() {
        return Err(Errno::EAGAIN);
    }
    for thread in threads_of(&cur.task) {
        if thread.tid != cur.task.tid {
            thread.request_exit(0);
        }
    }
    let waiter = Waiter::new();
    let notify = Arc::clone(&waiter) as Arc<dyn sentry_sync::Notify>;
    let _registration = process.thread_gone.register(!0, notify);
    let task = Arc::clone(&cur.task);
    let alone = || (threads_of(&task).len() <= 1).then_some(());
    if cur.task.wait_for(&waiter, None, Interruptible::Kill, alone).await.is_err() {
        process.end_exec();
        return Err(Errno::EINTR);
    }
    if !cur.task.is_leader() {
        take_over_leadership(cur);
    }
    Ok(())
}

/// Gives the caller the id of its process. Who holds the old task finds it gone from the table.
fn take_over_leadership(cur: &mut Current) {
    let old = Arc::clone(&cur.task);
    old.signals.answers.leave();
    let new = Task::new(
        &old.kernel,
        NewTask {
            tid: old.process.pid,
            process: Arc::clone(&old.process),
            cred: old.cred.load_full(),
            files: old.files.load_full(),
            fs: old.fs.load_full(),
            mm: old.mm.load_full(),
            signals: old.signals.take_over(),
            comm: old.comm.lock().clone(),
            interrupt: cur.context.interrupter(),
        },
    );
    new.inherit(&old);
    new.set_clear_child_tid(old.clear_child_tid());
    new.set_robust_list(old.robust_list());
    new.seccomp.inherit(&old.seccomp);
    let vfork_done = old.vfork_done.lock().take();
    *new.vfork_done.lock() = vfork_done;
    let sem_undo = old.sem_undo.lock().take();
    *new.sem_undo.lock() = sem_undo;
    let mut table = old.kernel.tasks.write();
    table.remove_task(&old);
    table.insert_task(&new);
    // Its children know it by its new id.
    let made = table.processes.values_mut().filter(|entry| entry.parent_thread == old.tid);
    made.for_each(|entry| entry.parent_thread = new.tid);
    drop(table);
    super::current::replace(&new);
    cur.task = new;
}
