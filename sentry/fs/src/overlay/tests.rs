//! The overlay over memory file systems, and against a plain one as its model.

use std::collections::BTreeMap;
use std::sync::Arc;

use abi::Errno;
use abi::flags::OpenFlags;

use super::OverlayFs;
use crate::tmpfs::{TmpFs, TmpfsOptions};
use crate::{
    Attr, BytesDst, BytesSrc, DeviceId, DirEntry, DirSink, FileKind, FileSystem, InodeRef, IoFlags, NewInode,
    RenameFlags, SetAttr, SetTime, XattrFlags,
};

fn new(kind: FileKind) -> NewInode {
    NewInode { kind, perm: 0o644, uid: 1, gid: 2, rdev: DeviceId::default() }
}

fn tmpfs() -> Arc<dyn FileSystem> {
    Arc::new(TmpFs::new(TmpfsOptions::default()).unwrap())
}

fn file(dir: &InodeRef, name: &str, data: &[u8]) -> InodeRef {
    let inode = dir.create(name.as_bytes(), &new(FileKind::Regular)).unwrap();
    put(&inode, 0, data);
    inode
}

fn dir(parent: &InodeRef, name: &str) -> InodeRef {
    parent.mkdir(name.as_bytes(), &new(FileKind::Directory)).unwrap()
}

fn put(inode: &InodeRef, pos: u64, data: &[u8]) {
    let file = Arc::clone(inode).open(OpenFlags::RDWR).unwrap();
    assert_eq!(file.write(&mut { pos }, IoFlags::empty(), &mut BytesSrc::new(data)), Ok(data.len()));
}

fn get(inode: &InodeRef) -> Vec<u8> {
    let file = Arc::clone(inode).open(OpenFlags::empty()).unwrap();
    let mut buf = vec![0; 1 << 16];
    let count = file.read(&mut 0, IoFlags::empty(), &mut BytesDst::new(&mut buf)).unwrap();
    buf.truncate(count);
    buf
}

fn at(root: &InodeRef, path: &str) -> Result<InodeRef, Errno> {
    path.split('/').try_fold(Arc::clone(root), |inode, name| inode.lookup(name.as_bytes()))
}

#[derive(Default)]
struct Entries(Vec<(String, u64)>);

impl DirSink for Entries {
    fn entry(&mut self, entry: &DirEntry<'_>) -> bool {
        self.0.push((String::from_utf8_lossy(entry.name).into_owned(), entry.ino));
        true
    }
}

fn entries(inode: &InodeRef) -> Vec<(String, u64)> {
    let mut all = Entries::default();
    Arc::clone(inode).open(OpenFlags::DIRECTORY).unwrap().read_dir(0, &mut all).unwrap();
    let mut entries: Vec<_> = all.0.into_iter().filter(|(name, _)| name != "." && name != "..").collect();
    entries.sort();
    entries
}

fn names(inode: &InodeRef) -> Vec<String> {
    entries(inode).into_iter().map(|(name, _)| name).collect()
}

/// A lower layer with a little of everything, and an overlay on it.
fn world() -> (Arc<dyn FileSystem>, OverlayFs) {
    let lower = tmpfs();
    furnish(&lower.root());
    let overlay = OverlayFs::new(vec![Arc::clone(&lower)], tmpfs()).unwrap();
    (lower, overlay)
}

fn furnish(root: &InodeRef) {
    file(root, "a", b"lower a");
    let b = file(root, "b", b"lower b");
    root.link(b"b2", &b).unwrap();
    root.symlink(b"l", b"a", &new(FileKind::Symlink)).unwrap();
    let d = dir(root, "d");
    file(&d, "x", b"lower x");
    let e = dir(&d, "e");
    file(&e, "y", b"lower y");
}

fn identity(attr: &Attr) -> (DeviceId, u64) {
    (attr.dev, attr.ino)
}

