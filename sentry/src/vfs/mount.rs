//! Mounts and mount namespaces.
//!
//! A mount knows what is mounted on its dentries, and where it is mounted itself. All changes of any tree are made under
//! one lock ([`Level::Mount`]); walks look only at the maps of the mounts that they pass.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use abi::Errno;
use sentry_fs::{Changes, FileSystem};
use sentry_sync::{Level, Mutex};

use super::{Dentry, Path, Super};

#[allow(missing_docs)] // Linux names, documented in mount(2)
mod words {
    use bitflags::bitflags;

    bitflags! {
        /// `MS_*` flags that stay with a mount.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
        pub struct MountFlags: u32 {
            const RDONLY = 1;
            const NOSUID = 2;
            const NODEV = 4;
            const NOEXEC = 8;
            const SYNCHRONOUS = 16;
            const DIRSYNC = 128;
            const NOSYMFOLLOW = 256;
            const NOATIME = 1024;
            const NODIRATIME = 2048;
            const RELATIME = 1 << 21;
            const STRICTATIME = 1 << 24;
            const LAZYTIME = 1 << 25;
        }
    }
}

pub use words::MountFlags;

/// How a mount passes mount events on (`man 7 mount_namespaces`). Remembered and shown; see the limits there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Propagation {
    /// Neither way.
    #[default]
    Private,
    /// Both ways, in the group of this number.
    Shared(u32),
    /// From this group only.
    Slave(u32),
    /// Private, and not to be bound.
    Unbindable,
}

/// Changes of mount trees, one at a time.
static TOPOLOGY: Mutex<()> = Mutex::new(Level::Mount, ());

/// A part of a file system at a place in a tree.
pub struct Mount {
    /// Unique number, as in `mountinfo`.
    pub id: u32,
    /// The file system.
    pub sb: Arc<Super>,
    /// What part of it is seen.
    pub root: Arc<Dentry>,
    /// First field of `/proc/mounts`.
    pub source: Vec<u8>,
    flags: AtomicU32,
    propagation: Mutex<Propagation>,
    place: Mutex<Option<(Weak<Mount>, Arc<Dentry>)>>,
    children: Mutex<HashMap<u64, Arc<Mount>>>,
}

impl Mount {
    /// Makes a mount that is nowhere yet.
    pub fn new(root: Arc<Dentry>, source: &[u8], flags: MountFlags) -> Arc<Mount> {
        static NEXT: AtomicU32 = AtomicU32::new(21);
        let sb = Arc::clone(&root.sb);
        sb.mounted();
        Arc::new(Mount {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            sb,
            root,
            source: source.to_vec(),
            flags: AtomicU32::new(flags.bits()),
            propagation: Mutex::new(Level::Leaf, Propagation::default()),
            place: Mutex::new(Level::Leaf, None),
            children: Mutex::new(Level::Leaf, HashMap::new()),
        })
    }

    /// Mounts a whole file system, nowhere yet.
    pub fn of(fs: Arc<dyn FileSystem>, source: &[u8], flags: MountFlags) -> Result<Arc<Mount>, Errno> {
        Ok(Mount::new(Super::root_of(fs)?, source, flags))
    }

    /// Returns the path of the mount's root.
    pub fn root_path(self: &Arc<Mount>) -> Path {
        Path { mount: Arc::clone(self), dentry: Arc::clone(&self.root) }
    }

