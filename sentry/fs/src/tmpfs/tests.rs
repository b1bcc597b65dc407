//! What a guest can see of a tmpfs.

use std::sync::Arc;

use abi::Errno;
use abi::flags::OpenFlags;

use super::{Seals, TmpFs, TmpfsOptions, memfd};
use crate::{
    BytesDst, BytesSrc, DeviceId, DirEntry, DirSink, FileKind, FileOps, FileSystem, InodeRef, IoFlags, MapSource,
    NewInode, RenameFlags, SetAttr, XattrFlags,
};

fn new(kind: FileKind) -> NewInode {
    NewInode { kind, perm: 0o644, uid: 1, gid: 2, rdev: DeviceId::default() }
}

fn fs() -> TmpFs {
    TmpFs::new(TmpfsOptions::unlimited()).unwrap()
}

fn small_fs(pages: u64, inodes: u64) -> TmpFs {
    let options = TmpfsOptions { size: Some(pages * 4096), inodes: Some(inodes), ..TmpfsOptions::default() };
    TmpFs::new(options).unwrap()
}

fn file(dir: &InodeRef, name: &[u8]) -> InodeRef {
    dir.create(name, &new(FileKind::Regular)).unwrap()
}

fn open(inode: &InodeRef, flags: OpenFlags) -> Arc<dyn FileOps> {
    Arc::clone(inode).open(flags).unwrap()
}

fn write_at(file: &Arc<dyn FileOps>, mut pos: u64, data: &[u8]) -> Result<usize, Errno> {
    file.write(&mut pos, IoFlags::empty(), &mut BytesSrc::new(data))
}

fn read_at(file: &Arc<dyn FileOps>, mut pos: u64, len: usize) -> Vec<u8> {
    let mut buf = vec![0xaa; len];
    let got = file.read(&mut pos, IoFlags::empty(), &mut BytesDst::new(&mut buf)).unwrap();
    buf.truncate(got);
    buf
}

#[derive(Default)]
struct Names(Vec<(Vec<u8>, u64)>, usize);

impl DirSink for Names {
    fn entry(&mut self, entry: &DirEntry<'_>) -> bool {
        if self.0.len() == self.1 {
            return false;
        }
        self.0.push((entry.name.to_vec(), entry.next));
        true
    }
}

fn list(dir: &InodeRef, pos: u64, max: usize) -> Vec<(Vec<u8>, u64)> {
    let mut names = Names(Vec::new(), max);
    open(dir, OpenFlags::empty()).read_dir(pos, &mut names).unwrap();
    names.0
}

#[test]
fn data_written_are_read_small_and_large() {
    let fs = fs();
    let inode = file(&fs.root(), b"f");
    let open = open(&inode, OpenFlags::RDWR);
    for (at, byte) in [(0, 1), (4000, 2), (65_500, 3), (200_000, 4)] {
        assert_eq!(write_at(&open, at, &[byte; 300]), Ok(300));
    }
    assert_eq!(inode.attr().unwrap().size, 200_300);
    for (at, byte) in [(0, 1), (4000, 2), (65_500, 3), (200_000, 4)] {
        assert_eq!(read_at(&open, at, 300), [byte; 300]);
    }
    assert_eq!(read_at(&open, 5000, 10), [0; 10]);
    assert_eq!(read_at(&open, 200_299, 10), [4]);
    assert_eq!(read_at(&open, 200_300, 10), b"");
}

#[test]
fn truncation_forgets_what_lay_beyond() {
    let fs = fs();
    for len in [1000_u64, 100_000] {
        let inode = file(&fs.root(), len.to_string().as_bytes());
        let open = open(&inode, OpenFlags::RDWR);
        write_at(&open, 0, &vec![7; usize::try_from(len).unwrap()]).unwrap();
        inode.set_attr(&SetAttr { size: Some(10), ..SetAttr::default() }).unwrap();
        inode.set_attr(&SetAttr { size: Some(len), ..SetAttr::default() }).unwrap();
        assert_eq!(read_at(&open, 9, 3), [7, 0, 0]);
        assert_eq!(inode.attr().unwrap().blocks, 8);
    }
}

#[test]
fn appending_ignores_the_position_and_moves_it() {
    let fs = fs();
    let open = open(&file(&fs.root(), b"f"), OpenFlags::RDWR);
    write_at(&open, 0, b"abc").unwrap();
    let mut pos = 0;
    assert_eq!(open.write(&mut pos, IoFlags::APPEND, &mut BytesSrc::new(b"de")), Ok(2));
    assert_eq!((pos, read_at(&open, 0, 9)), (5, b"abcde".to_vec()));
}

