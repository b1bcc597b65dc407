//! `futex`, `futex_waitv`, `futex_wake`, `futex_wait`, `futex_requeue`, `set_robust_list`, `get_robust_list`.

use std::time::Instant;

use abi::time::Timespec;
use abi::{Errno, FromArg, Pid, Restart, UserAddr, UserRef};
use sentry::futex::robust::RobustListHead;
use sentry::futex::{FutexError, MATCH_ANY, Word, pi, requeue_pi};
use sentry::mm::FutexKey;
use sentry::syscall::SysResult;
use sentry::task::Caps;
use sentry::time::{Clock, after};
use sentry::wait::WaitError;
use sentry::{Current, Outcome};
use sentry_platform::MemOp;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

mod op {
    pub(super) const WAIT: i32 = 0;
    pub(super) const WAKE: i32 = 1;
    pub(super) const REQUEUE: i32 = 3;
    pub(super) const CMP_REQUEUE: i32 = 4;
    pub(super) const WAKE_OP: i32 = 5;
    pub(super) const LOCK_PI: i32 = 6;
    pub(super) const UNLOCK_PI: i32 = 7;
    pub(super) const TRYLOCK_PI: i32 = 8;
    pub(super) const WAIT_BITSET: i32 = 9;
    pub(super) const WAKE_BITSET: i32 = 10;
    pub(super) const WAIT_REQUEUE_PI: i32 = 11;
    pub(super) const CMP_REQUEUE_PI: i32 = 12;
    pub(super) const LOCK_PI2: i32 = 13;
    pub(super) const PRIVATE: i32 = 128;
    pub(super) const CLOCK_REALTIME: i32 = 256;
}

/// `FUTEX2_*` flags: 32-bit words only, no NUMA.
const FUTEX2_SIZE_U32: u32 = 2;
const FUTEX2_PRIVATE: u32 = 128;
const WAITV_MAX: u32 = 128;

/// `struct futex_waitv`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WaitV {
    value: u64,
    addr: u64,
    flags: u32,
    reserved: u32,
}

fn ended(result: Result<(), FutexError>, restart: Restart) -> SysResult {
    match result {
        Ok(()) => Ok(0),
        Err(FutexError::Errno(errno)) => Err(errno.into()),
        Err(FutexError::Wait(WaitError::TimedOut)) => Err(Errno::ETIMEDOUT.into()),
        Err(FutexError::Wait(WaitError::Interrupted)) => Err(restart.into()),
    }
}

/// Serves `futex(2)`.
pub fn futex(
    cur: &mut Current,
    addr: UserAddr,
    operation: i32,
    val: u32,
    timeout: u64,
    addr2: UserAddr,
    val3: u32,
) -> Outcome<'_> {
    let private = operation & op::PRIVATE != 0;
    let realtime = operation & op::CLOCK_REALTIME != 0;
    let command = operation & !(op::PRIVATE | op::CLOCK_REALTIME);
    let val2 = u32::from_arg(timeout);
    if realtime && !matches!(command, op::WAIT_BITSET | op::WAIT_REQUEUE_PI | op::LOCK_PI2) {
        return Outcome::Done(Err(Errno::ENOSYS.into()));
    }
    match command {
        op::WAKE => wake(cur, addr, private, val, MATCH_ANY),
        op::WAKE_BITSET => wake(cur, addr, private, val, val3),
        op::REQUEUE => Outcome::block(requeue(cur, addr, addr2, private, val, val2, None)),
        op::CMP_REQUEUE => Outcome::block(requeue(cur, addr, addr2, private, val, val2, Some(val3))),
        op::WAIT | op::WAIT_BITSET => Outcome::block(async move {
            let timeout = UserRef::from_arg(timeout);
            let bitset = if command == op::WAIT { MATCH_ANY } else { val3 };
            let absolute = command == op::WAIT_BITSET;
            wait(cur, addr, private, val, bitset, timeout, absolute, realtime).await
        }),
        op::WAKE_OP => Outcome::block(async move { wake_op(cur, addr, addr2, private, val, val2, val3).await }),
        op::LOCK_PI | op::LOCK_PI2 | op::TRYLOCK_PI => Outcome::block(async move {
            let key = cur.mm.futex_key(addr, private)?;
            let deadline = match cur.mem.read_opt(UserRef::<Timespec>::from_arg(timeout)) {
                _ if command == op::TRYLOCK_PI => None,
                Ok(None) => None,
                Ok(Some(time)) => {
                    // The older operation is always on the wall clock.
                    let clock = if command == op::LOCK_PI || realtime { Clock::Realtime } else { Clock::Monotonic };
                    Some(clock.deadline(&cur.task, time.validate()?)?)
                }
                Err(errno) => return Err(errno.into()),
            };
            let locked = pi::lock(cur, key, addr, deadline, command == op::TRYLOCK_PI).await;
            ended(locked, Restart::NoIntr)
        }),
        op::UNLOCK_PI => Outcome::block(async move {
            let key = cur.mm.futex_key(addr, private)?;
            pi::unlock(cur, key, addr).await?;
            Ok(0)
        }),
        op::WAIT_REQUEUE_PI => Outcome::block(async move {
            let deadline = match cur.mem.read_opt(UserRef::<Timespec>::from_arg(timeout))? {
                None => None,
                Some(time) => {
                    let clock = if realtime { Clock::Realtime } else { Clock::Monotonic };
                    Some(clock.deadline(&cur.task, time.validate()?)?)
                }
            };
            let (key, to) = two_keys(cur, addr, addr2, private)?;
            let word = Word { key, addr: UserRef::new(addr), value: val, bitset: MATCH_ANY };
            ended(requeue_pi::wait(cur, word, to, deadline).await, Restart::NoIntr)
        }),
        op::CMP_REQUEUE_PI => Outcome::block(async move {
            let more = usize::try_from(val2.cast_signed()).map_err(|_| Errno::EINVAL)?;
            let (key, to) = two_keys(cur, addr, addr2, private)?;
            // One is woken at most: two can't own the lock.
            if val != 1 {
                return Err(Errno::EINVAL.into());
            }
            let word = Word { key, addr: UserRef::new(addr), value: val3, bitset: MATCH_ANY };
            Ok(requeue_pi::requeue(cur, word, to, addr2, more).await? as u64)
        }),
        _ => Outcome::Done(Err(Errno::ENOSYS.into())),
    }
}

