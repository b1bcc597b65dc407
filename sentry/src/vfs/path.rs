//! A place in the tree: a dentry as seen through a mount.

use std::sync::Arc;

use sentry_fs::{Attr, InodeRef};

use super::{Dentry, Mount};

/// A dentry and the mount that it was reached through.
#[derive(Clone)]
pub struct Path {
    /// The mount.
    pub mount: Arc<Mount>,
    /// The dentry.
    pub dentry: Arc<Dentry>,
}

impl PartialEq for Path {
    fn eq(&self, other: &Path) -> bool {
        self.same(other)
    }
}

impl std::fmt::Debug for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Path({:?})", String::from_utf8_lossy(&self.text(None).bytes))
    }
}

/// A path as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathText {
    /// The absolute path, without any mark of deletion.
    pub bytes: Vec<u8>,
    /// The walk upwards ended at the root that was asked for (or the topmost one, where none was).
    pub reachable: bool,
    /// The name has been removed.
    pub deleted: bool,
}

impl PathText {
    /// Returns the text as `/proc/PID/fd` and maps show it.
    pub fn shown(mut self) -> Vec<u8> {
        if self.deleted {
            self.bytes.extend_from_slice(b" (deleted)");
        }
        self.bytes
    }
}

impl Path {
    /// Returns the inode.
    pub fn inode(&self) -> &InodeRef {
        &self.dentry.inode
    }

    /// Returns the attributes of the inode.
    pub fn attr(&self) -> Result<Attr, abi::Errno> {
        self.dentry.inode.attr()
    }

    /// Tells whether both mean the same place.
    pub fn same(&self, other: &Path) -> bool {
        Arc::ptr_eq(&self.mount, &other.mount) && Arc::ptr_eq(&self.dentry, &other.dentry)
    }

    /// Tells whether the dentry is the root of its mount.
    pub fn is_mount_root(&self) -> bool {
        Arc::ptr_eq(&self.dentry, &self.mount.root)
    }

    /// Goes to the root of what is mounted here, as often as something is.
    #[must_use]
    pub fn cross(mut self) -> Path {
        while let Some(mount) = self.mount.child_at(&self.dentry) {
            let dentry = Arc::clone(&mount.root);
            self = Path { mount, dentry };
        }
        self
    }

    /// Goes to the parent directory, out of mounts if need be; stays at `root` and at the top.
    #[must_use]
    pub fn up(mut self, root: &Path) -> Path {
        loop {
            if self.same(root) {
                return self;
            }
            if !self.is_mount_root() {
                let Some(dentry) = self.dentry.parent() else { return self };
                self.dentry = dentry;
                return self.cross();
            }
            match self.mount.place() {
                Some((mount, dentry)) => self = Path { mount, dentry },
                None => return self,
            }
        }
    }

    /// Writes the path out, up to `root` if given. `man 2 getcwd` explains "unreachable".
    pub fn text(&self, root: Option<&Path>) -> PathText {
        let deleted = self.dentry.is_unlinked();
        let mut names: Vec<Arc<[u8]>> = Vec::new();
        let mut at = self.clone();
        let reachable = loop {
            if root.is_some_and(|root| at.same(root)) {
                break true;
            }
            if at.is_mount_root() {
                match at.mount.place() {
                    Some((mount, dentry)) => at = Path { mount, dentry },
                    None => break root.is_none(),
                }
                continue;
            }
            names.push(at.dentry.name());
            match at.dentry.parent() {
                Some(parent) => at.dentry = parent,
                None => break root.is_none(),
            }
        };
        let mut bytes = Vec::new();
        for name in names.iter().rev() {
            bytes.push(b'/');
            bytes.extend_from_slice(name);
        }
        if bytes.is_empty() {
            bytes.push(b'/');
        }
        PathText { bytes, reachable, deleted }
    }
}
