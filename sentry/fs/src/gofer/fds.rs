//! How many descriptors and listings are kept for further opens.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use rustix::process::Resource;
use sentry_sync::{Level, Mutex};

use super::node::GoferInode;

/// Inodes that hold descriptors or listings, oldest first.
#[derive(Debug)]
pub(super) struct FdCache {
    held: Mutex<VecDeque<Weak<GoferInode>>>,
    limit: usize,
}

/// Descriptors kept at most in one tree, however many the host allows: each pins kernel memory.
const MAX_KEPT: u64 = 4096;

impl FdCache {
    /// Keeps a quarter of what the host allows the sentry.
    pub(super) fn new() -> FdCache {
        let files = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(MAX_KEPT * 4);
        let limit = usize::try_from((files / 4).clamp(16, MAX_KEPT)).unwrap_or(16);
        FdCache { held: Mutex::new(Level::Leaf, VecDeque::new()), limit }
    }

    /// Notes that the inode holds one more of them; lets the oldest of others go where there are too many. Call it
    /// without any inode locked.
    pub(super) fn kept(&self, inode: &Arc<GoferInode>) {
        let oldest = {
            let mut held = self.held.lock();
            held.push_back(Arc::downgrade(inode));
            if held.len() > self.limit { held.pop_front() } else { None }
        };
        if let Some(oldest) = oldest.and_then(|oldest| oldest.upgrade()) {
            oldest.release();
        }
    }
}
