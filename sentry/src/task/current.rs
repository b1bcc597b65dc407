//! Which task a worker is serving: file objects that act on their caller (terminals, `signalfd`) ask for it.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use sentry_platform::systrap::{Waiting, turn_away, turn_back};

use crate::Task;

thread_local! {
    static SERVED: RefCell<Option<Arc<Task>>> = const { RefCell::new(None) };
}

/// Returns the task on whose behalf this thread runs; `None` in threads of the kernel's own.
pub fn served() -> Option<Arc<Task>> {
    SERVED.with_borrow(Clone::clone)
}

/// Tells whether this thread runs on behalf of a task.
pub(super) fn serves(task: &Task) -> bool {
    SERVED.with_borrow(|served| served.as_ref().is_some_and(|served| std::ptr::eq(&raw const **served, task)))
}

/// Tells the worker that the task it serves has become another (exec by a thread that is not the leader).
pub(super) fn replace(task: &Arc<Task>) {
    SERVED.with_borrow_mut(|served| *served = Some(Arc::clone(task)));
}

/// A future during whose polls [`served`] names its task.
pub struct Serving<F> {
    task: Option<Arc<Task>>,
    /// What of it waits for the kernel.
    waiting: Option<Waiting>,
    future: Pin<Box<F>>,
}

impl<F> Serving<F> {
    /// Wraps the life of a task.
    pub fn new(task: Arc<Task>, future: F) -> Serving<F> {
        Serving { task: Some(task), waiting: None, future: Box::pin(future) }
    }
}

impl<F: Future<Output = ()>> Future for Serving<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let outer = SERVED.replace(self.task.take());
        turn_back(self.waiting.take());
        let polled = self.future.as_mut().poll(cx);
        self.waiting = turn_away();
        self.task = SERVED.replace(outer);
        polled
    }
}