/// The identities of two different words.
fn two_keys(cur: &Current, first: UserAddr, second: UserAddr, private: bool) -> Result<(FutexKey, FutexKey), Errno> {
    if first == second {
        return Err(Errno::EINVAL);
    }
    Ok((cur.mm.futex_key(first, private)?, cur.mm.futex_key(second, private)?))
}

fn count(value: u32) -> usize {
    // A negative count wakes one, as in the kernel's `++ret >= nr_wake`.
    usize::try_from(value.cast_signed()).unwrap_or(1)
}

fn wake(cur: &mut Current, addr: UserAddr, private: bool, val: u32, bitset: u32) -> Outcome<'_> {
    if bitset == 0 {
        return Outcome::Done(Err(Errno::EINVAL.into()));
    }
    match cur.mm.futex_key(addr, private) {
        Ok(key) => cur.wake_sleepers_now(&key, count(val), bitset),
        Err(errno) => Outcome::Done(Err(errno.into())),
    }
}

async fn requeue(
    cur: &mut Current,
    from: UserAddr,
    to: UserAddr,
    private: bool,
    nr_wake: u32,
    nr_requeue: u32,
    expected: Option<u32>,
) -> SysResult {
    let checked = |value: u32| usize::try_from(value.cast_signed()).map_err(|_| Errno::EINVAL);
    let (nr_wake, nr_requeue) = (checked(nr_wake)?, checked(nr_requeue)?);
    let key = cur.mm.futex_key(from, private)?;
    let target = cur.mm.futex_key(to, private)?;
    let word = Word { key, addr: UserRef::new(from), value: expected.unwrap_or(0), bitset: MATCH_ANY };
    // Both operations count the moved too, whatever the manual says of the older one.
    Ok(cur.requeue_sleepers(word, &target, (nr_wake, nr_requeue), expected.is_some()).await? as u64)
}

async fn wait(
    cur: &mut Current,
    addr: UserAddr,
    private: bool,
    value: u32,
    bitset: u32,
    timeout: UserRef<Timespec>,
    absolute: bool,
    realtime: bool,
) -> SysResult {
    if bitset == 0 {
        return Err(Errno::EINVAL.into());
    }
    let deadline = match cur.mem.read_opt(timeout)? {
        None => None,
        Some(time) if absolute => {
            let clock = if realtime { Clock::Realtime } else { Clock::Monotonic };
            Some(clock.deadline(&cur.task, time.validate()?)?)
        }
        Some(time) => Some(after(time.duration()?)),
    };
    let key = cur.mm.futex_key(addr, private)?;
    let word = Word { key, addr: UserRef::new(addr), value, bitset };
    sleep(cur, word, deadline).await
}

