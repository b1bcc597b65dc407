//! Requests as the host's FUSE makes them, on a tmpfs.

use std::sync::Arc;

use abi::Errno;
use sentry_fs::tmpfs::{TmpFs, TmpfsOptions};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::answer::{Answer, View};
use super::wire::{self, InHeader, fattr, op};
use super::{IdRange, Ids};
use crate::vfs::{Mount, MountFlags, MountNamespace, Vfs};

const ROOT: u64 = super::nodes::ROOT;

struct Host {
    vfs: Vfs,
    view: View,
    uid: u32,
}

fn tmpfs(flags: MountFlags) -> Arc<Mount> {
    let fs = TmpFs::new(TmpfsOptions { mode: 0o755, ..TmpfsOptions::unlimited() }).unwrap();
    Mount::of(Arc::new(fs), b"none", flags).unwrap()
}

fn all() -> Vec<IdRange> {
    vec![IdRange { inside: 0, outside: 0, count: u32::MAX }]
}

impl Host {
    fn on(namespace: Arc<MountNamespace>, ids: Ids) -> Host {
        Host { vfs: Vfs::default(), view: View::new(namespace, ids), uid: 0 }
    }

    fn new() -> Host {
        Host::on(MountNamespace::new(tmpfs(MountFlags::empty())), Ids { users: all(), groups: all() })
    }

    fn send(&mut self, opcode: u32, node: u64, parts: &[&[u8]]) -> Answer {
        let header = InHeader { opcode, node, uid: self.uid, gid: self.uid, ..InHeader::default() };
        self.view.answer(&self.vfs, &header, &parts.concat())
    }

    fn ask(&mut self, opcode: u32, node: u64, parts: &[&[u8]]) -> Result<Vec<u8>, Errno> {
        match self.send(opcode, node, parts) {
            Answer::Reply(reply) => reply,
            Answer::Nothing => panic!("no reply to {opcode}"),
        }
    }

    fn look_up(&mut self, dir: u64, name: &str) -> Result<wire::EntryOut, Errno> {
        self.ask(op::LOOKUP, dir, &[name.as_bytes(), b"\0"]).map(|reply| parse(&reply))
    }

    fn create(&mut self, dir: u64, name: &str) -> Result<(wire::EntryOut, u64), Errno> {
        let wanted = wire::CreateIn { flags: 0o2 | 0o100, mode: 0o100_644, ..wire::CreateIn::default() };
        let reply = self.ask(op::CREATE, dir, &[wanted.as_bytes(), name.as_bytes(), b"\0"])?;
        let opened: wire::OpenOut = parse(&reply[size_of::<wire::EntryOut>()..]);
        Ok((parse(&reply), opened.handle))
    }

    fn mkdir(&mut self, dir: u64, name: &str) -> wire::EntryOut {
        let wanted = wire::MkdirIn { mode: 0o750, umask: 0 };
        parse(&self.ask(op::MKDIR, dir, &[wanted.as_bytes(), name.as_bytes(), b"\0"]).unwrap())
    }

    fn write(&mut self, handle: u64, offset: u64, data: &[u8]) -> Result<u32, Errno> {
        let size = u32::try_from(data.len()).unwrap();
        let wanted = wire::WriteIn { handle, offset, size, ..wire::WriteIn::default() };
        let reply = self.ask(op::WRITE, ROOT, &[wanted.as_bytes(), data])?;
        Ok(parse::<wire::WriteOut>(&reply).size)
    }

    fn read(&mut self, opcode: u32, handle: u64, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
        let wanted = wire::ReadIn { handle, offset, size, ..wire::ReadIn::default() };
        self.ask(opcode, ROOT, &[wanted.as_bytes()])
    }

    fn set(&mut self, node: u64, set: wire::SetAttrIn) -> Result<wire::Attributes, Errno> {
        self.ask(op::SETATTR, node, &[set.as_bytes()]).map(|reply| parse::<wire::AttrOut>(&reply).attr)
    }

    fn open(&mut self, opcode: u32, node: u64, flags: u32) -> Result<u64, Errno> {
        let reply = self.ask(opcode, node, &[wire::OpenIn { flags, open_flags: 0 }.as_bytes()])?;
        Ok(parse::<wire::OpenOut>(&reply).handle)
    }

