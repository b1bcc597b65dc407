//! Walk.

use std::os::fd::AsFd;
use std::sync::Arc;

use abi::Errno;
use gofer_proto::{Entry, Handle, Walked, check_name};

use super::{Answer, Outcome};
use crate::node::Node;
use crate::server::{Server, TreeFlags};
use crate::{host, policy};

/// Finds names one after the other. What stops the first one is the request's error; what stops a later one is told beside
/// what was found.
fn gather(names: &[&[u8]], mut find: impl FnMut(&[u8]) -> Result<Entry, Errno>) -> Outcome {
    let mut entries: Vec<Entry> = Vec::with_capacity(names.len());
    for name in names {
        match find(name) {
            Ok(entry) => entries.push(entry),
            Err(errno) if entries.is_empty() => return Err(errno),
            Err(errno) => return Ok(Answer::Walked(Walked { entries, stopped: Some(errno) })),
        }
    }
    Ok(Answer::Walked(Walked { entries, stopped: None }))
}

impl Server {
    /// Looks components up one after the other.
    pub(super) fn walk(&self, from: Handle, names: &[&[u8]]) -> Outcome {
        let mut at = self.nodes.get(from)?;
        gather(names, |name| {
            let (node, entry) = self.step(&at, name)?;
            at = node;
            Ok(entry)
        })
    }

    /// Looks entries of one directory up without opening them: whoever looks at many opens few.
    pub(super) fn children(&self, dir: Handle, names: &[&[u8]]) -> Outcome {
        let dir = self.nodes.get(dir)?;
        gather(names, |name| self.glance(&dir, name))
    }

    /// Looks one entry up by its name only. On another file system it is opened: there is more to find out.
    fn glance(&self, dir: &Arc<Node>, name: &[u8]) -> Result<Entry, Errno> {
        self.check_step(dir, name)?;
        let attr = host::stat_child(self.nodes.fd(dir)?.as_fd(), name)?;
        if attr.dev != dir.dev() {
            return self.step(dir, name).map(|(_, entry)| entry);
        }
        let node = self.nodes.give_unopened(&attr, (dir, name))?;
        Ok(Entry { handle: node.handle(), attr })
    }

    fn check_step(&self, dir: &Node, name: &[u8]) -> Result<(), Errno> {
        check_name(name)?;
        if !policy::is_dir(dir.kind()) {
            return Err(Errno::ENOTDIR);
        }
        if dir.sealed() || self.flags(dir).contains(TreeFlags::STORE) {
            return Err(Errno::ENOENT);
        }
        Ok(())
    }

    /// Looks one component up.
    pub(super) fn step(&self, dir: &Arc<Node>, name: &[u8]) -> Result<(Arc<Node>, Entry), Errno> {
        self.check_step(dir, name)?;
        self.nodes.reserve()?;
        let fd = host::open_child(self.nodes.fd(dir)?.as_fd(), name)?;
        let attr = host::stat(fd.as_fd())?;
        let node = self.nodes.give(dir.tree(), fd, &attr, Some((dir, name)))?;
        let entry = Entry { handle: node.handle(), attr };
        Ok((node, entry))
    }
}
