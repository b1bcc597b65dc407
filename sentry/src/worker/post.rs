//! [`Post`]: where one worker tells how it is, for [`super::watch`] to see.

use std::cell::OnceCell;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use super::Executor;

/// Polls tasks, or the platform.
const WORKING: u8 = 0;
/// Sleeps in the platform, which wakes it; or has ended.
const PARKED: u8 = 1;
/// The host holds it up inside a task.
const LOST: u8 = 2;

/// What is known of one worker. All but [`Post::check`] is for the worker itself.
pub(super) struct Post {
    executor: Weak<Executor>,
    /// Its thread in the sentry's pid namespace.
    tid: i32,
    state: AtomicU8,
    /// Grows while it gets on.
    beats: AtomicU32,
    /// The beats of the last check.
    seen: AtomicU32,
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It gets on, or sleeps until it is wanted.
    Well {
        /// It has done something since the last check, or does.
        active: bool,
    },
    /// It has been held up since an earlier check.
    Lost,
    /// It is held up, and has been counted as lost just now.
    NewlyLost,
}

thread_local! {
    static POST: OnceCell<Arc<Post>> = const { OnceCell::new() };
}

/// Tells that this worker, if this thread is one, gets on. Called often: costs a nanosecond.
#[inline]
pub(crate) fn beat() {
    POST.with(|post| {
        if let Some(post) = post.get() {
            post.beat();
        }
    });
}

/// Tells whether this thread is a worker.
pub(super) fn is_worker() -> bool {
    POST.with(|post| post.get().is_some())
}

/// The host is about to hold this worker up.
pub(super) fn leave() {
    POST.with(|post| {
        if let Some(post) = post.get() {
            post.leave();
        }
    });
}

impl Post {
    /// Makes this thread a worker.
    pub(super) fn take(executor: &Arc<Executor>) -> Arc<Post> {
        let post = Arc::new(Post {
            executor: Arc::downgrade(executor),
            tid: rustix::thread::gettid().as_raw_nonzero().get(),
            state: AtomicU8::new(WORKING),
            beats: AtomicU32::new(0),
            seen: AtomicU32::new(u32::MAX),
        });
        // A thread is a worker once.
        let _ = POST.with(|own| own.set(Arc::clone(&post)));
        post
    }

    #[inline]
    pub(super) fn beat(&self) {
        // Nobody else writes it.
        self.beats.store(self.beats.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        if self.state.load(Ordering::Relaxed) == LOST {
            self.found();
        }
    }

    #[cold]
    fn found(&self) {
        if self.state.swap(WORKING, Ordering::SeqCst) == LOST
            && let Some(executor) = self.executor.upgrade()
        {
            executor.worker_found();
        }
    }

    fn leave(&self) {
        if self.lose()
            && let Some(executor) = self.executor.upgrade()
        {
            executor.look_once_more();
        }
    }

    /// Counts a working worker as lost.
    fn lose(&self) -> bool {
        let lost = self.state.compare_exchange(WORKING, LOST, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if lost && let Some(executor) = self.executor.upgrade() {
            executor.worker_lost();
        }
        lost
    }

    /// Lies down, to be woken by the platform.
    pub(super) fn park(&self) {
        while self.state.compare_exchange(WORKING, PARKED, Ordering::SeqCst, Ordering::SeqCst) == Err(LOST) {
            self.found();
        }
    }

    /// Gets up.
    pub(super) fn unpark(&self) {
        self.state.store(WORKING, Ordering::SeqCst);
    }

    pub(super) fn is_working(&self) -> bool {
        self.state.load(Ordering::SeqCst) == WORKING
    }

    /// Looks after this worker, from the watch; `sleeps` tells whether the host holds up a thread.
    pub(super) fn check(&self, sleeps: impl FnOnce(i32) -> bool) -> Found {
        let beats = self.beats.load(Ordering::Relaxed);
        let got_on = self.seen.swap(beats, Ordering::Relaxed) != beats;
        match self.state.load(Ordering::SeqCst) {
            LOST => Found::Lost,
            PARKED => Found::Well { active: got_on },
            _ if !got_on && sleeps(self.tid) && self.lose() => Found::NewlyLost,
            _ => Found::Well { active: true },
        }
    }
}
