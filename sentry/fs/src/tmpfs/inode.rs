//! [`TmpInode`]: attributes, extended attributes, and the operations on names.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use abi::flags::OpenFlags;
use abi::time::Timespec;
use abi::{Errno, PAGE_SIZE};
use sentry_sync::{Level, Mutex};

use super::Shared;
use super::content::{Content, Seals};
use super::file::{TmpDir, TmpFile};
use super::quota::INODE_COST;
use super::tree::Tree;
use crate::{
    Attr, DeviceId, FileKind, FileOps, Inode, InodeRef, NewInode, Owner, RenameFlags, SetAttr, SetTime, XattrFlags,
    host,
};

/// Bytes that `stat` shows for each entry of a directory, `.` and `..` included (`BOGO_DIRENT_SIZE`).
const DIRENT_COST: u64 = 20;
/// Longest list of names that `listxattr(2)` returns.
const XATTR_LIST_MAX: usize = 65536;

/// Attributes that change.
#[derive(Debug)]
pub(super) struct Meta {
    pub(super) perm: u32,
    uid: u32,
    gid: u32,
    pub(super) nlink: u64,
    pub(super) atime: Timespec,
    pub(super) mtime: Timespec,
    pub(super) ctime: Timespec,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What an inode holds, by kind.
#[derive(Debug)]
pub(super) enum Body {
    Regular(Content),
    Directory,
    Symlink(Box<[u8]>),
    /// Device, FIFO, socket: the VFS knows what to do.
    Special,
}

/// An inode of a tmpfs.
#[derive(Debug)]
pub(crate) struct TmpInode {
    pub(super) fs: Arc<Shared>,
    ino: u64,
    kind: FileKind,
    rdev: DeviceId,
    btime: Timespec,
    /// Taken last and alone: at most for a few assignments.
    pub(super) meta: Mutex<Meta>,
    /// Mirrors `meta`: a directory that everybody may search.
    searchable: AtomicBool,
    pub(super) body: Body,
}

fn is_searchable(kind: FileKind, perm: u32) -> bool {
    kind == FileKind::Directory && perm & 0o111 == 0o111
}

impl TmpInode {
    /// Makes an inode without a name. `links` is what its names will be: 2 for a directory.
    pub(super) fn new(fs: &Arc<Shared>, new: &NewInode, links: u64, body: Body) -> Result<Arc<TmpInode>, Errno> {
        fs.quota.inodes.charge(INODE_COST)?;
        let now = host::now();
        let meta = Meta {
            perm: new.perm,
            uid: new.uid,
            gid: new.gid,
            nlink: links,
            atime: now,
            mtime: now,
            ctime: now,
            xattrs: BTreeMap::new(),
        };
        let meta = Mutex::new(Level::Leaf, meta);
        let (fs, ino) = (Arc::clone(fs), fs.next_ino());
        let searchable = AtomicBool::new(is_searchable(new.kind, new.perm));
        Ok(Arc::new(TmpInode { fs, ino, kind: new.kind, rdev: new.rdev, btime: now, meta, searchable, body }))
    }