#[test]
fn holes_are_found_and_made() {
    let fs = fs();
    for base in [0_u64, 1 << 20] {
        let inode = file(&fs.root(), base.to_string().as_bytes());
        let open = open(&inode, OpenFlags::RDWR);
        write_at(&open, base + 8192, &[1; 8192]).unwrap();
        assert_eq!(open.seek_data_hole(0, true), Ok(base + 8192));
        assert_eq!(open.seek_data_hole(0, false), Ok(0));
        assert_eq!(open.seek_data_hole(base + 8192, false), Ok(base + 16384));
        assert_eq!(open.seek_data_hole(base + 16384, true), Err(Errno::ENXIO));
        assert_eq!(open.allocate(3, base + 8192, 4096), Ok(()));
        assert_eq!(open.seek_data_hole(0, true), Ok(base + 12288));
        assert_eq!(inode.attr().unwrap().blocks, 8);
        assert_eq!(open.allocate(0x10, base + 12288, 4096), Ok(()));
        assert_eq!(read_at(&open, base + 12288, 2), [0, 0]);
        assert_eq!(inode.attr().unwrap().blocks, 8);
        assert_eq!(open.allocate(8, 0, 4096), Err(Errno::EOPNOTSUPP));
    }
}

#[test]
fn allocation_extends_unless_told_to_keep_the_size() {
    let fs = fs();
    let inode = file(&fs.root(), b"f");
    let open = open(&inode, OpenFlags::RDWR);
    open.allocate(1, 0, 10_000).unwrap();
    assert_eq!((inode.attr().unwrap().size, inode.attr().unwrap().blocks), (0, 24));
    open.allocate(0, 0, 5000).unwrap();
    assert_eq!((inode.attr().unwrap().size, inode.attr().unwrap().blocks), (5000, 24));
    open.allocate(0, 0, 100_000).unwrap();
    assert_eq!((inode.attr().unwrap().size, inode.attr().unwrap().blocks), (100_000, 200));
    inode.set_attr(&SetAttr { size: Some(5000), ..SetAttr::default() }).unwrap();
    assert_eq!(inode.attr().unwrap().blocks, 16);
}

#[test]
fn a_full_file_system_writes_what_fits() {
    let fs = small_fs(20, 10);
    let inode = file(&fs.root(), b"f");
    let open = open(&inode, OpenFlags::RDWR);
    assert_eq!(write_at(&open, 0, &[1; 30 * 4096]), Ok(20 * 4096));
    assert_eq!(write_at(&open, 20 * 4096, b"x"), Err(Errno::ENOSPC));
    assert_eq!(write_at(&open, 0, b"x"), Ok(1));
    assert_eq!(fs.statfs().unwrap().bfree, 0);
    fs.root().unlink(b"f").unwrap();
    drop((inode, open));
    assert_eq!(fs.statfs().unwrap().bfree, 20);
    let small = file(&fs.root(), b"g");
    let open = self::open(&small, OpenFlags::RDWR);
    assert_eq!(open.allocate(0, 0, 21 * 4096), Err(Errno::ENOSPC));
    assert_eq!(fs.statfs().unwrap().bfree, 20);
    write_at(&open, 3 * 4096, b"sparse").unwrap();
    assert_eq!(fs.statfs().unwrap().bfree, 19);
}

#[test]
fn inodes_are_counted() {
    let fs = small_fs(10, 3);
    let root = fs.root();
    let inode = file(&root, b"a");
    root.link(b"b", &inode).unwrap();
    assert_eq!(root.link(b"c", &inode), Err(Errno::ENOSPC));
    assert_eq!(root.create(b"c", &new(FileKind::Fifo)).err(), Some(Errno::ENOSPC));
    root.unlink(b"a").unwrap();
    assert_eq!(inode.attr().unwrap().nlink, 1);
    file(&root, b"c");
    root.unlink(b"b").unwrap();
    drop(inode);
    assert_eq!(fs.statfs().unwrap().ffree, 1);
}

