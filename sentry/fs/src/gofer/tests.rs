//! The client against a real server in threads, over a temporary directory.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use abi::Errno;
use abi::flags::OpenFlags;
use gofer_proto::SeqPacket;

use super::{Client, GoferFs};
use crate::{
    BytesDst, BytesSrc, CachePolicy, DeviceId, DirEntry, DirSink, FileKind, FileOps, FileSystem, InodeRef, IoFlags,
    MapSource, NewInode, RenameFlags, SetAttr, XattrFlags,
};

/// A server and a file system on it.
pub(crate) struct World {
    dir: tempfile::TempDir,
    pub(crate) fs: GoferFs,
    server: Option<std::thread::JoinHandle<()>>,
}

impl World {
    pub(crate) fn new(policy: CachePolicy) -> World {
        World::with(policy, gofer::TreeFlags::empty(), 100_000)
    }

    fn with(policy: CachePolicy, flags: gofer::TreeFlags, budget: usize) -> World {
        let dir = tempfile::tempdir().unwrap();
        let root = OwnedFd::from(std::fs::File::open(dir.path()).unwrap());
        let trees = vec![gofer::Tree { id: 7, root, flags }];
        let server = gofer::Server::with_limits(trees, budget, 100_000).unwrap();
        let (ours, theirs): (Vec<OwnedFd>, Vec<OwnedFd>) = (0..2).map(|_| SeqPacket::pair().unwrap()).unzip();
        let server = std::thread::spawn(move || gofer::serve(server, theirs, None, || Ok(()), || ()).unwrap());
        let (client, mounts) = Client::connect(ours, None).unwrap();
        assert_eq!(mounts[0].id, 7);
        let fs = GoferFs::new(&Arc::new(client), &mounts[0], policy).unwrap();
        World { dir, fs, server: Some(server) }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn root(&self) -> InodeRef {
        self.fs.root()
    }

    /// Ends the connections and waits for the server to notice.
    fn end(mut self) {
        let server = self.server.take().unwrap();
        drop(self);
        server.join().unwrap();
    }
}

fn new(kind: FileKind, perm: u32) -> NewInode {
    NewInode {
        kind,
        perm,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        rdev: DeviceId::default(),
    }
}

fn read_all(file: &dyn FileOps) -> Vec<u8> {
    let (mut pos, mut buf) = (0, vec![0; 1 << 20]);
    let count = file.read(&mut pos, IoFlags::empty(), &mut BytesDst::new(&mut buf)).unwrap();
    assert_eq!(pos, count as u64);
    buf.truncate(count);
    buf
}

fn write(file: &dyn FileOps, pos: &mut u64, flags: IoFlags, data: &[u8]) -> Result<usize, Errno> {
    file.write(pos, flags, &mut BytesSrc::new(data))
}

struct Names(Vec<(String, u64)>, usize);

impl DirSink for Names {
    fn entry(&mut self, entry: &DirEntry<'_>) -> bool {
        if self.1 == 0 {
            return false;
        }
        self.1 -= 1;
        self.0.push((String::from_utf8_lossy(entry.name).into_owned(), entry.next));
        true
    }
}

fn names(dir: &InodeRef) -> Vec<String> {
    let file = Arc::clone(dir).open(OpenFlags::DIRECTORY).unwrap();
    let mut sink = Names(Vec::new(), usize::MAX);
    file.read_dir(0, &mut sink).unwrap();
    let mut names: Vec<String> = sink.0.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.drain(..2).collect::<Vec<_>>(), [".", ".."]);
    names.sort();
    names
}

fn open(inode: &InodeRef, flags: OpenFlags) -> Result<Arc<dyn FileOps>, Errno> {
    Arc::clone(inode).open(flags)
}

fn err<T>(result: Result<T, Errno>) -> Errno {
    result.err().expect("should fail")
}

