//! Names that come, go and move.

use std::os::fd::AsFd;
use std::sync::Arc;

use abi::Errno;
use abi::types::mode;
use gofer_proto::{Handle, check_name};
use rustix::fs::{AtFlags, RenameFlags};

use super::{Answer, Outcome};
use crate::host::{self, errno};
use crate::node::Node;
use crate::policy;
use crate::server::Server;

/// The flags of `renameat2(2)` that are passed on; a whiteout is a device node and the overlay's own business.
const RENAME: RenameFlags = RenameFlags::NOREPLACE.union(RenameFlags::EXCHANGE);

impl Server {
    pub(super) fn link(&self, node: Handle, dir: Handle, name: &[u8]) -> Outcome {
        let (dir, dir_fd) = self.parent(dir, name)?;
        let node = self.nodes.get(node)?;
        if node.tree() != dir.tree() {
            return Err(Errno::EXDEV);
        }
        if node.sealed() || policy::is_dir(node.kind()) {
            return Err(Errno::EPERM);
        }
        let fd = self.nodes.fd(&node)?;
        // Through /proc/self/fd, which needs no capability and works for files without a name too.
        let (from, link) = (self.proc_fds.dir(), self.proc_fds.name(fd.as_fd()));
        let _change = self.names.read();
        rustix::fs::linkat(from, link, dir_fd.as_fd(), name, AtFlags::SYMLINK_FOLLOW).map_err(errno)?;
        self.attr(&node).map(Answer::Attr)
    }

    pub(super) fn remove(&self, dir: Handle, name: &[u8], is_dir: bool) -> Outcome {
        let (dir, dir_fd) = self.parent(dir, name)?;
        let attr = host::stat_child(dir_fd.as_fd(), name)?;
        let known = self.nodes.known(dir.tree(), &attr);
        if let Some(node) = &known {
            self.nodes.pin(node)?;
        }
        let flags = if is_dir { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        rustix::fs::unlinkat(dir_fd.as_fd(), name, flags).map_err(errno)?;
        Ok(Answer::Changed([handle(known.as_ref()), Handle::default()]))
    }

    pub(super) fn rename(&self, from: (Handle, &[u8]), to: (Handle, &[u8]), flags: u32) -> Outcome {
        let Some(flags) = RenameFlags::from_bits(flags).filter(|flags| RENAME.contains(*flags)) else {
            return Err(Errno::EINVAL);
        };
        check_name(to.1)?;
        let (old_dir, old_fd) = self.parent(from.0, from.1)?;
        let (new_dir, new_fd) = self.parent(to.0, to.1)?;
        if old_dir.tree() != new_dir.tree() {
            return Err(Errno::EXDEV);
        }
        let moving = host::stat_child(old_fd.as_fd(), from.1)?;
        let victim = host::stat_child(new_fd.as_fd(), to.1).ok();
        let moving = self.nodes.known(old_dir.tree(), &moving);
        let victim = victim.and_then(|attr| self.nodes.known(new_dir.tree(), &attr));
        if let Some(victim) = &victim {
            self.nodes.pin(victim)?;
        }
        let _change = self.names.read();
        rustix::fs::renameat_with(old_fd.as_fd(), from.1, new_fd.as_fd(), to.1, flags).map_err(errno)?;
        let changed = Answer::Changed([handle(victim.as_ref()), handle(moving.as_ref())]);
        let same = matches!((&moving, &victim), (Some(a), Some(b)) if a.handle() == b.handle());
        if same {
            // Two names of one file: Linux leaves both.
            return Ok(changed);
        }
        if let Some(moving) = moving {
            self.nodes.moved(&moving, &new_dir, to.1);
        }
        if let Some(victim) = victim.filter(|_| flags.contains(RenameFlags::EXCHANGE)) {
            self.nodes.moved(&victim, &old_dir, from.1);
        }
        Ok(changed)
    }
}

fn handle(node: Option<&Arc<Node>>) -> Handle {
    node.map(|node| node.handle()).unwrap_or_default()
}

/// Tells whether a kind may carry extended attributes that the sentry sets.
pub(super) fn carries_xattrs(kind: u32) -> bool {
    matches!(kind, mode::IFREG | mode::IFDIR)
}
