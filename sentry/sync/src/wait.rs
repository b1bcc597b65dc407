//! Wait queues: who wants to know when a file becomes ready, a child changes state, a lock is freed.
//!
//! A queue knows nothing of what it stands for. Waiters register with an interest mask (the `Ready` bits of `abi` for
//! files; any private bits elsewhere), check their condition *after* registering, and are told of every later wake-up
//! that touches their mask. No wake-up is lost: register, check, sleep.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use smallvec::SmallVec;

use crate::{Level, Mutex};

/// Somebody who is told of wake-ups. Called with the queue's lock released.
pub trait Notify: Send + Sync {
    /// Hears that `events` may have become true. Returns whether the wake-up was of use (it was not if the waiter had
    /// already been woken by something else), which matters to exclusive waiters.
    fn notify(&self, events: u32) -> bool;
}

struct Entry {
    key: u64,
    interest: u32,
    exclusive: bool,
    target: Arc<dyn Notify>,
}

#[derive(Default)]
struct Entries {
    next_key: u64,
    list: Vec<Entry>,
}

struct Shared {
    /// Mirrors `entries.list.len()`, so that waking an empty queue costs one load.
    len: AtomicUsize,
    entries: Mutex<Entries>,
}

/// A queue of waiters; clones are handles on the same queue.
#[derive(Clone)]
pub struct WaitQueue(Arc<Shared>);

impl Default for WaitQueue {
    fn default() -> WaitQueue {
        WaitQueue::new()
    }
}

impl fmt::Debug for WaitQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WaitQueue({} waiting)", self.0.len.load(Ordering::Relaxed))
    }
}

impl WaitQueue {
    /// Creates an empty queue.
    pub fn new() -> WaitQueue {
        WaitQueue(Arc::new(Shared { len: AtomicUsize::new(0), entries: Mutex::new(Level::Wait, Entries::default()) }))
    }

    /// Adds a waiter until the registration is dropped. Check the condition after this, not before.
    #[must_use = "dropping the registration ends it"]
    pub fn register(&self, interest: u32, target: Arc<dyn Notify>) -> Registration {
        self.add(interest, false, target)
    }

    /// Adds a waiter of which only one is woken at a time (`EPOLLEXCLUSIVE`, `accept`).
    #[must_use = "dropping the registration ends it"]
    pub fn register_exclusive(&self, interest: u32, target: Arc<dyn Notify>) -> Registration {
        self.add(interest, true, target)
    }

    fn add(&self, interest: u32, exclusive: bool, target: Arc<dyn Notify>) -> Registration {
        let mut entries = self.0.entries.lock();
        let key = entries.next_key;
        entries.next_key += 1;
        entries.list.push(Entry { key, interest, exclusive, target });
        self.0.len.store(entries.list.len(), Ordering::SeqCst);
        Registration { queue: self.clone(), key }
    }

    /// Tells every waiter whose interest meets `events`: all the shared ones, and exclusive ones up to the first that
    /// could use the wake-up.
    pub fn wake(&self, events: u32) {
        // Pairs with the store in `add`: a waiter registers, then checks; a waker changes the state, then looks here.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.0.len.load(Ordering::SeqCst) == 0 {
            return;
        }
        // Mostly one: a task that waits, or an epoll set.
        let targets: SmallVec<[(bool, Arc<dyn Notify>); 4]> = {
            let entries = self.0.entries.lock();
            let met = entries.list.iter().filter(|entry| entry.interest & events != 0);
            met.map(|entry| (entry.exclusive, Arc::clone(&entry.target))).collect()
        };
        let mut exclusive_done = false;
        for (exclusive, target) in targets {
            if exclusive && exclusive_done {
                continue;
            }
            let used = target.notify(events);
            exclusive_done |= exclusive && used;
        }
    }

    /// Tells whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.0.len.load(Ordering::SeqCst) == 0
    }
}

/// Keeps a waiter in its queue; dropping it takes the waiter out.
#[derive(Debug)]
pub struct Registration {
    queue: WaitQueue,
    key: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        // The target is dropped after the lock: its destructor may take other locks.
        let removed = {
            let mut entries = self.queue.0.entries.lock();
            let at = entries.list.iter().position(|entry| entry.key == self.key);
            let removed = at.map(|at| entries.list.remove(at));
            self.queue.0.len.store(entries.list.len(), Ordering::SeqCst);
            removed
        };
        drop(removed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Notify for Count {
        fn notify(&self, _events: u32) -> bool {
            self.0.fetch_add(1, Ordering::Relaxed);
            true
        }
    }

    #[test]
    fn only_matching_interest_is_woken() {
        let queue = WaitQueue::new();
        let count = Arc::new(Count::default());
        let registration = queue.register(1, Arc::clone(&count) as Arc<dyn Notify>);
        queue.wake(2);
        queue.wake(3);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        drop(registration);
        queue.wake(1);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(queue.is_empty());
    }

    #[test]
    fn one_exclusive_waiter_is_woken_at_a_time() {
        let queue = WaitQueue::new();
        let counts: Vec<Arc<Count>> = (0..3).map(|_| Arc::default()).collect();
        let _held: Vec<Registration> =
            counts.iter().map(|count| queue.register_exclusive(1, Arc::clone(count) as Arc<dyn Notify>)).collect();
        queue.wake(1);
        assert_eq!(counts.iter().map(|count| count.0.load(Ordering::Relaxed)).sum::<u32>(), 1);
    }
}
