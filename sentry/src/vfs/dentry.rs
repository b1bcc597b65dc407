//! Dentries: names that have been looked up, and the superblock they belong to.
//!
//! A dentry holds its parent; a parent knows its children weakly, so that nothing is kept alive by having been seen.
//! What is worth keeping (by [`CachePolicy`]) is held by a ring of bounded size in the superblock. Names known to be
//! absent are remembered per directory, bounded too.
//!
//! Locks: [`Super::rename`] (shared by changes of one directory, exclusive for renames) before [`Dentry::dir`] (one
//! change of a directory at a time); the maps are leaves and never held while a file system works.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use abi::Errno;
use foldhash::fast::RandomState;
use sentry_fs::inotify::InotifyWatches;
use sentry_fs::{Attr, CachePolicy, DeviceId, FileKind, FileSystem, InodeRef};
use sentry_sync::{Level, Mutex, RwLock};

use super::locks::InodeLocks;

/// Dentries that a superblock keeps although nobody uses them, at some 500 bytes each with what hangs on them: as many as
/// are in the trees that programs walk again and again (a working copy, what a package manager has unpacked).
const KEPT: usize = 16384;

/// Absent names that a directory remembers.
const ABSENT: usize = 256;

/// A mounted file system with what the VFS knows of it. Shared by bind mounts.
pub struct Super {
    /// The file system.
    pub fs: Arc<dyn FileSystem>,
    /// Held shared while one directory changes, exclusively while something is renamed.
    pub rename: RwLock<()>,
    policy: CachePolicy,
    kept: Mutex<Ring>,
    watched: AtomicUsize,
    watches: Mutex<HashMap<(DeviceId, u64), Arc<InotifyWatches>>>,
    locks: Mutex<HashMap<(DeviceId, u64), Arc<InodeLocks>>>,
    /// Regular files open for writing (counted up) or executed (counted down).
    users: Mutex<HashMap<(DeviceId, u64), i64>>,
    mounts: AtomicUsize,
}

#[derive(Default)]
struct Ring {
    slots: Vec<Option<Arc<Dentry>>>,
    hand: usize,
}

impl Super {
    /// Takes a file system into use and returns the dentry of its root.
    pub fn root_of(fs: Arc<dyn FileSystem>) -> Result<Arc<Dentry>, Errno> {
        let root = fs.root();
        let policy = fs.cache_policy();
        let sb = Arc::new(Super {
            fs,
            rename: RwLock::new(Level::Rename, ()),
            policy,
            kept: Mutex::new(Level::Leaf, Ring::default()),
            watched: AtomicUsize::new(0),
            watches: Mutex::new(Level::Leaf, HashMap::new()),
            locks: Mutex::new(Level::Leaf, HashMap::new()),
            users: Mutex::new(Level::Leaf, HashMap::new()),
            mounts: AtomicUsize::new(0),
        });
        let kind = root.attr()?.kind;
        Ok(Dentry::new(sb, root, kind, None, Arc::from(&b"/"[..])))
    }

    pub(super) fn mounted(&self) {
        self.mounts.fetch_add(1, Ordering::Relaxed);
    }

    /// Hears that a mount is gone; with the last one the kept dentries go.
    pub(super) fn unmounted(&self) {
        if self.mounts.fetch_sub(1, Ordering::Relaxed) == 1 {
            let kept = std::mem::take(&mut *self.kept.lock());
            drop(kept);
            let watches = std::mem::take(&mut *self.watches.lock());
            self.watched.store(0, Ordering::Relaxed);
            watches.values().for_each(|list| list.unmounted());
        }
    }

    fn keep(&self, dentry: &Arc<Dentry>) {
        if self.policy == CachePolicy::Never || self.mounts.load(Ordering::Relaxed) == 0 {
            return;
        }
        let replaced = {
            let mut ring = self.kept.lock();
            let hand = ring.hand;
            ring.hand = (hand + 1) % KEPT;
            dentry.slot.store(hand, Ordering::Relaxed);
            match ring.slots.get_mut(hand) {
                Some(slot) => slot.replace(Arc::clone(dentry)),
                None => {
                    ring.slots.push(Some(Arc::clone(dentry)));
                    None
                }
            }
        };
        drop(replaced);
    }

