//! `timerfd_create`, `timerfd_settime`, `timerfd_gettime`.

use std::sync::Arc;

use abi::flags::OpenFlags;
use abi::time::Itimerspec;
use abi::{Errno, Fd, UserRef};
use sentry::Current;
use sentry::task::Caps;
use sentry::time::Clock;
use sentry::time::timerfd::TimerFd;
use sentry::vfs::{FdFlags, File};

use crate::timer::{setting, to_itimerspec};

const TFD_NONBLOCK: u32 = OpenFlags::NONBLOCK.bits();
const TFD_CLOEXEC: u32 = OpenFlags::CLOEXEC.bits();
const TFD_TIMER_ABSTIME: u32 = 1;
const TFD_TIMER_CANCEL_ON_SET: u32 = 2;
const CLOCK_REALTIME: i32 = 0;
const CLOCK_MONOTONIC: i32 = 1;
const CLOCK_BOOTTIME: i32 = 7;
const CLOCK_REALTIME_ALARM: i32 = 8;
const CLOCK_BOOTTIME_ALARM: i32 = 9;

/// Serves `timerfd_create(2)`.
pub fn timerfd_create(cur: &mut Current, clockid: i32, flags: u32) -> Result<Fd, Errno> {
    let known = [CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM]
        .contains(&clockid);
    if flags & !(TFD_NONBLOCK | TFD_CLOEXEC) != 0 || !known {
        return Err(Errno::EINVAL);
    }
    let alarm = clockid == CLOCK_REALTIME_ALARM || clockid == CLOCK_BOOTTIME_ALARM;
    if alarm && !cur.task.cred.load().has(Caps::WAKE_ALARM) {
        return Err(Errno::EPERM);
    }
    let clock = Clock::from_id(&cur.task, clockid)?;
    let mut open = OpenFlags::RDWR;
    open.set(OpenFlags::NONBLOCK, flags & TFD_NONBLOCK != 0);
    let mut own = FdFlags::empty();
    own.set(FdFlags::CLOEXEC, flags & TFD_CLOEXEC != 0);
    let file = File::new(TimerFd::new(&cur.kernel().executor, clock, clockid), None, open);
    cur.task.files.load().install(file, own, 0, cur.process().fd_limit())
}

/// Finds a timer: `EBADF`, `EINVAL` for other files.
fn find(cur: &Current, fd: Fd) -> Result<Arc<TimerFd>, Errno> {
    let file = cur.task.files.load().get_io(fd)?;
    Arc::clone(&file.ops).as_any().downcast::<TimerFd>().map_err(|_| Errno::EINVAL)
}

/// Serves `timerfd_settime(2)`. Nobody sets the wall clock of a sandbox, so `TFD_TIMER_CANCEL_ON_SET` has nothing to do.
pub fn timerfd_settime(
    cur: &mut Current,
    fd: Fd,
    flags: u32,
    new: UserRef<Itimerspec>,
    old: UserRef<Itimerspec>,
) -> Result<(), Errno> {
    let wanted = cur.mem.read(new)?;
    if flags & !(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET) != 0 {
        return Err(Errno::EINVAL);
    }
    wanted.interval.validate()?;
    wanted.value.validate()?;
    let timer = find(cur, fd)?;
    let setting = setting(cur, &timer.clock, flags & TFD_TIMER_ABSTIME != 0, &wanted)?;
    let before = timer.set(setting, flags);
    cur.mem.write_opt_last(old, &to_itimerspec(before))
}

/// Serves `timerfd_gettime(2)`.
pub fn timerfd_gettime(cur: &mut Current, fd: Fd, value: UserRef<Itimerspec>) -> Result<(), Errno> {
    let timer = find(cur, fd)?;
    cur.mem.write_last(value, &to_itimerspec(timer.get()))
}
