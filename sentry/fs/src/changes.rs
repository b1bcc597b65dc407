//! Counted changes of something that a file shows, for those who wait for them with `poll(2)`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::flags::Ready;
use sentry_sync::WaitQueue;

/// How often something has changed, and who wants to hear of it.
#[derive(Debug, Default)]
pub struct Changes {
    count: AtomicU64,
    queue: WaitQueue,
}

impl Changes {
    /// Counts a change and wakes those who wait. To be called without locks.
    pub fn note(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.queue.wake((Ready::READABLE | Ready::PRI | Ready::ERR).bits());
    }

    /// Begins to watch from now on.
    pub(crate) fn watch(self: Arc<Changes>) -> Watch {
        Watch { seen: AtomicU64::new(self.count.load(Ordering::SeqCst)), of: self }
    }
}

/// What one open file has told of changes.
pub(crate) struct Watch {
    of: Arc<Changes>,
    seen: AtomicU64,
}

impl Watch {
    /// Tells whether something has changed since the file was opened or this was last asked.
    pub(crate) fn changed(&self) -> bool {
        let count = self.of.count.load(Ordering::SeqCst);
        self.seen.swap(count, Ordering::SeqCst) != count
    }

    pub(crate) fn queue(&self) -> WaitQueue {
        self.of.queue.clone()
    }
}