    fn release(&self, dentry: &Dentry) {
        let at = dentry.slot.load(Ordering::Relaxed);
        let released = {
            let mut ring = self.kept.lock();
            ring.slots
                .get_mut(at)
                .filter(|slot| slot.as_ref().is_some_and(|kept| kept.id == dentry.id))
                .map(Option::take)
        };
        drop(released);
    }

    /// Tells whether some inode of this file system is watched by inotify.
    pub fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed) != 0
    }

    /// Returns the watches of an inode, if there are any.
    pub fn watches_of(&self, inode: &InodeRef) -> Option<Arc<InotifyWatches>> {
        if !self.is_watched() {
            return None;
        }
        let attr = inode.attr().ok()?;
        self.watches.lock().get(&(attr.dev, attr.ino)).cloned()
    }

    /// Returns the watches of an inode, made if need be.
    pub fn watches_for(&self, inode: &InodeRef) -> Result<Arc<InotifyWatches>, Errno> {
        let attr = inode.attr()?;
        let mut stale = Vec::new();
        let mut watches = self.watches.lock();
        if watches.len() == watches.capacity() {
            stale.extend(watches.extract_if(|_, list| Arc::strong_count(list) == 1 && list.is_empty()));
        }
        let found = Arc::clone(watches.entry((attr.dev, attr.ino)).or_default());
        self.watched.store(watches.len(), Ordering::Relaxed);
        drop(watches);
        Ok(found)
    }

    /// Returns the file locks of an inode, if there are any.
    pub fn locks_of(&self, inode: &InodeRef) -> Option<Arc<InodeLocks>> {
        if self.locks.lock().is_empty() {
            return None;
        }
        let attr = inode.attr().ok()?;
        self.locks.lock().get(&(attr.dev, attr.ino)).cloned()
    }

    /// Returns the file locks of an inode, made if need be.
    pub fn locks_for(&self, inode: &InodeRef) -> Result<Arc<InodeLocks>, Errno> {
        let attr = inode.attr()?;
        let mut locks = self.locks.lock();
        if locks.len() == locks.capacity() {
            locks.retain(|_, list| Arc::strong_count(list) > 1 || !list.is_empty());
        }
        Ok(Arc::clone(locks.entry((attr.dev, attr.ino)).or_default()))
    }

    /// Forgets the watches of an inode that is gone.
    pub fn forget_watches(&self, inode: &InodeRef) {
        let Ok(attr) = inode.attr() else { return };
        let mut watches = self.watches.lock();
        let gone = watches.remove(&(attr.dev, attr.ino));
        self.watched.store(watches.len(), Ordering::Relaxed);
        drop(watches);
        drop(gone);
    }
}

/// Keeps a regular file from being executed while it is written, or from being written while it is executed.
pub struct FileUse {
    sb: Arc<Super>,
    key: (DeviceId, u64),
    step: i64,
}

impl FileUse {
    /// Begins to write or to execute: `ETXTBSY` where the other is going on.
    pub fn begin(sb: &Arc<Super>, attr: &Attr, write: bool) -> Result<FileUse, Errno> {
        let (key, step) = ((attr.dev, attr.ino), if write { 1 } else { -1 });
        let mut users = sb.users.lock();
        let count = users.entry(key).or_default();
        if *count * step < 0 {
            return Err(Errno::ETXTBSY);
        }
        *count += step;
        drop(users);
        Ok(FileUse { sb: Arc::clone(sb), key, step })
    }

    /// Tells whether this is to execute it.
    pub fn executes(&self) -> bool {
        self.step < 0
    }

    /// Tells whether no other description of the file is there to write, or to execute.
    pub fn is_only(&self) -> bool {
        self.sb.users.lock().get(&self.key).is_some_and(|count| *count == self.step)
    }

    /// Tells whether a file is being executed.
    pub fn is_executed(sb: &Super, attr: &Attr) -> bool {
        sb.users.lock().get(&(attr.dev, attr.ino)).is_some_and(|count| *count < 0)
    }
}

impl Drop for FileUse {
    fn drop(&mut self) {
        let mut users = self.sb.users.lock();
        if let Some(count) = users.get_mut(&self.key) {
            *count -= self.step;
            if *count == 0 {
                users.remove(&self.key);
            }
        }
    }
}

