//! One file in an epoll set, and the list of those that may be ready.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use abi::flags::Ready;
use sentry_sync::{Level, Mutex, Notify, Registration, WaitQueue};

use super::EpollFlags;
use crate::FileOps;

/// Items that were woken, oldest first. Taken last (level `Leaf`), so that a file may wake us under its own lock.
#[derive(Debug)]
pub(super) struct ReadyList {
    items: Mutex<VecDeque<Arc<Item>>>,
    /// Woken when an item enters the list.
    pub(super) queue: WaitQueue,
}

impl ReadyList {
    pub(super) fn new() -> ReadyList {
        ReadyList { items: Mutex::new(Level::Leaf, VecDeque::new()), queue: WaitQueue::new() }
    }

    /// Enters an item unless it is in already.
    pub(super) fn push(&self, item: &Arc<Item>) {
        if !item.queued.swap(true, Ordering::SeqCst) {
            self.items.lock().push_back(Arc::clone(item));
        }
    }

    /// Takes the oldest. Whoever wakes the item from now on enters it again, so look at the file after this.
    pub(super) fn pop(&self) -> Option<Arc<Item>> {
        let item = self.items.lock().pop_front()?;
        item.queued.store(false, Ordering::SeqCst);
        Some(item)
    }

    /// Puts an item back where it was taken from.
    pub(super) fn unpop(&self, item: &Arc<Item>) {
        if !item.queued.swap(true, Ordering::SeqCst) {
            self.items.lock().push_front(Arc::clone(item));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.items.lock().len()
    }
}

/// One file in a set.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) file: WeakFile,
    /// Events and flags as the guest gave them; no events after `EPOLLONESHOT` has fired.
    pub(super) events: AtomicU32,
    pub(super) data: AtomicU64,
    queued: AtomicBool,
    /// Has been taken out of the set.
    pub(super) removed: AtomicBool,
    list: Weak<ReadyList>,
    pub(super) registration: Mutex<Option<Registration>>,
}

/// A weak reference to a file that can be told from others even after it has gone: the reference keeps the address.
#[derive(Clone)]
pub(super) struct WeakFile(Weak<dyn FileOps>);

impl std::fmt::Debug for WeakFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:p}", self.0.as_ptr().cast::<()>())
    }
}

impl WeakFile {
    pub(super) fn new(file: &Arc<dyn FileOps>) -> WeakFile {
        WeakFile(Arc::downgrade(file))
    }

    pub(super) fn address(&self) -> usize {
        self.0.as_ptr().cast::<()>().addr()
    }

    pub(super) fn get(&self) -> Option<Arc<dyn FileOps>> {
        self.0.upgrade()
    }

    pub(super) fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }
}

impl Item {
    pub(super) fn new(list: &Arc<ReadyList>, file: WeakFile, events: EpollFlags, data: u64) -> Arc<Item> {
        Arc::new(Item {
            file,
            events: AtomicU32::new(events.bits()),
            data: AtomicU64::new(data),
            queued: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            list: Arc::downgrade(list),
            registration: Mutex::new(Level::Epoll, None),
        })
    }

    pub(super) fn flags(&self) -> EpollFlags {
        EpollFlags::from_bits_retain(self.events.load(Ordering::SeqCst))
    }

    /// Returns the events that are ready and asked for; none once the file has gone.
    pub(super) fn poll(&self) -> Ready {
        let flags = self.flags();
        if self.removed.load(Ordering::SeqCst) || !flags.is_armed() {
            return Ready::empty();
        }
        self.file.get().map_or(Ready::empty(), |file| file.ready() & flags.interest())
    }
}

impl Notify for ItemWaker {
    fn notify(&self, events: u32) -> bool {
        let Some(item) = self.0.upgrade() else { return false };
        let Some(list) = item.list.upgrade() else { return false };
        let flags = item.flags();
        let met = Ready::from_bits_retain(events) & flags.interest();
        if item.removed.load(Ordering::SeqCst) || !flags.is_armed() || met.is_empty() {
            return false;
        }
        let waited_for = !list.queue.is_empty();
        list.push(&item);
        list.queue.wake(Ready::READABLE.bits());
        waited_for || !flags.contains(EpollFlags::EXCLUSIVE)
    }
}

/// What stands in the file's wait queue. Weak: the file must not keep the set alive.
#[derive(Debug)]
pub(super) struct ItemWaker(pub(super) Weak<Item>);