#[test]
fn a_change_copies_up_and_leaves_the_lower_file_alone() {
    let (lower, overlay) = world();
    let root = overlay.root();
    let a = at(&root, "a").unwrap();
    let before = a.attr().unwrap();
    put(&a, 0, b"UPPER");
    let after = a.attr().unwrap();
    assert_eq!(get(&a), b"UPPER a");
    assert_eq!(identity(&before), identity(&after));
    assert_eq!((after.perm, after.uid, after.gid, after.nlink), (0o644, 1, 2, 1));
    assert!(Arc::ptr_eq(&a, &at(&root, "a").unwrap()));
    assert_eq!(get(&at(&lower.root(), "a").unwrap()), b"lower a");
    assert_eq!(names(&root), ["a", "b", "b2", "d", "l"]);
}

#[test]
fn a_reader_opened_before_the_copy_sees_later_writes() {
    let (_lower, overlay) = world();
    let a = at(&overlay.root(), "a").unwrap();
    let reader = Arc::clone(&a).open(OpenFlags::empty()).unwrap();
    let mut buf = [0; 2];
    let mut pos = 0;
    reader.read(&mut pos, IoFlags::empty(), &mut BytesDst::new(&mut buf)).unwrap();
    put(&a, 0, b"ABCDEFG");
    reader.read(&mut pos, IoFlags::empty(), &mut BytesDst::new(&mut buf)).unwrap();
    assert_eq!((&buf, pos), (b"CD", 4));
}

#[test]
fn a_change_of_name_or_mode_copies_no_content() {
    let (_lower, overlay) = world();
    let root = overlay.root();
    let a = at(&root, "a").unwrap();
    let reader = Arc::clone(&a).open(OpenFlags::empty()).unwrap();
    a.set_attr(&SetAttr { perm: Some(0o600), ..SetAttr::default() }).unwrap();
    root.rename(b"a", &root, b"moved", RenameFlags::empty()).unwrap();
    root.link(b"again", &a).unwrap();
    assert_eq!((a.attr().unwrap().size, a.attr().unwrap().perm, a.attr().unwrap().nlink), (7, 0o600, 2));
    let node = Arc::clone(&a).as_any().downcast::<super::node::Node>().unwrap();
    assert_eq!(node.above().unwrap().attr().unwrap().blocks, 0);
    assert_eq!(get(&at(&root, "again").unwrap()), b"lower a");
    put(&a, 0, b"UPPER");
    let mut buf = [0; 7];
    reader.read(&mut 0, IoFlags::empty(), &mut BytesDst::new(&mut buf)).unwrap();
    assert_eq!(&buf, b"UPPER a");
    assert_eq!(get(&at(&root, "moved").unwrap()), b"UPPER a");
}

#[test]
fn hard_links_stay_together_through_a_copy() {
    let (_lower, overlay) = world();
    let root = overlay.root();
    let (b, b2) = (at(&root, "b").unwrap(), at(&root, "b2").unwrap());
    assert!(Arc::ptr_eq(&b, &b2));
    put(&b, 0, b"UPPER");
    assert_eq!(get(&b2), b"UPPER b");
    root.link(b"b3", &b2).unwrap();
    assert_eq!(b.attr().unwrap().nlink, 3);
    drop((b, b2));
    root.unlink(b"b").unwrap();
    root.unlink(b"b3").unwrap();
    let b2 = at(&root, "b2").unwrap();
    assert_eq!((get(&b2).as_slice(), b2.attr().unwrap().nlink), (&b"UPPER b"[..], 1));
    root.rename(b"b2", &root, b"b", RenameFlags::empty()).unwrap();
    assert!(Arc::ptr_eq(&at(&root, "b").unwrap(), &b2));
    root.unlink(b"b").unwrap();
    assert_eq!(b2.attr().unwrap().nlink, 0);
    assert_eq!(get(&b2), b"UPPER b");
}

#[test]
fn removed_names_stay_removed_and_new_directories_are_opaque() {
    let (lower, overlay) = world();
    let root = overlay.root();
    let d = at(&root, "d").unwrap();
    assert_eq!(root.rmdir(b"d"), Err(Errno::ENOTEMPTY));
    at(&root, "d/e").unwrap().unlink(b"y").unwrap();
    d.rmdir(b"e").unwrap();
    d.unlink(b"x").unwrap();
    assert!(names(&d).is_empty());
    root.rmdir(b"d").unwrap();
    assert_eq!(d.create(b"late", &new(FileKind::Regular)).err(), Some(Errno::ENOENT));
    assert_eq!(at(&root, "d").err(), Some(Errno::ENOENT));
    let d = dir(&root, "d");
    assert!(names(&d).is_empty());
    assert_eq!(at(&root, "d/x").err(), Some(Errno::ENOENT));
    assert_eq!(names(&at(&lower.root(), "d").unwrap()), ["e", "x"]);
}

