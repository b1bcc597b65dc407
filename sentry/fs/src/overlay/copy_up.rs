//! Copy-up: giving a lower file an upper inode, and later its content.
//!
//! What changes attributes or names alone takes no content along (Linux calls it `metacopy`): the upper inode of a regular
//! file is a hole of the right size until the first write or truncation, and reads go on below.

use std::sync::Arc;

use abi::Errno;
use abi::flags::OpenFlags;

use super::Shared;
use super::node::Node;
use crate::{Attr, BytesDst, BytesSrc, FileKind, FileOps, InodeRef, IoFlags, NewInode, SetAttr, SetTime, XattrFlags};

/// Bytes copied at a time.
const CHUNK: usize = 128 * 1024;

impl Node {
    /// Returns the upper inode, made where there is none. Call it with the overlay's names locked.
    pub(super) fn copy_up(self: &Arc<Self>) -> Result<InodeRef, Errno> {
        if let Some(upper) = self.above() {
            return Ok(Arc::clone(upper));
        }
        let lower = self.below().first().ok_or(Errno::EIO)?;
        let attr = lower.attr()?;
        let work = self.fs.next();
        let name = work_name(work);
        let upper = self.fs.make_copy(&name, lower, &attr)?;
        let filled = dress(lower, &upper, &attr).and_then(|()| self.set_upper(Arc::clone(&upper), work));
        if let Err(errno) = filled {
            self.fs.remove_work(work, self.kind());
            return Err(errno);
        }
        if self.nameless() {
            self.let_go();
        }
        Ok(upper)
    }

    /// Copies the content into the upper inode that there is, the first `limit` bytes of it for a file that is about to be
    /// truncated. Needs no names locked: nothing but the content changes.
    pub(super) fn copy_content(&self, upper: &InodeRef, limit: Option<u64>) -> Result<(), Errno> {
        let _copying = self.copying.lock();
        if !self.content_below() {
            return Ok(());
        }
        let lower = self.below().first().ok_or(Errno::EIO)?;
        let attr = upper.attr()?;
        let size = limit.map_or(attr.size, |limit| limit.min(attr.size));
        let from = Arc::clone(lower).open(OpenFlags::NOATIME)?;
        let to = Arc::clone(upper).open(OpenFlags::WRONLY)?;
        let copied = copy_bytes(&*from, &*to, size);
        if copied.is_err() {
            // Gives back what part was copied; the content is still below.
            upper.set_attr(&SetAttr { size: Some(0), ..SetAttr::default() })?;
            upper.set_attr(&SetAttr { size: Some(attr.size), ..SetAttr::default() })?;
        }
        let (atime, mtime) = (Some(SetTime::At(attr.atime)), Some(SetTime::At(attr.mtime)));
        upper.set_attr(&SetAttr { atime, mtime, ..SetAttr::default() })?;
        copied?;
        if size < attr.size {
            // Before anybody looks above for the bytes that were left out.
            upper.set_attr(&SetAttr { size: Some(size), ..SetAttr::default() })?;
        }
        self.content_copied();
        Ok(())
    }
}

/// Returns the name of an entry of the work area.
pub(super) fn work_name(work: u64) -> Vec<u8> {
    work.to_string().into_bytes()
}

impl Shared {
    fn make_copy(&self, name: &[u8], lower: &InodeRef, attr: &Attr) -> Result<InodeRef, Errno> {
        let new = NewInode { kind: attr.kind, perm: attr.perm, uid: attr.uid, gid: attr.gid, rdev: attr.rdev };
        match attr.kind {
            FileKind::Directory => self.work.mkdir(name, &new),
            FileKind::Symlink => self.work.symlink(name, &lower.readlink()?, &new),
            _ => self.work.create(name, &new),
        }
    }

    /// Removes an entry of the work area.
    pub(super) fn remove_work(&self, work: u64, kind: FileKind) {
        let name = work_name(work);
        let removed = if kind == FileKind::Directory { self.work.rmdir(&name) } else { self.work.unlink(&name) };
        if let Err(errno) = removed {
            tracing::warn!(%errno, work, "can't remove a copy from the overlay's work area");
        }
    }
}

/// Gives a copy size, extended attributes, mode and times.
pub(crate) fn dress(lower: &InodeRef, upper: &InodeRef, attr: &Attr) -> Result<(), Errno> {
    copy_xattrs(lower, upper)?;
    let size = (attr.kind == FileKind::Regular).then_some(attr.size);
    let perm = (attr.kind != FileKind::Symlink).then_some(attr.perm);
    upper.set_attr(&SetAttr { size, perm, ..SetAttr::default() })?;
    let (atime, mtime) = (Some(SetTime::At(attr.atime)), Some(SetTime::At(attr.mtime)));
    upper.set_attr(&SetAttr { atime, mtime, ..SetAttr::default() })
}

pub(crate) fn copy_bytes(from: &dyn FileOps, to: &dyn FileOps, size: u64) -> Result<(), Errno> {
    let mut buf = vec![0; CHUNK.min(usize::try_from(size).unwrap_or(CHUNK))];
    let mut pos = 0;
    while pos < size {
        let start = match from.seek_data_hole(pos, true) {
            Ok(start) => start.max(pos),
            // Only a hole is left.
            Err(Errno::ENXIO) => return Ok(()),
            Err(_) => pos,
        };
        let end = from.seek_data_hole(start, false).unwrap_or(size).min(size);
        pos = start;
        while pos < end {
            let want = usize::try_from(end - pos).unwrap_or(CHUNK).min(buf.len());
            let mut read_pos = pos;
            let got = from.read(&mut read_pos, IoFlags::empty(), &mut BytesDst::new(&mut buf[..want]))?;
            if got == 0 {
                // Shorter than its attributes said: somebody else changes it.
                return Ok(());
            }
            let mut src = BytesSrc::new(&buf[..got]);
            if to.write(&mut pos, IoFlags::empty(), &mut src)? < got {
                return Err(Errno::ENOSPC);
            }
        }
    }
    Ok(())
}

fn copy_xattrs(lower: &InodeRef, upper: &InodeRef) -> Result<(), Errno> {
    let names = match lower.list_xattr() {
        Ok(names) => names,
        Err(Errno::EOPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let value = match lower.get_xattr(name) {
            Ok(value) => value,
            Err(Errno::ENODATA) => continue,
            Err(errno) => return Err(errno),
        };
        match upper.set_xattr(name, &value, XattrFlags::empty()) {
            // What the upper file system can't keep is lost, as Linux loses it.
            Ok(()) | Err(Errno::EOPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
