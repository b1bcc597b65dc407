//! Changes of names. Each takes the overlay's names lock first.

use std::sync::Arc;

use abi::Errno;

use super::copy_up::work_name;
use super::node::Node;
use crate::{FileKind, InodeRef, RenameFlags, SetAttr, SetTime};

/// Marks a directory as changed where the upper file system had nothing to do.
fn touch(upper: &InodeRef) -> Result<(), Errno> {
    upper.set_attr(&SetAttr { mtime: Some(SetTime::Now), ..SetAttr::default() })
}

impl Node {
    /// Checks that entries may be made here and that there is none of this name.
    fn vacant(&self, name: &[u8]) -> Result<(), Errno> {
        if !self.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        if self.state().removed {
            return Err(Errno::ENOENT);
        }
        match self.find(name) {
            Ok(_) => Err(Errno::EEXIST),
            Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Makes an entry with `make`, which is given the upper directory.
    pub(super) fn add(
        self: &Arc<Self>,
        name: &[u8],
        make: impl FnOnce(&InodeRef) -> Result<InodeRef, Errno>,
    ) -> Result<InodeRef, Errno> {
        let _names = self.fs.names.lock();
        self.vacant(name)?;
        let made = make(&self.copy_up()?)?;
        let node = self.fs.node_of_upper(made)?;
        if node.is_dir() {
            node.state().parent = Some(self.ino());
        }
        Ok(node as InodeRef)
    }

    /// Gives `target` a further name.
    pub(super) fn add_link(self: &Arc<Self>, name: &[u8], target: &Arc<Node>) -> Result<(), Errno> {
        let _names = self.fs.names.lock();
        self.vacant(name)?;
        if target.is_dir() {
            return Err(Errno::EPERM);
        }
        let inode = target.copy_up()?;
        self.copy_up()?.link(name, &inode)?;
        target.linked();
        Ok(())
    }

    /// Removes an entry.
    pub(super) fn remove(self: &Arc<Self>, name: &[u8], want_dir: bool) -> Result<(), Errno> {
        let _names = self.fs.names.lock();
        let node = self.find(name)?;
        match (node.is_dir(), want_dir) {
            (true, false) => return Err(Errno::EISDIR),
            (false, true) => return Err(Errno::ENOTDIR),
            (true, true) if !node.is_empty()? => return Err(Errno::ENOTEMPTY),
            _ => {}
        }
        let in_lower = self.shows_lower(name)?;
        let upper = self.copy_up()?;
        let removed = if want_dir { upper.rmdir(name) } else { upper.unlink(name) };
        match removed {
            Err(Errno::ENOENT) if in_lower => touch(&upper)?,
            other => other?,
        }
        if in_lower {
            self.white_out(name);
        }
        node.unlinked();
        Ok(())
    }

    /// Gives an entry that is seen from below a name in the upper directory.
    fn materialise(self: &Arc<Self>, name: &[u8], node: &Arc<Node>) -> Result<(), Errno> {
        if !self.shows_lower(name)? {
            return Ok(());
        }
        let inode = node.copy_up()?;
        let upper = self.copy_up()?;
        let work = node.state().work;
        let one_name = node.is_dir() || node.attributes()?.nlink == 1;
        match work {
            Some(work) if one_name => {
                let upper_ref = Arc::clone(&upper);
                self.fs.work.rename(&work_name(work), &upper_ref, name, RenameFlags::empty())?;
                node.state().work = None;
            }
            _ => upper.link(name, &inode)?,
        }
        self.white_out(name);
        Ok(())
    }

    /// Renames, replaces or exchanges.
    pub(super) fn move_entry(
        self: &Arc<Self>,
        old_name: &[u8],
        to: &Arc<Node>,
        new_name: &[u8],
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        // A whiteout is a device node, which only another overlay on top would ask for.
        if flags.contains(RenameFlags::WHITEOUT) || (exchange && flags.contains(RenameFlags::NOREPLACE)) {
            return Err(Errno::EINVAL);
        }
        let _names = self.fs.names.lock();
        if to.state().removed {
            return Err(Errno::ENOENT);
        }
        let moving = self.find(old_name)?;
        let victim = match to.find(new_name) {
            Ok(victim) => Some(victim),
            Err(Errno::ENOENT) => None,
            Err(errno) => return Err(errno),
        };
        match &victim {
            None if exchange => return Err(Errno::ENOENT),
            Some(_) if flags.contains(RenameFlags::NOREPLACE) => return Err(Errno::EEXIST),
            Some(victim) if Arc::ptr_eq(victim, &moving) => return Ok(()),
            Some(victim) if !exchange => replaceable(&moving, victim)?,
            _ => {}
        }
        let (from_upper, to_upper) = (self.copy_up()?, to.copy_up()?);
        self.materialise(old_name, &moving)?;
        if let (true, Some(victim)) = (exchange, &victim) {
            to.materialise(new_name, victim)?;
            from_upper.rename(old_name, &to_upper, new_name, RenameFlags::EXCHANGE)?;
            set_parent(victim, self);
        } else {
            let covers = to.shows_lower(new_name)?;
            from_upper.rename(old_name, &to_upper, new_name, RenameFlags::empty())?;
            if covers {
                to.white_out(new_name);
            }
            if let Some(victim) = victim {
                victim.unlinked();
            }
        }
        set_parent(&moving, to);
        Ok(())
    }
}

fn set_parent(node: &Node, dir: &Node) {
    if node.kind() == FileKind::Directory {
        node.state().parent = Some(dir.ino());
    }
}

/// Checks that a rename may put one file in place of another.
fn replaceable(moving: &Node, victim: &Arc<Node>) -> Result<(), Errno> {
    match (moving.is_dir(), victim.is_dir()) {
        (true, false) => Err(Errno::ENOTDIR),
        (false, true) => Err(Errno::EISDIR),
        (true, true) if !victim.is_empty()? => Err(Errno::ENOTEMPTY),
        _ => Ok(()),
    }
}