#[test]
fn a_merged_directory_moves_with_all_it_holds() {
    let (_lower, overlay) = world();
    let root = overlay.root();
    file(&at(&root, "d/e").unwrap(), "new", b"new");
    let before = at(&root, "d").unwrap();
    let e = at(&root, "d/e").unwrap();
    root.rename(b"d", &root, b"moved", RenameFlags::empty()).unwrap();
    assert!(Arc::ptr_eq(&at(&root, "moved").unwrap(), &before));
    assert!(Arc::ptr_eq(&at(&root, "moved/e").unwrap(), &e));
    assert_eq!(names(&root), ["a", "b", "b2", "l", "moved"]);
    assert_eq!(names(&at(&root, "moved/e").unwrap()), ["new", "y"]);
    assert_eq!(get(&at(&root, "moved/e/y").unwrap()), b"lower y");
    // A directory in the old place has nothing to do with it.
    let d = dir(&root, "d");
    assert!(names(&d).is_empty());
    root.rename(b"d", &root, b"moved", RenameFlags::EXCHANGE).unwrap();
    assert_eq!(names(&at(&root, "d").unwrap()), ["e", "x"]);
    assert!(names(&at(&root, "moved").unwrap()).is_empty());
    root.rename(b"d", &root, b"moved", RenameFlags::empty()).unwrap();
    assert_eq!(names(&at(&root, "moved").unwrap()), ["e", "x"]);
}

#[test]
fn listings_show_the_numbers_that_stat_shows() {
    let (_lower, overlay) = world();
    let root = overlay.root();
    put(&at(&root, "a").unwrap(), 0, b"1");
    root.rename(b"b", &root, b"c", RenameFlags::empty()).unwrap();
    file(&root, "new", b"");
    for (name, ino) in entries(&root) {
        assert_eq!(at(&root, &name).unwrap().attr().unwrap().ino, ino, "{name}");
    }
    let mut numbers: Vec<u64> = ["a", "b2", "d", "l", "new", "d/x", "d/e", "d/e/y"]
        .map(|path| at(&root, path).unwrap().attr().unwrap().ino)
        .to_vec();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 8);
}

#[test]
fn attributes_are_copied_and_holes_stay_holes() {
    let lower = tmpfs();
    let inode = file(&lower.root(), "f", b"");
    inode.set_attr(&SetAttr { size: Some(64 << 20), perm: Some(0o4711), ..SetAttr::default() }).unwrap();
    put(&inode, 32 << 20, b"middle");
    inode.set_xattr(b"user.k", b"v", XattrFlags::empty()).unwrap();
    let old = abi::time::Timespec { sec: 1000, nsec: 7 };
    inode.set_attr(&SetAttr { mtime: Some(SetTime::At(old)), ..SetAttr::default() }).unwrap();
    let overlay = OverlayFs::new(vec![lower], tmpfs()).unwrap();
    let f = at(&overlay.root(), "f").unwrap();
    f.set_xattr(b"user.l", b"w", XattrFlags::empty()).unwrap();
    let attr = f.attr().unwrap();
    assert_eq!((attr.size, attr.perm, attr.mtime), (64 << 20, 0o4711, old));
    assert!(attr.blocks < 100, "{} blocks", attr.blocks);
    put(&f, 1, b"x");
    let attr = f.attr().unwrap();
    assert!(attr.size == 64 << 20 && attr.blocks < 100, "{} blocks", attr.blocks);
    assert_eq!(f.get_xattr(b"user.k").unwrap(), b"v");
    let mut buf = [0; 6];
    let opened = Arc::clone(&f).open(OpenFlags::empty()).unwrap();
    opened.read(&mut { 32 << 20 }, IoFlags::empty(), &mut BytesDst::new(&mut buf)).unwrap();
    assert_eq!(&buf, b"middle");
}