#[test]
fn lookup_open_and_read_give_what_the_host_has() {
    let world = World::new(CachePolicy::Exclusive);
    std::fs::write(world.path().join("file"), b"hello").unwrap();
    std::fs::create_dir(world.path().join("sub")).unwrap();
    symlink("file", world.path().join("link")).unwrap();
    let root = world.root();
    let file = root.lookup(b"file").unwrap();
    let attr = file.attr().unwrap();
    let host = std::fs::metadata(world.path().join("file")).unwrap();
    assert_eq!((attr.ino, attr.size, attr.mode()), (host.ino(), 5, host.mode()));
    assert_eq!((attr.mtime.sec, attr.mtime.nsec), (host.mtime(), host.mtime_nsec()));
    assert_eq!(attr.dev.major, 0);
    assert_eq!(root.attr().unwrap().dev, attr.dev);
    assert_eq!(read_all(&*open(&file, OpenFlags::empty()).unwrap()), b"hello");
    let link = root.lookup(b"link").unwrap();
    assert_eq!((link.attr().unwrap().kind, link.readlink().unwrap()), (FileKind::Symlink, b"file".to_vec()));
    assert_eq!(err(root.lookup(b"none")), Errno::ENOENT);
    assert_eq!(err(file.lookup(b"x")), Errno::ENOTDIR);
    assert_eq!(names(&root), ["file", "link", "sub"]);
    assert!(world.fs.statfs().unwrap().blocks > 0);
    drop((root, file, link));
    world.end();
}

#[test]
fn a_read_only_open_gives_a_descriptor_that_can_not_write() {
    let world = World::new(CachePolicy::Exclusive);
    std::fs::write(world.path().join("file"), b"hello").unwrap();
    let file = world.root().lookup(b"file").unwrap();
    let writer = open(&file, OpenFlags::RDWR).unwrap();
    let reader = open(&file, OpenFlags::empty()).unwrap();
    let MapSource::Host { file: fd, .. } = reader.map(true).unwrap() else { panic!("not a host file") };
    assert_eq!(rustix::io::pwrite(&*fd, b"x", 0), Err(rustix::io::Errno::BADF));
    let MapSource::Host { file: fd, .. } = writer.map(true).unwrap() else { panic!("not a host file") };
    assert_eq!(rustix::io::pwrite(&*fd, b"H", 0), Ok(1));
    assert_eq!(read_all(&*reader), b"Hello");
    assert_eq!(err(open(&file, OpenFlags::WRONLY).unwrap().map(false).map(|_| ())), Errno::EACCES);
}

#[test]
fn hard_links_are_one_inode() {
    let world = World::new(CachePolicy::Exclusive);
    std::fs::write(world.path().join("a"), b"1").unwrap();
    let root = world.root();
    let a = root.lookup(b"a").unwrap();
    assert_eq!(a.attr().unwrap().nlink, 1);
    root.link(b"b", &a).unwrap();
    let b = root.lookup(b"b").unwrap();
    assert!(Arc::ptr_eq(&a, &b));
    assert_eq!(a.attr().unwrap().nlink, 2);
    root.unlink(b"a").unwrap();
    assert_eq!(b.attr().unwrap().nlink, 1);
    root.unlink(b"b").unwrap();
    assert_eq!(b.attr().unwrap().nlink, 0);
    assert_eq!(read_all(&*open(&b, OpenFlags::empty()).unwrap()), b"1");
}

#[test]
fn attributes_follow_writes() {
    let world = World::new(CachePolicy::Exclusive);
    let root = world.root();
    let inode = root.create(b"f", &new(FileKind::Regular, 0o640)).unwrap();
    assert_eq!((inode.attr().unwrap().size, inode.attr().unwrap().perm), (0, 0o640));
    let file = open(&inode, OpenFlags::WRONLY).unwrap();
    let mut pos = 0;
    assert_eq!(write(&*file, &mut pos, IoFlags::empty(), &[b'x'; 100_000]), Ok(100_000));
    assert_eq!((pos, inode.attr().unwrap().size), (100_000, 100_000));
    let mut pos = 3;
    assert_eq!(write(&*file, &mut pos, IoFlags::APPEND, b"end"), Ok(3));
    assert_eq!((pos, inode.attr().unwrap().size), (100_003, 100_003));
    inode.set_attr(&SetAttr { size: Some(4), ..SetAttr::default() }).unwrap();
    assert_eq!(inode.attr().unwrap().size, 4);
    inode.set_attr(&SetAttr { perm: Some(0o4755), ..SetAttr::default() }).unwrap();
    assert_eq!(inode.attr().unwrap().perm, 0o4755);
    assert_eq!(std::fs::metadata(world.path().join("f")).unwrap().permissions().mode() & 0o7777, 0o4755);
    file.allocate(0, 0, 8192).unwrap();
    assert_eq!(inode.attr().unwrap().size, 8192);
    assert!(file.seek_data_hole(0, false).is_ok());
    file.sync(true).unwrap();
}