    /// Returns the flags.
    pub fn flags(&self) -> MountFlags {
        MountFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    /// Replaces the flags (`MS_REMOUNT|MS_BIND`).
    pub fn set_flags(&self, flags: MountFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
    }

    /// Tells whether nothing may be written through this mount.
    pub fn is_readonly(&self) -> bool {
        self.flags().contains(MountFlags::RDONLY)
    }

    /// Fails with `EROFS` where nothing may be written.
    pub fn check_writable(&self) -> Result<(), Errno> {
        if self.is_readonly() { Err(Errno::EROFS) } else { Ok(()) }
    }

    /// Returns the propagation type.
    pub fn propagation(&self) -> Propagation {
        *self.propagation.lock()
    }

    /// Sets the propagation type; `shared` gives the mount a group of its own unless it has one.
    pub fn set_propagation(&self, new: Propagation) {
        *self.propagation.lock() = new;
    }

    /// Returns the mount that this one is mounted on, and the mount point; `None` for a root or a detached one.
    pub fn place(&self) -> Option<(Arc<Mount>, Arc<Dentry>)> {
        let place = self.place.lock();
        let (mount, dentry) = place.as_ref()?;
        Some((mount.upgrade()?, Arc::clone(dentry)))
    }

    /// Returns what is mounted on a dentry of this mount.
    pub fn child_at(&self, dentry: &Dentry) -> Option<Arc<Mount>> {
        if dentry.mounts.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.children.lock().get(&dentry.id).cloned()
    }

    /// Returns the mounts on this one, oldest first.
    pub fn children(&self) -> Vec<Arc<Mount>> {
        let mut list: Vec<_> = self.children.lock().values().cloned().collect();
        list.sort_by_key(|mount| mount.id);
        list
    }

    /// Returns this mount and all below it, parents first.
    pub fn subtree(self: &Arc<Mount>) -> Vec<Arc<Mount>> {
        let mut all = vec![Arc::clone(self)];
        let mut at = 0;
        while at < all.len() {
            let children = all[at].children();
            all.extend(children);
            at += 1;
        }
        all
    }

    fn attach(self: &Arc<Mount>, at: &Path) {
        at.dentry.mounts.fetch_add(1, Ordering::Relaxed);
        let old = self.place.lock().replace((Arc::downgrade(&at.mount), Arc::clone(&at.dentry)));
        let replaced = at.mount.children.lock().insert(at.dentry.id, Arc::clone(self));
        drop((old, replaced));
    }

    fn detach(&self) {
        let place = self.place.lock().take();
        if let Some((parent, point)) = place {
            point.mounts.fetch_sub(1, Ordering::Relaxed);
            let removed = parent.upgrade().and_then(|parent| parent.children.lock().remove(&point.id));
            drop(removed);
        }
    }

    fn copy(&self, root: Arc<Dentry>) -> Arc<Mount> {
        let copy = Mount::new(root, &self.source, self.flags());
        *copy.propagation.lock() = self.propagation();
        copy
    }

    /// Copies this mount from `root` on, with everything mounted below `root` where `recursive`.
    fn copy_tree(
        self: &Arc<Mount>,
        root: &Arc<Dentry>,
        recursive: bool,
    ) -> (Arc<Mount>, Vec<(Arc<Mount>, Arc<Mount>)>) {
        let top = self.copy(Arc::clone(root));
        let mut pairs = vec![(Arc::clone(self), Arc::clone(&top))];
        let mut at = 0;
        while recursive && at < pairs.len() {
            let (from, to) = (Arc::clone(&pairs[at].0), Arc::clone(&pairs[at].1));
            for child in from.children() {
                let Some((_, point)) = child.place() else { continue };
                if !point.is_below(&to.root) || child.propagation() == Propagation::Unbindable {
                    continue;
                }
                let copy = child.copy(Arc::clone(&child.root));
                copy.attach(&Path { mount: Arc::clone(&to), dentry: point });
                pairs.push((child, copy));
            }
            at += 1;
        }
        (top, pairs)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let place = self.place.lock().take();
        if let Some((_, point)) = &place {
            point.mounts.fetch_sub(1, Ordering::Relaxed);
        }
        drop(place);
        self.sb.unmounted();
        // A loop, not recursion: a guest may stack mounts as deep as it likes.
        let mut gone: Vec<Arc<Mount>> = std::mem::take(&mut *self.children.lock()).into_values().collect();
        while let Some(mount) = gone.pop() {
            if let Some(mount) = Arc::into_inner(mount) {
                gone.extend(std::mem::take(&mut *mount.children.lock()).into_values());
            }
        }
    }
}

/// A tree of mounts.
pub struct MountNamespace {
    /// Number shown by `/proc/PID/ns/mnt`.
    pub id: u64,
    /// Counts the changes, for whoever polls `/proc/PID/mounts`.
    pub changes: Arc<Changes>,
    root: Mutex<Arc<Mount>>,
}

impl MountNamespace {
    /// Makes a namespace of one mount.
    pub fn new(root: Arc<Mount>) -> Arc<MountNamespace> {
        Arc::new(MountNamespace {
            id: crate::ns::next_number(),
            changes: Arc::default(),
            root: Mutex::new(Level::Leaf, root),
        })
    }