/// Starts or goes on with a sleep.
fn resume(cur: &mut Current, word: Word, deadline: Option<Instant>) -> Outcome<'_> {
    Outcome::block(sleep(cur, word, deadline))
}

async fn sleep(cur: &mut Current, word: Word, deadline: Option<Instant>) -> SysResult {
    let task = cur.task.clone();
    let result = task.kernel.futexes.wait(&task, &cur.mem, word, deadline).await;
    if deadline.is_some() && result == Err(FutexError::Wait(WaitError::Interrupted)) {
        // Goes on with the time that is left.
        cur.restart_block = Some(Box::new(move |cur| resume(cur, word, deadline)));
        return Err(Restart::Block.into());
    }
    ended(result, Restart::Sys)
}

/// `FUTEX_WAKE_OP`: changes the second word atomically, wakes on the first, and on the second if its old value
/// compares as asked.
async fn wake_op(
    cur: &mut Current,
    addr: UserAddr,
    addr2: UserAddr,
    private: bool,
    val: u32,
    val2: u32,
    encoded: u32,
) -> SysResult {
    let key = cur.mm.futex_key(addr, private)?;
    let key2 = cur.mm.futex_key(addr2, private)?;
    let old = modify(cur, addr2, encoded).await?;
    let mut woken = cur.wake_sleepers(&key, count(val), MATCH_ANY).await?;
    if compares(encoded, old)? {
        woken += cur.wake_sleepers(&key2, count(val2), MATCH_ANY).await?;
    }
    Ok(woken as u64)
}

/// Sign-extends a 12-bit argument.
fn argument(bits: u32) -> i32 {
    (bits << 20).cast_signed() >> 20
}

async fn modify(cur: &mut Current, addr: UserAddr, encoded: u32) -> Result<u32, Errno> {
    let operation = encoded >> 28;
    let raw = argument(encoded >> 12).cast_unsigned();
    // FUTEX_OP_OPARG_SHIFT: the argument is a bit number.
    let arg = if operation & 8 != 0 { 1u32.wrapping_shl(raw & 31) } else { raw };
    let mut old = cur.mem.read(UserRef::<u32>::new(addr))?;
    loop {
        let new = match operation & 7 {
            0 => arg,
            1 => old.wrapping_add(arg),
            2 => old | arg,
            3 => old & !arg,
            4 => old ^ arg,
            _ => return Err(Errno::ENOSYS),
        };
        let exchange = MemOp::CompareExchange { addr: addr.raw(), old, new };
        let found = cur.mm.clone().host_op(cur.context.as_mut(), exchange).await?;
        let found = u32::try_from(found).map_err(|_| Errno::EFAULT)?;
        if found == old {
            return Ok(old);
        }
        old = found;
    }
}

fn compares(encoded: u32, old: u32) -> Result<bool, Errno> {
    let (old, arg) = (old.cast_signed(), argument(encoded));
    Ok(match (encoded >> 24) & 15 {
        0 => old == arg,
        1 => old != arg,
        2 => old < arg,
        3 => old <= arg,
        4 => old > arg,
        5 => old >= arg,
        _ => return Err(Errno::ENOSYS),
    })
}

fn futex2_key(cur: &Current, addr: UserAddr, flags: u32) -> Result<FutexKey, Errno> {
    if flags & !(FUTEX2_SIZE_U32 | FUTEX2_PRIVATE) != 0 || flags & 3 != FUTEX2_SIZE_U32 {
        return Err(Errno::EINVAL);
    }
    cur.mm.futex_key(addr, flags & FUTEX2_PRIVATE != 0)
}

fn futex2_deadline(cur: &Current, timeout: UserRef<Timespec>, clock: i32) -> Result<Option<Instant>, Errno> {
    let Some(time) = cur.mem.read_opt(timeout)? else { return Ok(None) };
    let clock = match clock {
        0 => Clock::Realtime,
        1 => Clock::Monotonic,
        _ => return Err(Errno::EINVAL),
    };
    clock.deadline(&cur.task, time.validate()?).map(Some)
}

