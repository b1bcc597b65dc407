//! `pidfd_send_signal`, `pidfd_open`, `pidfd_getfd`.

use std::sync::Arc;

use abi::flags::OpenFlags;
use abi::signal::{SigInfo, si};
use abi::{Errno, Fd, Pid, UserRef};
use sentry::Current;
use sentry::signal::send;
use sentry::task::pidfd::{Life, PidFd, Target};
use sentry::task::{AccessMode, check_access};
use sentry::vfs::{FdFlags, File};

const PIDFD_NONBLOCK: u32 = OpenFlags::NONBLOCK.bits();
const PIDFD_THREAD: u32 = OpenFlags::EXCL.bits();
const PIDFD_SIGNAL_THREAD: u32 = 1;
const PIDFD_SIGNAL_THREAD_GROUP: u32 = 2;
const PIDFD_SIGNAL_PROCESS_GROUP: u32 = 4;

/// Finds a pidfd and the description behind it: `EBADF`, also for other files.
fn find(cur: &Current, fd: Fd) -> Result<(Arc<PidFd>, Arc<File>), Errno> {
    let file = cur.task.files.load().get(fd)?;
    let pidfd = Arc::clone(&file.ops).as_any().downcast::<PidFd>().map_err(|_| Errno::EBADF)?;
    Ok((pidfd, file))
}

/// Finds whom a signal is for: a pidfd, or as of old the directory `/proc/PID`.
fn recipient(cur: &Current, fd: Fd) -> Result<Arc<PidFd>, Errno> {
    match find(cur, fd) {
        Err(Errno::EBADF) => {}
        found => return found.map(|(pidfd, _)| pidfd),
    }
    let file = cur.task.files.load().get(fd)?;
    let dentry = file.path.as_ref().map(|path| &path.dentry).filter(|dentry| dentry.sb.fs.kind() == "proc");
    let dentry = dentry.filter(|d| d.is_dir() && d.parent().is_some_and(|parent| parent.parent().is_none()));
    let name = dentry.ok_or(Errno::EBADF)?.name();
    let pid = std::str::from_utf8(&name).ok().and_then(|name| name.parse().ok()).ok_or(Errno::EBADF)?;
    PidFd::open(cur.kernel(), Pid(pid), false)
}

/// Returns the id that a pidfd waits for, and whether the descriptor is non-blocking. `ECHILD` where nothing is left.
pub(crate) fn waitable(cur: &Current, fd: Fd) -> Result<(Pid, bool), Errno> {
    let (pidfd, file) = find(cur, fd)?;
    if pidfd.life() == Life::Gone {
        return Err(Errno::ECHILD);
    }
    Ok((pidfd.pid(), file.nonblocking()))
}

/// Serves `pidfd_open(2)`.
pub fn pidfd_open(cur: &mut Current, pid: Pid, flags: u32) -> Result<Fd, Errno> {
    if flags & !(PIDFD_NONBLOCK | PIDFD_THREAD) != 0 || pid.0 <= 0 {
        return Err(Errno::EINVAL);
    }
    let mut open = OpenFlags::RDWR;
    open.set(OpenFlags::NONBLOCK, flags & PIDFD_NONBLOCK != 0);
    install(cur, pid, flags & PIDFD_THREAD != 0, open)
}

/// Opens a descriptor that stands for a process (or, with `thread`, a thread).
pub(crate) fn install(cur: &Current, pid: Pid, thread: bool, open: OpenFlags) -> Result<Fd, Errno> {
    let pidfd = PidFd::open(cur.kernel(), pid, thread)?;
    let file = File::new(pidfd, None, open);
    cur.task.files.load().install(file, FdFlags::CLOEXEC, 0, cur.process().fd_limit())
}

/// Whom a signal through a pidfd is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Thread,
    Process,
    Group,
}

/// Serves `pidfd_send_signal(2)`.
pub fn pidfd_send_signal(
    cur: &mut Current,
    pidfd: Fd,
    sig: i32,
    info: UserRef<SigInfo>,
    flags: u32,
) -> Result<(), Errno> {
    let asked = match flags {
        0 => None,
        PIDFD_SIGNAL_THREAD => Some(Scope::Thread),
        PIDFD_SIGNAL_THREAD_GROUP => Some(Scope::Process),
        PIDFD_SIGNAL_PROCESS_GROUP => Some(Scope::Group),
        _ => return Err(Errno::EINVAL),
    };
    let pidfd = recipient(cur, pidfd)?;
    let scope = asked.unwrap_or(match pidfd.target() {
        Target::Process => Scope::Process,
        Target::Thread(_) => Scope::Thread,
    });
    let info = match cur.mem.read_opt(info)? {
        None => {
            let code = if scope == Scope::Thread { si::TKILL } else { si::USER };
            let (pid, uid) = (cur.process().pid.0, cur.task.cred.load().ruid);
            crate::kill::signal(sig).ok().flatten().map(|signal| SigInfo::from_process(signal, code, pid, uid, 0))
        }
        Some(info) if info.signo != sig => return Err(Errno::EINVAL),
        Some(info) => {
            let to_self = pidfd.pid() == cur.task.tid && scope != Scope::Group;
            if (info.code >= 0 || info.code == si::TKILL) && !to_self {
                return Err(Errno::EPERM);
            }
            Some(info)
        }
    };
    deliver(cur, &pidfd, scope, sig, info)
}

fn deliver(cur: &Current, pidfd: &PidFd, scope: Scope, sig: i32, info: Option<SigInfo>) -> Result<(), Errno> {
    if scope == Scope::Group {
        let signal = crate::kill::signal(sig)?;
        return crate::kill::send_to_many(cur, Some(pidfd.pid()), signal, &|signal| {
            info.unwrap_or_else(|| SigInfo::from_kernel(signal))
        });
    }
    let process = pidfd.process()?;
    let signal = crate::kill::signal(sig)?;
    let Ok(task) = pidfd.task() else {
        // A zombie takes any signal silently.
        return Ok(());
    };
    crate::kill::may_signal(cur, &task, signal)?;
    match (signal, info) {
        (Some(_), Some(info)) if scope == Scope::Thread => send::to_task(&task, info),
        (Some(_), Some(info)) => send::to_process(cur.kernel(), &process, info),
        _ => Ok(()),
    }
}

/// Serves `pidfd_getfd(2)`.
pub fn pidfd_getfd(cur: &mut Current, pidfd: Fd, targetfd: Fd, flags: u32) -> Result<Fd, Errno> {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let (pidfd, _) = find(cur, pidfd)?;
    let target = pidfd.task()?;
    check_access(&cur.task, &target, AccessMode::RealCreds)?;
    let file = target.files.load().get(targetfd)?;
    cur.task.files.load().install(file, FdFlags::CLOEXEC, 0, cur.process().fd_limit())
}
