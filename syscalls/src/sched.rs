//! Scheduling: yielding, policies, priorities, affinity, `getcpu`. What is asked for is remembered and reported.

use std::sync::Arc;

use abi::time::Timespec;
use abi::{Errno, Pid, UserAddr, UserRef};
use sentry::task::{Caps, Resource, Schedule};
use sentry::{Current, Task};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const OTHER: i32 = 0;
const FIFO: i32 = 1;
const RR: i32 = 2;
const BATCH: i32 = 3;
const IDLE: i32 = 5;
const DEADLINE: i32 = 6;
const RESET_ON_FORK: i32 = 0x4000_0000;
const PRIO_PROCESS: i32 = 0;
const PRIO_PGRP: i32 = 1;
const PRIO_USER: i32 = 2;

/// Serves `sched_yield(2)`.
pub fn sched_yield(_cur: &mut Current) -> Result<(), Errno> {
    Ok(())
}

fn find(cur: &Current, pid: Pid) -> Result<Arc<Task>, Errno> {
    match pid.0 {
        ..0 => Err(Errno::EINVAL),
        0 => Ok(Arc::clone(&cur.task)),
        _ => cur.kernel().tasks.read().tasks.get(&pid).cloned().ok_or(Errno::ESRCH),
    }
}

/// Finds a thread as the affinity calls do: to them a negative id is just one that doesn't exist.
fn find_any(cur: &Current, pid: Pid) -> Result<Arc<Task>, Errno> {
    if pid.0 < 0 { Err(Errno::ESRCH) } else { find(cur, pid) }
}

/// Tells whether the caller may change another thread's scheduling.
fn may_change(cur: &Current, target: &Task) -> bool {
    let (own, other) = (cur.task.cred.load(), target.cred.load());
    own.euid == other.euid || own.euid == other.ruid || own.has(Caps::SYS_NICE)
}

fn valid(policy: i32, priority: i32) -> Result<(), Errno> {
    match policy {
        FIFO | RR if (1..=99).contains(&priority) => Ok(()),
        OTHER | BATCH | IDLE if priority == 0 => Ok(()),
        _ => Err(Errno::EINVAL),
    }
}

fn set(cur: &Current, target: &Task, wanted: Schedule) -> Result<(), Errno> {
    valid(wanted.policy, wanted.priority)?;
    let old = target.sched.lock().schedule;
    let privileged = cur.task.cred.load().has(Caps::SYS_NICE);
    if !privileged {
        let realtime = matches!(wanted.policy, FIFO | RR);
        let limit = target.process.limit(Resource::Rtprio);
        let grows = wanted.policy != old.policy || wanted.priority > old.priority;
        let beyond = realtime && grows && u64::from(wanted.priority.unsigned_abs()) > limit;
        if beyond || !may_change(cur, target) || (old.reset_on_fork && !wanted.reset_on_fork) {
            return Err(Errno::EPERM);
        }
    }
    target.sched.lock().schedule = wanted;
    Ok(())
}

/// Serves `sched_setscheduler(2)`.
pub fn sched_setscheduler(cur: &mut Current, pid: Pid, policy: i32, param: UserRef<i32>) -> Result<(), Errno> {
    if policy < 0 || param.is_null() || pid.0 < 0 {
        return Err(Errno::EINVAL);
    }
    let priority = cur.mem.read(param)?;
    let target = find(cur, pid)?;
    let reset_on_fork = policy & RESET_ON_FORK != 0;
    set(cur, &target, Schedule { policy: policy & !RESET_ON_FORK, priority, reset_on_fork })
}

/// Serves `sched_setparam(2)`.
pub fn sched_setparam(cur: &mut Current, pid: Pid, param: UserRef<i32>) -> Result<(), Errno> {
    if param.is_null() || pid.0 < 0 {
        return Err(Errno::EINVAL);
    }
    let priority = cur.mem.read(param)?;
    let target = find(cur, pid)?;
    let old = target.sched.lock().schedule;
    set(cur, &target, Schedule { priority, ..old })
}

/// Serves `sched_getscheduler(2)`.
pub fn sched_getscheduler(cur: &mut Current, pid: Pid) -> Result<u64, Errno> {
    let schedule = find(cur, pid)?.sched.lock().schedule;
    let flag = if schedule.reset_on_fork { RESET_ON_FORK } else { 0 };
    Ok(u64::from((schedule.policy | flag).cast_unsigned()))
}

/// Serves `sched_getparam(2)`.
pub fn sched_getparam(cur: &mut Current, pid: Pid, param: UserRef<i32>) -> Result<(), Errno> {
    if param.is_null() {
        return Err(Errno::EINVAL);
    }
    let priority = find(cur, pid)?.sched.lock().schedule.priority;
    cur.mem.write_last(param, &priority)
}

