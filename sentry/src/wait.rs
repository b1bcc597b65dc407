//! How a task waits: for a wait queue, for several, for a time, and for signals all the while.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use abi::{Errno, Restart, SysError};
use async_io::Timer;
use sentry_sync::{Level, Mutex, Notify, Registration, WaitQueue};

use crate::Task;

/// Why a wait ended without what it waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitError {
    /// A signal wants attention, or the task is being killed.
    Interrupted,
    /// The deadline passed.
    TimedOut,
}

impl WaitError {
    /// Maps to what the call answers: a restart kind when interrupted, an error when timed out.
    pub fn or(self, restart: Restart, timeout: Errno) -> SysError {
        match self {
            WaitError::Interrupted => SysError::Restart(restart),
            WaitError::TimedOut => SysError::Errno(timeout),
        }
    }
}

/// What a wait may be ended by, besides its condition and deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruptible {
    /// Any signal that is to be delivered (`TASK_INTERRUPTIBLE`).
    Signals,
    /// Only the end of the task (`TASK_KILLABLE`).
    Kill,
}

/// Wakes one waiting future; registered in as many wait queues as it likes.
#[derive(Debug)]
pub struct Waiter {
    fired: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Default for Waiter {
    fn default() -> Waiter {
        Waiter { fired: AtomicBool::new(false), waker: Mutex::new(Level::Wait, None) }
    }
}

impl Waiter {
    /// Creates one to register.
    pub fn new() -> Arc<Waiter> {
        Arc::default()
    }

    fn arm(&self, waker: &Waker) {
        *self.waker.lock() = Some(waker.clone());
    }

    fn take_fired(&self) -> bool {
        self.fired.swap(false, Ordering::SeqCst)
    }
}

impl Notify for Waiter {
    fn notify(&self, _events: u32) -> bool {
        let first = !self.fired.swap(true, Ordering::SeqCst);
        // The waker is called with the lock released: scheduling may take other locks.
        let waker = self.waker.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
        first
    }
}

/// The alarm of a thread's timed waits, which outlives each of them: to set one costs as much as several calls, since it wakes
/// the thread that looks after all alarms, and most waits end long before their time. A later wait goes on with an alarm that
/// is early enough, and sets it anew once it has rung.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: Timer,
    at: Instant,
}

impl Alarm {
    fn set(&mut self, at: Instant) {
        self.timer.set_at(at);
        self.at = at;
    }

    /// Tells whether the time has come, or has the task woken then at the latest.
    fn poll(this: &mut Option<Alarm>, deadline: Instant, cx: &mut Context<'_>) -> bool {
        let alarm = this.get_or_insert_with(|| Alarm { timer: Timer::at(deadline), at: deadline });
        if alarm.at > deadline {
            alarm.set(deadline);
        }
        // One that rings is an earlier wait's, or just in time. Once it has rung it never does again unless it is set.
        while Pin::new(&mut alarm.timer).poll(cx).is_ready() {
            alarm.set(deadline);
            if Instant::now() >= deadline {
                return true;
            }
        }
        false
    }
}

/// Waits on some queues, on nobody's behalf, until `ready` gives a value.
pub async fn until<T>(queues: &[&WaitQueue], mut ready: impl FnMut() -> Option<T>) -> T {
    let waiter = Waiter::new();
    let _registrations: Vec<Registration> =
        queues.iter().map(|queue| queue.register(!0, Arc::clone(&waiter) as Arc<dyn Notify>)).collect();
    poll_fn(|cx| {
        waiter.arm(cx.waker());
        waiter.take_fired();
        ready().map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

impl Task {
    /// Waits on one queue until `ready` gives a value. `ready` is asked first, after registration, and after each
    /// wake-up whose events meet `interest`.
    pub async fn wait<T>(
        &self,
        queue: &WaitQueue,
        interest: u32,
        deadline: Option<Instant>,
        ready: impl FnMut() -> Option<T>,
    ) -> Result<T, WaitError> {
        let _registration = queue.register(interest, Arc::clone(&self.waiter) as Arc<dyn Notify>);
        self.wait_for(&self.waiter, deadline, Interruptible::Signals, ready).await
    }

    /// Waits until `ready` gives a value; the caller has registered `waiter` wherever it needs to hear from. The
    /// condition wins over an interruption, which wins over the deadline.
    pub async fn wait_for<T>(
        &self,
        waiter: &Arc<Waiter>,
        deadline: Option<Instant>,
        interruptible: Interruptible,
        mut ready: impl FnMut() -> Option<T>,
    ) -> Result<T, WaitError> {
        let _unblock = self.set_blocked_in(waiter);
        let mut alarm = deadline.and_then(|_| self.alarm.lock().take());
        let result = poll_fn(|cx| {
            // Armed before the checks: a wake-up between check and return reaches this waker.
            waiter.arm(cx.waker());
            waiter.take_fired();
            if let Some(value) = ready() {
                return Poll::Ready(Ok(value));
            }
            let interrupted = match interruptible {
                Interruptible::Signals => self.interrupted(),
                Interruptible::Kill => self.killed(),
            };
            if interrupted {
                return Poll::Ready(Err(WaitError::Interrupted));
            }
            match deadline {
                Some(deadline) if Instant::now() >= deadline => Poll::Ready(Err(WaitError::TimedOut)),
                Some(deadline) if Alarm::poll(&mut alarm, deadline, cx) => Poll::Ready(Err(WaitError::TimedOut)),
                _ => Poll::Pending,
            }
        })
        .await;
        if alarm.is_some() {
            *self.alarm.lock() = alarm;
        }
        result
    }

    /// Sleeps until the deadline or a signal: `TimedOut` is the good end.
    pub async fn sleep(&self, deadline: Option<Instant>) -> WaitError {
        match self.wait_for(&self.waiter, deadline, Interruptible::Signals, || None::<()>).await {
            Ok(()) => WaitError::TimedOut,
            Err(error) => error,
        }
    }
}
