//! `/proc/PID/fd` and `fdinfo`.

use std::sync::Arc;

use abi::Errno;

use super::{Task, magic_link};
use crate::FileKind;
use crate::proc::root::parse_id;
use crate::synth::{Dir, Listed, Node};

pub(super) fn links(task: &Task) -> Node {
    Node::dir(0o500, Fds { task: Arc::clone(task), links: true })
}

pub(super) fn infos(task: &Task) -> Node {
    Node::dir(0o555, Fds { task: Arc::clone(task), links: false })
}

struct Fds {
    task: Task,
    links: bool,
}

impl Dir for Fds {
    fn lookup(&self, name: &[u8]) -> Result<Node, Errno> {
        let fd = parse_id(name).ok_or(Errno::ENOENT)?;
        self.task.may_inspect()?;
        let info = self.task.fd(fd).ok_or(Errno::ENOENT)?;
        let task = Arc::clone(&self.task);
        let node = if self.links {
            let (readable, writable) = info.access;
            let perm = if readable { 0o500 } else { 0 } | if writable { 0o300 } else { 0 };
            magic_link(perm, move || task.fd_link(fd))
        } else {
            Node::file(0o400, move || {
                let info = task.fd(fd).ok_or(Errno::ENOENT)?;
                let text = format!(
                    "pos:\t{}\nflags:\t0{:o}\nmnt_id:\t{}\nino:\t{}\n{}",
                    info.pos, info.flags, info.mount_id, info.ino, info.extra
                );
                Ok(text.into_bytes())
            })
        };
        Ok(node.owned(self.task.owner()))
    }

    fn list(&self, from: u64) -> Result<Vec<Listed>, Errno> {
        let kind = if self.links { FileKind::Symlink } else { FileKind::Regular };
        let mut fds = self.task.fds()?;
        fds.sort_unstable();
        let listed =
            fds.into_iter().map(|fd| Listed { pos: 2 + u64::from(fd.unsigned_abs()), name: fd.to_string(), kind });
        Ok(listed.filter(|entry| entry.pos >= from).collect())
    }

    fn check(&self) -> Result<(), Errno> {
        self.task.may_inspect()
    }
}