    pub(super) fn empty_content(fs: &Arc<Shared>) -> Body {
        Body::Regular(Content::new(Arc::clone(&fs.quota), Seals::SEAL))
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

    pub(super) fn content(&self) -> Result<&Content, Errno> {
        match &self.body {
            Body::Regular(content) => Ok(content),
            Body::Directory => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Stamps a change of content (`mtime`, `ctime`).
    pub(super) fn modified(&self) {
        let now = host::now();
        let mut meta = self.meta.lock();
        meta.mtime = now;
        meta.ctime = now;
    }

    fn changed(&self) {
        self.meta.lock().ctime = host::now();
    }

    fn add_link(&self) {
        self.meta.lock().nlink += 1;
    }

    fn drop_link(&self) {
        let mut meta = self.meta.lock();
        meta.nlink = meta.nlink.saturating_sub(1);
    }

    /// Recognises an inode of this file system.
    fn own(&self, other: &InodeRef) -> Result<Arc<TmpInode>, Errno> {
        let other = Arc::clone(other).as_any().downcast::<TmpInode>().map_err(|_| Errno::EXDEV)?;
        if Arc::ptr_eq(&self.fs, &other.fs) { Ok(other) } else { Err(Errno::EXDEV) }
    }

    /// Enters a new inode under a free name.
    fn enter(&self, name: &[u8], inode: &Arc<TmpInode>) -> Result<InodeRef, Errno> {
        let mut tree = self.fs.tree.write();
        let dir = tree.dir_mut(self.ino)?;
        if dir.get(name).is_some() {
            return Err(Errno::EEXIST);
        }
        dir.put(name, Arc::clone(inode));
        if inode.is_dir() {
            tree.add(inode.ino, self.ino);
            self.add_link();
        }
        self.modified();
        Ok(Arc::clone(inode) as InodeRef)
    }

    fn make(&self, name: &[u8], new: &NewInode, body: Body) -> Result<InodeRef, Errno> {
        if !self.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        let links = if new.kind == FileKind::Directory { 2 } else { 1 };
        let inode = TmpInode::new(&self.fs, new, links, body)?;
        self.enter(name, &inode)
    }

    /// Takes a name's link away from the inode; a directory dies with it.
    fn unnamed(&self, tree: &mut Tree, inode: &TmpInode) {
        if inode.is_dir() {
            tree.remove(inode.ino);
            inode.meta.lock().nlink = 0;
            self.drop_link();
        } else {
            if inode.meta.lock().nlink > 1 {
                self.fs.quota.inodes.release(INODE_COST);
            }
            inode.drop_link();
        }
        inode.changed();
    }

    fn remove(&self, name: &[u8], want_dir: bool) -> Result<(), Errno> {
        let removed = {
            let mut tree = self.fs.tree.write();
            let inode = tree.dir(self.ino)?.get(name).ok_or(Errno::ENOENT)?;
            match (inode.is_dir(), want_dir) {
                (true, false) => return Err(Errno::EISDIR),
                (false, true) => return Err(Errno::ENOTDIR),
                (true, true) if !tree.is_empty(inode.ino) => return Err(Errno::ENOTEMPTY),
                _ => {}
            }
            let removed = tree.dir_mut(self.ino)?.remove(name).ok_or(Errno::ENOENT)?;
            self.unnamed(&mut tree, &removed);
            self.modified();
            removed
        };
        // Without the lock: this may be the last reference.
        drop(removed);
        Ok(())
    }

    /// Moves a directory's `..` link from one parent to the other.
    fn reparent(tree: &mut Tree, inode: &TmpInode, from: &TmpInode, to: &TmpInode) -> Result<(), Errno> {
        if inode.is_dir() && from.ino != to.ino {
            tree.dir_mut(inode.ino)?.parent = to.ino;
            from.drop_link();
            to.add_link();
        }
        Ok(())
    }

    fn exchange(&self, old_name: &[u8], to: &TmpInode, new_name: &[u8]) -> Result<(), Errno> {
        let mut tree = self.fs.tree.write();
        let old = Arc::clone(tree.dir(self.ino)?.get(old_name).ok_or(Errno::ENOENT)?);
        let new = Arc::clone(tree.dir(to.ino)?.get(new_name).ok_or(Errno::ENOENT)?);
        tree.dir_mut(self.ino)?.put(old_name, Arc::clone(&new));
        tree.dir_mut(to.ino)?.put(new_name, Arc::clone(&old));
        TmpInode::reparent(&mut tree, &old, self, to)?;
        TmpInode::reparent(&mut tree, &new, to, self)?;
        for inode in [self, to] {
            inode.modified();
        }
        old.changed();
        new.changed();
        Ok(())
    }

    fn replace(&self, old_name: &[u8], to: &TmpInode, new_name: &[u8], flags: RenameFlags) -> Result<(), Errno> {
        let whiteout = if flags.contains(RenameFlags::WHITEOUT) {
            let new = NewInode { kind: FileKind::CharDevice, perm: 0, uid: 0, gid: 0, rdev: DeviceId::default() };
            Some(TmpInode::new(&self.fs, &new, 1, Body::Special)?)
        } else {
            None
        };
        let mut tree = self.fs.tree.write();
        let old = Arc::clone(tree.dir(self.ino)?.get(old_name).ok_or(Errno::ENOENT)?);
        let victim = tree.dir(to.ino)?.get(new_name).cloned();
        if let Some(victim) = &victim {
            if flags.contains(RenameFlags::NOREPLACE) {
                return Err(Errno::EEXIST);
            }
            if Arc::ptr_eq(victim, &old) {
                return Ok(());
            }
            match (old.is_dir(), victim.is_dir()) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                (true, true) if !tree.is_empty(victim.ino) => return Err(Errno::ENOTEMPTY),
                _ => to.unnamed(&mut tree, victim),
            }
        }
        match whiteout {
            Some(whiteout) => drop(tree.dir_mut(self.ino)?.put(old_name, whiteout)),
            None => drop(tree.dir_mut(self.ino)?.remove(old_name)),
        }
        tree.dir_mut(to.ino)?.put(new_name, Arc::clone(&old));
        TmpInode::reparent(&mut tree, &old, self, to)?;
        for inode in [self, to] {
            inode.modified();
        }
        old.changed();
        drop(tree);
        drop(victim);
        Ok(())
    }
}

impl Drop for TmpInode {
    fn drop(&mut self) {
        // The links are this inode's own cost and one for each further name; names can't outlive it.
        let xattrs = self
            .meta
            .try_lock()
            .map_or(0, |meta| meta.xattrs.iter().map(|(name, value)| xattr_cost(name, value)).sum());
        self.fs.quota.inodes.release(INODE_COST + xattrs);
    }
}

/// Memory that an extended attribute counts for.
fn xattr_cost(name: &[u8], value: &[u8]) -> u64 {
    (name.len() + value.len() + 64) as u64
}

fn xattr_served(name: &[u8]) -> Result<(), Errno> {
    let served = [b"user.".as_slice(), b"security.", b"trusted."].iter().any(|space| name.starts_with(space));
    if served { Ok(()) } else { Err(Errno::EOPNOTSUPP) }
}

impl Inode for TmpInode {
    fn attr(&self) -> Result<Attr, Errno> {
        let (size, pages) = match &self.body {
            Body::Regular(content) => (content.size(), content.pages()),
            Body::Directory => {
                let tree = self.fs.tree.read();
                (DIRENT_COST * (tree.dir(self.ino).map_or(0, |dir| dir.len()) as u64 + 2), 0)
            }
            Body::Symlink(target) => (target.len() as u64, 0),
            Body::Special => (0, 0),
        };
        let meta = self.meta.lock();
        Ok(Attr {
            dev: self.fs.dev,
            ino: self.ino,
            kind: self.kind,
            perm: meta.perm,
            nlink: meta.nlink,
            uid: meta.uid,
            gid: meta.gid,
            rdev: self.rdev,
            size,
            blksize: 4096,
            blocks: pages * (PAGE_SIZE / 512),
            atime: meta.atime,
            mtime: meta.mtime,
            ctime: meta.ctime,
            btime: Some(self.btime),
        })
    }

    fn owner(&self) -> Result<Owner, Errno> {
        let meta = self.meta.lock();
        Ok(Owner { perm: meta.perm, uid: meta.uid, gid: meta.gid })
    }

    fn searchable_by_all(&self) -> bool {
        self.searchable.load(Ordering::Acquire)
    }

    fn set_attr(&self, set: &SetAttr) -> Result<(), Errno> {
        if let Some(perm) = set.perm
            && let Body::Regular(content) = &self.body
            && content.seals().contains(Seals::EXEC)
            && (perm ^ self.meta.lock().perm) & 0o111 != 0
        {
            return Err(Errno::EPERM);
        }
        let resized = match set.size {
            Some(size) => self.content()?.truncate(size)?,
            None => false,
        };
        let now = host::now();
        let time = |set: SetTime| match set {
            SetTime::Now => now,
            SetTime::At(time) => time,
        };
        let mut meta = self.meta.lock();
        meta.ctime = now;
        if resized {
            meta.mtime = now;
        }
        meta.perm = set.perm.unwrap_or(meta.perm);
        self.searchable.store(is_searchable(self.kind, meta.perm), Ordering::Release);
        meta.uid = set.uid.unwrap_or(meta.uid);
        meta.gid = set.gid.unwrap_or(meta.gid);
        meta.atime = set.atime.map_or(meta.atime, time);
        meta.mtime = set.mtime.map_or(meta.mtime, time);
        Ok(())
    }

    fn open(self: Arc<Self>, flags: OpenFlags) -> Result<Arc<dyn FileOps>, Errno> {
        match &self.body {
            Body::Regular(_) => Ok(Arc::new(TmpFile::new(self, flags))),
            Body::Directory => Ok(Arc::new(TmpDir::new(self))),
            Body::Symlink(_) => Err(Errno::ELOOP),
            Body::Special => Err(Errno::ENXIO),
        }
    }

    fn lookup(&self, name: &[u8]) -> Result<InodeRef, Errno> {
        if !self.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        let tree = self.fs.tree.read();
        let inode = tree.dir(self.ino)?.get(name).ok_or(Errno::ENOENT)?;
        Ok(Arc::clone(inode) as InodeRef)
    }

    fn create(&self, name: &[u8], new: &NewInode) -> Result<InodeRef, Errno> {
        let body = match new.kind {
            FileKind::Regular => TmpInode::empty_content(&self.fs),
            FileKind::Directory | FileKind::Symlink => return Err(Errno::EINVAL),
            _ => Body::Special,
        };
        self.make(name, new, body)
    }

    fn mkdir(&self, name: &[u8], new: &NewInode) -> Result<InodeRef, Errno> {
        self.make(name, &NewInode { kind: FileKind::Directory, ..*new }, Body::Directory)
    }

    fn symlink(&self, name: &[u8], target: &[u8], new: &NewInode) -> Result<InodeRef, Errno> {
        let new = NewInode { kind: FileKind::Symlink, perm: 0o777, ..*new };
        self.make(name, &new, Body::Symlink(target.into()))
    }

    fn link(&self, name: &[u8], target: &InodeRef) -> Result<(), Errno> {
        let target = self.own(target)?;
        if target.is_dir() {
            return Err(Errno::EPERM);
        }
        // As on Linux a further name counts as an inode; the first name of a temporary file doesn't.
        let further = target.meta.lock().nlink > 0;
        if further {
            self.fs.quota.inodes.charge(INODE_COST)?;
        }
        let entered = self.enter(name, &target);
        match &entered {
            Ok(_) => {
                target.add_link();
                target.changed();
            }
            Err(_) if further => self.fs.quota.inodes.release(INODE_COST),
            Err(_) => {}
        }
        entered.map(drop)
    }

    fn unlink(&self, name: &[u8]) -> Result<(), Errno> {
        self.remove(name, false)
    }

    fn rmdir(&self, name: &[u8]) -> Result<(), Errno> {
        self.remove(name, true)
    }

    fn rename(&self, old_name: &[u8], new_dir: &InodeRef, new_name: &[u8], flags: RenameFlags) -> Result<(), Errno> {
        let to = self.own(new_dir)?;
        if !self.is_dir() || !to.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        if exchange && flags.intersects(RenameFlags::NOREPLACE | RenameFlags::WHITEOUT) {
            return Err(Errno::EINVAL);
        }
        if exchange { self.exchange(old_name, &to, new_name) } else { self.replace(old_name, &to, new_name, flags) }
    }

    fn tmpfile(&self, new: &NewInode) -> Result<InodeRef, Errno> {
        self.fs.tree.read().dir(self.ino)?;
        let new = NewInode { kind: FileKind::Regular, ..*new };
        let inode = TmpInode::new(&self.fs, &new, 0, TmpInode::empty_content(&self.fs))?;
        Ok(inode)
    }

    fn readlink(&self) -> Result<Vec<u8>, Errno> {
        match &self.body {
            Body::Symlink(target) => Ok(target.to_vec()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn get_xattr(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        xattr_served(name)?;
        self.meta.lock().xattrs.get(name).cloned().ok_or(Errno::ENODATA)
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], flags: XattrFlags) -> Result<(), Errno> {
        xattr_served(name)?;
        let cost = xattr_cost(name, value);
        self.fs.quota.inodes.charge(cost)?;
        let mut meta = self.meta.lock();
        let list: usize = meta.xattrs.keys().map(|name| name.len() + 1).sum();
        let refused = match meta.xattrs.contains_key(name) {
            true if flags.contains(XattrFlags::CREATE) => Some(Errno::EEXIST),
            false if flags.contains(XattrFlags::REPLACE) => Some(Errno::ENODATA),
            false if list + name.len() >= XATTR_LIST_MAX => Some(Errno::ENOSPC),
            _ => None,
        };
        if let Some(errno) = refused {
            self.fs.quota.inodes.release(cost);
            return Err(errno);
        }
        if let Some(old) = meta.xattrs.insert(name.to_vec(), value.to_vec()) {
            self.fs.quota.inodes.release(xattr_cost(name, &old));
        }
        meta.ctime = host::now();
        Ok(())
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<(), Errno> {
        xattr_served(name)?;
        let mut meta = self.meta.lock();
        let old = meta.xattrs.remove(name).ok_or(Errno::ENODATA)?;
        self.fs.quota.inodes.release(xattr_cost(name, &old));
        meta.ctime = host::now();
        Ok(())
    }

    fn list_xattr(&self) -> Result<Vec<u8>, Errno> {
        let meta = self.meta.lock();
        let mut list = Vec::new();
        for name in meta.xattrs.keys() {
            list.extend_from_slice(name);
            list.push(0);
        }
        Ok(list)
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
