//! File content: a tmpfs file beside a memfd of the host, which is a file of the host's tmpfs.

use std::sync::Arc;

use abi::Errno;
use abi::flags::OpenFlags;
use rustix::fs::{FallocateFlags, MemfdFlags, SeekFrom};

use super::Random;
use crate::tmpfs::{TmpFs, TmpfsOptions};
use crate::{BytesDst, BytesSrc, DeviceId, FileKind, FileOps, FileSystem, InodeRef, IoFlags, NewInode, SetAttr};

fn same<T: PartialEq + std::fmt::Debug>(ours: Result<T, Errno>, host: rustix::io::Result<T>, what: &str) {
    assert_eq!(ours, host.map_err(|error| Errno::from_raw(error.raw_os_error())), "{what}");
}

struct Pair {
    inode: InodeRef,
    ours: Arc<dyn FileOps>,
    host: std::os::fd::OwnedFd,
}

impl Pair {
    fn write(&self, at: u64, len: usize, byte: u8) {
        let data = vec![byte; len];
        let ours = self.ours.write(&mut { at }, IoFlags::empty(), &mut BytesSrc::new(&data));
        same(ours, rustix::io::pwrite(&self.host, &data, at), "write");
    }

    fn read(&self, at: u64, len: usize) {
        let (mut ours, mut host) = (vec![0xee; len], vec![0xee; len]);
        let got = self.ours.read(&mut { at }, IoFlags::empty(), &mut BytesDst::new(&mut ours));
        same(got, rustix::io::pread(&self.host, &mut host, at), "read");
        assert!(ours == host, "content at {at}");
    }

    fn truncate(&self, size: u64) {
        let ours = self.inode.set_attr(&SetAttr { size: Some(size), ..SetAttr::default() });
        same(ours, rustix::fs::ftruncate(&self.host, size), "truncate");
    }

    fn allocate(&self, mode: u32, at: u64, len: u64) {
        let ours = self.ours.allocate(mode, at, len);
        let host = rustix::fs::fallocate(&self.host, FallocateFlags::from_bits_retain(mode), at, len);
        same(ours, host, "allocate");
    }

    fn seek(&self, at: u64) {
        same(self.ours.seek_data_hole(at, true), rustix::fs::seek(&self.host, SeekFrom::Data(at)), "data");
        same(self.ours.seek_data_hole(at, false), rustix::fs::seek(&self.host, SeekFrom::Hole(at)), "hole");
    }

    fn compare(&self) {
        let (ours, host) = (self.inode.attr().unwrap(), rustix::fs::fstat(&self.host).unwrap());
        let map = |next: &dyn Fn(u64, bool) -> Option<u64>| {
            let (mut at, mut runs) = (0, Vec::new());
            while let Some(data) = next(at, true) {
                at = next(data, false).unwrap();
                runs.push(data..at);
            }
            runs
        };
        let mine = map(&|at, data| self.ours.seek_data_hole(at, data).ok());
        let theirs = map(&|at, data| {
            rustix::fs::seek(&self.host, if data { SeekFrom::Data(at) } else { SeekFrom::Hole(at) }).ok()
        });
        assert_eq!(mine, theirs);
        assert_eq!(ours.size, host.st_size.unsigned_abs());
        assert_eq!(ours.blocks, host.st_blocks.unsigned_abs());
    }
}

#[test]
fn files_behave_as_the_hosts() {
    let fs = TmpFs::new(TmpfsOptions { size: Some(1 << 30), ..TmpfsOptions::default() }).unwrap();
    let before = fs.statfs().unwrap().bfree;
    for seed in 0..150_u64 {
        let mut random = Random::new(seed);
        let new = NewInode { kind: FileKind::Regular, perm: 0o600, uid: 0, gid: 0, rdev: DeviceId::default() };
        let inode = fs.root().tmpfile(&new).unwrap();
        let ours = Arc::clone(&inode).open(OpenFlags::RDWR).unwrap();
        let host = rustix::fs::memfd_create("oracle", MemfdFlags::CLOEXEC).unwrap();
        let pair = Pair { inode, ours, host };
        // Some stay small, some are mapped early.
        let reach = random.pick(&[10_000, 60_000, 100_000, 300_000]);
        if seed % 5 == 0 {
            pair.ours.map(true).unwrap();
        }
        for step in 0..150_u8 {
            let at = match random.below(3) {
                0 => random.below(reach / 4096 + 1) * 4096,
                _ => random.below(reach),
            };
            let (at, len) = (at as u64, random.below(reach / 3) + 1);
            match random.below(12) {
                0..4 => pair.write(at, len, step | 1),
                4..7 => pair.read(at, len),
                7 => pair.truncate(at),
                8 => pair.allocate(3, at, len as u64),
                9 => pair.allocate(random.pick(&[0, 1]), at, len as u64),
                10 => pair.allocate(8, at, 4096),
                _ => pair.seek(at),
            }
            pair.compare();
        }
        drop(pair);
        assert_eq!(fs.statfs().unwrap().bfree, before, "pages leak");
    }
}
