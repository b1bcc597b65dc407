//! Timers that send signals: interval timers (`setitimer`, `alarm`) and POSIX timers (`timer_create`).
//!
//! Each armed timer has an [`Alarm`] at its next expiration. Processor-time timers look at the consumed time after as
//! long as the rest could at best take.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use abi::Errno;
use abi::signal::{SigInfo, Signal, si};
use sentry_sync::{Level, Mutex};

use super::alarm::Alarm;
use super::{Clock, after};
use crate::signal::send;
use crate::{Kernel, Process, Task};

/// Shortest period of a processor-time check: the tick of a 100 Hz kernel.
const TICK: Duration = Duration::from_millis(10);

/// What an expiration does.
#[derive(Clone)]
pub enum Action {
    /// Sends a signal to the process.
    Process(Arc<Process>, SigInfo),
    /// Sends a signal to one thread.
    Thread(Weak<Task>, SigInfo),
    /// Nothing: the timer is only read.
    Nothing,
}

/// Setting of a timer: nanoseconds to the first expiration (0 disarms), and between later ones (0 for none).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// To the first expiration.
    pub value: Duration,
    /// Between later ones.
    pub interval: Duration,
}

struct State {
    interval: Duration,
    /// Time on the timer's clock (as a duration since its origin) of the next expiration.
    next: Option<Duration>,
    /// Further expirations that the signal delivered last stood for.
    overrun: i32,
}

/// A timer.
pub struct Timer {
    kernel: Weak<Kernel>,
    /// Whose clocks it may be on.
    owner: Weak<Task>,
    /// The clock it runs on.
    pub clock: Clock,
    action: Action,
    origin: Instant,
    state: Mutex<State>,
    alarm: Alarm,
}

impl Timer {
    /// Creates a disarmed timer.
    pub fn new(owner: &Arc<Task>, clock: Clock, action: Action) -> Arc<Timer> {
        Arc::new_cyclic(|own: &Weak<Timer>| Timer {
            alarm: Alarm::new(&owner.kernel.executor, {
                let own = own.clone();
                move || {
                    if let Some(timer) = own.upgrade() {
                        timer.look();
                    }
                }
            }),
            kernel: Arc::downgrade(&owner.kernel),
            owner: Arc::downgrade(owner),
            clock,
            action,
            origin: Instant::now(),
            state: Mutex::new(Level::Timer, State { interval: Duration::ZERO, next: None, overrun: 0 }),
        })
    }

    /// Time on the timer's clock: since creation for clocks that run on their own, consumed time for the others.
    fn elapsed(&self) -> Duration {
        if self.clock.is_wall() {
            return self.origin.elapsed();
        }
        let Some(owner) = self.owner.upgrade() else { return Duration::ZERO };
        let now = self.clock.now(&owner).unwrap_or_default();
        Duration::from_nanos(u64::try_from(now.nanos()).unwrap_or(0))
    }

    /// Replaces the setting; returns what was left of the old one.
    pub fn set(&self, setting: Setting) -> Setting {
        let now = self.elapsed();
        let mut state = self.state.lock();
        let old = remaining(&state, now);
        state.interval = setting.interval;
        state.next = (!setting.value.is_zero()).then(|| now.saturating_add(setting.value));
        state.overrun = 0;
        self.arm(&state, now);
        old
    }

    /// Sets the alarm to the next expiration, or takes it back.
    fn arm(&self, state: &State, now: Duration) {
        let wait = state.next.map(|next| next.saturating_sub(now));
        // Consumed time is looked at once per tick at most.
        let wait = wait.map(|wait| if self.clock.is_wall() { wait } else { wait.max(TICK) });
        self.alarm.set(wait.map(after));
    }

    /// Returns what is left of the setting.
    pub fn get(&self) -> Setting {
        let now = self.elapsed();
        remaining(&self.state.lock(), now)
    }

    /// Returns how many further expirations the signal delivered last stood for.
    pub fn overrun(&self) -> i32 {
        self.state.lock().overrun
    }

    /// Notes the delivery of a signal that stands for that many further expirations.
    pub(crate) fn delivered(&self, overrun: i32) {
        self.state.lock().overrun = overrun;
    }

    /// Looks whether the next expiration has come, and sets the alarm anew.
    fn look(&self) {
        let now = self.elapsed();
        let expired = {
            let mut state = self.state.lock();
            let expired = expire(&mut state, now);
            self.arm(&state, now);
            expired
        };
        if let Some(missed) = expired {
            self.fire(missed);
        }
    }

