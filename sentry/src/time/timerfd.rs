//! Timers that are read (`man 2 timerfd_create`).
//!
//! Expirations are counted when somebody looks. The alarm only wakes those who wait, once: like Linux's, a periodic timer
//! goes on waking when its count has been taken.

use std::any::Any;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use abi::flags::Ready;
use abi::{Errno, UserAddr};
use sentry_fs::{FileOps, IoDst, IoFlags, UserMemory};
use sentry_sync::{Level, Mutex, WaitQueue};

use super::alarm::Alarm;
use super::itimer::Setting;
use super::{Clock, after};
use crate::worker::Executor;

/// `TFD_IOC_SET_TICKS`.
const SET_TICKS: u32 = 0x4008_5400;

#[derive(Debug, Default)]
struct State {
    /// Next expiration.
    next: Option<Instant>,
    interval: Duration,
    /// Expirations that nobody has read.
    ticks: u64,
    /// Flags of the last setting, for `fdinfo`.
    flags: u32,
}

impl State {
    /// Counts the expirations up to now. Returns whether there were any.
    fn advance(&mut self, now: Instant) -> bool {
        let Some(next) = self.next.filter(|next| *next <= now) else { return false };
        let late = now.saturating_duration_since(next);
        let missed = match self.interval.as_nanos() {
            0 => 0,
            interval => late.as_nanos() / interval,
        };
        let missed = u64::try_from(missed).unwrap_or(u64::MAX);
        self.ticks = self.ticks.saturating_add(missed).saturating_add(1);
        self.next = if self.interval.is_zero() {
            None
        } else {
            let into = late.as_nanos() % self.interval.as_nanos();
            let into = Duration::from_nanos(u64::try_from(into).unwrap_or(0));
            now.checked_add(self.interval.saturating_sub(into))
        };
        true
    }

    fn setting(&self, now: Instant) -> Setting {
        let value = self.next.map_or(Duration::ZERO, |next| {
            // An armed timer never reads as disarmed.
            next.saturating_duration_since(now).max(Duration::from_nanos(1))
        });
        Setting { value, interval: self.interval }
    }
}

/// A timer with a descriptor.
pub struct TimerFd {
    /// Clock that absolute times are on.
    pub clock: Clock,
    /// Its number, for `fdinfo`.
    clock_id: i32,
    state: Mutex<State>,
    alarm: Alarm,
    queue: WaitQueue,
}

impl TimerFd {
    /// Creates a disarmed timer on a clock that runs on its own.
    pub fn new(executor: &Arc<Executor>, clock: Clock, clock_id: i32) -> Arc<TimerFd> {
        Arc::new_cyclic(|own: &Weak<TimerFd>| {
            let own = own.clone();
            let wake = move || {
                if let Some(timer) = own.upgrade() {
                    timer.queue.wake(Ready::IN.bits());
                }
            };
            TimerFd {
                clock,
                clock_id,
                state: Mutex::new(Level::Timer, State::default()),
                alarm: Alarm::new(executor, wake),
                queue: WaitQueue::new(),
            }
        })
    }

    /// Replaces the setting; returns what was left of the old one.
    pub fn set(&self, setting: Setting, flags: u32) -> Setting {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.advance(now);
        let old = state.setting(now);
        let next = (!setting.value.is_zero()).then(|| after(setting.value));
        *state = State { next, interval: setting.interval, ticks: 0, flags };
        self.alarm.set(next);
        old
    }

    /// Returns what is left of the setting.
    pub fn get(&self) -> Setting {
        let now = Instant::now();
        let mut state = self.state.lock();
        if state.advance(now) {
            self.alarm.set(state.next);
        }
        state.setting(now)
    }

    /// Takes the count: `EAGAIN` while it is zero.
    fn take(&self) -> Result<u64, Errno> {
        let mut state = self.state.lock();
        state.advance(Instant::now());
        let ticks = std::mem::take(&mut state.ticks);
        if ticks == 0 {
            return Err(Errno::EAGAIN);
        }
        self.alarm.set(state.next);
        Ok(ticks)
    }
}

impl FileOps for TimerFd {
    fn read(&self, _pos: &mut u64, _flags: IoFlags, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        if dst.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let ticks = self.take()?;
        // As on Linux the count is gone even if the copy fails.
        if dst.put(&ticks.to_ne_bytes())? == 8 { Ok(8) } else { Err(Errno::EFAULT) }
    }

    fn ready(&self) -> Ready {
        let state = self.state.lock();
        let expired = state.ticks > 0 || state.next.is_some_and(|next| next <= Instant::now());
        if expired { Ready::IN } else { Ready::empty() }
    }

    fn wait_queue(&self) -> Option<WaitQueue> {
        Some(self.queue.clone())
    }

    fn ioctl(&self, memory: &dyn UserMemory, op: u32, arg: u64) -> Result<u64, Errno> {
        if op != SET_TICKS {
            return Err(Errno::ENOTTY);
        }
        let mut bytes = [0; 8];
        memory.read(UserAddr::new(arg), &mut bytes)?;
        let ticks = u64::from_ne_bytes(bytes);
        if ticks == 0 {
            return Err(Errno::EINVAL);
        }
        self.state.lock().ticks = ticks;
        self.queue.wake(Ready::IN.bits());
        Ok(0)
    }

    fn fdinfo(&self) -> String {
        let setting = self.get();
        let (ticks, flags) = {
            let state = self.state.lock();
            (state.ticks, state.flags)
        };
        let pair = |time: Duration| format!("({}, {})", time.as_secs(), time.subsec_nanos());
        format!(
            "clockid: {}\nticks: {ticks}\nsettime flags: 0{flags:o}\nit_value: {}\nit_interval: {}\n",
            self.clock_id,
            pair(setting.value),
            pair(setting.interval)
        )
    }

    fn anon_name(&self) -> Option<String> {
        Some("anon_inode:[timerfd]".to_owned())
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn armed(next: Instant, interval: Duration) -> State {
        State { next: Some(next), interval, ticks: 0, flags: 0 }
    }

    #[test]
    fn a_single_expiration_counts_once_and_disarms() {
        let now = Instant::now();
        let mut state = armed(now, Duration::ZERO);
        assert!(state.advance(now + Duration::from_secs(5)));
        assert_eq!((state.ticks, state.next), (1, None));
        assert!(!state.advance(now + Duration::from_secs(9)));
        assert_eq!(state.ticks, 1);
    }

    #[test]
    fn missed_periods_count_and_the_phase_stays() {
        let now = Instant::now();
        let mut state = armed(now, Duration::from_millis(10));
        assert!(state.advance(now + Duration::from_millis(35)));
        assert_eq!(state.ticks, 4);
        assert_eq!(state.next, Some(now + Duration::from_millis(40)));
        assert_eq!(state.setting(now + Duration::from_millis(35)).value, Duration::from_millis(5));
    }
}
