//! `getrlimit`, `setrlimit`, `prlimit64`, `getrusage`, `times`.

use std::sync::Arc;
use std::time::Duration;

use abi::types::Rlimit;
use abi::{Errno, Pid, UserRef};
use sentry::task::Usage;
use sentry::task::cpu_limit::watch;
use sentry::task::{Caps, Resource};
use sentry::{Current, Task};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::wait::Rusage;

/// Highest `RLIMIT_NOFILE` (`/proc/sys/fs/nr_open`).
const NR_OPEN: u64 = 1_048_576;
const RUSAGE_SELF: i32 = 0;
const RUSAGE_CHILDREN: i32 = -1;
const RUSAGE_THREAD: i32 = 1;

fn get(task: &Task, resource: Resource) -> Rlimit {
    task.process.limits()[resource as usize]
}

fn set(cur: &Current, task: &Task, resource: Resource, new: Rlimit) -> Result<Rlimit, Errno> {
    if new.cur > new.max {
        return Err(Errno::EINVAL);
    }
    if resource == Resource::Nofile && new.max > NR_OPEN {
        return Err(Errno::EPERM);
    }
    if new.max > get(task, resource).max && !cur.task.cred.load().has(Caps::SYS_RESOURCE) {
        return Err(Errno::EPERM);
    }
    let before = task.process.set_limit(resource, new);
    if resource == Resource::Cpu {
        watch(cur.kernel(), &task.process);
    }
    Ok(before)
}

/// Serves `getrlimit(2)`.
pub fn getrlimit(cur: &mut Current, resource: u32, rlim: UserRef<Rlimit>) -> Result<(), Errno> {
    let resource = Resource::new(resource).ok_or(Errno::EINVAL)?;
    cur.mem.write_last(rlim, &get(&cur.task, resource))
}

/// Serves `setrlimit(2)`.
pub fn setrlimit(cur: &mut Current, resource: u32, rlim: UserRef<Rlimit>) -> Result<(), Errno> {
    let new = cur.mem.read(rlim)?;
    let resource = Resource::new(resource).ok_or(Errno::EINVAL)?;
    set(cur, &cur.task, resource, new).map(drop)
}

/// Serves `prlimit64(2)`.
pub fn prlimit64(
    cur: &mut Current,
    pid: Pid,
    resource: u32,
    new: UserRef<Rlimit>,
    old: UserRef<Rlimit>,
) -> Result<(), Errno> {
    let resource = Resource::new(resource).ok_or(Errno::EINVAL)?;
    let wanted = cur.mem.read_opt(new)?;
    let target = find(cur, pid)?;
    if !Arc::ptr_eq(&target.process, cur.process()) {
        let (own, other) = (cur.task.cred.load(), target.cred.load());
        let users = [other.euid, other.suid, other.ruid].iter().all(|uid| *uid == own.ruid);
        let groups = [other.egid, other.sgid, other.rgid].iter().all(|gid| *gid == own.rgid);
        let same = users && groups;
        if !same && !own.has(Caps::SYS_RESOURCE) {
            return Err(Errno::EPERM);
        }
    }
    let before = match wanted {
        Some(wanted) => set(cur, &target, resource, wanted)?,
        None => get(&target, resource),
    };
    cur.mem.write_opt_last(old, &before)
}

fn find(cur: &Current, pid: Pid) -> Result<Arc<Task>, Errno> {
    if pid == Pid(0) {
        return Ok(Arc::clone(&cur.task));
    }
    cur.kernel().tasks.read().tasks.get(&pid).cloned().ok_or(Errno::ESRCH)
}

fn own_usage(cur: &Current) -> Usage {
    let table = cur.kernel().tasks.read();
    table.processes.get(&cur.process().pid).map(|entry| entry.process.usage(entry)).unwrap_or_default()
}

/// Serves `getrusage(2)`.
pub fn getrusage(cur: &mut Current, who: i32, usage: UserRef<Rusage>) -> Result<(), Errno> {
    cur.process().await_peaks();
    let used = match who {
        RUSAGE_SELF => own_usage(cur),
        RUSAGE_CHILDREN => cur.process().children_usage(),
        // The memory is that of the process.
        RUSAGE_THREAD => Usage { peak_rss: own_usage(cur).peak_rss, ..cur.task.usage() },
        _ => return Err(Errno::EINVAL),
    };
    cur.mem.write_last(usage, &Rusage::of(&used))
}

/// `struct tms`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Tms {
    utime: i64,
    stime: i64,
    cutime: i64,
    cstime: i64,
}

/// Clock ticks of 10 ms.
fn ticks(time: Duration) -> i64 {
    i64::try_from(time.as_millis() / 10).unwrap_or(i64::MAX)
}

/// Serves `times(2)`.
pub fn times(cur: &mut Current, buf: UserRef<Tms>) -> Result<u64, Errno> {
    let (own, children) = (own_usage(cur), cur.process().children_usage());
    let usage = Tms {
        utime: ticks(own.user),
        stime: ticks(own.system),
        cutime: ticks(children.user),
        cstime: ticks(children.system),
    };
    cur.mem.write_opt_last(buf, &usage)?;
    let since_boot = sentry::time::monotonic().duration().unwrap_or_default();
    Ok(ticks(since_boot).unsigned_abs())
}
