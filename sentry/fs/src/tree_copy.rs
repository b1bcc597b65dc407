//! Copies of whole trees between file systems, before anybody else sees the copy (the mount option `tmpcopyup`).

use std::sync::Arc;

use abi::Errno;
use abi::flags::OpenFlags;

use crate::overlay::copy_up::{copy_bytes, dress};
use crate::{DirEntry, DirSink, FileKind, InodeRef, NewInode, SetAttr};

/// Names of a directory.
struct NameList {
    names: Vec<Vec<u8>>,
    next: u64,
}

impl DirSink for NameList {
    fn entry(&mut self, entry: &DirEntry<'_>) -> bool {
        self.next = entry.next;
        if entry.name != b"." && entry.name != b".." {
            self.names.push(entry.name.to_vec());
        }
        true
    }
}

fn names(dir: &InodeRef) -> Result<Vec<Vec<u8>>, Errno> {
    let listing = Arc::clone(dir).open(OpenFlags::DIRECTORY)?;
    let mut list = NameList { names: Vec::new(), next: 0 };
    loop {
        let (before, pos) = (list.names.len(), list.next);
        listing.read_dir(pos, &mut list)?;
        if list.names.len() == before || list.next == pos {
            return Ok(list.names);
        }
    }
}

/// Copies everything below `from` into the empty directory `to`, which gets its mode and owner too. Sockets stay behind.
pub fn copy_tree(from: &InodeRef, to: &InodeRef) -> Result<(), Errno> {
    let attr = from.attr()?;
    to.set_attr(&SetAttr { perm: Some(attr.perm), uid: Some(attr.uid), gid: Some(attr.gid), ..SetAttr::default() })?;
    let mut left = vec![(Arc::clone(from), Arc::clone(to))];
    while let Some((from, to)) = left.pop() {
        for name in names(&from)? {
            let source = match from.lookup(&name) {
                Err(Errno::ENOENT) => continue,
                found => found?,
            };
            let Some(copy) = copy_one(&source, &to, &name)? else { continue };
            left.push((source, copy));
        }
        // Its times, which the new entries have moved.
        dress(&from, &to, &from.attr()?)?;
    }
    Ok(())
}

/// Copies one entry; returns a directory, which is still empty.
fn copy_one(source: &InodeRef, dir: &InodeRef, name: &[u8]) -> Result<Option<InodeRef>, Errno> {
    let attr = source.attr()?;
    let new = NewInode { kind: attr.kind, perm: attr.perm, uid: attr.uid, gid: attr.gid, rdev: attr.rdev };
    let copy = match attr.kind {
        FileKind::Socket => return Ok(None),
        FileKind::Directory => return dir.mkdir(name, &new).map(Some),
        FileKind::Symlink => dir.symlink(name, &source.readlink()?, &new)?,
        _ => dir.create(name, &new)?,
    };
    if attr.kind == FileKind::Regular {
        let (reader, writer) =
            (Arc::clone(source).open(OpenFlags::NOATIME)?, Arc::clone(&copy).open(OpenFlags::WRONLY)?);
        copy_bytes(&*reader, &*writer, attr.size)?;
    }
    dress(source, &copy, &attr)?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tmpfs::{TmpFs, TmpfsOptions};
    use crate::{BytesDst, BytesSrc, DeviceId, FileSystem, IoFlags};

    #[test]
    fn a_copy_has_names_content_and_attributes() {
        let tmpfs = || TmpFs::new(TmpfsOptions::default()).expect("a tmpfs");
        let (source, target) = (tmpfs(), tmpfs());
        let (from, to) = (source.root(), target.root());
        let new = |kind, perm| NewInode { kind, perm, uid: 5, gid: 6, rdev: DeviceId::default() };
        from.set_attr(&SetAttr { perm: Some(0o750), ..SetAttr::default() }).expect("a mode");
        let sub = from.mkdir(b"sub", &new(FileKind::Directory, 0o700)).expect("a directory");
        sub.symlink(b"link", b"../file", &new(FileKind::Symlink, 0o777)).expect("a link");
        let file = sub.create(b"file", &new(FileKind::Regular, 0o4755)).expect("a file");
        let writer = file.open(OpenFlags::WRONLY).expect("opened");
        writer.write(&mut 0, IoFlags::empty(), &mut BytesSrc::new(b"content")).expect("written");
        copy_tree(&from, &to).expect("copied");
        assert_eq!(to.attr().expect("attributes").perm, 0o750);
        let sub = to.lookup(b"sub").expect("the directory");
        assert_eq!(sub.lookup(b"link").expect("the link").readlink(), Ok(b"../file".to_vec()));
        let file = sub.lookup(b"file").expect("the file");
        let attr = file.attr().expect("attributes");
        assert_eq!((attr.perm, attr.uid, attr.gid, attr.size), (0o4755, 5, 6, 7));
        let mut text = [0; 7];
        let reader = file.open(OpenFlags::empty()).expect("opened");
        reader.read(&mut 0, IoFlags::empty(), &mut BytesDst::new(&mut text)).expect("read");
        assert_eq!(&text, b"content");
    }
}
