//! The watch over the workers: when the host holds one up inside a task, another one takes its place.
//!
//! A worker may be held up anywhere: a cold page of a file, a full disk queue, a request to the gofer, a lock whose holder
//! waits for one of these. So the watch looks at what workers do, not at why: one that has not got on between two looks
//! and sleeps in the host is *lost*. It no longer counts as awake, so that stubs call for another one, and where no other is left
//! a spare thread becomes a worker. Calls that are known to wait say so themselves ([`sentry_sync::blocking`]) and are
//! replaced at once. While all workers sleep for want of work the watch sleeps too.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::post::Found;
use super::{Ended, Executor};

/// Time between two looks while there is work. What a lost worker leaves lying waits one to two of these.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Looks that see nothing done before the watch sleeps.
const QUIET_LOOKS: u32 = 3;
/// Most spare threads. When as many are held up, their sandbox waits for the host.
const MOST_SPARES: usize = 32;
/// Rest after which memory is given back.
const LONG_REST: Duration = Duration::from_millis(500);
/// Least time between two times that it is.
const TRIM_EVERY: Duration = Duration::from_secs(10);
/// How long a spare thread that nobody needs stays.
const SPARE_STAYS: Duration = Duration::from_secs(3);

/// When memory was given back last.
#[derive(Default)]
pub(super) struct Trimmed(Option<Instant>);

impl Trimmed {
    /// Returns after how long a rest memory is given back. What has been done since the last time is given back later, but
    /// it is: nothing else may ever happen.
    fn wait(&self) -> Duration {
        self.0.map_or(Duration::ZERO, |at| TRIM_EVERY.saturating_sub(at.elapsed())).max(LONG_REST)
    }

    fn trim(&mut self) {
        sentry_platform::trim::trim();
        self.0 = Some(Instant::now());
    }
}

/// Threads that become workers when they are called.
#[derive(Default)]
pub(super) struct Spares {
    state: Mutex<SpareState>,
    called: Condvar,
}

impl Spares {
    fn state(&self) -> MutexGuard<'_, SpareState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct SpareState {
    /// Those that live.
    threads: usize,
    /// Those of them that wait.
    waiting: usize,
    /// How many of those have been called and have not heard it.
    calls: usize,
}

