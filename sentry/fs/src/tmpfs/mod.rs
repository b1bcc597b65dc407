//! tmpfs: a file system in memory, and the memfds that are made of the same inodes.
//!
//! Key types: [`TmpFs`], and behind it `TmpInode` (attributes, names), `Content` (the bytes of a file) and `Quota` (the
//! limits). Small files lie in the sentry's own memory; one that is mapped or grows beyond 64 KiB gets a host memfd,
//! which guests map directly. What a mapping may do is explained in [`crate::host`]. Sticky and set-gid rules, access
//! checks and `RLIMIT_FSIZE` are the VFS's.

mod content;
mod file;
mod inode;
pub mod memfd;
mod options;
mod quota;
mod ranges;
mod store;
#[cfg(test)]
mod tests;
mod tree;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::types::Statfs;
use abi::{Errno, PAGE_SIZE};
use sentry_sync::{Level, RwLock};

use crate::{CachePolicy, DeviceId, FileKind, FileSystem, InodeRef, NewInode, anon_dev};
use inode::{Body, TmpInode};
use quota::{INODE_COST, Quota};
use tree::Tree;

pub use content::Seals;
pub use options::TmpfsOptions;

/// `TMPFS_MAGIC`.
const MAGIC: i64 = 0x0102_1994;

/// Makes the files of the host that hold what is too large for the sentry's own memory.
pub trait Backing: Send + Sync + std::fmt::Debug {
    /// Makes an empty file, open for reading and writing, that nobody else has.
    fn make(&self) -> Result<OwnedFd, Errno>;
}

/// What all inodes of one file system share.
#[derive(Debug)]
pub(crate) struct Shared {
    dev: DeviceId,
    quota: Arc<Quota>,
    next_ino: AtomicU64,
    tree: RwLock<Tree>,
}

impl Shared {
    fn next_ino(&self) -> u64 {
        self.next_ino.fetch_add(1, Ordering::Relaxed)
    }
}

/// A file system in memory. Its content goes when it and all its inodes have been dropped.
#[derive(Debug)]
pub struct TmpFs {
    shared: Arc<Shared>,
    root: Arc<TmpInode>,
    options: TmpfsOptions,
    kind: &'static str,
}

impl TmpFs {
    /// Makes an empty one.
    pub fn new(options: TmpfsOptions) -> Result<TmpFs, Errno> {
        TmpFs::with_kind("tmpfs", options)
    }

    /// Makes an empty one that calls itself otherwise in `/proc/mounts` (`"devtmpfs"`, `"ramfs"`, …).
    pub fn with_kind(kind: &'static str, options: TmpfsOptions) -> Result<TmpFs, Errno> {
        TmpFs::make(kind, options, None)
    }

    /// Makes an empty one whose larger files lie in files of the host's instead of its memory.
    pub fn backed(options: TmpfsOptions, backing: Arc<dyn Backing>) -> Result<TmpFs, Errno> {
        TmpFs::make("tmpfs", options, Some(backing))
    }

    fn make(kind: &'static str, options: TmpfsOptions, backing: Option<Arc<dyn Backing>>) -> Result<TmpFs, Errno> {
        let shared = Arc::new(Shared {
            dev: anon_dev::next_anon_device(),
            quota: Arc::new(Quota::new(options.max_pages(), options.max_inodes(), backing)),
            next_ino: AtomicU64::new(1),
            tree: RwLock::new(Level::Inode, Tree::default()),
        });
        let new = NewInode {
            kind: FileKind::Directory,
            perm: options.mode,
            uid: options.uid,
            gid: options.gid,
            rdev: DeviceId::default(),
        };
        let root = TmpInode::new(&shared, &new, 2, Body::Directory)?;
        shared.tree.write().add(root.ino(), root.ino());
        Ok(TmpFs { shared, root, options, kind })
    }
}

impl Drop for TmpFs {
    fn drop(&mut self) {
        // Directories hold their inodes, which hold the tree: untie that. The inodes go without the lock.
        let dirs = self.shared.tree.write().clear();
        drop(dirs);
    }
}

impl FileSystem for TmpFs {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn root(&self) -> InodeRef {
        Arc::clone(&self.root) as InodeRef
    }

    fn statfs(&self) -> Result<Statfs, Errno> {
        let quota = &self.shared.quota;
        let limit = |limit: u64| if limit == u64::MAX { 0 } else { limit };
        let blocks = limit(quota.pages.limit());
        let free = if blocks == 0 { 0 } else { quota.pages.free() };
        let files = limit(quota.inodes.limit());
        let files_free = if files == 0 { 0 } else { quota.inodes.free() };
        Ok(Statfs {
            kind: MAGIC,
            bsize: PAGE_SIZE.cast_signed(),
            blocks,
            bfree: free,
            bavail: free,
            files: files / INODE_COST,
            ffree: files_free / INODE_COST,
            namelen: 255,
            frsize: PAGE_SIZE.cast_signed(),
            ..Statfs::default()
        })
    }

    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Exclusive
    }

    fn show_options(&self) -> String {
        self.options.show()
    }
}