#[test]
fn several_lower_layers_are_merged_topmost_first() {
    let (top, bottom) = (tmpfs(), tmpfs());
    for (layer, text) in [(&top, "top"), (&bottom, "bottom")] {
        let d = dir(&layer.root(), "d");
        file(&d, "same", text.as_bytes());
        file(&d, text, b"");
    }
    file(&top.root(), "f", b"file");
    dir(&bottom.root(), "f");
    let overlay = OverlayFs::new(vec![top, bottom], tmpfs()).unwrap();
    let root = overlay.root();
    assert_eq!(names(&root), ["d", "f"]);
    assert_eq!(names(&at(&root, "d").unwrap()), ["bottom", "same", "top"]);
    assert_eq!(get(&at(&root, "d/same").unwrap()), b"top");
    assert_eq!(get(&at(&root, "f").unwrap()), b"file");
    let d = at(&root, "d").unwrap();
    d.unlink(b"same").unwrap();
    assert_eq!(names(&d), ["bottom", "top"]);
}

#[test]
fn unnamed_files_get_names() {
    let (_lower, overlay) = world();
    let root = overlay.root();
    let tmp = root.tmpfile(&new(FileKind::Regular)).unwrap();
    put(&tmp, 0, b"data");
    root.link(b"t", &tmp).unwrap();
    assert!(Arc::ptr_eq(&at(&root, "t").unwrap(), &tmp));
    assert_eq!(tmp.attr().unwrap().nlink, 1);
}

#[test]
fn nothing_is_kept_for_what_is_gone() {
    let (_lower, overlay) = world();
    let root = overlay.root();
    for round in 0..50 {
        let a = root.create(format!("n{round}").as_bytes(), &new(FileKind::Regular)).unwrap();
        root.unlink(format!("n{round}").as_bytes()).unwrap();
        drop(a);
    }
    for path in ["a", "b", "b2"] {
        put(&at(&root, path).unwrap(), 0, b"1");
        root.unlink(path.as_bytes()).unwrap();
    }
    let tables = overlay.shared.tables.lock();
    // The root alone: it has whiteouts.
    assert_eq!(tables.pinned.len(), 1, "{tables:?}");
    drop(tables);
    assert_eq!(names(&overlay.shared.upper.root()).len(), 1);
}

/// A small generator, so that each run tries the same sequences.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % sides as u64).unwrap()
    }
}

const PATHS: [&str; 8] = ["", "", "d", "d/e", "n", "d/n", "n/e", "m"];
const NAMES: [&str; 7] = ["a", "b", "d", "e", "n", "m", "x"];

fn pick(dice: &mut Dice, root: &InodeRef) -> (String, Result<InodeRef, Errno>) {
    let path = PATHS[dice.roll(PATHS.len())];
    let dir = if path.is_empty() { Ok(Arc::clone(root)) } else { at(root, path) };
    (path.to_owned(), dir)
}

/// One random operation; returns what it did and what came of it.
fn step(dice: &mut Dice, root: &InodeRef) -> (String, Result<(), Errno>) {
    let (path, found) = pick(dice, root);
    let (path2, found2) = pick(dice, root);
    let (name, name2) = (NAMES[dice.roll(NAMES.len())], NAMES[dice.roll(NAMES.len())]);
    let (op, mark) = (dice.roll(10), [b'0' + u8::try_from(dice.roll(10)).unwrap()]);
    let text = format!("{op} {path}/{name} {path2}/{name2}");
    let moves_below_itself = format!("{path2}/")
        .starts_with(&format!("{}/", format!("{path}/{name}").trim_start_matches('/')))
        || format!("{path}/").starts_with(&format!("{}/", format!("{path2}/{name2}").trim_start_matches('/')));
    let done = (|| {
        let (dir, dir2) = (found?, found2?);
        if dir.attr()?.kind != FileKind::Directory || dir2.attr()?.kind != FileKind::Directory {
            return Err(Errno::ENOTDIR);
        }
        let (name, name2) = (name.as_bytes(), name2.as_bytes());
        match op {
            0 => dir.create(name, &new(FileKind::Regular)).map(|inode| put(&inode, 0, &mark)),
            1 => dir.mkdir(name, &new(FileKind::Directory)).map(drop),
            2 => dir.unlink(name),
            3 => dir.rmdir(name),
            4 | 5 if !moves_below_itself => dir.rename(name, &dir2, name2, RenameFlags::empty()),
            6 if !moves_below_itself => dir.rename(name, &dir2, name2, RenameFlags::EXCHANGE),
            7 => {
                let inode = dir.lookup(name)?;
                if inode.attr()?.kind == FileKind::Regular {
                    put(&inode, 1, &mark);
                }
                Ok(())
            }
            8 => match dir.lookup(name)? {
                inode if inode.attr()?.kind == FileKind::Directory => Ok(()),
                inode => dir2.link(name2, &inode),
            },
            9 => dir
                .lookup(name)?
                .set_attr(&SetAttr { perm: Some(0o600 + u32::from(mark[0] & 7)), ..SetAttr::default() }),
            _ => Ok(()),
        }
    })();
    (text, done)
}