/// Serves `futex_waitv(2)`.
pub fn futex_waitv(
    cur: &mut Current,
    waiters: UserRef<WaitV>,
    nr: u32,
    flags: u32,
    timeout: UserRef<Timespec>,
    clock: i32,
) -> Outcome<'_> {
    Outcome::block(async move {
        if flags != 0 || nr == 0 || nr > WAITV_MAX || waiters.is_null() {
            return Err(Errno::EINVAL.into());
        }
        let deadline = futex2_deadline(cur, timeout, clock)?;
        let mut words = Vec::new();
        for raw in cur.mem.read_array(waiters, nr as usize)? {
            if raw.reserved != 0 {
                return Err(Errno::EINVAL.into());
            }
            let addr = UserAddr::new(raw.addr);
            let value = u32::try_from(raw.value).map_err(|_| Errno::EINVAL)?;
            let key = futex2_key(cur, addr, raw.flags)?;
            words.push(Word { key, addr: UserRef::new(addr), value, bitset: MATCH_ANY });
        }
        let task = cur.task.clone();
        match task.kernel.futexes.wait_many(&task, &cur.mem, &words, deadline).await {
            Ok(index) => Ok(index as u64),
            Err(error) => ended(Err(error), Restart::Sys),
        }
    })
}

/// Serves `futex_wake(2)`.
pub fn futex_wake(cur: &mut Current, addr: UserAddr, mask: u64, nr: i32, flags: u32) -> Outcome<'_> {
    Outcome::block(async move {
        let key = futex2_key(cur, addr, flags)?;
        let mask = u32::try_from(mask).ok().filter(|mask| *mask != 0).ok_or(Errno::EINVAL)?;
        Ok(cur.wake_sleepers(&key, usize::try_from(nr).unwrap_or(0), mask).await? as u64)
    })
}

/// Serves `futex_wait(2)`.
pub fn futex_wait(
    cur: &mut Current,
    addr: UserAddr,
    value: u64,
    mask: u64,
    flags: u32,
    timeout: UserRef<Timespec>,
    clock: i32,
) -> Outcome<'_> {
    Outcome::block(async move {
        let key = futex2_key(cur, addr, flags)?;
        let mask = u32::try_from(mask).ok().filter(|mask| *mask != 0).ok_or(Errno::EINVAL)?;
        let value = u32::try_from(value).map_err(|_| Errno::EINVAL)?;
        let deadline = futex2_deadline(cur, timeout, clock)?;
        let word = Word { key, addr: UserRef::new(addr), value, bitset: mask };
        let task = cur.task.clone();
        ended(task.kernel.futexes.wait(&task, &cur.mem, word, deadline).await, Restart::Sys)
    })
}

/// Serves `futex_requeue(2)`.
pub fn futex_requeue(
    cur: &mut Current,
    waiters: UserRef<WaitV>,
    flags: u32,
    nr_wake: i32,
    nr_requeue: i32,
) -> Outcome<'_> {
    Outcome::block(async move {
        if flags != 0 || waiters.is_null() {
            return Err(Errno::EINVAL.into());
        }
        let pair = cur.mem.read_array(waiters, 2)?;
        let [from, to] = pair.as_slice() else { return Err(Errno::EINVAL.into()) };
        let checked = |value: i32| usize::try_from(value).map_err(|_| Errno::EINVAL);
        let key = futex2_key(cur, UserAddr::new(from.addr), from.flags)?;
        let target = futex2_key(cur, UserAddr::new(to.addr), to.flags)?;
        let value = u32::try_from(from.value).map_err(|_| Errno::EINVAL)?;
        let word = Word { key, addr: UserRef::new(UserAddr::new(from.addr)), value, bitset: MATCH_ANY };
        Ok(cur.requeue_sleepers(word, &target, (checked(nr_wake)?, checked(nr_requeue)?), true).await? as u64)
    })
}

/// Serves `set_robust_list(2)`.
pub fn set_robust_list(cur: &mut Current, head: UserAddr, len: usize) -> Result<(), Errno> {
    if len != size_of::<RobustListHead>() {
        return Err(Errno::EINVAL);
    }
    cur.task.set_robust_list(head);
    Ok(())
}

/// Serves `get_robust_list(2)`.
pub fn get_robust_list(cur: &mut Current, pid: Pid, head: UserRef<u64>, len: UserRef<u64>) -> Result<(), Errno> {
    let task = if pid == Pid(0) {
        cur.task.clone()
    } else {
        cur.kernel().tasks.read().tasks.get(&pid).cloned().ok_or(Errno::ESRCH)?
    };
    let (own, other) = (cur.task.cred.load(), task.cred.load());
    if own.euid != other.ruid && !own.has(Caps::SYS_PTRACE) {
        return Err(Errno::EPERM);
    }
    let list = task.robust_list();
    cur.mem.write(len, &(size_of::<RobustListHead>() as u64))?;
    cur.mem.write_last(head, &list.raw())
}