    /// Changes the tree while nobody else does, and tells who watches.
    fn change<R>(&self, work: impl FnOnce() -> Result<R, Errno>) -> Result<R, Errno> {
        let result = {
            let _topology = TOPOLOGY.lock();
            work()
        };
        if result.is_ok() {
            self.changes.note();
        }
        result
    }

    /// Returns the mount at the top.
    pub fn root_mount(&self) -> Arc<Mount> {
        Arc::clone(&self.root.lock())
    }

    /// Returns the root directory: that of the topmost mount, and of what is mounted upon it.
    pub fn root(&self) -> Path {
        self.root_mount().root_path().cross()
    }

    /// Returns all mounts, parents first.
    pub fn mounts(&self) -> Vec<Arc<Mount>> {
        self.root_mount().subtree()
    }

    /// Tells whether a mount is in this tree.
    pub fn contains(&self, mount: &Arc<Mount>) -> bool {
        let root = self.root_mount();
        let mut at = Arc::clone(mount);
        loop {
            if Arc::ptr_eq(&at, &root) {
                return true;
            }
            match at.place() {
                Some((parent, _)) => at = parent,
                None => return false,
            }
        }
    }

    /// Puts a mount on a directory (or, for a file, on a file): `ENOTDIR` where the kinds differ, `ENOENT` for a removed
    /// directory.
    pub fn attach(&self, mount: &Arc<Mount>, at: Path) -> Result<(), Errno> {
        self.change(|| {
            let at = at.cross();
            if !self.contains(&at.mount) {
                return Err(Errno::EINVAL);
            }
            check_point(mount, &at)?;
            mount.attach(&at);
            Ok(())
        })
    }

    /// Makes a part of the tree visible at another place (`MS_BIND`), with what is mounted below it where `recursive`.
    pub fn bind(&self, from: &Path, at: Path, recursive: bool) -> Result<(), Errno> {
        self.change(|| self.bind_locked(from, at, recursive))
    }

    fn bind_locked(&self, from: &Path, at: Path, recursive: bool) -> Result<(), Errno> {
        let at = at.cross();
        if from.mount.propagation() == Propagation::Unbindable
            || !self.contains(&at.mount)
            || !self.contains(&from.mount)
        {
            return Err(Errno::EINVAL);
        }
        if from.dentry.is_dir() != at.dentry.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        let (copy, _) = from.mount.copy_tree(&from.dentry, recursive);
        check_point(&copy, &at)?;
        copy.attach(&at);
        Ok(())
    }

    /// Moves a mount (`MS_MOVE`): `EINVAL` where it isn't one or is the top, `ELOOP` below itself.
    pub fn move_to(&self, from: &Path, at: Path) -> Result<(), Errno> {
        self.change(|| self.move_locked(from, at))
    }

    fn move_locked(&self, from: &Path, at: Path) -> Result<(), Errno> {
        let at = at.cross();
        if !from.is_mount_root() || !self.contains(&from.mount) || !self.contains(&at.mount) {
            return Err(Errno::EINVAL);
        }
        let Some((parent, _)) = from.mount.place() else { return Err(Errno::EINVAL) };
        if matches!(parent.propagation(), Propagation::Shared(_)) {
            return Err(Errno::EINVAL);
        }
        let mut below = Arc::clone(&at.mount);
        loop {
            if Arc::ptr_eq(&below, &from.mount) {
                return Err(Errno::ELOOP);
            }
            match below.place() {
                Some((parent, _)) => below = parent,
                None => break,
            }
        }
        check_point(&from.mount, &at)?;
        from.mount.detach();
        from.mount.attach(&at);
        Ok(())
    }

