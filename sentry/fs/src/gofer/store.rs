//! [`FileStore`]: unnamed files of the host that a file system in memory keeps its larger files in.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use abi::Errno;
use abi::types::mode;
use gofer_proto::{Handle, NewNode, Reply, Request};

use super::client::Dead;
use super::{Client, Mount};
use crate::tmpfs::Backing;

/// A tree of the gofer's in which nothing can be done but to make unnamed files.
#[derive(Debug)]
pub struct FileStore {
    client: Arc<Client>,
    root: Handle,
}

impl FileStore {
    /// Takes a tree into use as a store.
    pub fn new(client: &Arc<Client>, tree: &Mount) -> FileStore {
        FileStore { client: Arc::clone(client), root: tree.root.handle }
    }
}

impl Backing for FileStore {
    fn make(&self) -> Result<OwnedFd, Errno> {
        let new = NewNode { mode: mode::IFREG | 0o600, uid: 0, gid: 0, reserved: 0, rdev: 0 };
        let request = Request::Tmpfile { dir: self.root, new };
        let (entry, file) = self.client.call(&request, |reply, fd| match reply {
            Reply::Entry(entry) => Ok((entry, fd)),
            _ => Err(Errno::EPROTO),
        })?;
        // The descriptor is all that is wanted.
        self.client.died(Dead { handle: entry.handle, given: 1, fs: Weak::new() });
        file
    }
}