    fn fire(&self, missed: i32) {
        let Some(kernel) = self.kernel.upgrade() else { return };
        let counted = |mut info: SigInfo| {
            if info.code == si::TIMER {
                info.add_overrun(missed);
            }
            info
        };
        // A signal that is pending already stands for this expiration too.
        let _ = match &self.action {
            Action::Process(process, info) => send::to_process(&kernel, process, counted(*info)),
            Action::Thread(task, info) => match task.upgrade() {
                Some(task) => send::to_task(&task, counted(*info)),
                None => Ok(()),
            },
            Action::Nothing => Ok(()),
        };
    }
}

/// Takes an expiration that has come; returns how many more were missed since.
fn expire(state: &mut State, now: Duration) -> Option<i32> {
    let next = state.next.filter(|next| *next <= now)?;
    if state.interval.is_zero() {
        state.next = None;
        Some(0)
    } else {
        // Expirations that were missed count as overrun, not as signals.
        let late = now.saturating_sub(next);
        let missed = late.as_nanos() / state.interval.as_nanos().max(1);
        let missed = u32::try_from(missed).unwrap_or(u32::MAX);
        state.next = Some(next.saturating_add(state.interval.saturating_mul(missed.saturating_add(1))));
        Some(i32::try_from(missed).unwrap_or(i32::MAX))
    }
}

fn remaining(state: &State, now: Duration) -> Setting {
    let value = match state.next {
        // An armed timer never reads as disarmed.
        Some(next) => next.saturating_sub(now).max(Duration::from_nanos(1)),
        None => Duration::ZERO,
    };
    Setting { value, interval: state.interval }
}

/// The three interval timers of a process (`setitimer(2)`).
pub struct IntervalTimers(Mutex<[Option<Arc<Timer>>; 3]>);

impl Default for IntervalTimers {
    fn default() -> IntervalTimers {
        IntervalTimers(Mutex::new(Level::Leaf, [const { None }; 3]))
    }
}

impl IntervalTimers {
    /// Disarms all (the process ends).
    pub fn clear(&self) {
        let timers: Vec<_> = self.0.lock().iter_mut().filter_map(Option::take).collect();
        for timer in timers {
            timer.set(Setting::default());
        }
    }

    /// Returns a timer: 0 real, 1 virtual, 2 profiling. `EINVAL` for others.
    pub fn get(&self, task: &Arc<Task>, which: i32) -> Result<Arc<Timer>, Errno> {
        let (slot, signal) = match which {
            0 => (0, Signal::SIGALRM),
            1 => (1, Signal::SIGVTALRM),
            2 => (2, Signal::SIGPROF),
            _ => return Err(Errno::EINVAL),
        };
        let clock = if slot == 0 { Clock::Monotonic } else { Clock::Process(task.process.pid) };
        let mut slots = self.0.lock();
        let timer = slots[slot].get_or_insert_with(|| {
            let info = SigInfo::from_kernel(signal);
            Timer::new(task, clock, Action::Process(Arc::clone(&task.process), info))
        });
        Ok(Arc::clone(timer))
    }
}

/// The POSIX timers of a process (`timer_create(2)`), by id.
pub struct PosixTimers(Mutex<Slots>);

#[derive(Default)]
struct Slots {
    next: i32,
    timers: std::collections::BTreeMap<i32, Arc<Timer>>,
}

/// Most timers of a process.
const MAX_TIMERS: usize = 4096;

impl Default for PosixTimers {
    fn default() -> PosixTimers {
        PosixTimers(Mutex::new(Level::Leaf, Slots::default()))
    }
}

impl PosixTimers {
    /// Takes the next id for a timer that `make` creates with it. `EAGAIN` where there are too many.
    pub fn create(&self, make: impl FnOnce(i32) -> Result<Arc<Timer>, Errno>) -> Result<i32, Errno> {
        let id = {
            let mut slots = self.0.lock();
            if slots.timers.len() >= MAX_TIMERS {
                return Err(Errno::EAGAIN);
            }
            let id = slots.next;
            slots.next = id.checked_add(1).unwrap_or(0);
            id
        };
        let timer = make(id)?;
        self.0.lock().timers.insert(id, timer);
        Ok(id)
    }

    /// Finds a timer: `EINVAL` where there is none.
    pub fn get(&self, id: i32) -> Result<Arc<Timer>, Errno> {
        self.0.lock().timers.get(&id).cloned().ok_or(Errno::EINVAL)
    }

    /// Disarms and removes a timer: `EINVAL` where there is none.
    pub fn delete(&self, id: i32) -> Result<(), Errno> {
        let timer = self.0.lock().timers.remove(&id).ok_or(Errno::EINVAL)?;
        timer.set(Setting::default());
        Ok(())
    }

    /// Disarms and removes all (exec, exit).
    pub fn clear(&self) {
        let timers = std::mem::take(&mut self.0.lock().timers);
        for timer in timers.values() {
            timer.set(Setting::default());
        }
    }
}