#[test]
fn directories_count_links_and_entries() {
    let fs = fs();
    let root = fs.root();
    let dir = root.mkdir(b"d", &new(FileKind::Directory)).unwrap();
    dir.mkdir(b"e", &new(FileKind::Directory)).unwrap();
    file(&dir, b"f");
    assert_eq!((dir.attr().unwrap().nlink, dir.attr().unwrap().size), (3, 80));
    assert_eq!(root.rmdir(b"d"), Err(Errno::ENOTEMPTY));
    assert_eq!(dir.unlink(b"e"), Err(Errno::EISDIR));
    assert_eq!(dir.rmdir(b"f"), Err(Errno::ENOTDIR));
    dir.rmdir(b"e").unwrap();
    dir.unlink(b"f").unwrap();
    root.rmdir(b"d").unwrap();
    assert_eq!(dir.attr().unwrap().nlink, 0);
    assert_eq!(dir.create(b"x", &new(FileKind::Regular)).err(), Some(Errno::ENOENT));
}

#[test]
fn listings_survive_concurrent_removal() {
    let fs = fs();
    let root = fs.root();
    for name in [b"a", b"b", b"c", b"d"] {
        file(&root, name);
    }
    let first = list(&root, 0, 4);
    let names: Vec<&[u8]> = first.iter().map(|(name, _)| name.as_slice()).collect();
    assert_eq!(names, [b".".as_slice(), b"..", b"a", b"b"]);
    root.unlink(b"a").unwrap();
    root.unlink(b"b").unwrap();
    root.unlink(b"c").unwrap();
    file(&root, b"e");
    let rest = list(&root, first[3].1, 10);
    assert_eq!(rest.iter().map(|(name, _)| name[0]).collect::<Vec<_>>(), b"de");
}

#[test]
fn rename_replaces_exchanges_and_leaves_whiteouts() {
    let fs = fs();
    let root = fs.root();
    let dir = root.mkdir(b"d", &new(FileKind::Directory)).unwrap();
    let sub = dir.mkdir(b"s", &new(FileKind::Directory)).unwrap();
    let a = file(&root, b"a");
    file(&root, b"b");
    let none = RenameFlags::empty();
    assert_eq!(root.rename(b"a", &root, b"b", RenameFlags::NOREPLACE), Err(Errno::EEXIST));
    assert_eq!(root.rename(b"a", &root, b"d", none), Err(Errno::EISDIR));
    assert_eq!(root.rename(b"d", &root, b"a", none), Err(Errno::ENOTDIR));
    assert_eq!(root.rename(b"x", &root, b"y", none), Err(Errno::ENOENT));
    root.rename(b"a", &root, b"b", none).unwrap();
    assert_eq!(root.lookup(b"b").unwrap().attr().unwrap().ino, a.attr().unwrap().ino);
    dir.rename(b"s", &root, b"b", RenameFlags::EXCHANGE).unwrap();
    assert_eq!((dir.attr().unwrap().nlink, root.attr().unwrap().nlink), (2, 4));
    assert_eq!(list(&sub, 1, 1)[0].0, b"..");
    dir.rename(b"s", &root, b"c", RenameFlags::WHITEOUT).unwrap();
    let whiteout = dir.lookup(b"s").unwrap().attr().unwrap();
    assert_eq!((whiteout.kind, whiteout.rdev, whiteout.perm), (FileKind::CharDevice, DeviceId::default(), 0));
    let other = self::fs();
    assert_eq!(root.rename(b"c", &other.root(), b"c", none), Err(Errno::EXDEV));
}

#[test]
fn renaming_onto_a_link_of_itself_does_nothing() {
    let fs = fs();
    let root = fs.root();
    let a = file(&root, b"a");
    root.link(b"b", &a).unwrap();
    root.rename(b"a", &root, b"b", RenameFlags::empty()).unwrap();
    assert!(root.lookup(b"a").is_ok() && root.lookup(b"b").is_ok());
}

#[test]
fn a_temporary_file_gets_a_name_later() {
    let fs = small_fs(10, 2);
    let root = fs.root();
    let inode = root.tmpfile(&new(FileKind::Regular)).unwrap();
    assert_eq!(inode.attr().unwrap().nlink, 0);
    root.link(b"t", &inode).unwrap();
    assert_eq!(root.lookup(b"t").unwrap().attr().unwrap().nlink, 1);
}

#[test]
fn extended_attributes_obey_their_flags() {
    let fs = fs();
    let inode = file(&fs.root(), b"f");
    assert_eq!(inode.set_xattr(b"user.a", b"1", XattrFlags::REPLACE), Err(Errno::ENODATA));
    inode.set_xattr(b"user.a", b"1", XattrFlags::CREATE).unwrap();
    assert_eq!(inode.set_xattr(b"user.a", b"1", XattrFlags::CREATE), Err(Errno::EEXIST));
    inode.set_xattr(b"trusted.b", b"2", XattrFlags::empty()).unwrap();
    assert_eq!(inode.set_xattr(b"system.x", b"2", XattrFlags::empty()), Err(Errno::EOPNOTSUPP));
    assert_eq!(inode.list_xattr().unwrap(), b"trusted.b\0user.a\0");
    inode.remove_xattr(b"user.a").unwrap();
    assert_eq!(inode.get_xattr(b"user.a"), Err(Errno::ENODATA));
}

