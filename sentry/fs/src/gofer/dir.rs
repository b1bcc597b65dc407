//! [`GoferDir`]: an open directory.

use std::any::Any;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use abi::Errno;
use gofer_proto::{Handle, Reply, Request};
use sentry_sync::{Level, Mutex};

use super::client::Client;
use super::node::GoferInode;
use crate::{DirEntry, DirSink, FileKind, FileOps, IoDst, IoFlags};

/// All entries of a directory as they were at one time.
#[derive(Debug, Default)]
pub(super) struct Listing {
    names: Vec<u8>,
    entries: Vec<(u64, u8, Range<usize>)>,
    /// The entry that follows each in the order of names.
    sorted: OnceLock<Vec<usize>>,
}

impl Listing {
    /// Returns the number of entries.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the name of an entry.
    pub(super) fn name(&self, place: usize) -> Option<&[u8]> {
        self.names.get(self.entries.get(place)?.2.clone())
    }

    /// Returns the entry whose name comes next in the order of names.
    pub(super) fn after(&self, place: usize) -> Option<usize> {
        let sorted = self.sorted.get_or_init(|| {
            let mut order: Vec<usize> = (0..self.len()).collect();
            order.sort_unstable_by_key(|at| self.name(*at));
            let mut next = vec![usize::MAX; order.len()];
            for pair in order.windows(2) {
                next[pair[0]] = pair[1];
            }
            next
        });
        sorted.get(place).copied().filter(|next| *next != usize::MAX)
    }

    #[cfg(test)]
    pub(super) fn of(names: &[&[u8]]) -> Listing {
        let mut listing = Listing::default();
        for name in names {
            let start = listing.names.len();
            listing.names.extend_from_slice(name);
            listing.entries.push((1, 8, start..listing.names.len()));
        }
        listing
    }

    /// Asks the gofer for all of a directory.
    pub(super) fn fetch(client: &Client, node: Handle) -> Result<Listing, Errno> {
        let mut listing = Listing::default();
        let mut cookie = 0;
        loop {
            cookie = client.call(&Request::ReadDir { node, cookie }, |reply, _| match reply {
                Reply::Dir { items, next } => {
                    for item in &items {
                        let start = listing.names.len();
                        listing.names.extend_from_slice(item.name);
                        listing.entries.push((item.ino, item.kind, start..listing.names.len()));
                    }
                    // An empty part that isn't the last would make us ask for ever.
                    if items.is_empty() { Ok(0) } else { Ok(next) }
                }
                _ => Err(Errno::EIO),
            })?;
            if cookie == 0 {
                return Ok(listing);
            }
        }
    }
}

/// An open directory: lists what was there when its start was last read, with positions that are plain counts.
#[derive(Debug)]
pub(super) struct GoferDir {
    inode: Arc<GoferInode>,
    seen: Mutex<Option<Arc<Listing>>>,
}

/// Positions of `.` and `..` come first.
const FIRST: u64 = 2;

impl GoferDir {
    pub(super) fn new(inode: Arc<GoferInode>) -> GoferDir {
        GoferDir { inode, seen: Mutex::new(Level::Leaf, None) }
    }

    fn listing(&self, pos: u64) -> Result<Arc<Listing>, Errno> {
        let seen = self.seen.lock().as_ref().map(Arc::clone);
        match seen {
            Some(listing) if pos > 0 => Ok(listing),
            _ => {
                let listing = self.inode.listing()?;
                let old = self.seen.lock().replace(Arc::clone(&listing));
                drop(old);
                Ok(listing)
            }
        }
    }
}

impl FileOps for GoferDir {
    fn read(&self, _pos: &mut u64, _flags: IoFlags, _dst: &mut dyn IoDst) -> Result<usize, Errno> {
        Err(Errno::EISDIR)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read_dir(&self, pos: u64, sink: &mut dyn DirSink) -> Result<(), Errno> {
        let listing = self.listing(pos)?;
        let ino = self.inode.ino();
        let kind = Some(FileKind::Directory);
        for (at, ino, name) in [(0, ino, b".".as_slice()), (1, self.inode.parent_ino(), b"..")] {
            if at >= pos && !sink.entry(&DirEntry { ino, kind, name, next: at + 1 }) {
                return Ok(());
            }
        }
        let first = usize::try_from(pos.saturating_sub(FIRST)).unwrap_or(usize::MAX);
        for (at, (ino, kind, range)) in (pos.max(FIRST)..).zip(listing.entries.iter().skip(first)) {
            let kind = if *kind == 0 { None } else { FileKind::from_mode(u32::from(*kind) << 12) };
            let name = listing.names.get(range.clone()).unwrap_or_default();
            if !sink.entry(&DirEntry { ino: *ino, kind, name, next: at + 1 }) {
                break;
            }
        }
        Ok(())
    }

    fn sync(&self, _data_only: bool) -> Result<(), Errno> {
        self.inode.sync()
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