    fn list(&mut self, node: u64, size: u32) -> Vec<String> {
        let handle = self.open(op::OPENDIR, node, 0).unwrap();
        let (mut names, mut offset) = (Vec::new(), 0);
        loop {
            let data = self.read(op::READDIR, handle, offset, size).unwrap();
            let mut rest = &data[..];
            if rest.is_empty() {
                break;
            }
            while !rest.is_empty() {
                let head: wire::Dirent = parse(rest);
                let (start, end) = (size_of::<wire::Dirent>(), size_of::<wire::Dirent>() + head.namelen as usize);
                names.push(String::from_utf8(rest[start..end].to_vec()).unwrap());
                offset = head.off;
                rest = &rest[end.next_multiple_of(8)..];
            }
        }
        names.sort();
        names
    }
}

fn parse<T: FromBytes + Immutable>(reply: &[u8]) -> T {
    T::read_from_prefix(reply).map(|(value, _)| value).map_err(|_| "too short").unwrap()
}

#[test]
fn a_file_is_made_written_read_and_removed() {
    let mut host = Host::new();
    let dir = host.mkdir(ROOT, "dir");
    assert_eq!(dir.attr.mode, 0o040_750);
    let (file, handle) = host.create(dir.node, "file").unwrap();
    assert_eq!(host.write(handle, 0, b"hello"), Ok(5));
    assert_eq!(host.write(handle, 3, b"p!"), Ok(2));
    assert_eq!(host.read(op::READ, handle, 1, 100).unwrap(), b"elp!");
    let release = wire::ReleaseIn { handle, ..wire::ReleaseIn::default() };
    host.ask(op::RELEASE, file.node, &[release.as_bytes()]).unwrap();
    assert_eq!(host.read(op::READ, handle, 0, 1), Err(Errno::EBADF));
    assert_eq!(host.look_up(dir.node, "file").unwrap().attr.size, 5);
    assert_eq!(host.ask(op::RMDIR, ROOT, &[b"dir\0"]), Err(Errno::ENOTEMPTY));
    host.ask(op::UNLINK, dir.node, &[b"file\0"]).unwrap();
    assert_eq!(host.look_up(dir.node, "file").unwrap_err(), Errno::ENOENT);
    host.ask(op::RMDIR, ROOT, &[b"dir\0"]).unwrap();
}

#[test]
fn what_the_host_forgets_is_let_go() {
    let mut host = Host::new();
    let (file, handle) = host.create(ROOT, "file").unwrap();
    let again = host.look_up(ROOT, "file").unwrap();
    assert_eq!(file.node, again.node, "one place, one number");
    assert_eq!(host.view.held(), (1, 1));
    let release = wire::ReleaseIn { handle, ..wire::ReleaseIn::default() };
    host.ask(op::RELEASE, file.node, &[release.as_bytes()]).unwrap();
    assert!(matches!(host.send(op::FORGET, file.node, &[wire::ForgetIn { lookups: 1 }.as_bytes()]), Answer::Nothing));
    assert_eq!(host.view.held(), (1, 0), "looked up twice");
    let batch = [wire::ForgetOne { node: file.node, lookups: 1 }, wire::ForgetOne { node: 77, lookups: 9 }];
    let head = wire::BatchForgetIn { count: 2, padding: 0 };
    host.send(op::BATCH_FORGET, 0, &[head.as_bytes(), batch.as_bytes()]);
    assert_eq!(host.view.held(), (0, 0));
    assert_eq!(host.ask(op::GETATTR, file.node, &[]), Err(Errno::ESTALE));
    assert_ne!(host.look_up(ROOT, "file").unwrap().node, file.node, "numbers don't come back");
}

#[test]
fn directories_are_listed_in_pieces() {
    let mut host = Host::new();
    let mut expected: Vec<String> = [".", ".."].map(str::to_owned).to_vec();
    for number in 0..50 {
        let name = format!("a_name_of_some_length_{number:02}");
        host.mkdir(ROOT, &name);
        expected.push(name);
    }
    assert_eq!(host.list(ROOT, 4096), expected);
    assert_eq!(host.list(ROOT, 128), expected, "two at a time");
}

