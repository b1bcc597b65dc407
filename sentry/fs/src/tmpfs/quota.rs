//! How much one tmpfs may hold: pages of data, and memory for inodes and their attributes; and where the data may lie.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::Errno;

use super::Backing;

/// Bytes that an inode counts for (`BOGO_INODE_SIZE` of the kernel's `mm/shmem.c`).
pub(super) const INODE_COST: u64 = 1024;

/// A limit and how much of it is used.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    used: AtomicU64,
}

impl Budget {
    fn new(limit: u64) -> Budget {
        Budget { limit, used: AtomicU64::new(0) }
    }

    /// Takes exactly `amount` or nothing.
    pub(crate) fn charge(&self, amount: u64) -> Result<(), Errno> {
        let take = |used: u64| used.checked_add(amount).filter(|sum| *sum <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).map(drop).map_err(|_| Errno::ENOSPC)
    }

    /// Takes as much of `amount` as is left; returns how much.
    pub(crate) fn charge_up_to(&self, amount: u64) -> u64 {
        let mut taken = 0;
        let take = |used: u64| {
            taken = amount.min(self.limit.saturating_sub(used));
            Some(used + taken)
        };
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken
    }

    /// Takes `amount` whether or not the limit allows it: it is in use already.
    pub(crate) fn charge_forced(&self, amount: u64) {
        let add = |used: u64| Some(used.saturating_add(amount));
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Gives back.
    pub(crate) fn release(&self, amount: u64) {
        let give = |used: u64| Some(used.saturating_sub(amount));
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, give);
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    pub(super) fn free(&self) -> u64 {
        self.limit.saturating_sub(self.used.load(Ordering::Relaxed))
    }
}

/// The limits of one file system. `u64::MAX` means none.
#[derive(Debug)]
pub(crate) struct Quota {
    /// Pages of file content.
    pub(crate) pages: Budget,
    /// Bytes of inodes and extended attributes.
    pub(crate) inodes: Budget,
    /// What makes files for content; `None` is the host's memory.
    pub(crate) backing: Option<Arc<dyn Backing>>,
}

impl Quota {
    pub(crate) fn new(max_pages: u64, max_inodes: u64, backing: Option<Arc<dyn Backing>>) -> Quota {
        let inode_space = if max_inodes == u64::MAX { u64::MAX } else { max_inodes.saturating_mul(INODE_COST) };
        Quota { pages: Budget::new(max_pages), inodes: Budget::new(inode_space), backing }
    }
}