impl Executor {
    /// Keeps `count` workers at work until [`Executor::stop`]. Returns once all are done but those that the host holds up:
    /// they end with the process.
    pub fn employ(self: &Arc<Executor>, count: usize) {
        let _ = self.watch.set(std::thread::current());
        self.wanted.store(count, Ordering::Relaxed);
        for _ in 0..count {
            self.usable.fetch_add(1, Ordering::SeqCst);
            let executor = Arc::clone(self);
            let thread = std::thread::Builder::new().name("worker".to_owned());
            if let Err(error) = thread.spawn(move || executor.work()) {
                self.usable.fetch_sub(1, Ordering::SeqCst);
                tracing::warn!(%error, "the host refuses a thread for a worker");
            }
        }
        if self.usable.load(Ordering::SeqCst) == 0 && !self.is_stopping() {
            self.usable.fetch_add(1, Ordering::SeqCst);
            self.work();
        }
        self.keep_watch();
        self.spares.called.notify_all();
        while self.usable.load(Ordering::SeqCst) > 0 {
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    /// Wakes the watch, if there is one.
    pub(super) fn call_watch(&self) {
        if let Some(watch) = self.watch.get() {
            watch.unpark();
        }
    }

    /// A worker has something to do again.
    pub(super) fn stir(&self) {
        if !self.watching.load(Ordering::SeqCst) && !self.watching.swap(true, Ordering::SeqCst) {
            self.call_watch();
        }
    }

    fn keep_watch(self: &Arc<Executor>) {
        let mut looked = Instant::now();
        let mut quiet = 0;
        let mut trimmed = Trimmed::default();
        while !self.is_stopping() {
            // Looks that follow each other closely would take a short wait for a long one.
            if looked.elapsed() >= LOOK_EVERY / 2 {
                looked = Instant::now();
                quiet = if self.look() { 0 } else { quiet + 1 };
            }
            if self.usable.load(Ordering::SeqCst) == 0 {
                self.call_spare();
            }
            self.platform.tidy();
            if quiet <= QUIET_LOOKS {
                std::thread::park_timeout(LOOK_EVERY);
                continue;
            }
            self.watching.store(false, Ordering::SeqCst);
            let rests = || {
                let called = self.watching.load(Ordering::SeqCst) || self.is_stopping();
                !called && self.posts.lock().iter().all(|post| !post.is_working())
            };
            // Pairs with `stir`: a worker that gets up now either is seen here or sees that nobody watches.
            if rests() {
                std::thread::park_timeout(trimmed.wait());
                if rests() {
                    self.platform.rest();
                    trimmed.trim();
                }
            }
            if rests() {
                std::thread::park();
            }
            self.watching.store(true, Ordering::SeqCst);
            quiet = 0;
        }
    }

    /// Sleeps until there is work. Where nobody watches, the one worker gives memory back itself.
    pub(super) fn sleep(&self) {
        if self.watch.get().is_none() {
            self.platform.tidy();
            let trimmed = || self.trimmed.lock().unwrap_or_else(PoisonError::into_inner);
            let (began, wait) = (Instant::now(), trimmed().wait());
            self.platform.park(Some(wait));
            if began.elapsed() < wait || self.has_ready() || self.is_stopping() {
                return;
            }
            self.platform.rest();
            trimmed().trim();
        }
        self.platform.park(None);
    }

    /// Looks after all workers; returns whether any has something to do.
    fn look(&self) -> bool {
        let mut active = false;
        let mut lost = false;
        // Not under their lock: one that is lost may have another woken.
        let posts = self.posts.lock().clone();
        for post in &posts {
            match post.check(|tid| self.platform.waits_for_host(tid)) {
                Found::Well { active: busy } => active |= busy,
                Found::NewlyLost => lost = true,
                Found::Lost => {}
            }
        }
        if lost {
            // What came to that one before it counted as lost is found by another one that polls.
            self.platform.unpark();
        }
        active | lost
    }

    /// Has a spare thread become a worker.
    fn call_spare(self: &Arc<Executor>) {
        let mut spares = self.spares.state();
        if spares.waiting > spares.calls {
            spares.calls += 1;
            self.usable.fetch_add(1, Ordering::SeqCst);
            self.spares.called.notify_one();
        } else if spares.threads < MOST_SPARES {
            let executor = Arc::clone(self);
            let thread = std::thread::Builder::new().name("worker".to_owned());
            self.usable.fetch_add(1, Ordering::SeqCst);
            match thread.spawn(move || executor.serve_as_spare()) {
                Ok(_) => spares.threads += 1,
                Err(error) => {
                    self.usable.fetch_sub(1, Ordering::SeqCst);
                    tracing::warn!(%error, "all workers wait for the host, which refuses a further thread");
                }
            }
        }
    }

    fn serve_as_spare(self: &Arc<Executor>) {
        let post = self.begin_work();
        while self.work_until(&post, || self.retire()) == Ended::Retired {
            post.park();
            // Others may have counted on this thread until now.
            self.platform.worker_lost();
            self.look_once_more();
            if !self.await_call() {
                self.platform.worker_gone();
                return self.leave_post(&post);
            }
            self.platform.worker_found();
            post.unpark();
        }
        self.end_work(&post);
    }

    /// Stops counting on a thread if there are more workers than wanted.
    fn retire(&self) -> bool {
        let wanted = self.wanted.load(Ordering::Relaxed);
        let fewer = |usable: usize| (usable > wanted).then(|| usable - 1);
        self.usable.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok()
    }

    /// Waits to be called; false once nobody has called for a while.
    fn await_call(&self) -> bool {
        let mut spares = self.spares.state();
        spares.waiting += 1;
        let until = Instant::now() + SPARE_STAYS;
        while spares.calls == 0 && !self.is_stopping() {
            let Some(left) = until.checked_duration_since(Instant::now()) else { break };
            let waited = self.spares.called.wait_timeout(spares, left);
            spares = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        spares.waiting -= 1;
        let called = spares.calls > 0;
        if called {
            spares.calls -= 1;
        } else {
            spares.threads -= 1;
        }
        called
    }
}
