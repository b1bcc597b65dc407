//! Walks, opens and changes on a tmpfs.

use std::sync::Arc;

use abi::Errno;
use abi::flags::OpenFlags;
use sentry_fs::tmpfs::{TmpFs, TmpfsOptions};
use sentry_fs::{BytesDst, BytesSrc, DeviceId, FileKind, IoFlags, RenameFlags};

use super::change::{self, NewFile};
use super::open::{self, How, Opened};
use super::{File, Mount, MountFlags, MountNamespace, Path, Vfs, WalkFlags, Walker, walk};
use crate::task::{Caps, Cred};

struct World {
    vfs: Vfs,
    namespace: Arc<MountNamespace>,
    first: Path,
    cred: Cred,
    user: Cred,
}

fn tmpfs() -> Arc<Mount> {
    let fs = TmpFs::new(TmpfsOptions { mode: 0o755, ..TmpfsOptions::unlimited() }).unwrap();
    Mount::of(Arc::new(fs), b"none", MountFlags::empty()).unwrap()
}

impl World {
    fn new() -> World {
        let namespace = MountNamespace::new(tmpfs());
        let cred = Cred::new(0, 0, vec![], Caps::all());
        let user = Cred::new(1000, 1000, vec![], Caps::empty());
        World { vfs: Vfs::default(), first: namespace.root(), namespace, cred, user }
    }

    fn walker(&self) -> Walker<'_> {
        Walker { root: &self.first, cred: &self.cred }
    }

    fn user(&self) -> Walker<'_> {
        Walker { root: &self.first, cred: &self.user }
    }

    fn root(&self) -> Path {
        self.first.clone()
    }

    fn dir(&self, path: &str) -> Path {
        self.make(path, FileKind::Directory, None)
    }

    fn link(&self, path: &str, target: &str) -> Path {
        self.make(path, FileKind::Symlink, Some(target.as_bytes()))
    }

    fn make(&self, path: &str, kind: FileKind, target: Option<&[u8]>) -> Path {
        let new = NewFile { kind, perm: 0o755, rdev: DeviceId::default(), target };
        change::make(&self.walker(), &self.root(), path.as_bytes(), &new).unwrap()
    }

    fn walk(&self, path: &str) -> Result<Path, Errno> {
        walk::resolve(&self.walker(), &self.root(), path.as_bytes(), WalkFlags::FOLLOW)
    }

    fn open(&self, path: &str, flags: OpenFlags) -> Result<Arc<File>, Errno> {
        let how = How::new(flags.bits(), 0o644, WalkFlags::empty(), 0o022)?;
        match open::open(&self.vfs, &self.walker(), &self.root(), path.as_bytes(), &how)? {
            Opened::File(file) => Ok(file),
            Opened::Fifo(_) => Err(Errno::EAGAIN),
        }
    }

    fn create(&self, path: &str) -> Arc<File> {
        self.open(path, OpenFlags::CREAT | OpenFlags::RDWR).unwrap()
    }

    fn text(&self, path: &Path) -> String {
        String::from_utf8(path.text(Some(&self.root())).shown()).unwrap()
    }
}

#[test]
fn a_walk_knows_dots_slashes_and_kinds() {
    let world = World::new();
    world.dir("/a");
    world.dir("/a/b");
    world.create("/a/f");
    assert_eq!(world.text(&world.walk("//a/./b/../b//").unwrap()), "/a/b");
    assert_eq!(world.text(&world.walk("/../../a").unwrap()), "/a");
    assert_eq!(world.walk("/a/f/").unwrap_err(), Errno::ENOTDIR);
    assert_eq!(world.walk("/a/f/..").unwrap_err(), Errno::ENOTDIR);
    assert_eq!(world.walk("/a/x/y").unwrap_err(), Errno::ENOENT);
    assert_eq!(world.walk("").unwrap_err(), Errno::ENOENT);
    assert_eq!(world.walk(&"x".repeat(256)).unwrap_err(), Errno::ENAMETOOLONG);
    assert_eq!(world.walk(&"x/".repeat(2048)).unwrap_err(), Errno::ENAMETOOLONG);
}

