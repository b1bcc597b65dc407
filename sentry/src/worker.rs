//! The workers: threads that poll ready task futures and the platform's contexts.
//!
//! One queue of ready futures for all. A worker drains it, asks the platform for events (which makes more futures
//! ready), and parks in the platform when there is nothing. Who makes a future ready from outside a worker wakes a
//! parked worker; from inside, the worker itself goes on with it, and wakes a colleague only when more is queued.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_task::Runnable;
use crossbeam::queue::SegQueue;
use sentry_platform::Platform;

thread_local! {
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
}

/// Ready futures that a worker runs before it looks at the platform again: guest threads that make each other ready all
/// the time must not keep others from being heard.
const BURST: u32 = 32;

/// The run queue and its workers.
pub struct Executor {
    platform: Arc<dyn Platform>,
    ready: SegQueue<Runnable>,
    parked: AtomicUsize,
    stopping: AtomicBool,
}

impl Executor {
    /// Creates an executor without workers; futures may be spawned already.
    pub fn new(platform: Arc<dyn Platform>) -> Arc<Executor> {
        Arc::new(Executor {
            platform,
            ready: SegQueue::new(),
            parked: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
        })
    }

    /// Starts a future; it runs detached.
    pub fn spawn(self: &Arc<Executor>, future: impl Future<Output = ()> + Send + 'static) {
        let executor = Arc::downgrade(self);
        let schedule = move |runnable| {
            // After the executor is gone nothing runs any more.
            if let Some(executor) = executor.upgrade() {
                executor.push(runnable);
            }
        };
        let (runnable, task) = async_task::spawn(future, schedule);
        task.detach();
        runnable.schedule();
    }

    fn push(&self, runnable: Runnable) {
        self.ready.push(runnable);
        if !IS_WORKER.get() {
            self.wake_one();
        }
    }

    /// Tells whether a future waits for a worker.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    fn wake_one(&self) {
        // Pairs with the increment in `idle`: either this sees the parked worker or that one sees the queue filled.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.parked.load(Ordering::SeqCst) > 0 {
            self.platform.unpark();
        }
    }

    /// Makes all workers return from [`Executor::work`] soon.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for _ in 0..self.parked.load(Ordering::SeqCst).max(1) {
            self.platform.unpark();
        }
    }

    /// Is a worker until [`Executor::stop`].
    pub fn work(&self) {
        IS_WORKER.set(true);
        let mut burst = 0;
        while !self.stopping.load(Ordering::SeqCst) {
            if let Some(runnable) = self.ready.pop() {
                if !self.ready.is_empty() {
                    self.wake_one();
                }
                runnable.run();
                burst += 1;
                if burst == BURST {
                    burst = 0;
                    self.platform.poll();
                }
                continue;
            }
            burst = 0;
            if !self.platform.poll() {
                self.idle();
            }
        }
        // Pass the news on: an unpark wakes one worker only.
        self.platform.unpark();
        IS_WORKER.set(false);
    }

    fn idle(&self) {
        self.parked.fetch_add(1, Ordering::SeqCst);
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.ready.is_empty() && !self.stopping.load(Ordering::SeqCst) {
            self.platform.park(None);
        }
        self.parked.fetch_sub(1, Ordering::SeqCst);
    }
}