#[test]
fn attributes_are_set() {
    let mut host = Host::new();
    let (file, handle) = host.create(ROOT, "file").unwrap();
    host.write(handle, 0, b"0123456789").unwrap();
    let valid = fattr::UID | fattr::GID | fattr::MODE | fattr::SIZE | fattr::MTIME | fattr::ATIME | fattr::ATIME_NOW;
    let set = wire::SetAttrIn {
        valid,
        uid: 7,
        gid: 8,
        mode: 0o104_711,
        size: 4,
        mtime: 5,
        mtime_nsec: 6,
        ..wire::SetAttrIn::default()
    };
    let attr = host.set(file.node, set).unwrap();
    assert_eq!((attr.uid, attr.gid, attr.mode, attr.size), (7, 8, 0o104_711, 4));
    assert_eq!((attr.mtime, attr.mtime_nsec), (5, 6));
    assert!(attr.atime > 1_000_000_000, "now");
    let wrong = wire::SetAttrIn { valid: fattr::MTIME, mtime_nsec: 1_000_000_000, ..wire::SetAttrIn::default() };
    assert_eq!(host.set(file.node, wrong).unwrap_err(), Errno::EINVAL);
    let dir = host.mkdir(ROOT, "dir");
    let wrong = wire::SetAttrIn { valid: fattr::SIZE, ..wire::SetAttrIn::default() };
    assert_eq!(host.set(dir.node, wrong).unwrap_err(), Errno::EINVAL);
}

#[test]
fn names_are_linked_and_renamed() {
    let mut host = Host::new();
    let (file, _) = host.create(ROOT, "one").unwrap();
    let link = wire::LinkIn { old_node: file.node };
    let linked: wire::EntryOut = parse(&host.ask(op::LINK, ROOT, &[link.as_bytes(), b"two\0"]).unwrap());
    assert_eq!((linked.attr.ino, linked.attr.nlink), (file.attr.ino, 2));
    let dir = host.mkdir(ROOT, "dir");
    let to = wire::RenameIn { new_dir: dir.node };
    host.ask(op::RENAME, ROOT, &[to.as_bytes(), b"one\0three\0"]).unwrap();
    assert_eq!(host.look_up(ROOT, "one").unwrap_err(), Errno::ENOENT);
    assert_eq!(host.look_up(dir.node, "three").unwrap().node, file.node);
    let to = wire::Rename2In { new_dir: dir.node, flags: 1, padding: 0 };
    assert_eq!(host.ask(op::RENAME2, ROOT, &[to.as_bytes(), b"two\0three\0"]), Err(Errno::EEXIST));
    let to = wire::Rename2In { new_dir: dir.node, flags: 64, padding: 0 };
    assert_eq!(host.ask(op::RENAME2, ROOT, &[to.as_bytes(), b"two\0three\0"]), Err(Errno::EINVAL));
    host.ask(op::SYMLINK, ROOT, &[b"link\0dir/three\0"]).unwrap();
    let link = host.look_up(ROOT, "link").unwrap();
    assert_eq!(link.attr.mode & 0o170_000, 0o120_000, "not followed");
    assert_eq!(host.ask(op::READLINK, link.node, &[]).unwrap(), b"dir/three");
}

#[test]
fn only_files_and_directories_are_opened() {
    let mut host = Host::new();
    let fifo = wire::MknodIn { mode: 0o010_644, ..wire::MknodIn::default() };
    let fifo: wire::EntryOut = parse(&host.ask(op::MKNOD, ROOT, &[fifo.as_bytes(), b"fifo\0"]).unwrap());
    assert_eq!(host.open(op::OPEN, fifo.node, 0), Err(Errno::ENXIO), "nobody may make the kernel wait");
    assert_eq!(host.create(ROOT, "fifo").unwrap_err(), Errno::EEXIST);
    host.ask(op::SYMLINK, ROOT, &[b"link\0/fifo\0"]).unwrap();
    assert_eq!(host.create(ROOT, "link").unwrap_err(), Errno::EEXIST);
}

#[test]
fn mounts_inside_are_seen_and_read_only_ones_stay_so() {
    let namespace = MountNamespace::new(tmpfs(MountFlags::empty()));
    let mut host = Host::on(Arc::clone(&namespace), Ids { users: all(), groups: all() });
    let below = host.mkdir(ROOT, "mnt");
    let mount = tmpfs(MountFlags::empty());
    let root = namespace.root();
    let at = crate::vfs::Path { dentry: root.dentry.lookup(b"mnt").unwrap(), mount: root.mount };
    namespace.attach(&mount, at).unwrap();
    let above = host.look_up(ROOT, "mnt").unwrap();
    assert_ne!((above.node, above.attr.ino), (below.node, below.attr.ino));
    host.create(above.node, "file").unwrap();
    mount.set_flags(MountFlags::RDONLY);
    assert_eq!(host.create(above.node, "other").unwrap_err(), Errno::EROFS);
    let file = host.look_up(above.node, "file").unwrap();
    let set = wire::SetAttrIn { valid: fattr::SIZE, ..wire::SetAttrIn::default() };
    assert_eq!(host.set(file.node, set).unwrap_err(), Errno::EROFS);
    let wanted = wire::SetXattrIn { size: 1, flags: 0 };
    let refused = host.ask(op::SETXATTR, file.node, &[wanted.as_bytes(), b"user.a\0", b"1"]);
    assert_eq!(refused, Err(Errno::EROFS));
}

