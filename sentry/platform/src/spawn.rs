//! Starting a helper process (sentry, gofer) in namespaces of its own.
//!
//! `std::process::Command` can't clone into a pid namespace or wait for its id maps to be written, so this forks by
//! hand. The caller is single-threaded; between fork and exec the child makes only direct host calls on memory
//! prepared beforehand.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fd::FromRawFd;

/// Which namespaces the new process gets; bits of `CLONE_NEW*`.
pub type Namespaces = libc::c_int;

/// One line of a `uid_map` or `gid_map`: id inside, id outside, count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdMap {
    /// First id inside the namespace.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// What to start and how.
pub struct Spawn<'a> {
    /// Program, opened by the caller (`/proc/self/exe`).
    pub program: BorrowedFd<'a>,
    /// Argument vector.
    pub args: Vec<CString>,
    /// Environment.
    pub env: Vec<CString>,
    /// Namespaces to make.
    pub namespaces: Namespaces,
    /// Further ones, which the process makes itself while the caller goes on.
    pub later_namespaces: Namespaces,
    /// Written when a user namespace is among them.
    pub uid_map: Vec<IdMap>,
    /// Written when a user namespace is among them.
    pub gid_map: Vec<IdMap>,
    /// Take on the ids of the new user namespace's root before the program runs. The caller's own, where they don't exist
    /// in there, would cost the program all rights in the namespace, and keep theirs over files.
    pub becomes_root: bool,
    /// Descriptors that the program gets as 3, 4, …, besides 0 to 2 which it inherits. All others are closed.
    pub fds: Vec<BorrowedFd<'a>>,
    /// What 0 to 2 become.
    pub stdio: Stdio<'a>,
    /// Kill the process when the calling thread ends.
    pub dies_with_caller: bool,
    /// Called with the process's id before its program runs.
    pub before_program: &'a dyn Fn(i32) -> io::Result<()>,
    /// Files that the process writes `0` to after that: its name for itself in lists of a cgroup's tasks.
    pub joins: Vec<BorrowedFd<'a>>,
}

/// What a new process has as its standard streams.
#[derive(Clone, Copy, Debug)]
pub enum Stdio<'a> {
    /// The caller's.
    Inherit,
    /// `/dev/null`.
    Null,
    /// This descriptor.
    Given(BorrowedFd<'a>),
}

/// A process that was started.
#[derive(Debug)]
pub struct Child {
    /// Process id.
    pub pid: i32,
}

/// A process that is on the way to its program.
#[derive(Debug)]
pub struct Begun {
    /// Process id.
    pub pid: i32,
    /// Says why the program could not be executed.
    error: OwnedFd,
}

impl Begun {
    /// Waits until the program runs.
    pub fn finish(self) -> io::Result<Child> {
        let mut errno = [0; 4];
        // Closed without a word when exec succeeds.
        match rustix::io::read(&self.error, &mut errno)? {
            0 => Ok(Child { pid: self.pid }),
            _ => {
                self.reap();
                Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno)))
            }
        }
    }

    /// Takes note of the end of a process that ends by itself. Its exit status says nothing new.
    fn reap(&self) {
        let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(self.pid), None);
    }
}

/// First descriptor after the standard ones.
const FIRST_FD: RawFd = 3;

