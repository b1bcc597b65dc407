//! The first process of a sandbox, and those that the caller runs beside it.

use std::sync::Arc;

use abi::signal::{SIG_IGN, SigAction, SigSet, Signal, StackT};
use abi::types::Rlimit;
use abi::{Errno, Fd, Pid};
use sentry_fs::tty::Terminal;
use sentry_platform::Context;

use crate::loader::Args;
use crate::signal::{ProcessSignals, TaskSignals};
use crate::task::exec::{ExecRequest, load_first};
use crate::task::{Cred, INIT, InitRole, NewTask, ProcessEntry, RLIMITS, Serving, run, seccomp};
use crate::usermem::UserMem;
use crate::vfs::{self, FdFlags, FdTable, File, FsContext};
use crate::{Current, Kernel, Process, Task};

/// What the first process is.
pub struct Init {
    /// Program and arguments. A program without a slash is looked for in the environment's `PATH`.
    pub args: Vec<Vec<u8>>,
    /// Environment.
    pub env: Vec<Vec<u8>>,
    /// Working directory.
    pub cwd: Vec<u8>,
    /// Permission bits taken off new files.
    pub umask: u32,
    /// Credentials.
    pub cred: Cred,
    /// Resource limits.
    pub limits: [Rlimit; RLIMITS],
    /// Descriptors from 0 on; `None` stays closed.
    pub files: Vec<Option<Arc<File>>>,
    /// The program itself, where the first argument only names it.
    pub program: Option<Arc<File>>,
    /// Standing with the out-of-memory killer.
    pub oom_score_adj: i32,
    /// Signals that are ignored from the start.
    pub ignored: SigSet,
    /// What the process is to the caller.
    pub role: InitRole,
    /// The system calls that it may make, put on it with its program.
    pub seccomp: Option<Arc<seccomp::Program>>,
}

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The working directory can't be entered.
    #[error("entering the working directory {dir:?} in the sandbox: {errno}")]
    Cwd {
        /// The directory.
        dir: String,
        /// Why.
        errno: Errno,
    },
    /// No directory of the path has the program. Engines know this wording, which is runc's.
    #[error("exec: {program:?}: executable file not found in $PATH")]
    NotFound {
        /// The program as given.
        program: String,
    },
    /// The program can't be executed. Engines know this wording, which is runc's.
    #[error("exec: {program:?}: {}", errno.text().to_lowercase())]
    Exec {
        /// The program as given.
        program: String,
        /// Why.
        errno: Errno,
    },
    /// No process could be made.
    #[error("making a process: {0}")]
    Process(Errno),
}

/// Default limits of a container, as Docker sets them.
pub fn default_limits() -> [Rlimit; RLIMITS] {
    const INFINITE: u64 = u64::MAX;
    let mut limits = [Rlimit { cur: INFINITE, max: INFINITE }; RLIMITS];
    let mut set = |at: crate::task::Resource, cur, max| limits[at as usize] = Rlimit { cur, max };
    use crate::task::Resource::*;
    set(Stack, 8 << 20, INFINITE);
    set(Core, 0, INFINITE);
    set(Nofile, 1 << 20, 1 << 20);
    set(Memlock, 8 << 20, 8 << 20);
    set(Sigpending, 65_536, 65_536);
    set(Msgqueue, 819_200, 819_200);
    set(Nice, 0, 0);
    set(Rtprio, 0, 0);
    limits
}

/// Names to try for a program: itself, or its place in each directory of `PATH`.
fn candidates(program: &[u8], env: &[Vec<u8>]) -> Vec<Vec<u8>> {
    if program.contains(&b'/') {
        return vec![program.to_vec()];
    }
    const DEFAULT: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let path = env.iter().find_map(|entry| entry.strip_prefix(b"PATH=")).unwrap_or(DEFAULT);
    let dirs = path.split(|byte| *byte == b':').map(|dir| if dir.is_empty() { b".".as_slice() } else { dir });
    dirs.map(|dir| [dir, b"/", program].concat()).collect()
}

/// A process that is made but has no program yet: [`Prepared::start`] gives it one and lets it run. Dropping it takes it
/// back.
pub struct Prepared {
    task: Arc<Task>,
    context: Box<dyn Context>,
    args: Args,
    program: Option<Arc<File>>,
    seccomp: Option<Arc<seccomp::Program>>,
}

impl Kernel {
    /// Makes the first process and lets it run. The namespace has been set up.
    pub async fn start_init(self: &Arc<Kernel>, init: Init) -> Result<Arc<Task>, InitError> {
        self.prepare(init).await?.start(None).await
    }

