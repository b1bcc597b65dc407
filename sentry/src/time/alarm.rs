//! One wake-up in the future that can be moved and taken back: what timers are made of.
//!
//! However often it is set, an alarm has at most one future, which ends when the alarm is taken back, so that a guest
//! can't pile up sleepers.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use async_io::Timer as Sleep;
use sentry_sync::{Level, Mutex};

use crate::worker::Executor;

#[derive(Default)]
struct State {
    at: Option<Instant>,
    /// A future looks after this alarm.
    served: bool,
    /// Wakes that future.
    waker: Option<Waker>,
}

struct Shared {
    state: Mutex<State>,
    action: Box<dyn Fn() + Send + Sync>,
}

/// Calls its action when its time has come. Dropping it takes it back.
pub struct Alarm {
    executor: Weak<Executor>,
    shared: Arc<Shared>,
}

impl Alarm {
    /// Creates one that isn't set. The action runs in a worker, with no lock held; it may set the alarm again.
    pub fn new(executor: &Arc<Executor>, action: impl Fn() + Send + Sync + 'static) -> Alarm {
        let state = Mutex::new(Level::Leaf, State::default());
        let shared = Arc::new(Shared { state, action: Box::new(action) });
        Alarm { executor: Arc::downgrade(executor), shared }
    }

    /// Sets, moves or (with `None`) takes back the wake-up.
    pub fn set(&self, at: Option<Instant>) {
        let (waker, start) = {
            let mut state = self.shared.state.lock();
            state.at = at;
            let start = at.is_some() && !state.served;
            state.served |= start;
            (state.waker.take(), start)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        if start && let Some(executor) = self.executor.upgrade() {
            executor.spawn(serve(Arc::clone(&self.shared)));
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.set(None);
    }
}

/// Sleeps and acts until the alarm is taken back.
async fn serve(shared: Arc<Shared>) {
    let mut sleep: Option<(Instant, Sleep)> = None;
    while poll_fn(|cx| next(&shared, &mut sleep, cx)).await {
        (shared.action)();
    }
}

/// Waits for the time to act (true) or for the end (false).
fn next(shared: &Shared, sleep: &mut Option<(Instant, Sleep)>, cx: &mut Context<'_>) -> Poll<bool> {
    loop {
        let at = {
            let mut state = shared.state.lock();
            match state.at {
                None => {
                    state.served = false;
                    state.waker = None;
                    return Poll::Ready(false);
                }
                Some(at) if at <= Instant::now() => {
                    state.at = None;
                    return Poll::Ready(true);
                }
                Some(at) => {
                    state.waker = Some(cx.waker().clone());
                    at
                }
            }
        };
        if sleep.as_ref().is_none_or(|(until, _)| *until != at) {
            *sleep = Some((at, Sleep::at(at)));
        }
        if let Some((_, timer)) = sleep
            && Pin::new(timer).poll(cx).is_pending()
        {
            return Poll::Pending;
        }
        *sleep = None;
    }
}
