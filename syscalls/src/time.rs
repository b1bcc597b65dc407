//! `nanosleep`, `clock_nanosleep`, `gettimeofday`, `time`.

use std::time::{Duration, Instant};

use abi::time::{Timespec, Timeval};
use abi::{Errno, Restart, UserRef};
use sentry::syscall::SysResult;
use sentry::time::{Clock, after, realtime};
use sentry::wait::WaitError;
use sentry::{Current, Outcome};

const TIMER_ABSTIME: u32 = 1;
const CLOCK_THREAD_CPUTIME: i32 = 3;
/// How often a sleep on processor time looks at the clock.
const TICK: Duration = Duration::from_millis(10);

/// Serves `nanosleep(2)`.
pub fn nanosleep(cur: &mut Current, req: UserRef<Timespec>, rem: UserRef<Timespec>) -> Outcome<'_> {
    Outcome::block(async move {
        let time = cur.mem.read(req)?.duration()?;
        sleep_until(cur, after(time), rem).await
    })
}

/// Starts or goes on with a sleep.
fn resume(cur: &mut Current, deadline: Instant, rem: UserRef<Timespec>) -> Outcome<'_> {
    Outcome::block(sleep_until(cur, deadline, rem))
}

/// Sleeps to a deadline; a signal leaves the rest in `rem`, and a restart goes on to the same deadline.
async fn sleep_until(cur: &mut Current, deadline: Instant, rem: UserRef<Timespec>) -> SysResult {
    if cur.task.sleep(Some(deadline)).await == WaitError::TimedOut {
        return Ok(0);
    }
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Ok(0);
    }
    cur.mem.write_opt(rem, &Timespec::from(left))?;
    cur.restart_block = Some(Box::new(move |cur| resume(cur, deadline, rem)));
    Err(Restart::Block.into())
}

/// Serves `clock_nanosleep(2)`.
pub fn clock_nanosleep(
    cur: &mut Current,
    clock: i32,
    flags: u32,
    request: UserRef<Timespec>,
    remain: UserRef<Timespec>,
) -> Outcome<'_> {
    Outcome::block(async move {
        let thread_time = clock == CLOCK_THREAD_CPUTIME;
        let clock = Clock::from_id(&cur.task, clock)?;
        if thread_time || matches!(clock, Clock::ReadOnly(_)) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let time = cur.mem.read(request)?;
        let relative = time.duration()?;
        let absolute = flags & TIMER_ABSTIME != 0;
        if !clock.is_wall() {
            return sleep_cpu(cur, &clock, time, absolute).await;
        }
        if !absolute {
            return sleep_until(cur, after(relative), remain).await;
        }
        let deadline = clock.deadline(&cur.task, time)?;
        match cur.task.sleep(Some(deadline)).await {
            WaitError::TimedOut => Ok(0),
            // An absolute sleep needs no rest to go on.
            WaitError::Interrupted => Err(Restart::NoHand.into()),
        }
    })
}

/// Sleeps until a process has used so much processor time.
async fn sleep_cpu(cur: &mut Current, clock: &Clock, time: Timespec, absolute: bool) -> SysResult {
    let task = cur.task.clone();
    let start = if absolute { 0 } else { clock.now(&task)?.nanos() };
    let end = start.saturating_add(time.nanos());
    while clock.now(&task)?.nanos() < end {
        if task.sleep(Some(after(TICK))).await == WaitError::Interrupted {
            return Err(Restart::NoHand.into());
        }
    }
    Ok(0)
}

/// Serves `gettimeofday(2)`.
pub fn gettimeofday(cur: &mut Current, tv: UserRef<Timeval>, tz: UserRef<[i32; 2]>) -> Result<(), Errno> {
    let now = Timeval::from_nanos(realtime().nanos());
    if tz.is_null() {
        return cur.mem.write_opt_last(tv, &now);
    }
    cur.mem.write_opt(tv, &now)?;
    // The kernel's time zone is UTC unless somebody sets it.
    cur.mem.write_last(tz, &[0, 0])
}

/// Serves `time(2)`.
pub fn time(cur: &mut Current, tloc: UserRef<i64>) -> Result<u64, Errno> {
    let now = realtime().sec;
    cur.mem.write_opt_last(tloc, &now)?;
    Ok(now.cast_unsigned())
}