#[test]
fn names_come_go_and_move() {
    let world = World::new(CachePolicy::Exclusive);
    let root = world.root();
    let dir = root.mkdir(b"d", &new(FileKind::Directory, 0o755)).unwrap();
    let inner = dir.create(b"f", &new(FileKind::Regular, 0o600)).unwrap();
    assert_eq!(err(dir.create(b"f", &new(FileKind::Regular, 0o600))), Errno::EEXIST);
    root.symlink(b"l", b"d/f", &new(FileKind::Symlink, 0o777)).unwrap();
    root.create(b"p", &new(FileKind::Fifo, 0o644)).unwrap();
    root.create(b"s", &new(FileKind::Socket, 0o644)).unwrap();
    assert_eq!(err(root.create(b"c", &new(FileKind::CharDevice, 0o644))), Errno::EPERM);
    assert_eq!(names(&root), ["d", "l", "p", "s"]);
    assert_eq!(err(root.rmdir(b"d")), Errno::ENOTEMPTY);
    assert_eq!(err(root.unlink(b"d")), Errno::EISDIR);
    assert_eq!(err(root.rmdir(b"l")), Errno::ENOTDIR);
    let none = RenameFlags::empty();
    dir.rename(b"f", &root, b"g", none).unwrap();
    assert!(Arc::ptr_eq(&root.lookup(b"g").unwrap(), &inner));
    assert_eq!((names(&root), names(&dir)), (vec!["d".into(), "g".into(), "l".into(), "p".into(), "s".into()], vec![]));
    assert_eq!(err(root.rename(b"g", &root, b"l", RenameFlags::NOREPLACE)), Errno::EEXIST);
    root.rename(b"g", &root, b"d", RenameFlags::EXCHANGE).unwrap();
    assert!(Arc::ptr_eq(&root.lookup(b"d").unwrap(), &inner));
    root.unlink(b"d").unwrap();
    root.rmdir(b"g").unwrap();
    assert_eq!(err(dir.create(b"x", &new(FileKind::Regular, 0o600))), Errno::ENOENT);
    assert_eq!(names(&root), ["l", "p", "s"]);
}

#[test]
fn unnamed_files_can_be_given_a_name() {
    let world = World::new(CachePolicy::Exclusive);
    let root = world.root();
    let file = match root.tmpfile(&new(FileKind::Regular, 0o600)) {
        Err(Errno::EOPNOTSUPP) => return, // the file system of the temporary directory has none
        other => other.unwrap(),
    };
    write(&*open(&file, OpenFlags::RDWR).unwrap(), &mut 0, IoFlags::empty(), b"data").unwrap();
    assert_eq!(file.attr().unwrap().nlink, 0);
    root.link(b"named", &file).unwrap();
    assert_eq!(std::fs::read(world.path().join("named")).unwrap(), b"data");
    assert_eq!(file.attr().unwrap().nlink, 1);
}

#[test]
fn large_directories_are_listed_whole_from_any_position() {
    let world = World::new(CachePolicy::Shared);
    for number in 0..3000 {
        std::fs::write(world.path().join(format!("some-longer-name-{number:05}")), b"").unwrap();
    }
    let root = world.root();
    assert_eq!(names(&root).len(), 3000);
    let file = open(&root, OpenFlags::DIRECTORY).unwrap();
    let (mut all, mut pos) = (Vec::new(), 0);
    loop {
        let mut sink = Names(Vec::new(), 7);
        file.read_dir(pos, &mut sink).unwrap();
        let Some(last) = sink.0.last() else { break };
        pos = last.1;
        all.extend(sink.0.into_iter().map(|(name, _)| name));
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 3002);
}

#[test]
fn extended_attributes_are_kept() {
    let world = World::new(CachePolicy::Exclusive);
    let file = world.root().create(b"f", &new(FileKind::Regular, 0o600)).unwrap();
    match file.set_xattr(b"user.a", b"1", XattrFlags::CREATE) {
        Err(Errno::EOPNOTSUPP) => return, // the file system of the temporary directory has none
        other => other.unwrap(),
    }
    assert_eq!(err(file.set_xattr(b"user.a", b"1", XattrFlags::CREATE)), Errno::EEXIST);
    assert_eq!(file.get_xattr(b"user.a").unwrap(), b"1");
    assert_eq!(err(file.get_xattr(b"user.b")), Errno::ENODATA);
    assert_eq!(file.list_xattr().unwrap(), b"user.a\0");
    file.remove_xattr(b"user.a").unwrap();
    assert_eq!(err(file.get_xattr(b"trusted.overlay.opaque")), Errno::EOPNOTSUPP);
}

