//! Timers that send signals: interval timers (`setitimer`, `alarm`) and POSIX timers (`timer_create`).
//!
//! Each armed timer has an [`Alarm`] at its next expiration. One that has sent its signal rests until that is delivered,
//! as on Linux: however short its period, a timer costs no more than the signals that are taken, and one whose signal is
//! ignored or blocked costs nothing. Processor-time timers look at the consumed time after as long as the rest could at
//! best take.

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

#[derive(Default)]
struct State {
    interval: Duration,
    /// Time on the timer's clock (as a duration since its origin) of the next expiration.
    next: Option<Duration>,
    /// Further expirations that the signal delivered last stood for.
    overrun: i32,
    /// Counts the settings, from 1 on: a signal of an earlier one is stale.
    setting: i32,
    /// The signal has been sent and not been seen since: later expirations are counted when it is.
    resting: bool,
}

/// A timer.
pub struct Timer {
    kernel: Weak<Kernel>,
    /// Whose clocks it may be on.
    owner: Weak<Task>,
    /// The clock it runs on.
    pub clock: Clock,
    action: Action,
    /// Sends one signal at a time. The interval timers of processor time, which are looked at by the tick, don't.
    rests: bool,
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
            rests: clock.is_wall() || !matches!(&action, Action::Process(_, info) if info.code == si::KERNEL),
            clock,
            action,
            origin: Instant::now(),
            state: Mutex::new(Level::Timer, State::default()),
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
        state.setting = state.setting.checked_add(1).unwrap_or(1);
        // Nobody waits for a timer that is only read.
        state.resting = matches!(self.action, Action::Nothing);
        self.arm(&state, now);
        old
    }

    /// Sets the alarm to the next expiration, or takes it back while the timer rests.
    fn arm(&self, state: &State, now: Duration) {
        let wait = state.next.filter(|_| !state.resting).map(|next| next.saturating_sub(now));
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

    /// Adds to a signal of this timer's that is being delivered the expirations since it was sent, and goes on. Tells
    /// whether the signal is of the present setting.
    pub(crate) fn delivered(&self, info: &mut SigInfo) -> bool {
        let now = self.elapsed();
        let mut state = self.state.lock();
        if info.setting() != 0 && info.setting() != state.setting {
            return false;
        }
        if state.resting {
            state.resting = false;
            if let Some(missed) = expire(&mut state, now) {
                info.add_overrun(missed.saturating_add(1));
            }
            self.arm(&state, now);
        }
        state.overrun = info.overrun();
        true
    }

    /// Goes on if the timer rests: its signal, which may have been dropped, is no longer ignored.
    fn resume(&self, signal: Signal) {
        let sends = match &self.action {
            Action::Process(_, info) | Action::Thread(_, info) => info.signo == signal.number(),
            Action::Nothing => false,
        };
        if !sends {
            return;
        }
        let now = self.elapsed();
        let mut state = self.state.lock();
        if std::mem::take(&mut state.resting) {
            self.arm(&state, now);
        }
    }

    /// Looks whether the next expiration has come, and sets the alarm anew.
    fn look(&self) {
        let now = self.elapsed();
        let expired = {
            let mut state = self.state.lock();
            let expired = expire(&mut state, now);
            state.resting |= expired.is_some() && self.rests;
            self.arm(&state, now);
            expired.map(|missed| (missed, state.setting))
        };
        if let Some((missed, setting)) = expired {
            self.fire(missed, setting);
        }
    }

    fn fire(&self, missed: i32, setting: i32) {
        let Some(kernel) = self.kernel.upgrade() else { return };
        let counted = |mut info: SigInfo| {
            if info.code != si::TIMER {
                return info;
            }
            info.add_overrun(missed);
            info.of_setting(setting)
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
        // Expirations go on, counted or not, while it rests.
        Some(next) if state.resting && next <= now => match state.interval.as_nanos() {
            0 => Duration::ZERO,
            interval => {
                let into = now.saturating_sub(next).as_nanos() % interval;
                state.interval.saturating_sub(Duration::from_nanos(u64::try_from(into).unwrap_or(0)))
            }
        },
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

    /// Notes the delivery of a `SIGALRM`.
    pub(crate) fn delivered(&self, info: &SigInfo) {
        if info.signo == Signal::SIGALRM.number()
            && let Some(timer) = self.real()
        {
            // Not a signal with room for a count.
            timer.delivered(&mut SigInfo::timer(Signal::SIGALRM, 0, 0, 0));
        }
    }

    fn real(&self) -> Option<Arc<Timer>> {
        self.0.lock().first().cloned().flatten()
    }

    /// Goes on where a signal was ignored until now.
    pub fn unignored(&self, signal: Signal) {
        if signal == Signal::SIGALRM
            && let Some(timer) = self.real()
        {
            timer.resume(signal);
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

    /// Goes on where a signal was ignored until now.
    pub fn unignored(&self, signal: Signal) {
        let timers: Vec<_> = self.0.lock().timers.values().cloned().collect();
        timers.iter().for_each(|timer| timer.resume(signal));
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
