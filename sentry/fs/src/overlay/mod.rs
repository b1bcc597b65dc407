//! Several file systems as one: reads see the lower ones, changes go to the upper one.
//!
//! Semantics are those of Linux's overlayfs with `index`, `redirect_dir` and `metacopy` (kernel doc `filesystems/overlayfs`): merged
//! directories, whiteouts, copy-up on the first change (of content on the first write), hard links kept, directories
//! renamed without `EXDEV`. Two things are better than there: a file that is open for reading follows its copy, and inode and device numbers never change.
//!
//! Key types: [`OverlayFs`] and [`node::Node`], its inode. How state is kept:
//!
//! * A node has an upper inode, lower inodes, or both. Lower inodes are fixed at birth; the upper one is set once, by
//!   copy-up. Nodes are found by the identity of either, so every name of a file leads to the same node.
//! * A copy is made under a number in the root of the upper file system, the *work area*, and stays there: what a lower
//!   name means is found through the node, so copying a file needs no copy of its directory. A node that has a copy, or
//!   whose link count differs from the lower one's, is pinned in memory until its last name is gone.
//! * A name in an upper directory wins over the lower ones, and exists only where there is none below or a whiteout. A
//!   whiteout is an entry in the node's memory and is never taken back. So a new directory is opaque by itself, and a
//!   renamed one takes its lower inodes along.
//!
//! The state is the sandbox's own and goes with it: the upper file system is not a Linux overlay's `upperdir`.

pub(crate) mod copy_up;
mod dir;
mod file;
mod inode;
mod names;
mod node;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use abi::Errno;
use abi::types::Statfs;
use crossbeam::queue::SegQueue;
use sentry_sync::{Level, Mutex};

use crate::{CachePolicy, DeviceId, FileSystem, InodeRef, next_anon_device};
use node::Node;

/// `OVERLAYFS_SUPER_MAGIC`.
const MAGIC: i64 = 0x794c_7630;

/// Inode numbers below this are left to the file systems underneath, with the number of the file system in the bits
/// above it.
const INO_BITS: u32 = 48;

/// What makes an inode of a file system underneath the same one.
pub(crate) type Key = (DeviceId, u64);

/// An upper file system over lower ones.
#[derive(Debug)]
pub struct OverlayFs {
    shared: Arc<Shared>,
    root: Arc<Node>,
}

/// Nodes by what they stand for.
#[derive(Debug, Default)]
struct Tables {
    by_lower: HashMap<Key, Weak<Node>>,
    by_upper: HashMap<Key, Weak<Node>>,
    /// Nodes that hold what can't be found out again.
    pinned: HashMap<u64, Arc<Node>>,
    /// File systems underneath in the order in which they were met: the first ones' inode numbers are shown as they are.
    devices: Vec<DeviceId>,
    /// Inode numbers that had to be made up.
    numbers: HashMap<Key, u64>,
}

/// What all nodes share.
pub(crate) struct Shared {
    dev: DeviceId,
    upper: Arc<dyn FileSystem>,
    lower: Vec<Arc<dyn FileSystem>>,
    /// Where copies are made.
    work: InodeRef,
    /// Held over every change of names and every making of an upper inode.
    names: Mutex<()>,
    tables: Mutex<Tables>,
    /// What nodes that have died stood for; swept before the tables grow.
    dead: SegQueue<Dead>,
    last: AtomicU64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("dev", &self.dev).field("tables", &self.tables).finish_non_exhaustive()
    }
}

/// A node that has died.
#[derive(Debug)]
pub(crate) struct Dead {
    lower: Option<Key>,
    upper: Option<Key>,
}

impl OverlayFs {
    /// Lays an empty `upper` (which must be given to nobody else) over `lower`, the topmost first.
    pub fn new(lower: Vec<Arc<dyn FileSystem>>, upper: Arc<dyn FileSystem>) -> Result<OverlayFs, Errno> {
        let roots: Vec<InodeRef> = lower.iter().map(|fs| fs.root()).collect();
        if roots.is_empty() {
            return Err(Errno::EINVAL);
        }
        let shared = Arc::new(Shared {
            dev: next_anon_device(),
            work: upper.root(),
            upper,
            lower,
            names: Mutex::new(Level::OverlayNames, ()),
            tables: Mutex::new(Level::Leaf, Tables::default()),
            dead: SegQueue::new(),
            last: AtomicU64::new(0),
        });
        let root = shared.node_of_lower(roots)?;
        Ok(OverlayFs { shared, root })
    }
}

impl Drop for OverlayFs {
    fn drop(&mut self) {
        // Nodes hold what holds them: untie that.
        let pinned = std::mem::take(&mut self.shared.tables.lock().pinned);
        drop(pinned);
    }
}

