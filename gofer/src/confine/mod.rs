//! Locks the gofer up before it serves.
//!
//! What the caller (the command line, which runs itself again as `runsc gofer`) must have done:
//!
//! * Started a process of its own for the gofer, single-threaded, with the connections' other ends as its descriptors.
//! * As an ordinary user: put it into a user namespace of its own, in which it is root and in which the ids that the
//!   container's files shall have are mapped.
//! * Given it network, IPC and UTS namespaces of its own, by clone or by letting it call [`isolate`].
//! * `/proc` is mounted and shows the process.
//!
//! Then [`run`], or its parts in this order: [`enter`], [`crate::serve`] with [`Confined::lock`] as its last step. After
//! that the process has: a read-only tmpfs as its root with nothing in it but the trees and its own
//! `/proc/PID/fd`; no network, no System V objects; the file capabilities in [`KEPT`] and no way to more; no executable
//! memory but its own code; the calls of [`crate::host_calls`] and no others. It ends when its last connection does.

mod caps;
mod mounts;
mod seccomp;

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;

use abi::Errno;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit};

pub use caps::KEPT;
pub use mounts::Recursion;

use crate::host::{self, ProcFds};
use crate::server::{Server, Tree, TreeFlags};

/// A tree to serve.
#[derive(Debug)]
pub struct TreeSpec {
    /// The caller's number for it.
    pub id: u32,
    /// Directory or file on the host, resolved by the caller: links in it are followed.
    pub source: PathBuf,
    /// What may be done.
    pub flags: TreeFlags,
    /// Whether file systems mounted below it belong to it.
    pub recursion: Recursion,
    /// It is an overlay with these options (`lowerdir`, `upperdir`, `workdir`). Then `source` is for messages only.
    pub layers: Option<CString>,
    /// The tree as a mount that lies nowhere yet (`OPEN_TREE_CLONE`), from a caller who may do more than the gofer: reach the
    /// path, or have ids translated. Then `source` is for messages only, and `recursion` was the caller's to obey.
    pub detached: Option<OwnedFd>,
}

/// Why the gofer isn't confined.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// A step failed.
    #[error("gofer: can't {step}: {errno}")]
    Step {
        /// What was tried.
        step: String,
        /// What the host said.
        errno: Errno,
    },
    /// The filter couldn't be made or installed.
    #[error("gofer: can't install its seccomp filter: {0}")]
    Filter(String),
    /// Serving failed.
    #[error("gofer: {0}")]
    Serve(#[from] crate::ServeError),
}

/// Names the step that failed.
fn step<T, E: Into<Errno>>(what: impl Into<String>, result: Result<T, E>) -> Result<T, ConfineError> {
    result.map_err(|errno| ConfineError::Step { step: what.into(), errno: errno.into() })
}

/// Host errors on the way in.
struct Host(rustix::io::Errno);

impl From<Host> for Errno {
    fn from(error: Host) -> Errno {
        host::errno(error.0)
    }
}

fn host_step<T>(what: impl Into<String>, result: rustix::io::Result<T>) -> Result<T, ConfineError> {
    step(what, result.map_err(Host))
}

/// A gofer that sees only its trees.
#[derive(Debug)]
pub struct Confined {
    /// Answers requests.
    pub server: Server,
    /// What may be done in any of the trees.
    pub wanted: TreeFlags,
}

/// Leaves the namespaces that a gofer has no use for: network, System V IPC, host name and cgroup. Needs CAP_SYS_ADMIN
/// over the user namespace.
pub fn isolate() -> Result<(), ConfineError> {
    use nix::sched::CloneFlags;
    leave(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWCGROUP)
}

fn leave(namespaces: nix::sched::CloneFlags) -> Result<(), ConfineError> {
    let left = nix::sched::unshare(namespaces).map_err(|errno| Errno::from_raw(errno as i32));
    step("make namespaces (is the caller root, or in a user namespace of its own?)", left)
}

