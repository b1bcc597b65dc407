//! The names of one tmpfs: all directories under one lock, since renames touch two of them and two locks of one level
//! are never taken together.
//!
//! Every entry has a position that it keeps as long as the name exists, and later entries have higher ones; a listing
//! that goes on from a position therefore neither skips nor repeats a name that was there all the time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use abi::Errno;

use super::inode::TmpInode;

/// Positions 0 and 1 are `.` and `..`.
pub(super) const FIRST_ENTRY: u64 = 2;

/// One directory.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) parent: u64,
    by_name: HashMap<Arc<[u8]>, u64>,
    entries: BTreeMap<u64, (Arc<[u8]>, Arc<TmpInode>)>,
    next: u64,
}

impl Directory {
    pub(super) fn new(parent: u64) -> Directory {
        Directory { parent, by_name: HashMap::new(), entries: BTreeMap::new(), next: FIRST_ENTRY }
    }

    pub(super) fn get(&self, name: &[u8]) -> Option<&Arc<TmpInode>> {
        let at = self.by_name.get(name)?;
        self.entries.get(at).map(|(_, inode)| inode)
    }

    /// Adds a name, or gives an existing one another inode at its old position; returns what it named before.
    pub(super) fn put(&mut self, name: &[u8], inode: Arc<TmpInode>) -> Option<Arc<TmpInode>> {
        if let Some(at) = self.by_name.get(name)
            && let Some((_, old)) = self.entries.get_mut(at)
        {
            return Some(std::mem::replace(old, inode));
        }
        let name: Arc<[u8]> = Arc::from(name);
        self.by_name.insert(Arc::clone(&name), self.next);
        self.entries.insert(self.next, (name, inode));
        self.next += 1;
        None
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> Option<Arc<TmpInode>> {
        let at = self.by_name.remove(name)?;
        self.entries.remove(&at).map(|(_, inode)| inode)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Iterates over the entries from a position on.
    pub(super) fn from(&self, pos: u64) -> impl Iterator<Item = (u64, &[u8], &Arc<TmpInode>)> {
        self.entries.range(pos..).map(|(at, (name, inode))| (*at, name.as_ref(), inode))
    }
}

/// All directories of a file system, by inode number.
#[derive(Debug, Default)]
pub(super) struct Tree {
    dirs: HashMap<u64, Directory>,
}

impl Tree {
    /// Returns a directory: `ENOENT` once it has been removed.
    pub(super) fn dir(&self, ino: u64) -> Result<&Directory, Errno> {
        self.dirs.get(&ino).ok_or(Errno::ENOENT)
    }

    pub(super) fn dir_mut(&mut self, ino: u64) -> Result<&mut Directory, Errno> {
        self.dirs.get_mut(&ino).ok_or(Errno::ENOENT)
    }

    pub(super) fn add(&mut self, ino: u64, parent: u64) {
        self.dirs.insert(ino, Directory::new(parent));
    }

    pub(super) fn remove(&mut self, ino: u64) {
        self.dirs.remove(&ino);
    }

    /// Tells whether a directory holds no names; one that is gone doesn't.
    pub(super) fn is_empty(&self, ino: u64) -> bool {
        self.dirs.get(&ino).is_none_or(|dir| dir.len() == 0)
    }

    /// Takes everything out; the caller drops it without the lock.
    pub(super) fn clear(&mut self) -> HashMap<u64, Directory> {
        std::mem::take(&mut self.dirs)
    }
}