struct Place {
    parent: Option<Arc<Dentry>>,
    name: Arc<[u8]>,
    unlinked: bool,
    /// Never had a name but may get one (`O_TMPFILE` without `O_EXCL`).
    linkable: bool,
}

enum Child {
    Known(Weak<Dentry>),
    Absent,
}

#[derive(Default)]
struct Children {
    map: HashMap<Arc<[u8]>, Child, RandomState>,
    absent: usize,
    /// Counts changes: an absence found before one isn't remembered after it.
    generation: u64,
}

impl Children {
    fn put(&mut self, name: Arc<[u8]>, child: Child) {
        self.absent += usize::from(matches!(child, Child::Absent));
        if let Some(Child::Absent) = self.map.insert(name, child) {
            self.absent -= 1;
        }
        if self.absent > ABSENT {
            self.map.retain(|_, child| matches!(child, Child::Known(_)));
            self.absent = 0;
        }
    }

    fn take(&mut self, name: &[u8]) -> Option<Child> {
        let child = self.map.remove(name)?;
        self.absent -= usize::from(matches!(child, Child::Absent));
        Some(child)
    }
}

/// A name in a directory and the inode behind it.
pub struct Dentry {
    /// The file system.
    pub sb: Arc<Super>,
    /// The inode.
    pub inode: InodeRef,
    /// Its kind, which never changes.
    pub kind: FileKind,
    /// Unique among all dentries.
    pub(super) id: u64,
    /// Held while an entry of this directory is made or removed.
    pub(super) dir: Mutex<()>,
    /// How many mounts have this dentry as their mount point.
    pub(super) mounts: AtomicUsize,
    place: Mutex<Place>,
    children: Mutex<Children>,
    slot: AtomicUsize,
}

impl std::fmt::Debug for Dentry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dentry({:?} {:?})", self.kind, String::from_utf8_lossy(&self.name()))
    }
}

