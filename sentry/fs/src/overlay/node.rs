//! [`Node`]: one file of the overlay.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use abi::Errno;
use sentry_sync::{Level, Mutex};

use super::{Dead, Key, Shared, key};
use crate::{Attr, FileKind, InodeRef};

/// One file, whatever its names.
pub(crate) struct Node {
    pub(super) fs: Arc<Shared>,
    pub(super) this: Weak<Node>,
    id: u64,
    ino: u64,
    kind: FileKind,
    /// Set at birth or by copy-up, then fixed.
    upper: OnceLock<(Key, InodeRef)>,
    /// Fixed at birth; several for merged directories.
    lowers: Box<[InodeRef]>,
    lower_key: Option<Key>,
    /// The content of a regular file is (still) that of the lower inode.
    content_below: AtomicBool,
    /// Held while the content is copied up.
    pub(super) copying: Mutex<()>,
    /// Link count of a file that has or had lower names; `UPPER_COUNTS` where the upper file system's own is right.
    links: AtomicU64,
    state: Mutex<State>,
}

/// See [`Node::links`].
const UPPER_COUNTS: u64 = u64::MAX;

#[derive(Debug, Default)]
pub(super) struct State {
    /// Names of lower entries that are gone or covered.
    pub(super) whiteouts: HashSet<Box<[u8]>>,
    /// The copy's number in the work area, as long as it lies there.
    pub(super) work: Option<u64>,
    /// A directory that has been removed.
    pub(super) removed: bool,
    /// Inode number of the directory that a directory was last seen in.
    pub(super) parent: Option<u64>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let upper = self.upper.get().map(|(key, _)| key);
        f.debug_struct("Node").field("ino", &self.ino).field("upper", &upper).finish_non_exhaustive()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.fs.dead.push(Dead { lower: self.lower_key, upper: self.upper.get().map(|(key, _)| *key) });
    }
}

impl Node {
    /// A node of files below.
    pub(super) fn lower(fs: &Arc<Shared>, ino: u64, top: &Attr, lowers: Vec<InodeRef>) -> Arc<Node> {
        let links = if top.kind == FileKind::Directory { UPPER_COUNTS } else { top.nlink };
        Arc::new_cyclic(|this| Node {
            fs: Arc::clone(fs),
            this: Weak::clone(this),
            id: fs.next(),
            ino,
            kind: top.kind,
            upper: OnceLock::new(),
            lowers: lowers.into(),
            lower_key: Some((top.dev, top.ino)),
            content_below: AtomicBool::new(top.kind == FileKind::Regular),
            links: AtomicU64::new(links),
            copying: Mutex::new(Level::OverlayCopy, ()),
            state: Mutex::new(Level::InodeUpper, State::default()),
        })
    }

    /// A node of a file that exists above only.
    pub(super) fn upper(fs: &Arc<Shared>, ino: u64, kind: FileKind, key: Key, upper: InodeRef) -> Arc<Node> {
        Arc::new_cyclic(|this| Node {
            fs: Arc::clone(fs),
            this: Weak::clone(this),
            id: fs.next(),
            ino,
            kind,
            upper: OnceLock::from((key, upper)),
            lowers: Box::default(),
            lower_key: None,
            content_below: AtomicBool::new(false),
            links: AtomicU64::new(UPPER_COUNTS),
            copying: Mutex::new(Level::OverlayCopy, ()),
            state: Mutex::new(Level::InodeUpper, State::default()),
        })
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn ino(&self) -> u64 {
        self.ino
    }

    pub(super) fn kind(&self) -> FileKind {
        self.kind
    }

    pub(super) fn is_dir(&self) -> bool {
        self.kind == FileKind::Directory
    }

    /// Returns the inode above, if there is one.
    pub(super) fn above(&self) -> Option<&InodeRef> {
        self.upper.get().map(|(_, inode)| inode)
    }

    /// Returns the inodes below.
    pub(super) fn below(&self) -> &[InodeRef] {
        &self.lowers
    }

    /// Returns the inode whose attributes count.
    pub(super) fn real(&self) -> Result<&InodeRef, Errno> {
        self.above().or(self.lowers.first()).ok_or(Errno::EIO)
    }

    /// Tells whether the content is still that of the lower inode.
    pub(super) fn content_below(&self) -> bool {
        self.content_below.load(Ordering::Acquire)
    }

    /// Notes that the upper inode has the content now.
    pub(super) fn content_copied(&self) {
        self.content_below.store(false, Ordering::Release);
    }

    /// Locks what changes.
    pub(super) fn state(&self) -> impl std::ops::DerefMut<Target = State> + '_ {
        self.state.lock()
    }