impl Spawn<'_> {
    /// Starts the process; returns once its program runs.
    pub fn start(&self) -> io::Result<Child> {
        self.begin()?.finish()
    }

    /// Starts the process; doesn't wait for its program.
    pub fn begin(&self) -> io::Result<Begun> {
        let args = pointers(&self.args);
        let env = pointers(&self.env);
        let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
        // High numbers, so that dup2 to 3, 4, … can't overwrite a source.
        let floor = 64;
        let mut held: Vec<OwnedFd> = Vec::new();
        for fd in &self.fds {
            held.push(rustix::io::fcntl_dupfd_cloexec(*fd, floor)?);
        }
        let program = rustix::io::fcntl_dupfd_cloexec(self.program, floor)?;
        let stdio = match self.stdio {
            Stdio::Inherit => None,
            Stdio::Null => Some(rustix::io::fcntl_dupfd_cloexec(&null, floor)?),
            Stdio::Given(fd) => Some(rustix::io::fcntl_dupfd_cloexec(fd, floor)?),
        };
        let (go_read, go_write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (err_read, err_write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let flags = self.namespaces | libc::SIGCHLD;
        let null_arg = 0usize;
        // SAFETY: clone without CLONE_VM and with a null stack is a fork. The caller is single-threaded (documented
        // above), so no lock can be held by a thread that doesn't exist in the child.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, null_arg, null_arg, null_arg, null_arg) };
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        if pid == 0 {
            let sources: Vec<RawFd> = held.iter().map(AsRawFd::as_raw_fd).collect();
            let joins: Vec<RawFd> = self.joins.iter().map(AsRawFd::as_raw_fd).collect();
            let plan = Plan {
                program: program.as_raw_fd(),
                sources: &sources,
                joins: &joins,
                stdio: stdio.as_ref().map(AsRawFd::as_raw_fd),
                namespaces: self.later_namespaces,
                becomes_root: self.becomes_root,
                dies_with_caller: self.dies_with_caller,
                go: go_read.as_raw_fd(),
                go_other_end: go_write.as_raw_fd(),
                error: err_write.as_raw_fd(),
                args: &args,
                env: &env,
            };
            child(&plan);
        }
        drop(go_read);
        drop(err_write);
        let pid = i32::try_from(pid).map_err(|_| io::Error::other("process id out of range"))?;
        let begun = Begun { pid, error: err_read };
        match self.release(pid, go_write) {
            Ok(()) => Ok(begun),
            // Without its go it ends by itself and complains of that, if of nothing that came first.
            Err(error) => {
                let mut own = [0; 4];
                let complained = rustix::io::read(&begun.error, &mut own).is_ok_and(|len| len > 0);
                begun.reap();
                let own = i32::from_ne_bytes(own);
                Err(if complained && own != libc::EPIPE { io::Error::from_raw_os_error(own) } else { error })
            }
        }
    }

    /// Lets the child go on to its program.
    fn release(&self, pid: i32, go: OwnedFd) -> io::Result<()> {
        if self.namespaces & libc::CLONE_NEWUSER != 0 {
            self.write_maps(pid)?;
        }
        (self.before_program)(pid)?;
        rustix::io::write(&go, b"g")?;
        Ok(())
    }

    fn write_maps(&self, pid: i32) -> io::Result<()> {
        let text = |maps: &[IdMap]| {
            maps.iter().map(|map| format!("{} {} {}\n", map.inside, map.outside, map.count)).collect::<String>()
        };
        std::fs::write(format!("/proc/{pid}/uid_map"), text(&self.uid_map))?;
        // Without privilege a gid map may only be written once setgroups is off.
        if !rustix::process::geteuid().is_root() {
            std::fs::write(format!("/proc/{pid}/setgroups"), "deny")?;
        }
        std::fs::write(format!("/proc/{pid}/gid_map"), text(&self.gid_map))
    }
}

/// Makes a user namespace that has these ids; nobody is in it. The caller is single-threaded.
///
/// # Errors
/// What the host says to the namespace or to its maps.
pub fn user_namespace(uid_map: Vec<IdMap>, gid_map: Vec<IdMap>) -> io::Result<OwnedFd> {
    let made = std::cell::OnceCell::new();
    let keep = |pid: i32| {
        let namespace = std::fs::File::open(format!("/proc/{pid}/ns/user"))?;
        let _ = made.set(OwnedFd::from(namespace));
        // It has done what it is for: without its go it ends.
        Err(io::ErrorKind::Interrupted.into())
    };
    let null = std::fs::File::open("/dev/null")?;
    let spawn = Spawn {
        program: null.as_fd(),
        args: Vec::new(),
        env: Vec::new(),
        namespaces: libc::CLONE_NEWUSER,
        later_namespaces: 0,
        uid_map,
        gid_map,
        becomes_root: false,
        fds: Vec::new(),
        stdio: Stdio::Null,
        dies_with_caller: true,
        before_program: &keep,
        joins: Vec::new(),
    };
    let ended = spawn.begin();
    made.into_inner().ok_or_else(|| ended.err().unwrap_or_else(|| io::ErrorKind::Other.into()))
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

struct Plan<'a> {
    program: RawFd,
    sources: &'a [RawFd],
    joins: &'a [RawFd],
    stdio: Option<RawFd>,
    namespaces: Namespaces,
    becomes_root: bool,
    dies_with_caller: bool,
    go: RawFd,
    go_other_end: RawFd,
    error: RawFd,
    args: &'a [*const libc::c_char],
    env: &'a [*const libc::c_char],
}

/// The child between fork and exec: no allocation, no locks.
fn child(plan: &Plan<'_>) -> ! {
    let errno = match prepare(plan) {
        Ok(()) => exec(plan),
        Err(errno) => errno,
    };
    let bytes = errno.to_ne_bytes();
    // SAFETY: writes four bytes from a live array; the result doesn't matter on the way out.
    unsafe { libc::write(plan.error, bytes.as_ptr().cast(), bytes.len()) };
    // SAFETY: ends the process without running destructors or flushing buffers that the parent shares.
    unsafe { libc::_exit(127) }
}

fn last_errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

fn prepare(plan: &Plan<'_>) -> Result<(), i32> {
    die_with_caller(plan)?;
    // SAFETY: closes this process's copy of the parent's end, so that the parent's death ends the read below.
    unsafe { libc::close(plan.go_other_end) };
    // SAFETY: unshare touches no memory; the child of a fork has one thread.
    if plan.namespaces != 0 && unsafe { libc::unshare(plan.namespaces) } < 0 {
        return Err(last_errno());
    }
    let mut byte = 0u8;
    // SAFETY: reads one byte into a live variable.
    let got = unsafe { libc::read(plan.go, (&raw mut byte).cast(), 1) };
    if got != 1 {
        return Err(libc::EPIPE);
    }
    for list in plan.joins {
        // SAFETY: writes one byte from a constant.
        if unsafe { libc::write(*list, b"0".as_ptr().cast(), 1) } != 1 {
            return Err(last_errno());
        }
    }
    if plan.becomes_root {
        become_root()?;
        // Other ids have made the host forget it.
        die_with_caller(plan)?;
    }
    if let Some(stdio) = plan.stdio {
        for target in 0..FIRST_FD {
            dup(stdio, target)?;
        }
    }
    for (target, source) in (FIRST_FD..).zip(plan.sources) {
        dup(*source, target)?;
    }
    Ok(())
}

fn die_with_caller(plan: &Plan<'_>) -> Result<(), i32> {
    // SAFETY: prctl with these arguments touches no memory.
    if plan.dies_with_caller && unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) } < 0 {
        return Err(last_errno());
    }
    Ok(())
}