impl Dentry {
    fn new(
        sb: Arc<Super>,
        inode: InodeRef,
        kind: FileKind,
        parent: Option<Arc<Dentry>>,
        name: Arc<[u8]>,
    ) -> Arc<Dentry> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Dentry {
            sb,
            inode,
            kind,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            dir: Mutex::new(Level::Dentry, ()),
            mounts: AtomicUsize::new(0),
            place: Mutex::new(Level::Leaf, Place { parent, name, unlinked: false, linkable: false }),
            children: Mutex::new(Level::Leaf, Children::default()),
            slot: AtomicUsize::new(usize::MAX),
        })
    }

    /// Makes a dentry for an inode without a name (`O_TMPFILE`, a memfd): shown as deleted. `linkable` lets it have one.
    pub fn unnamed(
        sb: &Arc<Super>,
        inode: InodeRef,
        name: &[u8],
        parent: Option<Arc<Dentry>>,
        linkable: bool,
    ) -> Result<Arc<Dentry>, Errno> {
        let kind = inode.attr()?.kind;
        let dentry = Dentry::new(Arc::clone(sb), inode, kind, parent, Arc::from(name));
        {
            let mut place = dentry.place.lock();
            place.unlinked = true;
            place.linkable = linkable;
        }
        Ok(dentry)
    }

    /// Tells whether something is mounted here, in whatever namespace.
    pub(super) fn is_mount_point(&self) -> bool {
        self.mounts.load(Ordering::Relaxed) != 0
    }

    /// Tells whether this is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == FileKind::Directory
    }

    /// Returns the directory it is in; `None` for a root.
    pub fn parent(&self) -> Option<Arc<Dentry>> {
        self.place.lock().parent.clone()
    }

    /// Returns the name.
    pub fn name(&self) -> Arc<[u8]> {
        Arc::clone(&self.place.lock().name)
    }

    /// Returns the path from the root of the file system, as `/proc/PID/mountinfo` shows it.
    pub fn path_in_fs(self: &Arc<Dentry>) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = Arc::clone(self);
        while let Some(parent) = at.parent() {
            names.push(at.name());
            at = parent;
        }
        let mut path: Vec<u8> = names.iter().rev().flat_map(|name| [b"/", &name[..]].concat()).collect();
        if path.is_empty() {
            path.push(b'/');
        }
        if self.is_unlinked() {
            path.extend_from_slice(b"//deleted");
        }
        path
    }

    /// Tells whether the name has been removed.
    pub fn is_unlinked(&self) -> bool {
        self.place.lock().unlinked
    }

    /// Tells whether an inode without a name may get one.
    pub(super) fn is_linkable(&self) -> bool {
        self.place.lock().linkable
    }

    /// It has got a name: once that is gone it gets no other.
    pub(super) fn has_been_linked(&self) {
        self.place.lock().linkable = false;
    }

    /// Tells whether this is `other` or lies below it.
    pub fn is_below(&self, other: &Dentry) -> bool {
        if self.id == other.id {
            return true;
        }
        let mut at = self.parent();
        while let Some(dentry) = at {
            if dentry.id == other.id {
                return true;
            }
            at = dentry.parent();
        }
        false
    }

    fn known(&self, name: &[u8]) -> (Option<Option<Arc<Dentry>>>, u64) {
        let children = self.children.lock();
        let known = match children.map.get(name) {
            Some(Child::Known(weak)) => weak.upgrade().map(Some),
            Some(Child::Absent) => Some(None),
            None => None,
        };
        (known, children.generation)
    }

    /// Finds an entry: `ENOENT` where there is none.
    pub fn lookup(self: &Arc<Dentry>, name: &[u8]) -> Result<Arc<Dentry>, Errno> {
        loop {
            let (known, generation) = self.known(name);
            match known {
                Some(Some(dentry)) if self.sb.policy == CachePolicy::Exclusive => return Ok(dentry),
                Some(None) if self.sb.policy == CachePolicy::Exclusive => return Err(Errno::ENOENT),
                _ => {}
            }
            if let Some(found) = self.look_up(name, known.flatten(), generation)? {
                return Ok(found);
            }
        }
    }

    /// Asks the file system. `None` where the directory has changed meanwhile, and what was found may be gone.
    fn look_up(
        self: &Arc<Dentry>,
        name: &[u8],
        known: Option<Arc<Dentry>>,
        generation: u64,
    ) -> Result<Option<Arc<Dentry>>, Errno> {
        let exclusive = self.sb.policy == CachePolicy::Exclusive;
        match self.inode.lookup(name) {
            Ok(inode) => self.adopt(name, inode, known, Some(generation)),
            Err(errno) => {
                if errno == Errno::ENOENT && exclusive {
                    let mut children = self.children.lock();
                    if children.generation == generation {
                        children.put(Arc::from(name), Child::Absent);
                    }
                } else if let Some(gone) = known
                    && gone.mounts.load(Ordering::Relaxed) == 0
                {
                    self.forget(&gone);
                }
                Err(errno)
            }
        }
    }

    /// Enters an inode that the file system has just named; keeps the dentry there is if it stands for the same inode.
    /// `None` where the directory is not what it was at `generation`.
    fn adopt(
        self: &Arc<Dentry>,
        name: &[u8],
        inode: InodeRef,
        known: Option<Arc<Dentry>>,
        generation: Option<u64>,
    ) -> Result<Option<Arc<Dentry>>, Errno> {
        let attr = inode.attr()?;
        let same = |dentry: &Arc<Dentry>| {
            Arc::ptr_eq(&dentry.inode, &inode)
                || dentry.inode.attr().is_ok_and(|own| (own.dev, own.ino, own.kind) == (attr.dev, attr.ino, attr.kind))
        };
        if let Some(known) = known {
            // A mount point stays what it is, whatever a server says.
            if same(&known) || known.mounts.load(Ordering::Relaxed) > 0 {
                return Ok(Some(known));
            }
            self.forget(&known);
            // That was a change of our own; the next look finds nothing known.
            return Ok(None);
        }
        let name: Arc<[u8]> = Arc::from(name);
        let new =
            Dentry::new(Arc::clone(&self.sb), Arc::clone(&inode), attr.kind, Some(Arc::clone(self)), Arc::clone(&name));
        let faster = {
            let mut children = self.children.lock();
            if generation.is_some_and(|generation| generation != children.generation) {
                drop(children);
                return Ok(None);
            }
            let other = match children.map.get(&name) {
                Some(Child::Known(weak)) => weak.upgrade(),
                _ => None,
            };
            if other.is_none() {
                children.put(name, Child::Known(Arc::downgrade(&new)));
            }
            other
        };
        match faster {
            // Somebody else has looked it up meanwhile.
            Some(other) => Ok(Some(other)),
            None => {
                self.sb.keep(&new);
                Ok(Some(new))
            }
        }
    }

    /// Enters an inode just made under this name.
    pub(super) fn created(self: &Arc<Dentry>, name: &[u8], inode: InodeRef) -> Result<Arc<Dentry>, Errno> {
        let stale = {
            let mut children = self.children.lock();
            children.generation += 1;
            children.take(name)
        };
        if let Some(Child::Known(weak)) = stale
            && let Some(dentry) = weak.upgrade()
        {
            dentry.unlink();
        }
        // Without a generation it is always entered.
        self.adopt(name, inode, None, None)?.ok_or(Errno::EIO)
    }

    fn unlink(&self) {
        self.place.lock().unlinked = true;
        self.sb.release(self);
    }

    /// Takes a dentry out of the names of this directory; its inode has lost the name.
    pub(super) fn forget(&self, dentry: &Dentry) {
        let name = dentry.name();
        {
            let mut children = self.children.lock();
            children.generation += 1;
            let is_it =
                matches!(children.map.get(&name), Some(Child::Known(weak)) if std::ptr::eq(weak.as_ptr(), dentry));
            if is_it {
                children.take(&name);
            }
        }
        dentry.unlink();
    }

    /// Notes that a name has just been taken away. The caller keeps others from making it anew meanwhile: it holds
    /// [`Dentry::dir`], or [`Super::rename`] exclusively.
    pub(super) fn now_absent(&self, name: &[u8]) {
        if self.sb.policy == CachePolicy::Exclusive {
            self.children.lock().put(Arc::from(name), Child::Absent);
        }
    }

    /// Forgets whatever is known of a name.
    pub(super) fn forget_name(&self, name: &[u8]) {
        if let (Some(Some(dentry)), _) = self.known(name) {
            self.forget(&dentry);
        }
        let mut children = self.children.lock();
        children.generation += 1;
        children.take(name);
    }

    /// Moves a dentry to another name; the caller holds [`Super::rename`] exclusively.
    pub(super) fn moved(self: &Arc<Dentry>, to: &Arc<Dentry>, name: &[u8]) {
        let name: Arc<[u8]> = Arc::from(name);
        let (old_parent, old_name) = {
            let mut place = self.place.lock();
            (place.parent.replace(Arc::clone(to)), std::mem::replace(&mut place.name, Arc::clone(&name)))
        };
        if let Some(parent) = &old_parent {
            let mut children = parent.children.lock();
            children.generation += 1;
            let is_it =
                matches!(children.map.get(&old_name), Some(Child::Known(weak)) if std::ptr::eq(weak.as_ptr(), &**self));
            if is_it {
                children.take(&old_name);
            }
        }
        let mut children = to.children.lock();
        children.generation += 1;
        children.put(name, Child::Known(Arc::downgrade(self)));
    }

    /// Takes this dentry's parent away and its name out of there.
    fn detach(&mut self) -> Option<Arc<Dentry>> {
        let own: *const Dentry = self;
        let mut place = self.place.lock();
        let (parent, name) = (place.parent.take()?, Arc::clone(&place.name));
        drop(place);
        let mut children = parent.children.lock();
        if matches!(children.map.get(&name), Some(Child::Known(weak)) if std::ptr::eq(weak.as_ptr(), own)) {
            children.take(&name);
        }
        drop(children);
        Some(parent)
    }
}

impl Drop for Dentry {
    fn drop(&mut self) {
        if self.sb.is_watched() && self.place.lock().unlinked {
            super::notify::gone(self);
        }
        // A loop, not recursion: a guest may nest directories as deep as it likes.
        let mut next = self.detach();
        while let Some(parent) = next {
            next = Arc::into_inner(parent).and_then(|mut dentry| dentry.detach());
        }
    }
}