    /// Takes the copy just made, which lies in the work area under `work`.
    pub(super) fn set_upper(self: &Arc<Self>, upper: InodeRef, work: u64) -> Result<(), Errno> {
        let key = key(&upper)?;
        self.state().work = Some(work);
        // Findable first: a lookup that meets the copy must not take it for another file.
        self.fs.copied(self, key);
        let _ = self.upper.set((key, upper));
        Ok(())
    }

    /// Returns the attributes of the overlay's file.
    pub(super) fn attributes(&self) -> Result<Attr, Errno> {
        let mut attr = self.real()?.attr()?;
        if self.above().is_some()
            && self.content_below()
            && let Some(lower) = self.lowers.first()
        {
            attr.blocks = lower.attr()?.blocks;
        }
        let nlink = match self.links.load(Ordering::Relaxed) {
            UPPER_COUNTS if !self.is_dir() || self.lowers.is_empty() => attr.nlink,
            UPPER_COUNTS if self.state().removed => 0,
            // As Linux has it: whoever counts subdirectories by links must not do so here.
            UPPER_COUNTS if self.above().is_some() || self.lowers.len() > 1 => 1,
            UPPER_COUNTS => attr.nlink,
            links => links,
        };
        Ok(Attr { dev: self.fs.dev, ino: self.ino, nlink, ..attr })
    }

    /// Tells whether the node counts its own links.
    pub(super) fn counts_links(&self) -> bool {
        self.links.load(Ordering::Relaxed) != UPPER_COUNTS
    }

    /// Counts a new name; to be called with the names locked.
    pub(super) fn linked(self: &Arc<Self>) {
        if self.counts_links() {
            self.links.fetch_add(1, Ordering::Relaxed);
            self.fs.pin(self);
        }
    }

    /// Counts a name less; to be called with the names locked. Lets go of everything once there is none.
    pub(super) fn unlinked(self: &Arc<Self>) {
        let last = if self.is_dir() {
            self.state().removed = true;
            true
        } else if self.counts_links() {
            // The lower count was never below the names there are, but the lower layer may lie.
            let left = self.links.load(Ordering::Relaxed).saturating_sub(1);
            self.links.store(left, Ordering::Relaxed);
            left == 0
        } else {
            return;
        };
        if !last {
            return self.fs.pin(self);
        }
        self.let_go();
    }

    /// Gives up what only a name could lead to.
    pub(super) fn let_go(&self) {
        let work = self.state().work.take();
        if let Some(work) = work {
            self.fs.remove_work(work, self.kind);
        }
        self.fs.unpin(self);
    }

    /// Tells whether a lower entry of this name is hidden.
    pub(super) fn whited_out(&self, name: &[u8]) -> bool {
        self.state().whiteouts.contains(name)
    }

    /// Hides lower entries of this name for good.
    pub(super) fn white_out(&self, name: &[u8]) {
        self.state().whiteouts.insert(name.into());
    }

    /// Tells whether all names are gone; what was opened before lives on.
    pub(super) fn nameless(&self) -> bool {
        self.links.load(Ordering::Relaxed) == 0 || self.state().removed
    }

    /// Tells whether a lower entry of this name would be seen if nothing were above.
    pub(super) fn shows_lower(&self, name: &[u8]) -> Result<bool, Errno> {
        if self.lowers.is_empty() || self.whited_out(name) {
            return Ok(false);
        }
        for lower in &self.lowers {
            match lower.lookup(name) {
                Ok(_) => return Ok(true),
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(false)
    }

    /// Finds an entry.
    pub(super) fn find(&self, name: &[u8]) -> Result<Arc<Node>, Errno> {
        if !self.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        let node = self.find_entry(name)?;
        if node.is_dir() {
            node.state().parent = Some(self.ino);
        }
        Ok(node)
    }

    fn find_above(&self, name: &[u8]) -> Result<Option<Arc<Node>>, Errno> {
        let Some(upper) = self.above() else { return Ok(None) };
        match upper.lookup(name) {
            Ok(inode) => self.fs.node_of_upper(inode).map(Some),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn find_entry(&self, name: &[u8]) -> Result<Arc<Node>, Errno> {
        if let Some(node) = self.find_above(name)? {
            return Ok(node);
        }
        if !self.lowers.is_empty() && self.whited_out(name) {
            // Whoever covers a lower entry puts the upper one there before the whiteout.
            return self.find_above(name)?.ok_or(Errno::ENOENT);
        }
        let mut found: Vec<InodeRef> = Vec::new();
        for lower in &self.lowers {
            let inode = match lower.lookup(name) {
                Ok(inode) => inode,
                Err(Errno::ENOENT | Errno::ENOTDIR) => continue,
                Err(errno) => return Err(errno),
            };
            let is_dir = inode.attr()?.kind == FileKind::Directory;
            // A directory is merged with those below it, as far as the first thing that is none.
            if is_dir || found.is_empty() {
                found.push(inode);
            }
            if !is_dir {
                break;
            }
        }
        self.fs.node_of_lower(found)
    }
}