#[test]
fn a_read_only_tree_refuses_every_change() {
    let world = World::with(CachePolicy::Exclusive, gofer::TreeFlags::READONLY, 1000);
    std::fs::write(world.path().join("f"), b"1").unwrap();
    let root = world.root();
    let file = root.lookup(b"f").unwrap();
    let regular = new(FileKind::Regular, 0o600);
    assert_eq!(err(open(&file, OpenFlags::WRONLY).map(|_| ())), Errno::EROFS);
    assert_eq!(err(root.create(b"g", &regular)), Errno::EROFS);
    assert_eq!(err(root.mkdir(b"g", &regular)), Errno::EROFS);
    assert_eq!(err(root.symlink(b"g", b"f", &regular)), Errno::EROFS);
    assert_eq!(err(root.link(b"g", &file)), Errno::EROFS);
    assert_eq!(err(root.unlink(b"f")), Errno::EROFS);
    assert_eq!(err(root.rename(b"f", &root, b"g", RenameFlags::empty())), Errno::EROFS);
    assert_eq!(err(root.tmpfile(&regular)), Errno::EROFS);
    assert_eq!(err(file.set_attr(&SetAttr { perm: Some(0), ..SetAttr::default() })), Errno::EROFS);
    assert_eq!(err(file.set_xattr(b"user.a", b"1", XattrFlags::empty())), Errno::EROFS);
    assert_eq!(read_all(&*open(&file, OpenFlags::empty()).unwrap()), b"1");
}

#[test]
fn a_shared_tree_shows_what_others_change() {
    let world = World::new(CachePolicy::Shared);
    let path = world.path().join("f");
    std::fs::write(&path, b"1").unwrap();
    let root = world.root();
    let file = root.lookup(b"f").unwrap();
    assert_eq!(file.attr().unwrap().size, 1);
    std::fs::write(&path, b"12").unwrap();
    assert_eq!(file.attr().unwrap().size, 2);
    std::fs::write(world.path().join("g"), b"").unwrap();
    assert_eq!(names(&root), ["f", "g"]);
}

#[test]
fn few_descriptors_serve_many_files() {
    let world = World::with(CachePolicy::Exclusive, gofer::TreeFlags::empty(), 16);
    let root = world.root();
    let mut held = Vec::new();
    let mut dir = Arc::clone(&root);
    for number in 0..100 {
        dir = dir.mkdir(format!("d{number}").as_bytes(), &new(FileKind::Directory, 0o755)).unwrap();
        held.push(Arc::clone(&dir));
    }
    // Everything above has been closed at the gofer and is found again, also below a directory that moved.
    root.rename(b"d0", &root, b"moved", RenameFlags::empty()).unwrap();
    for (number, dir) in held.iter().enumerate() {
        dir.create(b"f", &new(FileKind::Regular, 0o644)).unwrap();
        assert_eq!(dir.attr().unwrap().kind, FileKind::Directory);
        assert!(number > 0 || world.path().join("moved/f").exists());
    }
}

/// Makes files, a link and a directory, lists them, and returns their names as listed.
fn listed(world: &World, files: usize) -> Vec<String> {
    for at in 0..files {
        std::fs::write(world.path().join(format!("file{at:02}")), format!("content {at}")).unwrap();
    }
    symlink("target", world.path().join("link")).unwrap();
    std::fs::create_dir(world.path().join("sub")).unwrap();
    std::fs::write(world.path().join("sub/inside"), b"inside").unwrap();
    let mut sink = Names(Vec::new(), usize::MAX);
    open(&world.root(), OpenFlags::DIRECTORY).unwrap().read_dir(0, &mut sink).unwrap();
    sink.0.into_iter().map(|(name, _)| name).skip(2).collect()
}