#[test]
fn owners_are_those_of_the_host() {
    let ranges = vec![IdRange { inside: 0, outside: 100_000, count: 65536 }];
    let mut host =
        Host::on(MountNamespace::new(tmpfs(MountFlags::empty())), Ids { users: ranges.clone(), groups: ranges });
    let (file, _) = host.create(ROOT, "roots").unwrap();
    assert_eq!((file.attr.uid, file.attr.gid), (100_000, 100_000), "the host's root doesn't exist inside");
    host.uid = 101_000;
    assert_eq!(host.create(ROOT, "users").unwrap().0.attr.uid, 101_000);
    let set = wire::SetAttrIn { valid: fattr::UID, uid: 100_005, ..wire::SetAttrIn::default() };
    assert_eq!(host.set(file.node, set).unwrap().uid, 100_005);
    let set = wire::SetAttrIn { valid: fattr::UID, uid: 5, ..wire::SetAttrIn::default() };
    assert_eq!(host.set(file.node, set).unwrap_err(), Errno::EINVAL);
}

#[test]
fn extended_attributes_are_kept() {
    let mut host = Host::new();
    let (file, _) = host.create(ROOT, "file").unwrap();
    let set = wire::SetXattrIn { size: 5, flags: 0 };
    host.ask(op::SETXATTR, file.node, &[set.as_bytes(), b"user.name\0", b"value"]).unwrap();
    let get = |size| wire::GetXattrIn { size, padding: 0 };
    assert_eq!(host.ask(op::GETXATTR, file.node, &[get(9).as_bytes(), b"user.name\0"]).unwrap(), b"value");
    assert_eq!(host.ask(op::GETXATTR, file.node, &[get(4).as_bytes(), b"user.name\0"]), Err(Errno::ERANGE));
    let size = host.ask(op::GETXATTR, file.node, &[get(0).as_bytes(), b"user.name\0"]).unwrap();
    assert_eq!(parse::<wire::GetXattrOut>(&size).size, 5);
    assert_eq!(host.ask(op::LISTXATTR, file.node, &[get(100).as_bytes()]).unwrap(), b"user.name\0");
    host.ask(op::REMOVEXATTR, file.node, &[b"user.name\0"]).unwrap();
    assert_eq!(host.ask(op::GETXATTR, file.node, &[get(9).as_bytes(), b"user.name\0"]), Err(Errno::ENODATA));
}

#[test]
fn the_beginning_and_the_figures() {
    let mut host = Host::new();
    let hello = wire::InitIn { major: 7, minor: 40, max_readahead: 1000, flags: u32::MAX };
    let reply: wire::InitOut = parse(&host.ask(op::INIT, 0, &[hello.as_bytes()]).unwrap());
    assert_eq!((reply.major, reply.minor, reply.flags), (7, wire::MINOR, wire::FEATURES));
    let old = wire::InitIn { major: 6, ..hello };
    assert_eq!(host.ask(op::INIT, 0, &[old.as_bytes()]), Err(Errno::EPROTO));
    let figures: wire::StatfsOut = parse(&host.ask(op::STATFS, ROOT, &[]).unwrap());
    assert_eq!((figures.bsize, figures.namelen), (4096, 255));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut host = Host::new();
    assert_eq!(host.ask(op::LOOKUP, ROOT, &[b"no end"]), Err(Errno::EINVAL));
    assert_eq!(host.ask(op::LOOKUP, ROOT, &[b"..\0"]), Err(Errno::EINVAL));
    assert_eq!(host.ask(op::LOOKUP, 99, &[b"a\0"]), Err(Errno::ESTALE));
    assert_eq!(host.ask(op::READ, ROOT, &[b"short"]), Err(Errno::EINVAL));
    assert_eq!(host.ask(999, ROOT, &[]), Err(Errno::ENOSYS));
    assert_eq!(host.look_up(ROOT, "none").unwrap_err(), Errno::ENOENT);
    let short = wire::WriteIn { size: 10, ..wire::WriteIn::default() };
    assert_eq!(host.ask(op::WRITE, ROOT, &[short.as_bytes(), b"few"]), Err(Errno::EINVAL));
}
