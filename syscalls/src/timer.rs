//! `getitimer`, `setitimer`, `alarm`, and the POSIX timers.

use std::sync::Arc;
use std::time::Duration;

use abi::signal::{SigInfo, Signal};
use abi::time::{Itimerspec, Itimerval, Timespec, Timeval};
use abi::{Errno, Pid, UserRef};
use sentry::Current;
use sentry::time::Clock;
use sentry::time::itimer::{Action, Setting, Timer};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const TIMER_ABSTIME: u32 = 1;
const SIGEV_SIGNAL: i32 = 0;
const SIGEV_NONE: i32 = 1;
const SIGEV_THREAD: i32 = 2;
const SIGEV_THREAD_ID: i32 = 4;

fn from_timeval(time: Timeval) -> Result<Duration, Errno> {
    if time.sec < 0 || !(0..1_000_000).contains(&time.usec) {
        return Err(Errno::EINVAL);
    }
    Timespec { sec: time.sec, nsec: time.usec * 1000 }.duration()
}

/// Rounds up to a microsecond, so that an armed timer never reads as disarmed.
fn to_timeval(time: Duration) -> Timeval {
    let micros = time.as_nanos().div_ceil(1000);
    let micros = i64::try_from(micros).unwrap_or(i64::MAX);
    Timeval { sec: micros / 1_000_000, usec: micros % 1_000_000 }
}

fn to_itimerval(setting: Setting) -> Itimerval {
    Itimerval { interval: to_timeval(setting.interval), value: to_timeval(setting.value) }
}

pub(crate) fn to_itimerspec(setting: Setting) -> Itimerspec {
    Itimerspec { interval: setting.interval.into(), value: setting.value.into() }
}

/// Serves `getitimer(2)`.
pub fn getitimer(cur: &mut Current, which: i32, value: UserRef<Itimerval>) -> Result<(), Errno> {
    let timer = cur.process().interval_timers.get(&cur.task, which)?;
    cur.mem.write_last(value, &to_itimerval(timer.get()))
}

/// Serves `setitimer(2)`.
pub fn setitimer(cur: &mut Current, which: i32, new: UserRef<Itimerval>, old: UserRef<Itimerval>) -> Result<(), Errno> {
    // A null pointer disarms, as Linux still allows.
    let wanted = cur.mem.read_opt(new)?.unwrap_or_default();
    let setting = Setting { value: from_timeval(wanted.value)?, interval: from_timeval(wanted.interval)? };
    let timer = cur.process().interval_timers.get(&cur.task, which)?;
    let before = timer.set(setting);
    cur.mem.write_opt_last(old, &to_itimerval(before))
}

/// Serves `alarm(2)`.
pub fn alarm(cur: &mut Current, seconds: u32) -> Result<u64, Errno> {
    let timer = cur.process().interval_timers.get(&cur.task, 0)?;
    let value = Duration::from_secs(u64::from(seconds));
    let before = timer.set(Setting { value, interval: Duration::ZERO }).value;
    // Rounded to the nearest second, yet never to zero while armed.
    let rounded = before.as_secs() + u64::from(before.subsec_millis() >= 500);
    Ok(if before.is_zero() { 0 } else { rounded.max(1) })
}

/// `struct sigevent`, as far as it is read.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SigEvent {
    /// `sigval`.
    pub value: u64,
    /// Signal number.
    pub signo: i32,
    /// `SIGEV_*`.
    pub notify: i32,
    /// Thread, with `SIGEV_THREAD_ID`.
    pub tid: i32,
    pad: [i32; 11],
}

/// Serves `timer_create(2)`.
pub fn timer_create(
    cur: &mut Current,
    clock: i32,
    event: UserRef<SigEvent>,
    timerid: UserRef<i32>,
) -> Result<(), Errno> {
    let clock = Clock::from_id(&cur.task, clock)?;
    if matches!(clock, Clock::ReadOnly(_)) {
        return Err(Errno::EOPNOTSUPP);
    }
    let event = cur.mem.read_opt(event)?;
    let task = Arc::clone(&cur.task);
    let process = Arc::clone(cur.process());
    let id = process.posix_timers.create(|id| {
        let action = match event {
            None => Action::Process(
                Arc::clone(&process),
                SigInfo::timer(Signal::SIGALRM, id, 0, u64::from(id.cast_unsigned())),
            ),
            Some(event) => action(&task, id, &event)?,
        };
        Ok(Timer::new(&task, clock.clone(), action))
    })?;
    cur.mem.write(timerid, &id).inspect_err(|_| {
        // Nobody could name it.
        let _ = process.posix_timers.delete(id);
    })
}

fn action(task: &Arc<sentry::Task>, id: i32, event: &SigEvent) -> Result<Action, Errno> {
    if event.notify == SIGEV_NONE {
        return Ok(Action::Nothing);
    }
    let signal = Signal::new(event.signo).ok_or(Errno::EINVAL)?;
    let info = SigInfo::timer(signal, id, 0, event.value);
    match event.notify {
        SIGEV_SIGNAL | SIGEV_THREAD => Ok(Action::Process(Arc::clone(&task.process), info)),
        SIGEV_THREAD_ID => {
            let table = task.kernel.tasks.read();
            let thread = table.tasks.get(&Pid(event.tid)).ok_or(Errno::EINVAL)?;
            if !Arc::ptr_eq(&thread.process, &task.process) {
                return Err(Errno::EINVAL);
            }
            Ok(Action::Thread(Arc::downgrade(thread), info))
        }
        _ => Err(Errno::EINVAL),
    }
}

/// Converts a new setting; an absolute time becomes what is left until then.
pub(crate) fn setting(cur: &Current, clock: &Clock, absolute: bool, new: &Itimerspec) -> Result<Setting, Errno> {
    let interval = new.interval.duration()?;
    let mut value = new.value.duration()?;
    if absolute && !value.is_zero() {
        let left = new.value.nanos().saturating_sub(clock.now(&cur.task)?.nanos());
        // A time in the past expires at once.
        value = Duration::from_nanos(u64::try_from(left).unwrap_or(0).max(1));
    }
    Ok(Setting { value, interval })
}

/// Serves `timer_settime(2)`.
pub fn timer_settime(
    cur: &mut Current,
    id: i32,
    flags: u32,
    new: UserRef<Itimerspec>,
    old: UserRef<Itimerspec>,
) -> Result<(), Errno> {
    if new.is_null() {
        return Err(Errno::EINVAL);
    }
    let wanted = cur.mem.read(new)?;
    wanted.interval.validate()?;
    wanted.value.validate()?;
    let timer = cur.process().posix_timers.get(id)?;
    let setting = setting(cur, &timer.clock, flags & TIMER_ABSTIME != 0, &wanted)?;
    let before = timer.set(setting);
    cur.mem.write_opt_last(old, &to_itimerspec(before))
}

/// Serves `timer_gettime(2)`.
pub fn timer_gettime(cur: &mut Current, id: i32, value: UserRef<Itimerspec>) -> Result<(), Errno> {
    let timer = cur.process().posix_timers.get(id)?;
    cur.mem.write_last(value, &to_itimerspec(timer.get()))
}

/// Serves `timer_getoverrun(2)`.
pub fn timer_getoverrun(cur: &mut Current, id: i32) -> Result<u64, Errno> {
    let timer = cur.process().posix_timers.get(id)?;
    Ok(u64::from(timer.overrun().unsigned_abs()))
}

/// Serves `timer_delete(2)`.
pub fn timer_delete(cur: &mut Current, id: i32) -> Result<(), Errno> {
    cur.process().posix_timers.delete(id)
}