#[test]
fn links_are_followed_up_to_forty() {
    let world = World::new();
    world.dir("/d");
    world.create("/d/f");
    world.link("/abs", "/d");
    world.link("/d/rel", "../abs/f");
    assert_eq!(world.text(&world.walk("/abs/rel").unwrap()), "/d/f");
    world.link("/loop", "loop");
    assert_eq!(world.walk("/loop").unwrap_err(), Errno::ELOOP);
    world.link("/l0", "/d");
    for at in 1..=40 {
        world.link(&format!("/l{at}"), &format!("l{}", at - 1));
    }
    assert!(world.walk("/l39").is_ok());
    assert_eq!(world.walk("/l40").unwrap_err(), Errno::ELOOP);
    let link = walk::resolve(&world.walker(), &world.root(), b"/abs", WalkFlags::empty()).unwrap();
    assert_eq!(link.dentry.kind, FileKind::Symlink);
    let slash = walk::resolve(&world.walker(), &world.root(), b"/abs/", WalkFlags::empty()).unwrap();
    assert_eq!(world.text(&slash), "/d");
}

#[test]
fn resolve_flags_confine_a_walk() {
    let world = World::new();
    let dir = world.dir("/d");
    world.dir("/d/e");
    world.link("/d/out", "/d");
    world.link("/d/up", "..");
    let walk = |path: &str, flags| walk::resolve(&world.walker(), &dir, path.as_bytes(), flags | WalkFlags::FOLLOW);
    assert_eq!(walk("/d", WalkFlags::BENEATH).unwrap_err(), Errno::EXDEV);
    assert_eq!(walk("out", WalkFlags::BENEATH).unwrap_err(), Errno::EXDEV);
    assert_eq!(walk("up", WalkFlags::BENEATH).unwrap_err(), Errno::EXDEV);
    assert!(walk("e/..", WalkFlags::BENEATH).unwrap().same(&dir));
    assert!(walk("../../up", WalkFlags::IN_ROOT).unwrap().same(&dir));
    assert_eq!(walk("/d", WalkFlags::IN_ROOT).unwrap_err(), Errno::ENOENT);
    assert_eq!(walk("up", WalkFlags::NO_SYMLINKS).unwrap_err(), Errno::ELOOP);
}

#[test]
fn mounts_are_crossed_both_ways() {
    let world = World::new();
    let point = world.dir("/m");
    world.dir("/m/hidden");
    let mount = tmpfs();
    world.namespace.attach(&mount, point.clone()).unwrap();
    assert_eq!(world.walk("/m/hidden").unwrap_err(), Errno::ENOENT);
    let inner = world.dir("/m/inner");
    assert!(Arc::ptr_eq(&inner.mount, &mount));
    assert_eq!(world.text(&inner), "/m/inner");
    assert!(world.walk("/m/inner/../..").unwrap().same(&world.root()));
    let xdev = walk::resolve(&world.walker(), &world.root(), b"/m", WalkFlags::NO_XDEV);
    assert_eq!(xdev.unwrap_err(), Errno::EXDEV);
    assert_eq!(change::rmdir(&world.walker(), &world.root(), b"/m"), Err(Errno::EBUSY));
    let top = world.walk("/m").unwrap();
    world.namespace.unmount(&top, false, |_| false).unwrap();
    assert!(world.walk("/m/hidden").is_ok());
}

#[test]
fn binds_show_a_tree_twice() {
    let world = World::new();
    let from = world.dir("/from");
    let to = world.dir("/to");
    world.create("/from/f");
    world.namespace.bind(&from, to, false).unwrap();
    assert_eq!(world.text(&world.walk("/to/f").unwrap()), "/to/f");
    assert_eq!(world.text(&world.walk("/to/..").unwrap()), "/");
    change::unlink(&world.walker(), &world.root(), b"/to/f").unwrap();
    assert_eq!(world.walk("/from/f").unwrap_err(), Errno::ENOENT);
}

#[test]
fn pivot_root_swaps_the_trees() {
    let world = World::new();
    let point = world.dir("/new");
    world.namespace.attach(&tmpfs(), point).unwrap();
    world.dir("/new/old");
    let (new, put_old) = (world.walk("/new").unwrap(), world.walk("/new/old").unwrap());
    world.namespace.pivot(&new, &put_old, &world.root()).unwrap();
    let root = world.namespace.root();
    let walker = Walker { root: &root, cred: &world.cred };
    let seen = walk::resolve(&walker, walker.root, b"/old/new", WalkFlags::FOLLOW).unwrap();
    assert_eq!(seen.text(Some(walker.root)).bytes, b"/old/new");
}