#[test]
fn what_follows_in_a_listing_is_found_before_anybody_asks() {
    let world = World::new(CachePolicy::Exclusive);
    let (order, root) = (listed(&world, 20), world.root());
    let host = |name: &String| std::fs::symlink_metadata(world.path().join(name)).unwrap();
    // What the host has lost meanwhile is known still, so it had been looked up.
    for name in &order[..2] {
        root.lookup(name.as_bytes()).unwrap();
    }
    let gone = order[2..].iter().find(|name| name.starts_with("file")).unwrap();
    let at = order.iter().position(|name| name == gone).unwrap();
    for name in &order[2..at] {
        root.lookup(name.as_bytes()).unwrap();
    }
    let content = std::fs::read(world.path().join(gone)).unwrap();
    std::fs::rename(world.path().join(gone), world.path().join("elsewhere")).unwrap();
    let inode = root.lookup(gone.as_bytes()).unwrap();
    assert_eq!(inode.attr().unwrap().size, content.len() as u64);
    // Nobody has opened it, and it can't be found any more.
    assert_eq!(err(open(&inode, OpenFlags::empty())), Errno::ESTALE);
    std::fs::rename(world.path().join("elsewhere"), world.path().join(gone)).unwrap();
    assert_eq!(read_all(&*open(&inode, OpenFlags::empty()).unwrap()), content);
    // All of them are what they should be, and of use.
    let mut inodes = Vec::new();
    for name in &order {
        let inode = root.lookup(name.as_bytes()).unwrap();
        let attr = inode.attr().unwrap();
        assert_eq!(
            (attr.ino, attr.mode(), attr.size),
            (host(name).ino(), host(name).mode(), host(name).len()),
            "{name}"
        );
        match name.as_str() {
            "link" => assert_eq!(inode.readlink().unwrap(), b"target"),
            "sub" => {
                let inside = inode.lookup(b"inside").unwrap();
                assert_eq!(read_all(&*open(&inside, OpenFlags::empty()).unwrap()), b"inside");
            }
            _ => assert!(read_all(&*open(&inode, OpenFlags::empty()).unwrap()).starts_with(b"content")),
        }
        inodes.push(inode);
    }
    // The same ones as before.
    for (name, inode) in order.iter().zip(&inodes) {
        assert!(Arc::ptr_eq(inode, &root.lookup(name.as_bytes()).unwrap()), "{name}");
    }
    drop((root, inodes, inode));
    world.end();
}

#[test]
fn what_was_found_ahead_ends_with_a_change_of_the_entries() {
    let world = World::new(CachePolicy::Exclusive);
    let (order, root) = (listed(&world, 20), world.root());
    let find = |names: &[String]| names.iter().for_each(|name| drop(root.lookup(name.as_bytes()).unwrap()));
    find(&order[..8]);
    let next = &order[8];
    root.create(b"new", &new(FileKind::Regular, 0o644)).unwrap();
    std::fs::rename(world.path().join(next), world.path().join("elsewhere")).unwrap();
    assert_eq!(err(root.lookup(next.as_bytes())), Errno::ENOENT, "asked for anew");
    // Names that we take and move ourselves, before anybody has asked for them.
    let root_names = names(&root);
    let files: Vec<&String> = root_names.iter().filter(|name| name.starts_with("file")).collect();
    for name in &files[..4] {
        root.lookup(name.as_bytes()).unwrap();
    }
    root.unlink(files[4].as_bytes()).unwrap();
    root.rename(files[6].as_bytes(), &root, files[5].as_bytes(), RenameFlags::empty()).unwrap();
    assert_eq!(err(root.lookup(files[4].as_bytes())), Errno::ENOENT);
    assert_eq!(err(root.lookup(files[6].as_bytes())), Errno::ENOENT);
    let moved = root.lookup(files[5].as_bytes()).unwrap();
    assert_eq!(moved.attr().unwrap().ino, std::fs::metadata(world.path().join(files[5])).unwrap().ino());
    drop((moved, root));
    world.end();
}

#[test]
fn inodes_that_die_are_forgotten_by_the_gofer() {
    let world = World::new(CachePolicy::Exclusive);
    let root = world.root();
    for _ in 0..10 {
        for number in 0..100 {
            let name = format!("f{number}");
            drop(root.create(name.as_bytes(), &new(FileKind::Regular, 0o644)).unwrap());
            root.unlink(name.as_bytes()).unwrap();
        }
    }
    assert!(world.fs.shared.inodes.lock().len() < 200);
}