    /// Takes a mount away: `EINVAL` where the path is no mount's root or is the top, `EBUSY` where something is mounted
    /// below it or `in_use` says so, unless `detach` (`MNT_DETACH`).
    pub fn unmount(&self, at: &Path, detach: bool, in_use: impl FnOnce(&Arc<Mount>) -> bool) -> Result<(), Errno> {
        let gone = self.change(|| {
            if !at.is_mount_root() || !self.contains(&at.mount) {
                return Err(Errno::EINVAL);
            }
            if at.mount.place().is_none() {
                // The root of the namespace stays.
                return Err(if detach { Errno::EINVAL } else { Errno::EBUSY });
            }
            if !detach && (!at.mount.children.lock().is_empty() || in_use(&at.mount)) {
                return Err(Errno::EBUSY);
            }
            let tree = at.mount.subtree();
            tree.iter().rev().for_each(|mount| mount.detach());
            Ok(tree)
        })?;
        drop(gone);
        Ok(())
    }

    /// Makes `new` the root and puts the old one at `put_old`, below it (`man 2 pivot_root`). `root` is the caller's root.
    /// Returns the old root, which the caller replaces wherever it is a root or working directory.
    pub fn pivot(&self, new: &Path, put_old: &Path, root: &Path) -> Result<(), Errno> {
        self.change(|| self.pivot_locked(new, put_old, root))
    }

    fn pivot_locked(&self, new: &Path, put_old: &Path, root: &Path) -> Result<(), Errno> {
        let put_old = put_old.clone().cross();
        if !self.contains(&root.mount) || !self.contains(&new.mount) {
            return Err(Errno::EINVAL);
        }
        if new.dentry.is_unlinked() || put_old.dentry.is_unlinked() {
            return Err(Errno::ENOENT);
        }
        if Arc::ptr_eq(&new.mount, &root.mount) || Arc::ptr_eq(&put_old.mount, &root.mount) {
            return Err(Errno::EBUSY);
        }
        if !root.is_mount_root() || !new.is_mount_root() {
            return Err(Errno::EINVAL);
        }
        let Some((parent, _)) = new.mount.place() else { return Err(Errno::EINVAL) };
        let shared = |mount: &Mount| matches!(mount.propagation(), Propagation::Shared(_));
        if shared(&parent) || shared(&new.mount) || shared(&put_old.mount) {
            return Err(Errno::EINVAL);
        }
        if !is_reachable(&put_old, new) || !is_reachable(new, root) {
            return Err(Errno::EINVAL);
        }
        let above = root.mount.place();
        new.mount.detach();
        root.mount.detach();
        root.mount.attach(&put_old);
        match above {
            Some((mount, dentry)) => new.mount.attach(&Path { mount, dentry }),
            None => {
                let old = std::mem::replace(&mut *self.root.lock(), Arc::clone(&new.mount));
                drop(old);
            }
        }
        Ok(())
    }

    /// Copies the namespace (`CLONE_NEWNS`); returns it with a function that finds a path's counterpart in it.
    pub fn duplicate(&self) -> (Arc<MountNamespace>, impl Fn(&Path) -> Path + use<>) {
        let _topology = TOPOLOGY.lock();
        let root = self.root_mount();
        let (top, pairs) = root.copy_tree(&root.root, true);
        let translate = move |path: &Path| {
            let counterpart = pairs.iter().find(|(from, _)| Arc::ptr_eq(from, &path.mount));
            let mount = counterpart.map_or_else(|| Arc::clone(&path.mount), |(_, to)| Arc::clone(to));
            Path { mount, dentry: Arc::clone(&path.dentry) }
        };
        (MountNamespace::new(top), translate)
    }
}

fn check_point(mount: &Mount, at: &Path) -> Result<(), Errno> {
    if at.dentry.is_unlinked() {
        return Err(Errno::ENOENT);
    }
    if mount.root.is_dir() != at.dentry.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    Ok(())
}

/// Tells whether `path` lies at or below `root`.
fn is_reachable(path: &Path, root: &Path) -> bool {
    let mut at = path.clone();
    while !Arc::ptr_eq(&at.mount, &root.mount) {
        match at.mount.place() {
            Some((mount, dentry)) => at = Path { mount, dentry },
            None => return false,
        }
    }
    at.dentry.is_below(&root.dentry)
}