impl FileSystem for OverlayFs {
    fn kind(&self) -> &'static str {
        "overlay"
    }

    fn root(&self) -> InodeRef {
        Arc::clone(&self.root) as InodeRef
    }

    fn statfs(&self) -> Result<Statfs, Errno> {
        let mut stat = self.shared.upper.statfs()?;
        if let Some(lower) = self.shared.lower.first() {
            let lower = lower.statfs()?;
            // Memory without a limit has no size. Programs that look for room want one: that of what is below.
            stat = if stat.blocks == 0 { lower } else { above(stat, &lower) };
        }
        Ok(Statfs { kind: MAGIC, ..stat })
    }

    fn cache_policy(&self) -> CachePolicy {
        let all = || self.shared.lower.iter().chain([&self.shared.upper]);
        let exclusive = all().all(|fs| fs.cache_policy() == CachePolicy::Exclusive);
        if exclusive { CachePolicy::Exclusive } else { CachePolicy::Shared }
    }

    fn sync(&self) -> Result<(), Errno> {
        self.shared.upper.sync()
    }
}

/// Adds what a lower file system holds to the figures of the upper: room that is taken, as it is on one disk.
fn above(upper: Statfs, lower: &Statfs) -> Statfs {
    let unit = |stat: &Statfs| u64::try_from(if stat.frsize > 0 { stat.frsize } else { stat.bsize }).unwrap_or(0);
    let bytes = lower.blocks.saturating_sub(lower.bfree).saturating_mul(unit(lower));
    let blocks = upper.blocks.saturating_add(bytes / unit(&upper).max(1));
    let files = upper.files.saturating_add(lower.files.saturating_sub(lower.ffree));
    Statfs { blocks, files, ..upper }
}

/// Returns what makes an inode the same one.
fn key(inode: &InodeRef) -> Result<Key, Errno> {
    let attr = inode.attr()?;
    Ok((attr.dev, attr.ino))
}

impl Shared {
    /// Returns the node of lower inodes: one of any kind, or directories to merge, the topmost first.
    fn node_of_lower(self: &Arc<Shared>, lowers: Vec<InodeRef>) -> Result<Arc<Node>, Errno> {
        let Some(top) = lowers.first() else { return Err(Errno::ENOENT) };
        let attr = top.attr()?;
        let key = (attr.dev, attr.ino);
        let ino = self.number(key);
        let mut tables = self.tables.lock();
        self.sweep(&mut tables);
        if let Some(node) = tables.by_lower.get(&key).and_then(Weak::upgrade) {
            return Ok(node);
        }
        let node = Node::lower(self, ino, &attr, lowers);
        tables.by_lower.insert(key, Arc::downgrade(&node));
        Ok(node)
    }

    /// Returns the node of an upper inode.
    fn node_of_upper(self: &Arc<Shared>, upper: InodeRef) -> Result<Arc<Node>, Errno> {
        let attr = upper.attr()?;
        let key = (attr.dev, attr.ino);
        let ino = self.number(key);
        let mut tables = self.tables.lock();
        self.sweep(&mut tables);
        if let Some(node) = tables.by_upper.get(&key).and_then(Weak::upgrade) {
            return Ok(node);
        }
        let node = Node::upper(self, ino, attr.kind, key, upper);
        tables.by_upper.insert(key, Arc::downgrade(&node));
        Ok(node)
    }

    /// Makes a node that has been copied up findable by its copy, and keeps it.
    fn copied(&self, node: &Arc<Node>, upper: Key) {
        let mut tables = self.tables.lock();
        tables.by_upper.insert(upper, Arc::downgrade(node));
        tables.pinned.insert(node.id(), Arc::clone(node));
    }

    /// Keeps a node in memory.
    fn pin(&self, node: &Arc<Node>) {
        let old = self.tables.lock().pinned.insert(node.id(), Arc::clone(node));
        drop(old);
    }

    /// No longer keeps a node in memory.
    fn unpin(&self, node: &Node) {
        let old = self.tables.lock().pinned.remove(&node.id());
        drop(old);
    }

    /// Takes what has died out of the tables.
    fn sweep(&self, tables: &mut Tables) {
        while let Some(dead) = self.dead.pop() {
            let gone = |node: Option<&Weak<Node>>| node.is_some_and(|node| node.strong_count() == 0);
            if let Some(key) = dead.lower.filter(|key| gone(tables.by_lower.get(key))) {
                tables.by_lower.remove(&key);
            }
            if let Some(key) = dead.upper.filter(|key| gone(tables.by_upper.get(key))) {
                tables.by_upper.remove(&key);
            }
        }
    }

    /// Returns the inode number shown for an inode underneath: unique in the overlay and stable.
    fn number(&self, key: Key) -> u64 {
        let mut tables = self.tables.lock();
        let (dev, ino) = key;
        let index = match tables.devices.iter().position(|known| *known == dev) {
            Some(index) => index,
            None => {
                tables.devices.push(dev);
                tables.devices.len() - 1
            }
        };
        let plain = u64::try_from(index).ok().filter(|index| ino >> INO_BITS == 0 && *index < 1 << 14);
        match plain {
            Some(index) => index << INO_BITS | ino,
            None => {
                let next = 1 << 63 | tables.numbers.len() as u64;
                *tables.numbers.entry(key).or_insert(next)
            }
        }
    }

    /// Returns a number that nothing else has.
    fn next(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }
}
