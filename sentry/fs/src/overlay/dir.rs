//! Merged directory listings.

use std::any::Any;
use std::collections::HashSet;
use std::sync::Arc;

use abi::Errno;
use abi::flags::OpenFlags;
use sentry_sync::{Level, Mutex};

use super::node::Node;
use super::{Shared, key};
use crate::{DeviceId, DirEntry, DirSink, FileKind, FileOps, InodeRef, IoDst, IoFlags};

/// An entry of a merged listing.
#[derive(Debug)]
struct Item {
    ino: u64,
    kind: Option<FileKind>,
    name: Box<[u8]>,
}

/// Collects one layer's entries.
struct Collect<'a> {
    fs: &'a Shared,
    dev: DeviceId,
    above: bool,
    /// Names already there; only filled where several layers could have the same.
    seen: Option<&'a mut HashSet<Box<[u8]>>>,
    items: &'a mut Vec<Item>,
}

impl DirSink for Collect<'_> {
    fn entry(&mut self, entry: &DirEntry<'_>) -> bool {
        if matches!(entry.name, b"." | b"..") {
            return true;
        }
        let fresh = match &mut self.seen {
            Some(seen) => seen.insert(entry.name.into()),
            None => true,
        };
        if fresh {
            let key = (self.dev, entry.ino);
            let ino = self.fs.known_ino(key, self.above).unwrap_or_else(|| self.fs.number(key));
            self.items.push(Item { ino, kind: entry.kind, name: entry.name.into() });
        }
        true
    }
}

impl Shared {
    /// Returns the inode number of a node that stands for an upper inode with another one below.
    fn known_ino(&self, key: super::Key, above: bool) -> Option<u64> {
        if !above {
            return None;
        }
        let node = self.tables.lock().by_upper.get(&key).and_then(std::sync::Weak::upgrade);
        node.map(|node| node.ino())
    }
}

impl Node {
    /// Lists all entries but `.` and `..`.
    fn merged(&self) -> Result<Vec<Item>, Errno> {
        let mut items = Vec::new();
        let mut seen = HashSet::new();
        let above: Option<&InodeRef> = self.above();
        let several = self.below().len() > 1;
        let layers =
            above.into_iter().map(|layer| (layer, true)).chain(self.below().iter().map(|layer| (layer, false)));
        for (layer, above) in layers {
            let (dev, _) = key(layer)?;
            let dir = Arc::clone(layer).open(OpenFlags::DIRECTORY)?;
            let seen = several.then_some(&mut seen);
            let from = items.len();
            let mut sink = Collect { fs: &self.fs, dev, above, seen, items: &mut items };
            dir.read_dir(0, &mut sink)?;
            if !above {
                // Not while the layer lists: it may hold its own lock then.
                self.without_whiteouts(&mut items, from);
            }
        }
        Ok(items)
    }

    fn without_whiteouts(&self, items: &mut Vec<Item>, from: usize) {
        let state = self.state();
        if state.whiteouts.is_empty() {
            return;
        }
        let mut at = 0;
        items.retain(|item| {
            at += 1;
            at <= from || !state.whiteouts.contains(&item.name)
        });
    }

    /// Tells whether a directory has no entries.
    pub(super) fn is_empty(&self) -> Result<bool, Errno> {
        Ok(self.merged()?.is_empty())
    }
}

/// An open directory: lists what was there when its start was last read, with positions that are plain counts.
#[derive(Debug)]
pub(super) struct OverlayDir {
    node: Arc<Node>,
    seen: Mutex<Option<Arc<Vec<Item>>>>,
}

/// Positions of `.` and `..` come first.
const FIRST: u64 = 2;

impl OverlayDir {
    pub(super) fn new(node: Arc<Node>) -> OverlayDir {
        OverlayDir { node, seen: Mutex::new(Level::Leaf, None) }
    }

    fn listing(&self, pos: u64) -> Result<Arc<Vec<Item>>, Errno> {
        let seen = self.seen.lock().as_ref().map(Arc::clone);
        match seen {
            Some(listing) if pos > 0 => Ok(listing),
            _ => {
                let removed = self.node.state().removed;
                let listing = Arc::new(if removed { Vec::new() } else { self.node.merged()? });
                let old = self.seen.lock().replace(Arc::clone(&listing));
                drop(old);
                Ok(listing)
            }
        }
    }
}

impl FileOps for OverlayDir {
    fn read(&self, _pos: &mut u64, _flags: IoFlags, _dst: &mut dyn IoDst) -> Result<usize, Errno> {
        Err(Errno::EISDIR)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read_dir(&self, pos: u64, sink: &mut dyn DirSink) -> Result<(), Errno> {
        let listing = self.listing(pos)?;
        let ino = self.node.ino();
        let parent = self.node.state().parent.unwrap_or(ino);
        let kind = Some(FileKind::Directory);
        for (at, ino, name) in [(0, ino, b".".as_slice()), (1, parent, b"..")] {
            if at >= pos && !sink.entry(&DirEntry { ino, kind, name, next: at + 1 }) {
                return Ok(());
            }
        }
        let first = usize::try_from(pos.saturating_sub(FIRST)).unwrap_or(usize::MAX);
        for (at, item) in (pos.max(FIRST)..).zip(listing.iter().skip(first)) {
            if !sink.entry(&DirEntry { ino: item.ino, kind: item.kind, name: &item.name, next: at + 1 }) {
                break;
            }
        }
        Ok(())
    }

    fn sync(&self, _data_only: bool) -> Result<(), Errno> {
        Ok(())
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