#[test]
fn threads_ask_at_the_same_time() {
    let world = World::new(CachePolicy::Shared);
    for number in 0..20 {
        std::fs::write(world.path().join(format!("f{number}")), number.to_string()).unwrap();
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..200 {
                    let number = round % 20;
                    let file = world.root().lookup(format!("f{number}").as_bytes()).unwrap();
                    assert_eq!(read_all(&*open(&file, OpenFlags::empty()).unwrap()), number.to_string().as_bytes());
                }
            });
        }
    });
}

/// A tree on an overlay of the host's, as container engines make them; gone with the value.
struct HostOverlay(tempfile::TempDir);

impl HostOverlay {
    /// `None` where the host refuses.
    fn mount() -> Option<HostOverlay> {
        let dir = tempfile::tempdir().unwrap();
        for name in ["lower", "upper", "work", "merged"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        std::fs::write(dir.path().join("lower/f"), b"lower").unwrap();
        let shown = dir.path().display();
        let options = format!("lowerdir={shown}/lower,upperdir={shown}/upper,workdir={shown}/work");
        let mount = std::process::Command::new("mount")
            .args(["-t", "overlay", "overlay", "-o", &options])
            .arg(dir.path().join("merged"))
            .stderr(std::process::Stdio::null())
            .status();
        mount.is_ok_and(|status| status.success()).then_some(HostOverlay(dir))
    }
}

impl Drop for HostOverlay {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path().join("merged")).status();
    }
}

#[test]
fn a_reader_follows_the_hosts_own_copy_up() {
    let Some(host) = HostOverlay::mount() else { return };
    let root = OwnedFd::from(std::fs::File::open(host.0.path().join("merged")).unwrap());
    let trees = vec![gofer::Tree { id: 7, root, flags: gofer::TreeFlags::empty() }];
    let server = gofer::Server::with_limits(trees, 100, 1000).unwrap();
    let (ours, theirs) = SeqPacket::pair().unwrap();
    let server = std::thread::spawn(move || gofer::serve(server, vec![theirs], None, || Ok(()), || ()).unwrap());
    {
        let (client, mounts) = Client::connect(vec![ours], None).unwrap();
        let fs = GoferFs::new(&Arc::new(client), &mounts[0], CachePolicy::Exclusive).unwrap();
        let inode = fs.root().lookup(b"f").unwrap();
        let reader = open(&inode, OpenFlags::empty()).unwrap();
        assert_eq!(read_all(&*reader), b"lower");
        let writer = open(&inode, OpenFlags::RDWR).unwrap();
        write(&*writer, &mut 0, IoFlags::empty(), b"UPPER").unwrap();
        assert_eq!(read_all(&*reader), b"UPPER");
        assert_eq!(read_all(&*open(&inode, OpenFlags::empty()).unwrap()), b"UPPER");
        fs.root().unlink(b"f").unwrap();
    }
    server.join().unwrap();
}

/// Prints what a round trip costs; run with `--nocapture`.
#[test]
fn round_trips_are_measured() {
    const ROUNDS: u32 = 2000;
    let world = World::new(CachePolicy::Shared);
    std::fs::write(world.path().join("f"), b"x").unwrap();
    let root = world.root();
    let timed = |what: &str, body: &dyn Fn()| {
        let start = Instant::now();
        (0..ROUNDS).for_each(|_| body());
        println!("{what}: {} ns", start.elapsed().as_nanos() / u128::from(ROUNDS));
    };
    let held = root.lookup(b"f").unwrap();
    timed("walk of one component with attributes", &|| drop(root.lookup(b"f").unwrap()));
    timed("attributes by handle", &|| assert!(held.attr().is_ok()));
    let inode = Arc::clone(&held).as_any().downcast::<super::node::GoferInode>().unwrap();
    timed("open with a descriptor", &|| {
        inode.release();
        drop(open(&held, OpenFlags::empty()).unwrap());
    });
    timed("open with a kept descriptor", &|| drop(open(&held, OpenFlags::empty()).unwrap()));
    let file = open(&held, OpenFlags::empty()).unwrap();
    let memory = crate::host::memfd("measured").unwrap();
    timed("memory file opened for reading only", &|| {
        drop(world.fs.shared.client.reopen_memory(memory.as_fd()).unwrap())
    });
    timed("the same where /proc is there", &|| drop(crate::host::reopen_readonly(memory.as_fd()).unwrap()));
    timed("memory file made", &|| drop(crate::host::memfd("measured").unwrap()));
    timed("read of one byte", &|| drop(read_all(&*file)));
}
