//! The workers: threads that poll ready task futures and the platform's contexts.
//!
//! One queue of ready futures for all. A worker drains it, asks the platform for events (which makes more futures
//! ready), and parks in the platform when there is nothing. Who makes a future ready from outside a worker wakes a
//! parked worker; from inside, the worker itself goes on with it, and wakes a colleague only when a queue forms.
//!
//! Tasks call the host, and the host may let them wait: [`watch`] replaces workers that are held up.

mod post;
mod watch;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use async_task::Runnable;
use crossbeam::queue::SegQueue;
use sentry_platform::Platform;
use sentry_sync::{Duty, Level, Mutex};

use post::Post;
pub(crate) use post::beat;
use watch::{Spares, Trimmed};

/// Ready futures that a worker runs before it looks at the platform again: guest threads that make each other ready all
/// the time must not keep others from being heard.
const BURST: u32 = 32;

/// Ready futures that wait while a worker runs another, from which on a colleague is woken. Most take a microsecond or two, a
/// colleague that is woken takes ten times that, and its CPU is one that a guest could use.
const HELP: usize = 4;

/// Why a worker works no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// There are enough others, which no longer count on it.
    Retired,
    /// The sandbox ends.
    Stopping,
}

/// The run queue and its workers.
pub struct Executor {
    platform: Arc<dyn Platform>,
    ready: SegQueue<Runnable>,
    parked: AtomicUsize,
    stopping: AtomicBool,
    posts: Mutex<Vec<Arc<Post>>>,
    /// Workers that the host doesn't hold up.
    usable: AtomicUsize,
    /// How many of them there are to be.
    wanted: AtomicUsize,
    /// The thread that looks after the workers.
    watch: OnceLock<Thread>,
    /// It does, or is about to.
    watching: AtomicBool,
    spares: Spares,
    /// Of a worker that nobody watches.
    trimmed: std::sync::Mutex<Trimmed>,
}

impl Executor {
    /// Creates an executor without workers; futures may be spawned already.
    pub fn new(platform: Arc<dyn Platform>) -> Arc<Executor> {
        Arc::new(Executor {
            platform,
            ready: SegQueue::new(),
            parked: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            posts: Mutex::new(Level::Leaf, Vec::new()),
            usable: AtomicUsize::new(0),
            wanted: AtomicUsize::new(1),
            watch: OnceLock::new(),
            watching: AtomicBool::new(true),
            spares: Spares::default(),
            trimmed: std::sync::Mutex::default(),
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
        if !post::is_worker() {
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
        self.call_watch();
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Is a worker until [`Executor::stop`].
    pub fn work(self: &Arc<Executor>) {
        let post = self.begin_work();
        self.work_until(&post, || false);
        self.end_work(&post);
    }

    /// Makes this thread a worker.
    fn begin_work(self: &Arc<Executor>) -> Arc<Post> {
        let post = Post::take(self);
        self.posts.lock().push(Arc::clone(&post));
        sentry_sync::set_duty(Duty { leave: post::leave, resume: beat });
        // From here on the platform counts it.
        self.platform.poll();
        post
    }

    /// Ends the work of a thread that others count on.
    fn end_work(&self, post: &Arc<Post>) {
        post.park();
        self.leave_post(post);
        // Pass the news of the end on: an unpark wakes one worker only.
        self.platform.unpark();
        self.usable.fetch_sub(1, Ordering::SeqCst);
        self.call_watch();
    }

    fn leave_post(&self, post: &Arc<Post>) {
        self.posts.lock().retain(|other| !Arc::ptr_eq(other, post));
    }

    /// Works until the sandbox ends, or `retire`, asked when there is nothing to do, says that this worker isn't needed.
    fn work_until(&self, post: &Post, retire: impl Fn() -> bool) -> Ended {
        let mut burst = 0;
        while !self.is_stopping() {
            post.beat();
            if let Some(runnable) = self.ready.pop() {
                if self.ready.len() >= HELP {
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
                if retire() {
                    return Ended::Retired;
                }
                self.idle(post);
            }
        }
        Ended::Stopping
    }

    fn idle(&self, post: &Post) {
        post.park();
        self.parked.fetch_add(1, Ordering::SeqCst);
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.ready.is_empty() && !self.is_stopping() {
            self.sleep();
        }
        self.parked.fetch_sub(1, Ordering::SeqCst);
        post.unpark();
        self.stir();
    }

    /// The host holds a worker up, or is about to.
    fn worker_lost(&self) {
        self.usable.fetch_sub(1, Ordering::SeqCst);
        self.platform.worker_lost();
    }

    fn worker_found(&self) {
        self.usable.fetch_add(1, Ordering::SeqCst);
        self.platform.worker_found();
        self.stir();
    }

    /// Sees to what somebody may have left to this thread while it still counted.
    fn look_once_more(&self) {
        self.platform.poll();
        if self.has_ready() {
            self.wake_one();
        }
        if self.usable.load(Ordering::SeqCst) == 0 {
            self.call_watch();
        }
    }
}