#[test]
fn open_makes_truncates_and_refuses() {
    let world = World::new();
    let file = world.create("/f");
    assert_eq!(file.write(IoFlags::empty(), &mut BytesSrc::new(b"abc")), Ok(3));
    let mut buf = [0; 8];
    assert_eq!(file.read_from(Some(&mut 1), IoFlags::empty(), &mut BytesDst::new(&mut buf)), Ok(2));
    assert_eq!(&buf[..2], b"bc");
    let excl = OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::WRONLY;
    assert_eq!(world.open("/f", excl).err(), Some(Errno::EEXIST));
    world.open("/f", OpenFlags::TRUNC | OpenFlags::WRONLY).unwrap();
    assert_eq!(world.walk("/f").unwrap().attr().unwrap().size, 0);
    assert_eq!(world.open("/", OpenFlags::WRONLY).err(), Some(Errno::EISDIR));
    assert_eq!(world.open("/f", OpenFlags::DIRECTORY).err(), Some(Errno::ENOTDIR));
    assert_eq!(world.open("/g/", OpenFlags::CREAT).err(), Some(Errno::EISDIR));
    world.link("/dangling", "made");
    assert_eq!(world.open("/dangling", excl).err(), Some(Errno::EEXIST));
    world.open("/dangling", OpenFlags::CREAT).unwrap();
    assert!(world.walk("/made").is_ok());
    assert_eq!(world.open("/dangling", OpenFlags::NOFOLLOW).err(), Some(Errno::ELOOP));
}

#[test]
fn a_user_is_held_to_the_bits() {
    let world = World::new();
    world.create("/f");
    let root = world.root();
    let how = How::new(OpenFlags::WRONLY.bits(), 0, WalkFlags::empty(), 0).unwrap();
    let denied = open::open(&world.vfs, &world.user(), &root, b"/f", &how).err();
    assert_eq!(denied, Some(Errno::EACCES));
    let make = How::new((OpenFlags::CREAT | OpenFlags::WRONLY).bits(), 0o600, WalkFlags::empty(), 0).unwrap();
    assert_eq!(open::open(&world.vfs, &world.user(), &root, b"/g", &make).err(), Some(Errno::EACCES));
    assert_eq!(change::unlink(&world.user(), &root, b"/f"), Err(Errno::EACCES));
}

#[test]
fn renames_move_replace_and_exchange() {
    let world = World::new();
    let root = world.root();
    world.dir("/a");
    world.dir("/a/in");
    world.create("/f");
    world.dir("/full");
    world.create("/full/x");
    let rename = |from: &str, to: &str, flags| {
        change::rename(&world.walker(), (&root, from.as_bytes()), (&root, to.as_bytes()), flags)
    };
    let none = RenameFlags::empty();
    assert_eq!(rename("/a", "/a/in/b", none), Err(Errno::EINVAL));
    assert_eq!(rename("/a/in", "/a", none), Err(Errno::ENOTEMPTY));
    assert_eq!(rename("/a/in", "/full", none), Err(Errno::ENOTEMPTY));
    assert_eq!(rename("/f", "/a", none), Err(Errno::EISDIR));
    assert_eq!(rename("/a", "/f", none), Err(Errno::ENOTDIR));
    assert_eq!(rename("/f", "/full", RenameFlags::NOREPLACE), Err(Errno::EEXIST));
    rename("/f", "/a/g", none).unwrap();
    assert_eq!(world.walk("/f").unwrap_err(), Errno::ENOENT);
    let moved = world.walk("/a/g").unwrap();
    rename("/a", "/full", RenameFlags::EXCHANGE).unwrap();
    assert_eq!(world.text(&moved), "/full/g");
    assert!(world.walk("/a/x").is_ok());
    change::unlink(&world.walker(), &root, b"/full/g").unwrap();
    assert_eq!(world.text(&moved), "/full/g (deleted)");
}

#[test]
fn deep_trees_are_dropped_without_recursion() {
    let world = World::new();
    let mut at = world.root();
    for _ in 0..20_000 {
        let new = NewFile { kind: FileKind::Directory, perm: 0o755, rdev: DeviceId::default(), target: None };
        at = change::make(&world.walker(), &at, b"d", &new).unwrap();
    }
    drop(world);
    drop(at);
}

#[test]
fn a_temporary_file_can_be_named_later() {
    let world = World::new();
    let file = world.open("/", OpenFlags::TMPFILE | OpenFlags::RDWR).unwrap();
    let path = file.path.clone().unwrap();
    change::link(&world.walker(), &path, &world.root(), b"/named").unwrap();
    assert_eq!(world.walk("/named").unwrap().attr().unwrap().ino, path.attr().unwrap().ino);
}