    /// Makes a process outside the tree of the others: the first, or, once that is made, one that the caller runs beside
    /// it. Fails where its program can't be found now.
    pub async fn prepare(self: &Arc<Kernel>, init: Init) -> Result<Prepared, InitError> {
        let namespace = self.vfs.namespace().ok_or(InitError::Process(Errno::ENOENT))?;
        let fs = Arc::new(FsContext::new(namespace, init.umask));
        let table = FdTable::default();
        for (number, file) in init.files.into_iter().enumerate() {
            let Some(file) = file else { continue };
            table.install(file, FdFlags::empty(), number, usize::MAX).map_err(InitError::Process)?;
        }
        let pid = {
            let mut tasks = self.tasks.write();
            let pid = tasks.allocate_pid(None).map_err(InitError::Process)?;
            if pid == INIT {
                tasks.init_role = init.role;
            }
            pid
        };
        let signals = ProcessSignals::default();
        let ignore = SigAction { handler: SIG_IGN, ..SigAction::default() };
        for signal in (1..=64).filter_map(Signal::new).filter(|signal| init.ignored.contains(*signal)) {
            signals.hand.load().set(signal, ignore);
        }
        let process = Process::init(pid, signals, init.limits, init.cred.ruid);
        process.attributes.lock().oom_score_adj = init.oom_score_adj;
        if pid == INIT && init.role == InitRole::Container {
            process.make_unkillable();
        }
        let (space, context) = self.platform.new_process().await.map_err(|error| {
            tracing::error!(%error, "the platform could not make a process");
            InitError::Process(error.errno())
        })?;
        // A memory to belong to until the program is loaded.
        let empty = crate::mm::Mm::empty(space, self.platform.as_ref());
        let task = Task::new(
            self,
            NewTask {
                tid: pid,
                process,
                cred: Arc::new(init.cred),
                files: Arc::new(table),
                fs,
                mm: Arc::new(empty),
                signals: TaskSignals::new(SigSet::EMPTY, StackT::default()),
                comm: b"init".to_vec(),
                interrupt: context.interrupter(),
            },
        );
        let enter = |errno| InitError::Cwd { dir: String::from_utf8_lossy(&init.cwd).into_owned(), errno };
        vfs::change_dir(&task, &init.cwd).map_err(enter)?;
        let args = Args { argv: init.args, envp: init.env };
        let prepared = Prepared { task, context, args, program: init.program, seccomp: init.seccomp };
        prepared.find()?;
        Ok(prepared)
    }
}

impl Prepared {
    /// Returns the id that the process has got.
    pub fn pid(&self) -> Pid {
        self.task.tid
    }

    fn failed(&self, errno: Errno) -> InitError {
        let program = self.args.argv.first().map_or(&[][..], Vec::as_slice);
        let name = String::from_utf8_lossy(program).into_owned();
        match errno {
            Errno::ENOENT if !program.contains(&b'/') => InitError::NotFound { program: name },
            errno => InitError::Exec { program: name, errno },
        }
    }

    /// Looks for the program: its name, and the open file.
    fn find(&self) -> Result<(Vec<u8>, Arc<File>), InitError> {
        let program = self.args.argv.first().cloned().unwrap_or_default();
        if let Some(file) = &self.program {
            vfs::may_exec(&self.task, file).map_err(|errno| self.failed(errno))?;
            return Ok((program, Arc::clone(file)));
        }
        if program.is_empty() {
            return Err(self.failed(Errno::ENOENT));
        }
        let mut result = Err(Errno::ENOENT);
        for name in candidates(&program, &self.args.envp) {
            match vfs::open_exec(&self.task, Fd::CWD, &name, true) {
                Ok(file) => return Ok((name, file)),
                // Another directory may have it; what was found and refused is worth more than "not found".
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(errno) => result = Err(errno),
            }
        }
        result.map_err(|errno| self.failed(errno))
    }

    /// Loads the program and lets the process run, as the leader of a session and group of its own whose terminal this is.
    pub async fn start(self, terminal: Option<Arc<dyn Terminal>>) -> Result<Arc<Task>, InitError> {
        Ok(self.load(terminal).await?.run())
    }

    /// Loads the program. The process exists from now on, and runs later.
    pub(crate) async fn load(self, terminal: Option<Arc<dyn Terminal>>) -> Result<Loaded, InitError> {
        let (name, file) = self.find()?;
        // A program that was given has no name by which a script's interpreter could find it.
        let name_vanishes = self.program.is_some();
        let request = ExecRequest { file, name, name_vanishes, args: self.args.clone() };
        if let Some(program) = &self.seccomp {
            seccomp::confine_first(&self.task, program).map_err(|errno| self.failed(errno))?;
        }
        let loaded = load_first(&self.task, &request).await.map_err(|errno| self.failed(errno))?;
        let Prepared { task, context, .. } = self;
        task.set_interrupt(loaded.context.interrupter());
        task.mm.store(Arc::clone(&loaded.mm));
        drop(context);
        let mem = UserMem::new(Arc::clone(loaded.mm.space()));
        let current = Current::new(Arc::clone(&task), mem, loaded.mm, loaded.context, loaded.regs);
        let (pid, kernel) = (task.tid, Arc::clone(&task.kernel));
        if let Some(terminal) = terminal {
            terminal.job().assign(pid, pid);
            task.process.set_terminal(Some(terminal));
        }
        {
            let mut tasks = kernel.tasks.write();
            let mut entry = ProcessEntry::new(Arc::clone(&task.process), Pid(0), pid, pid, Some(Signal::SIGCHLD));
            entry.has_execed = true;
            tasks.insert_process(entry);
            tasks.insert_task(&task);
        }
        Ok(Loaded(current))
    }
}

/// A process that has its program and doesn't run yet.
pub(crate) struct Loaded(Current);

impl Loaded {
    /// Lets it run.
    pub(crate) fn run(self) -> Arc<Task> {
        let task = Arc::clone(&self.0.task);
        let kernel = Arc::clone(&task.kernel);
        crate::task::cpu_limit::watch(&kernel, &task.process);
        kernel.executor.spawn(Serving::new(Arc::clone(&task), run(self.0)));
        task
    }
}