#[test]
fn a_read_only_file_is_mapped_through_a_descriptor_that_cannot_write() {
    let fs = fs();
    let inode = file(&fs.root(), b"f");
    write_at(&open(&inode, OpenFlags::RDWR), 0, b"data").unwrap();
    let host = |flags| match open(&inode, flags).map(true).unwrap() {
        MapSource::Host { file, .. } => file,
        MapSource::Anonymous => panic!("a file has a source"),
    };
    assert!(rustix::io::pwrite(host(OpenFlags::RDWR), b"D", 0).is_ok());
    assert!(rustix::io::pwrite(host(OpenFlags::empty()), b"D", 0).is_err());
    assert_eq!(read_at(&open(&inode, OpenFlags::empty()), 0, 9), b"Data");
}

/// Makes unnamed files in a directory, and notes them.
#[derive(Debug, Default)]
struct Disk(std::sync::Mutex<Vec<std::fs::File>>);

impl super::Backing for Disk {
    fn make(&self) -> Result<std::os::fd::OwnedFd, Errno> {
        let file = tempfile::tempfile().map_err(|_| Errno::EIO)?;
        self.0.lock().unwrap().push(file.try_clone().unwrap());
        Ok(file.into())
    }
}

#[test]
fn large_files_lie_where_the_backing_makes_them() {
    let disk = Arc::new(Disk::default());
    let fs = TmpFs::backed(TmpfsOptions::unlimited(), Arc::clone(&disk) as Arc<dyn super::Backing>).unwrap();
    let small = open(&file(&fs.root(), b"small"), OpenFlags::RDWR);
    write_at(&small, 0, &[1; 1000]).unwrap();
    assert!(disk.0.lock().unwrap().is_empty());
    let inode = file(&fs.root(), b"large");
    let large = open(&inode, OpenFlags::RDWR);
    write_at(&large, 0, &[2; 1000]).unwrap();
    write_at(&large, 100_000, &[3; 5000]).unwrap();
    assert_eq!(disk.0.lock().unwrap().iter().map(|file| file.metadata().unwrap().len()).collect::<Vec<_>>(), [105_000]);
    assert_eq!(
        (read_at(&large, 500, 1000), read_at(&large, 100_500, 9000)),
        ([vec![2; 500], vec![0; 500]].concat(), vec![3; 4500])
    );
    inode.set_attr(&SetAttr { size: Some(0), ..SetAttr::default() }).unwrap();
    assert_eq!(read_at(&large, 0, 10), []);
}

#[test]
fn seals_hold() {
    let fs = fs();
    let inode = memfd::create(&fs, 2, 0, 0).unwrap();
    let open = open(&inode, OpenFlags::RDWR);
    write_at(&open, 0, b"abcd").unwrap();
    let resize = |size| inode.set_attr(&SetAttr { size: Some(size), ..SetAttr::default() });
    assert_eq!(memfd::add_seals(&inode, false, 1), Err(Errno::EPERM));
    assert_eq!(memfd::add_seals(&inode, true, 0x100), Err(Errno::EINVAL));
    memfd::add_seals(&inode, true, (Seals::GROW | Seals::SHRINK).bits()).unwrap();
    assert_eq!((resize(3), resize(5), resize(4)), (Err(Errno::EPERM), Err(Errno::EPERM), Ok(())));
    assert_eq!((write_at(&open, 2, b"xyz"), write_at(&open, 0, b"A")), (Err(Errno::EPERM), Ok(1)));
    open.map(true).unwrap();
    memfd::add_seals(&inode, true, (Seals::WRITE | Seals::SEAL).bits()).unwrap();
    assert_eq!(write_at(&open, 0, b"B"), Err(Errno::EPERM));
    assert!(open.write_sealed());
    assert_eq!(memfd::add_seals(&inode, true, Seals::GROW.bits()), Err(Errno::EPERM));
    let plain = memfd::create(&fs, 0, 0, 0).unwrap();
    assert_eq!(memfd::get_seals(&plain), Ok(Seals::SEAL));
    assert_eq!(memfd::create(&fs, 8 | 16, 0, 0).err(), Some(Errno::EINVAL));
}
