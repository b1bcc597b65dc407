//! `process_vm_readv`, `process_vm_writev`, `kcmp`.

use std::cmp::Ordering;
use std::sync::Arc;

use abi::{Errno, Fd, Pid, UserAddr};
use sentry::Current;
use sentry::mm::{UserDst, UserSrc};
use sentry::task::{AccessMode, Task, check_access};
use sentry::usermem::UserMem;
use sentry_fs::{IoDst, IoSrc};

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    FromRemote,
    ToRemote,
}

/// Serves `process_vm_readv(2)`.
pub fn process_vm_readv(
    cur: &mut Current,
    pid: Pid,
    local_iov: UserAddr,
    liovcnt: u64,
    remote_iov: UserAddr,
    riovcnt: u64,
    flags: u64,
) -> Result<u64, Errno> {
    copy(cur, pid, (local_iov, liovcnt), (remote_iov, riovcnt), flags, Way::FromRemote)
}

/// Serves `process_vm_writev(2)`.
pub fn process_vm_writev(
    cur: &mut Current,
    pid: Pid,
    local_iov: UserAddr,
    liovcnt: u64,
    remote_iov: UserAddr,
    riovcnt: u64,
    flags: u64,
) -> Result<u64, Errno> {
    copy(cur, pid, (local_iov, liovcnt), (remote_iov, riovcnt), flags, Way::ToRemote)
}

fn find(cur: &Current, pid: Pid) -> Result<Arc<Task>, Errno> {
    cur.kernel().tasks.read().tasks.get(&pid).cloned().ok_or(Errno::ESRCH)
}

fn copy(
    cur: &Current,
    pid: Pid,
    local: (UserAddr, u64),
    remote: (UserAddr, u64),
    flags: u64,
    way: Way,
) -> Result<u64, Errno> {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let local = cur.mem.read_iovecs(local.0, local.1)?;
    if local.iter().all(|iovec| iovec.len == 0) {
        return Ok(0);
    }
    let remote = cur.mem.read_remote_iovecs(remote.0, remote.1)?;
    let target = find(cur, pid)?;
    check_access(&cur.task, &target, AccessMode::RealCreds)?;
    let far = UserMem::new(Arc::clone(target.mm.load().space()));
    let (mut source, mut destination) = match way {
        Way::FromRemote => (UserSrc::new(&far, &remote), UserDst::new(&cur.mem, &local)),
        Way::ToRemote => (UserSrc::new(&cur.mem, &local), UserDst::new(&far, &remote)),
    };
    let wanted = source.remaining().min(destination.remaining());
    let done = destination.fill_with(wanted, &mut |buf| source.take(buf))?;
    Ok(done as u64)
}

/// What `kcmp(2)` compares.
mod kind {
    pub(super) const FILE: i32 = 0;
    pub(super) const VM: i32 = 1;
    pub(super) const FILES: i32 = 2;
    pub(super) const FS: i32 = 3;
    pub(super) const SIGHAND: i32 = 4;
    pub(super) const IO: i32 = 5;
    pub(super) const SYSVSEM: i32 = 6;
    pub(super) const EPOLL_TFD: i32 = 7;
}

/// Serves `kcmp(2)`.
pub fn kcmp(cur: &mut Current, pid1: Pid, pid2: Pid, kind: i32, idx1: u64, idx2: u64) -> Result<u64, Errno> {
    let (one, two) = (find(cur, pid1)?, find(cur, pid2)?);
    check_access(&cur.task, &one, AccessMode::RealCreds)?;
    check_access(&cur.task, &two, AccessMode::RealCreds)?;
    // Objects are numbered by where they are, which tells a guest nothing that it can use.
    let order = match kind {
        kind::FILE => {
            let file = |task: &Task, index: u64| {
                let fd = i32::try_from(index).map_err(|_| Errno::EBADF)?;
                task.files.load().get(Fd(fd)).map(|file| file.id)
            };
            file(&one, idx1)?.cmp(&file(&two, idx2)?)
        }
        kind::VM => one.mm.load().id().cmp(&two.mm.load().id()),
        kind::FILES => address(&one.files.load()).cmp(&address(&two.files.load())),
        kind::FS => address(&one.fs.load()).cmp(&address(&two.fs.load())),
        kind::SIGHAND => address(&one.process.signals.hand.load()).cmp(&address(&two.process.signals.hand.load())),
        // Nobody has an I/O context of their own.
        kind::IO => Ordering::Equal,
        kind::SYSVSEM => one.semaphore_undo().cmp(&two.semaphore_undo()),
        kind::EPOLL_TFD => return Err(Errno::EOPNOTSUPP),
        _ => return Err(Errno::EINVAL),
    };
    Ok(match order {
        Ordering::Equal => 0,
        Ordering::Less => 1,
        Ordering::Greater => 2,
    })
}

fn address<T>(object: &Arc<T>) -> usize {
    Arc::as_ptr(object).addr()
}