fn become_root() -> Result<(), i32> {
    for call in [libc::SYS_setgroups, libc::SYS_setresgid, libc::SYS_setresuid] {
        // SAFETY: no groups from no array, or three times id 0. Directly, since the library would tell other threads,
        // which a forked child doesn't have.
        if unsafe { libc::syscall(call, 0_usize, 0_usize, 0_usize) } < 0 {
            return Err(last_errno());
        }
    }
    Ok(())
}

fn dup(source: RawFd, target: RawFd) -> Result<(), i32> {
    // SAFETY: dup2 on plain numbers; the sources lie above every target. The copy has no close-on-exec flag.
    if unsafe { libc::dup2(source, target) } < 0 { Err(last_errno()) } else { Ok(()) }
}

fn exec(plan: &Plan<'_>) -> i32 {
    let after = FIRST_FD + plan.sources.len() as RawFd;
    // SAFETY: marks every other descriptor close-on-exec; the program's and the error pipe's go on working till then.
    unsafe {
        libc::syscall(libc::SYS_close_range, after, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
    const EMPTY: &CStr = c"";
    // SAFETY: the pointer arrays end with null and their strings live in the parent's structures, copied by fork.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            plan.program,
            EMPTY.as_ptr(),
            plan.args.as_ptr(),
            plan.env.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    last_errno()
}

/// Takes over a descriptor that this process was executed with, counted as in [`inherited_fd`]. `None` where it isn't open, or
/// is one that the process has opened itself, which are all close-on-exec.
pub fn callers_fd(index: usize) -> Option<OwnedFd> {
    let number = FIRST_FD.checked_add(RawFd::try_from(index).ok()?)?;
    if descriptor_flags(number)? & libc::FD_CLOEXEC != 0 { None } else { inherited_fd(index) }
}

/// Returns the flags of a descriptor; `None` where it isn't open.
fn descriptor_flags(number: RawFd) -> Option<libc::c_int> {
    // SAFETY: F_GETFD touches no memory and tells whether the number is open.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    (flags >= 0).then_some(flags)
}

/// Takes over a descriptor that [`Spawn::start`] has passed to this process as its `index`th. `None` where it isn't
/// open.
pub fn inherited_fd(index: usize) -> Option<OwnedFd> {
    let number = FIRST_FD.checked_add(RawFd::try_from(index).ok()?)?;
    descriptor_flags(number)?;
    // SAFETY: the number is open, was passed for this purpose, and nothing else in this process has claimed it: each
    // index is taken once, at start-up.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).ok()?;
    Some(fd)
}
