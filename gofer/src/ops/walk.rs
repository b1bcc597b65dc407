//! Walk.

use std::os::fd::AsFd;
use std::sync::Arc;

use abi::Errno;
use gofer_proto::{Entry, Handle, Walked, check_name};

use super::{Answer, Outcome};
use crate::node::Node;
use crate::server::{Server, TreeFlags};
use crate::{host, policy};

impl Server {
    /// Looks components up one after the other. What stops the first one is the request's error; what stops a later
    /// one is told beside what was reached.
    pub(super) fn walk(&self, from: Handle, names: &[&[u8]]) -> Outcome {
        let mut at = self.nodes.get(from)?;
        let mut entries: Vec<Entry> = Vec::with_capacity(names.len());
        for name in names {
            match self.step(&at, name) {
                Ok((node, entry)) => {
                    entries.push(entry);
                    at = node;
                }
                Err(errno) if entries.is_empty() => return Err(errno),
                Err(errno) => return Ok(Answer::Walked(Walked { entries, stopped: Some(errno) })),
            }
        }
        Ok(Answer::Walked(Walked { entries, stopped: None }))
    }

    /// Looks one component up.
    pub(super) fn step(&self, dir: &Arc<Node>, name: &[u8]) -> Result<(Arc<Node>, Entry), Errno> {
        check_name(name)?;
        if !policy::is_dir(dir.kind()) {
            return Err(Errno::ENOTDIR);
        }
        if dir.sealed() || self.flags(dir).contains(TreeFlags::STORE) {
            return Err(Errno::ENOENT);
        }
        self.nodes.reserve()?;
        let fd = host::open_child(self.nodes.fd(dir)?.as_fd(), name)?;
        let attr = host::stat(fd.as_fd())?;
        let node = self.nodes.give(dir.tree(), fd, &attr, Some((dir, name)))?;
        let entry = Entry { handle: node.handle(), attr };
        Ok((node, entry))
    }
}
