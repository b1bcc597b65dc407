//! The file system of a host tree that a gofer serves.
//!
//! Key types: [`Client`] (the connections, one request at a time on each), [`GoferFs`] (one tree), and below them inodes,
//! open files and directories. Names and attributes are the gofer's; data go straight to descriptors that it donates.
//!
//! * **One inode, one object**: the gofer gives one handle for one host inode, and so there is one [`node::GoferInode`]
//!   for it as long as anyone holds it. Hard links share locks, caches and descriptors.
//! * **Exclusive** trees ([`CachePolicy::Exclusive`]) are changed by this kernel alone: attributes and listings are
//!   remembered until something here changes them. **Shared** trees are asked each time.
//! * Descriptors are kept for further opens of the same access, and never have more rights than the guest's open.
//! * Inode numbers are the host's, device numbers this kernel's own, one for each host device of the tree.

mod ahead;
mod client;
mod dir;
mod fds;
mod file;
mod inode;
mod node;
mod store;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use abi::Errno;
use abi::types::Statfs;
use gofer_proto::{Entry, Handle, Reply, Request};
use sentry_sync::{Level, Mutex};

use crate::{CachePolicy, DeviceId, FileSystem, InodeRef, next_anon_device};
pub use client::{Client, ConnectError, Mount};
use node::GoferInode;
pub use store::FileStore;

/// One mounted tree.
#[derive(Debug)]
pub struct GoferFs {
    shared: Arc<Shared>,
    root: Arc<GoferInode>,
}

/// What all inodes of a tree share.
#[derive(Debug)]
pub(crate) struct Shared {
    client: Arc<Client>,
    policy: CachePolicy,
    readonly: bool,
    /// Every inode that is alive. Also holds dead ones until the next request.
    inodes: Mutex<HashMap<Handle, Weak<GoferInode>>>,
    /// Host devices met in the tree and the numbers that stand for them.
    devices: Mutex<Vec<(u64, DeviceId)>>,
    fds: fds::FdCache,
    credit: ahead::Credit,
    unmounted: AtomicBool,
}

impl GoferFs {
    /// Mounts a tree that the gofer has told of.
    pub fn new(client: &Arc<Client>, mount: &Mount, policy: CachePolicy) -> Result<GoferFs, Errno> {
        let shared = Arc::new(Shared {
            client: Arc::clone(client),
            policy,
            readonly: mount.readonly,
            inodes: Mutex::new(Level::Leaf, HashMap::new()),
            devices: Mutex::new(Level::Leaf, Vec::new()),
            fds: fds::FdCache::new(),
            credit: ahead::Credit::default(),
            unmounted: AtomicBool::new(false),
        });
        let root = shared.adopt(&mount.root)?;
        Ok(GoferFs { shared, root })
    }
}

impl Drop for GoferFs {
    fn drop(&mut self) {
        self.shared.unmounted.store(true, Ordering::Relaxed);
    }
}

impl FileSystem for GoferFs {
    fn kind(&self) -> &'static str {
        "gofer"
    }

    fn root(&self) -> InodeRef {
        Arc::clone(&self.root) as InodeRef
    }

    fn statfs(&self) -> Result<Statfs, Errno> {
        self.shared.client.call(&Request::StatFs { node: self.root.handle() }, |reply, _| match reply {
            Reply::StatFs(figures) => Ok(figures.0),
            _ => Err(Errno::EIO),
        })
    }

    fn cache_policy(&self) -> CachePolicy {
        self.shared.policy
    }

    fn sync(&self) -> Result<(), Errno> {
        if self.shared.readonly {
            return Ok(());
        }
        self.shared.client.call(&Request::SyncFs { node: self.root.handle() }, |_, _| Ok(()))
    }
}

impl Shared {
    /// Returns the inode that the gofer has given once more: the one there is, or a new one.
    fn adopt(self: &Arc<Shared>, entry: &Entry) -> Result<Arc<GoferInode>, Errno> {
        let attr = self.attr(&entry.attr)?;
        let (inode, known) = {
            let mut inodes = self.inodes.lock();
            match inodes.get(&entry.handle).and_then(Weak::upgrade) {
                Some(inode) => (inode, true),
                None => {
                    let inode = Arc::new(GoferInode::new(self, entry.handle, attr));
                    inodes.insert(entry.handle, Arc::downgrade(&inode));
                    (inode, false)
                }
            }
        };
        if known {
            inode.given_again(attr);
        }
        Ok(inode)
    }

    /// Returns the inode behind a handle if it is alive.
    fn alive(&self, handle: Handle) -> Option<Arc<GoferInode>> {
        self.inodes.lock().get(&handle).and_then(Weak::upgrade)
    }

    /// Takes inodes that have died out of the table.
    fn sweep(&self, handle: Handle) {
        let mut inodes = self.inodes.lock();
        if inodes.get(&handle).is_some_and(|inode| inode.strong_count() == 0) {
            inodes.remove(&handle);
        }
    }

    /// Returns the device number that stands for a host device.
    fn device(&self, host: u64) -> DeviceId {
        let mut devices = self.devices.lock();
        if let Some((_, device)) = devices.iter().find(|(known, _)| *known == host) {
            return *device;
        }
        let device = next_anon_device();
        devices.push((host, device));
        device
    }

    /// Tells whether something of this host device lies on another file system than the tree's root: the host may want to
    /// unmount that.
    fn is_elsewhere(&self, device: u64) -> bool {
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let host = u64::from(major) << 32 | u64::from(minor);
        self.devices.lock().first().is_some_and(|(root, _)| *root != host)
    }

    fn exclusive(&self) -> bool {
        self.policy == CachePolicy::Exclusive
    }
}
