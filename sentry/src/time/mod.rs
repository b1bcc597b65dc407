//! Clocks of the guest, and deadlines on them.
//!
//! The wall clock and the monotonic clocks are the host's, which the guest reads through the vDSO; processor-time clocks
//! are what the host's scheduler counts for the guest's threads. Deadlines are kept as [`Instant`]s of the monotonic
//! clock.

pub mod alarm;
pub mod itimer;
pub mod timerfd;

use std::sync::Arc;
use std::time::{Duration, Instant};

use abi::time::Timespec;
use abi::{Errno, Pid};
use rustix::time::{ClockId, DynamicClockId, clock_gettime, clock_gettime_dynamic};

use crate::Task;

/// A clock that a guest may name.
#[derive(Clone, Debug)]
pub enum Clock {
    /// `CLOCK_REALTIME` and its `ALARM`.
    Realtime,
    /// `CLOCK_MONOTONIC`.
    Monotonic,
    /// A clock that can only be read: `RAW` and the `COARSE` ones.
    ReadOnly(ClockId),
    /// `CLOCK_TAI`.
    Tai,
    /// `CLOCK_BOOTTIME` and its `ALARM`.
    Boottime,
    /// Processor time of a process.
    Process(Pid),
    /// Processor time of a thread.
    Thread(Pid),
}

const REALTIME: i32 = 0;
const MONOTONIC: i32 = 1;
const PROCESS_CPUTIME: i32 = 2;
const THREAD_CPUTIME: i32 = 3;
const MONOTONIC_RAW: i32 = 4;
const REALTIME_COARSE: i32 = 5;
const MONOTONIC_COARSE: i32 = 6;
const BOOTTIME: i32 = 7;
const REALTIME_ALARM: i32 = 8;
const BOOTTIME_ALARM: i32 = 9;
const TAI: i32 = 11;
/// Bits of a dynamic clock id (`include/linux/posix-timers.h`): a thread's clock, and which of its clocks.
const CPUCLOCK_PERTHREAD: i32 = 4;
const CPUCLOCK_WHICH: i32 = 3;

impl Clock {
    /// Resolves a clock id of the calling task: `EINVAL` for unknown ones and for processes that don't exist.
    pub fn from_id(task: &Task, id: i32) -> Result<Clock, Errno> {
        Ok(match id {
            REALTIME | REALTIME_ALARM => Clock::Realtime,
            MONOTONIC => Clock::Monotonic,
            MONOTONIC_RAW => Clock::ReadOnly(ClockId::MonotonicRaw),
            REALTIME_COARSE => Clock::ReadOnly(ClockId::RealtimeCoarse),
            MONOTONIC_COARSE => Clock::ReadOnly(ClockId::MonotonicCoarse),
            BOOTTIME | BOOTTIME_ALARM => Clock::Boottime,
            TAI => Clock::Tai,
            PROCESS_CPUTIME => Clock::Process(task.process.pid),
            THREAD_CPUTIME => Clock::Thread(task.tid),
            // The clock of a process or thread: the complement of its id, shifted past three bits.
            id if id < 0 && id & CPUCLOCK_WHICH < 3 => {
                let pid = Pid(!(id >> 3));
                let table = task.kernel.tasks.read();
                if id & CPUCLOCK_PERTHREAD != 0 {
                    let tid = if pid == Pid(0) { task.tid } else { pid };
                    table
                        .tasks
                        .get(&tid)
                        .filter(|thread| Arc::ptr_eq(&thread.process, &task.process))
                        .ok_or(Errno::EINVAL)?;
                    Clock::Thread(tid)
                } else {
                    let pid = if pid == Pid(0) { task.process.pid } else { pid };
                    table.processes.get(&pid).ok_or(Errno::EINVAL)?;
                    Clock::Process(pid)
                }
            }
            _ => return Err(Errno::EINVAL),
        })
    }

    /// Reads the clock.
    pub fn now(&self, task: &Task) -> Result<Timespec, Errno> {
        let cpu = |time: Duration| Timespec::from(time);
        Ok(match self {
            Clock::Realtime => realtime(),
            Clock::Monotonic => monotonic(),
            Clock::Boottime => read(ClockId::Boottime),
            Clock::ReadOnly(clock) => read(*clock),
            Clock::Tai => tai(),
            Clock::Thread(tid) => {
                let thread = task.kernel.tasks.read().tasks.get(tid).cloned().ok_or(Errno::EINVAL)?;
                cpu(thread.cpu_time())
            }
            Clock::Process(pid) => {
                let table = task.kernel.tasks.read();
                let entry = table.processes.get(pid).ok_or(Errno::EINVAL)?;
                cpu(entry.process.cpu_time(entry))
            }
        })
    }

    /// Tells whether the clock runs on its own, so that a deadline on it is a deadline on the host's.
    pub fn is_wall(&self) -> bool {
        !matches!(self, Clock::Process(_) | Clock::Thread(_))
    }

    /// Converts an absolute time on this clock to a deadline. Past times are now.
    pub fn deadline(&self, task: &Task, at: Timespec) -> Result<Instant, Errno> {
        let left = at.nanos().saturating_sub(self.now(task)?.nanos());
        Ok(after(Duration::from_nanos(u64::try_from(left).unwrap_or(0))))
    }
}

/// Returns the deadline after a time; what lies beyond the clock's range is far away.
pub fn after(time: Duration) -> Instant {
    let now = Instant::now();
    const FAR: Duration = Duration::from_secs(100 * 365 * 86_400);
    now.checked_add(time.min(FAR)).unwrap_or(now)
}

/// Returns the wall-clock time.
pub fn realtime() -> Timespec {
    read(ClockId::Realtime)
}

/// Returns the monotonic time; the vDSO gives the guest the same.
pub fn monotonic() -> Timespec {
    read(ClockId::Monotonic)
}

fn tai() -> Timespec {
    match clock_gettime_dynamic(DynamicClockId::Tai) {
        Ok(time) => Timespec { sec: time.tv_sec, nsec: time.tv_nsec },
        // Its offset is 0 until somebody tells the kernel the leap seconds.
        Err(_) => realtime(),
    }
}

fn read(clock: ClockId) -> Timespec {
    let time = clock_gettime(clock);
    Timespec { sec: time.tv_sec, nsec: time.tv_nsec }
}