/// Everything a walk can see, by path.
fn survey(root: &InodeRef, path: &str, all: &mut BTreeMap<String, (FileKind, u32, u64, Vec<u8>)>) {
    for name in names(root) {
        let inode = root.lookup(name.as_bytes()).unwrap_or_else(|errno| panic!("{path}/{name}: {errno}"));
        let attr = inode.attr().unwrap();
        let path = format!("{path}/{name}");
        let (links, data) = match attr.kind {
            FileKind::Directory => {
                survey(&inode, &path, all);
                (0, Vec::new())
            }
            FileKind::Symlink => (attr.nlink, inode.readlink().unwrap()),
            _ => (attr.nlink, get(&inode)),
        };
        all.insert(path, (attr.kind, attr.perm, links, data));
    }
}

/// Does the same to both and compares all that can be seen after each step.
fn compare(seed: u64, overlay: &InodeRef, plain: &InodeRef, steps: usize) {
    let (mut dice, mut model_dice) = (Dice(seed), Dice(seed));
    let mut log = Vec::new();
    for _ in 0..steps {
        let (text, done) = step(&mut dice, overlay);
        let (_, expected) = step(&mut model_dice, plain);
        log.push(format!("{text}: {done:?}"));
        assert_eq!(done, expected, "seed {seed}\n{}", log.join("\n"));
        dice = Dice(model_dice.0);
        let (mut seen, mut model) = (BTreeMap::new(), BTreeMap::new());
        survey(overlay, "", &mut seen);
        survey(plain, "", &mut model);
        assert_eq!(seen, model, "seed {seed}\n{}", log.join("\n"));
    }
}

#[test]
fn random_changes_come_out_as_on_a_plain_file_system() {
    for seed in 0..100 {
        let ((_lower, overlay), (plain, _)) = (world(), world());
        compare(seed, &overlay.root(), &plain.root(), 80);
    }
}

/// A gofer's tree that belongs to whoever runs the test: other owners may not be given.
fn gofer_world() -> crate::gofer::tests::World {
    let world = crate::gofer::tests::World::new(crate::CachePolicy::Exclusive);
    furnish(&world.fs.root());
    world
}

#[test]
fn a_gofers_tree_is_as_good_a_lower_layer() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for seed in 0..5 {
        let world = gofer_world();
        let lower: Arc<dyn FileSystem> = Arc::new(world.fs);
        let overlay = OverlayFs::new(vec![lower], tmpfs()).unwrap();
        let plain = tmpfs();
        furnish(&plain.root());
        compare(seed, &overlay.root(), &plain.root(), 60);
    }
}

#[test]
fn a_gofers_tree_behaves_like_a_plain_file_system() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for seed in 0..5 {
        let world = gofer_world();
        let plain = tmpfs();
        furnish(&plain.root());
        compare(seed, &world.fs.root(), &plain.root(), 60);
    }
}

/// Several threads change names at random, without the locks that the kernel's own layer would take.
fn hammer(root: &InodeRef) {
    std::thread::scope(|scope| {
        for seed in 0..4 {
            scope.spawn(move || {
                let mut dice = Dice(seed * 7919);
                for _ in 0..300 {
                    let _ = step(&mut dice, root);
                }
            });
        }
    });
    // All that is left can be found and removed.
    survey(root, "", &mut BTreeMap::new());
    remove_all(root);
    assert!(names(root).is_empty());
}