/// Builds the root that holds only the trees in a mount namespace of its own, moves into it, and drops all privilege that
/// serving doesn't need.
pub fn enter(trees: &[TreeSpec]) -> Result<Confined, ConfineError> {
    raise_limits()?;
    // Whatever the caller has done: what comes next would ruin a namespace that others use.
    leave(nix::sched::CloneFlags::CLONE_NEWNS)?;
    mounts::build(trees)?;
    let mut open = Vec::new();
    for (index, tree) in trees.iter().enumerate() {
        let path = mounts::tree_path(index);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = host_step(format!("open {}", tree.source.display()), rustix::fs::open(path, flags, Mode::empty()))?;
        open.push(Tree { id: tree.id, root, flags: tree.flags });
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc_fds = host_step("open /proc/self/fd", rustix::fs::open(mounts::FDS, flags, Mode::empty()))?;
    let devices = trees.iter().any(|tree| tree.flags.contains(TreeFlags::MAKE_DEVICES));
    caps::drop_all_but_files(devices)?;
    let server =
        step("read the attributes of the trees", Server::start(open, ProcFds::from_dir(proc_fds, mounts::FDS)))?;
    let wanted = server.any_flags();
    Ok(Confined { server, wanted })
}

impl Confined {
    /// Installs the filter on every thread of the process, with the calls that what the trees want takes. The last step: no
    /// thread may be started afterwards. Log lines may go to standard error and to `log`.
    pub fn lock(wanted: TreeFlags, log: Option<RawFd>) -> Result<(), ConfineError> {
        seccomp::install(wanted, log)
    }
}

/// Serves the trees on the sockets in confinement until the last of them is closed. Log lines go to `log` or standard
/// error; all other descriptors are closed, those that objects of the caller still own included. `at_rest` is called when
/// nothing has been asked for a while, with the filter installed.
pub fn run(
    trees: Vec<TreeSpec>,
    sockets: Vec<OwnedFd>,
    log: Option<RawFd>,
    looking: Option<Duration>,
    at_rest: impl FnMut(),
) -> Result<(), ConfineError> {
    let detached = trees.iter().filter_map(|tree| tree.detached.as_ref());
    let kept: Vec<RawFd> = sockets.iter().chain(detached).map(AsRawFd::as_raw_fd).chain(log).collect();
    shed_descriptors(&kept)?;
    let confined = enter(&trees)?;
    let wanted = confined.wanted;
    drop(trees);
    crate::serve(confined.server, sockets, looking, || Confined::lock(wanted, log).map_err(Into::into), at_rest)?;
    Ok(())
}

/// Closes every descriptor but those to keep and standard error; puts `/dev/null` in place of standard input and output.
fn shed_descriptors(kept: &[RawFd]) -> Result<(), ConfineError> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let null = host_step("open /dev/null", null)?;
    host_step("replace standard input", rustix::stdio::dup2_stdin(&null))?;
    host_step("replace standard output", rustix::stdio::dup2_stdout(&null))?;
    drop(null);
    let mut numbers: Vec<i32> = Vec::new();
    for entry in step("list /proc/self/fd", std::fs::read_dir("/proc/self/fd"))? {
        let name = step("list /proc/self/fd", entry)?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    for number in numbers.into_iter().filter(|number| *number > 2) {
        if !kept.contains(&number) {
            // The listing's own descriptor is closed by now: nothing to be done about a number that isn't open.
            let _ = nix::unistd::close(number);
        }
    }
    Ok(())
}

/// As many descriptors as the host allows, no core dumps, and new files with exactly the mode that is asked for.
fn raise_limits() -> Result<(), ConfineError> {
    let files = rustix::process::getrlimit(Resource::Nofile);
    let files = Rlimit { current: files.maximum, maximum: files.maximum };
    host_step("raise the limit of open files", rustix::process::setrlimit(Resource::Nofile, files))?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    host_step("forbid core dumps", rustix::process::setrlimit(Resource::Core, none))?;
    rustix::process::umask(Mode::empty());
    Ok(())
}