/// Serves `sched_get_priority_max(2)`.
pub fn sched_get_priority_max(_cur: &mut Current, policy: i32) -> Result<u64, Errno> {
    match policy {
        FIFO | RR => Ok(99),
        OTHER | BATCH | IDLE | DEADLINE => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

/// Serves `sched_get_priority_min(2)`.
pub fn sched_get_priority_min(_cur: &mut Current, policy: i32) -> Result<u64, Errno> {
    match policy {
        FIFO | RR => Ok(1),
        OTHER | BATCH | IDLE | DEADLINE => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

/// Serves `sched_rr_get_interval(2)`.
pub fn sched_rr_get_interval(cur: &mut Current, pid: Pid, tp: UserRef<Timespec>) -> Result<(), Errno> {
    let policy = find(cur, pid)?.sched.lock().schedule.policy;
    // The kernel's round-robin slice; a typical slice of the fair class.
    let nanos = match policy {
        RR => 100_000_000,
        FIFO => 0,
        _ => 4_000_000,
    };
    cur.mem.write_last(tp, &Timespec::from_nanos(nanos))
}

/// `struct sched_attr`, version 2.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
    util_min: u32,
    util_max: u32,
}

const ATTR_SIZE_VER0: u32 = 48;

/// Serves `sched_setattr(2)`.
pub fn sched_setattr(cur: &mut Current, pid: Pid, attr: UserAddr, flags: u32) -> Result<(), Errno> {
    if attr.is_null() || pid.0 < 0 || flags != 0 {
        return Err(Errno::EINVAL);
    }
    let size = match cur.mem.read(UserRef::<u32>::new(attr))? {
        0 => ATTR_SIZE_VER0,
        size => size,
    };
    let own = u32::try_from(size_of::<SchedAttr>()).unwrap_or(u32::MAX);
    if !(ATTR_SIZE_VER0..=4096).contains(&size) {
        cur.mem.write(UserRef::new(attr), &own)?;
        return Err(Errno::E2BIG);
    }
    let wanted: SchedAttr = crate::ext::read_extensible(&cur.mem, attr, size as usize)?;
    let policy = i32::try_from(wanted.policy).map_err(|_| Errno::EINVAL)?;
    if policy == DEADLINE {
        return Err(Errno::EPERM);
    }
    let target = find(cur, pid)?;
    let priority = i32::try_from(wanted.priority).map_err(|_| Errno::EINVAL)?;
    set(cur, &target, Schedule { policy, priority, reset_on_fork: wanted.flags & 1 != 0 })?;
    if matches!(policy, OTHER | BATCH) {
        set_nice(cur, &target, wanted.nice)?;
    }
    Ok(())
}

/// Serves `sched_getattr(2)`.
pub fn sched_getattr(cur: &mut Current, pid: Pid, attr: UserAddr, size: u32, flags: u32) -> Result<(), Errno> {
    if attr.is_null() || pid.0 < 0 || flags != 0 || !(ATTR_SIZE_VER0..=4096).contains(&size) {
        return Err(Errno::EINVAL);
    }
    let sched = find(cur, pid)?.sched.lock().clone();
    let own = u32::try_from(size_of::<SchedAttr>()).unwrap_or(u32::MAX).min(size);
    let answer = SchedAttr {
        size: own,
        policy: sched.schedule.policy.unsigned_abs(),
        flags: u64::from(sched.schedule.reset_on_fork),
        nice: sched.nice,
        priority: sched.schedule.priority.unsigned_abs(),
        util_max: 1024,
        ..SchedAttr::default()
    };
    cur.mem.write_bytes(attr, &answer.as_bytes()[..own as usize])
}

fn cpu_count() -> usize {
    sentry::kernel::cpus().min(64)
}

fn all_cpus() -> u64 {
    u64::MAX >> (64 - cpu_count())
}

/// Serves `sched_setaffinity(2)`.
pub fn sched_setaffinity(cur: &mut Current, pid: Pid, len: u32, mask: UserAddr) -> Result<(), Errno> {
    let mut bytes = [0; 8];
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(8);
    cur.mem.read_bytes(mask, &mut bytes[..len])?;
    let target = find_any(cur, pid)?;
    if !may_change(cur, &target) {
        return Err(Errno::EPERM);
    }
    let wanted = u64::from_le_bytes(bytes) & all_cpus();
    if wanted == 0 {
        return Err(Errno::EINVAL);
    }
    target.sched.lock().affinity = Some(wanted);
    Ok(())
}

/// Serves `sched_getaffinity(2)`: returns the bytes written.
pub fn sched_getaffinity(cur: &mut Current, pid: Pid, len: u32, mask: UserAddr) -> Result<u64, Errno> {
    if !len.is_multiple_of(8) || (len as usize) * 8 < cpu_count() {
        return Err(Errno::EINVAL);
    }
    let affinity = find_any(cur, pid)?.sched.lock().affinity.unwrap_or_else(all_cpus);
    cur.mem.write_last(UserRef::new(mask), &affinity)?;
    Ok(8)
}

/// Serves `getcpu(2)`.
pub fn getcpu(cur: &mut Current, cpu: UserRef<u32>, node: UserRef<u32>, _cache: UserAddr) -> Result<(), Errno> {
    let here = u32::try_from(rustix::thread::sched_getcpu()).unwrap_or(0);
    cur.mem.write_opt(cpu, &here)?;
    cur.mem.write_opt_last(node, &0)
}

/// The threads that `getpriority` and the like mean.
fn meant(cur: &Current, which: i32, who: Pid) -> Result<Vec<Arc<Task>>, Errno> {
    let table = cur.kernel().tasks.read();
    let own = table.processes.get(&cur.process().pid);
    let found: Vec<Arc<Task>> = match which {
        PRIO_PROCESS if who == Pid(0) => vec![Arc::clone(&cur.task)],
        PRIO_PROCESS => table.tasks.get(&who).cloned().into_iter().collect(),
        PRIO_PGRP => {
            let pgid = if who == Pid(0) { own.map_or(Pid(0), |entry| entry.pgid) } else { who };
            let members = table.processes.values().filter(|entry| entry.pgid == pgid);
            members.flat_map(|entry| entry.threads.values().cloned()).collect()
        }
        PRIO_USER => {
            let uid = if who == Pid(0) { cur.task.cred.load().ruid } else { who.0.cast_unsigned() };
            table.tasks.values().filter(|task| task.cred.load().ruid == uid).cloned().collect()
        }
        _ => return Err(Errno::EINVAL),
    };
    if found.is_empty() { Err(Errno::ESRCH) } else { Ok(found) }
}

/// Serves `getpriority(2)`: 20 less the nice value, so that no success looks like an error.
pub fn getpriority(cur: &mut Current, which: i32, who: Pid) -> Result<u64, Errno> {
    let best = meant(cur, which, who)?.iter().map(|task| 20 - task.sched.lock().nice).max();
    Ok(u64::from(best.unwrap_or(20).unsigned_abs()))
}

fn set_nice(cur: &Current, target: &Task, nice: i32) -> Result<(), Errno> {
    let nice = nice.clamp(-20, 19);
    if !may_change(cur, target) {
        return Err(Errno::EPERM);
    }
    let old = target.sched.lock().nice;
    let limit = i64::try_from(target.process.limit(Resource::Nice)).unwrap_or(i64::MAX);
    if nice < old && i64::from(20 - nice) > limit && !cur.task.cred.load().has(Caps::SYS_NICE) {
        return Err(Errno::EACCES);
    }
    target.sched.lock().nice = nice;
    Ok(())
}

/// Serves `setpriority(2)`.
pub fn setpriority(cur: &mut Current, which: i32, who: Pid, prio: i32) -> Result<(), Errno> {
    let mut result = Ok(());
    for target in meant(cur, which, who)? {
        result = result.and(set_nice(cur, &target, prio));
    }
    result
}

/// Serves `ioprio_set(2)`.
pub fn ioprio_set(cur: &mut Current, which: i32, who: Pid, ioprio: i32) -> Result<(), Errno> {
    const REALTIME: i32 = 1;
    let (class, level) = (ioprio >> 13, ioprio & 7);
    match class {
        REALTIME if !cur.task.cred.load().has(Caps::SYS_NICE) => return Err(Errno::EPERM),
        1..=3 => {}
        0 if level == 0 => {}
        _ => return Err(Errno::EINVAL),
    }
    // Its numbers of "which" are one higher than those of setpriority.
    for target in meant(cur, which.wrapping_sub(1), who)? {
        if !may_change(cur, &target) {
            return Err(Errno::EPERM);
        }
        target.sched.lock().io_priority = ioprio;
    }
    Ok(())
}

/// Serves `ioprio_get(2)`.
pub fn ioprio_get(cur: &mut Current, which: i32, who: Pid) -> Result<u64, Errno> {
    let targets = meant(cur, which.wrapping_sub(1), who)?;
    let best = targets.iter().map(|task| task.sched.lock().io_priority).min();
    Ok(u64::from(best.unwrap_or(0).unsigned_abs()))
}