fn remove_all(dir: &InodeRef) {
    for name in names(dir) {
        let inode = dir.lookup(name.as_bytes()).unwrap();
        if inode.attr().unwrap().kind == FileKind::Directory {
            remove_all(&inode);
            dir.rmdir(name.as_bytes()).unwrap();
        } else {
            dir.unlink(name.as_bytes()).unwrap();
        }
    }
}

#[test]
fn threads_that_change_names_at_once_leave_an_overlay_whole() {
    let (_lower, overlay) = world();
    hammer(&overlay.root());
}

#[test]
fn threads_that_change_names_at_once_leave_a_gofers_tree_whole() {
    if rustix::process::geteuid().is_root() {
        hammer(&gofer_world().fs.root());
    }
}

/// One file and what it should hold.
struct Model {
    inode: InodeRef,
    reader: Arc<dyn crate::FileOps>,
    data: Vec<u8>,
}

impl Model {
    fn new(inode: InodeRef) -> Model {
        let reader = Arc::clone(&inode).open(OpenFlags::empty()).unwrap();
        let data = get(&inode);
        Model { inode, reader, data }
    }

    fn step(&mut self, dice: &mut Dice) {
        let (pos, len, mark) = (dice.roll(9000), dice.roll(6000), u8::try_from(dice.roll(256)).unwrap());
        let writer = || Arc::clone(&self.inode).open(OpenFlags::WRONLY).unwrap();
        match dice.roll(6) {
            0 | 1 => {
                self.data.resize(self.data.len().max(pos + len), 0);
                self.data[pos..pos + len].fill(mark);
                let mut at = pos as u64;
                if len == 0 {
                    self.data.truncate(usize::try_from(self.inode.attr().unwrap().size).unwrap());
                }
                writer().write(&mut at, IoFlags::empty(), &mut BytesSrc::new(&vec![mark; len])).unwrap();
                assert_eq!(at, (pos + len) as u64);
            }
            2 => {
                self.data.extend(std::iter::repeat_n(mark, len));
                let mut at = 0;
                writer().write(&mut at, IoFlags::APPEND, &mut BytesSrc::new(&vec![mark; len])).unwrap();
                assert!(len == 0 || at == self.data.len() as u64);
            }
            3 => {
                self.data.resize(pos, 0);
                self.inode.set_attr(&SetAttr { size: Some(pos as u64), ..SetAttr::default() }).unwrap();
            }
            4 if len > 0 => {
                // Punch a hole, keep the size.
                let end = self.data.len();
                self.data[pos.min(end)..(pos + len).min(end)].fill(0);
                match writer().allocate(3, pos as u64, len as u64) {
                    Err(Errno::EOPNOTSUPP) => put(&self.inode, 0, &self.data.clone()),
                    other => other.unwrap(),
                }
            }
            _ => {}
        }
    }

    fn check(&self) {
        let size = self.inode.attr().unwrap().size;
        assert_eq!(size, self.data.len() as u64);
        let mut buf = vec![0; self.data.len() + 10];
        let mut pos = 0;
        let count = self.reader.read(&mut pos, IoFlags::empty(), &mut BytesDst::new(&mut buf)).unwrap();
        assert_eq!((count as u64, pos), (size, size));
        assert!(buf[..count] == self.data[..], "content differs");
    }
}

#[test]
fn content_follows_random_changes() {
    let world = crate::gofer::tests::World::new(crate::CachePolicy::Exclusive);
    let own = NewInode {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        ..new(FileKind::Regular)
    };
    let on_gofer = world.fs.root().create(b"g", &own).unwrap();
    put(&on_gofer, 0, &[7; 5000]);
    let lower = world.fs.root().create(b"l", &own).unwrap();
    put(&lower, 0, &[9; 5000]);
    let direct = Model::new(on_gofer);
    let overlay = OverlayFs::new(vec![Arc::new(world.fs)], tmpfs()).unwrap();
    let copied = Model::new(at(&overlay.root(), "l").unwrap());
    for mut model in [direct, copied] {
        let mut dice = Dice(3);
        for _ in 0..300 {
            model.step(&mut dice);
            model.check();
        }
    }
    assert_eq!(get(&lower), [9; 5000]);
}
