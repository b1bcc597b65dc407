//! Open and sync.

use std::os::fd::AsFd;

use abi::Errno;
use gofer_proto::{Access, Handle};
use rustix::fs::OFlags;

use super::{Answer, Outcome};
use crate::host::errno;
use crate::policy;
use crate::server::{Server, TreeFlags};

impl Server {
    /// Opens a regular file, or where that is allowed a FIFO, and gives the descriptor away.
    pub(super) fn open(&self, node: Handle, access: Access) -> Outcome {
        let node = self.nodes.get(node)?;
        if policy::is_symlink(node.kind()) {
            return Err(Errno::ELOOP);
        }
        let fifo = policy::is_fifo(node.kind()) && self.flags(&node).contains(TreeFlags::FIFO);
        if !policy::is_regular(node.kind()) && !fifo {
            // Directories are listed here, everything else is the sentry's own business: a descriptor of either would
            // reach beyond the file.
            return Err(if policy::is_dir(node.kind()) { Errno::EISDIR } else { Errno::ENXIO });
        }
        if node.sealed() {
            return Err(Errno::EACCES);
        }
        // What goes through a FIFO doesn't change its tree.
        if access.contains(Access::WRITE) && !fifo {
            self.writable(&node)?;
        }
        let flags = if access == Access::READ {
            OFlags::RDONLY
        } else if access == Access::WRITE {
            OFlags::WRONLY
        } else {
            OFlags::RDWR
        };
        let fd = self.nodes.fd(&node)?;
        // NONBLOCK: a lease held by somebody on the host must not stop us, nor the missing other side of a FIFO.
        let flags = flags | OFlags::NONBLOCK | OFlags::LARGEFILE;
        self.proc_fds.reopen(fd.as_fd(), flags).map(Answer::Fd)
    }

    /// `fsync` of a file or directory.
    pub(super) fn sync(&self, node: Handle) -> Outcome {
        let fd = self.reopened(node)?;
        rustix::fs::fsync(fd).map_err(errno)?;
        Ok(Answer::Done)
    }

    /// `syncfs`.
    pub(super) fn sync_fs(&self, node: Handle) -> Outcome {
        let fd = self.reopened(node)?;
        rustix::fs::syncfs(fd).map_err(errno)?;
        Ok(Answer::Done)
    }

    /// Opens a regular file or directory for calls that need a real descriptor.
    pub(super) fn reopened(&self, node: Handle) -> Result<std::os::fd::OwnedFd, Errno> {
        let node = self.nodes.get(node)?;
        if node.sealed() {
            return Err(Errno::EACCES);
        }
        let flags = match node.kind() {
            kind if policy::is_dir(kind) => OFlags::DIRECTORY,
            kind if policy::is_regular(kind) => OFlags::NONBLOCK,
            _ => return Err(Errno::EINVAL),
        };
        let fd = self.nodes.fd(&node)?;
        match self.proc_fds.reopen(fd.as_fd(), flags | OFlags::RDONLY) {
            Err(Errno::EACCES) if policy::is_regular(node.kind()) => {
                self.writable(&node)?;
                self.proc_fds.reopen(fd.as_fd(), flags | OFlags::WRONLY)
            }
            other => other,
        }
    }
}
