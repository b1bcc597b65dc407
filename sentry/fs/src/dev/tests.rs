//! The devices by number.

use std::sync::Arc;

use abi::Errno;
use abi::flags::OpenFlags;

use super::{CONSOLE, Devices, FULL, NULL, TTY, URANDOM, ZERO, new_fs};
use crate::devpts::{DevPts, DevPtsOptions, PTMX};
use crate::tmpfs::TmpfsOptions;
use crate::tty::{TtyHost, tests::MockHost};
use crate::{BytesDst, BytesSrc, DeviceId, FileKind, FileOps, FileSystem, IoFlags, MapSource};

fn devices() -> Devices {
    let host: Arc<dyn TtyHost> = MockHost::new();
    let devpts = Arc::new(DevPts::new(Arc::clone(&host), DevPtsOptions::default()));
    Devices::new(host, devpts)
}

fn open(device: DeviceId) -> Result<Arc<dyn FileOps>, Errno> {
    devices().open(FileKind::CharDevice, device, OpenFlags::RDWR)
}

fn read(device: DeviceId) -> Vec<u8> {
    let mut buf = vec![1; 100_000];
    let got = open(device).unwrap().read(&mut 0, IoFlags::empty(), &mut BytesDst::new(&mut buf)).unwrap();
    buf.truncate(got);
    buf
}

fn write(device: DeviceId) -> Result<usize, Errno> {
    open(device).unwrap().write(&mut 0, IoFlags::empty(), &mut BytesSrc::new(b"abc"))
}

#[test]
fn memory_devices_read_and_write_as_documented() {
    assert_eq!((read(NULL).len(), write(NULL)), (0, Ok(3)));
    assert_eq!((read(ZERO), write(ZERO)), (vec![0; 100_000], Ok(3)));
    assert_eq!((read(FULL), write(FULL)), (vec![0; 100_000], Err(Errno::ENOSPC)));
    let random = read(URANDOM);
    assert!(random.len() == 100_000 && random.iter().filter(|byte| **byte == 0).count() < 1000);
    assert!(matches!(open(ZERO).unwrap().map(true), Ok(MapSource::Anonymous)));
    assert!(matches!(open(NULL).unwrap().map(true), Err(Errno::ENODEV)));
}

#[test]
fn unknown_devices_and_missing_terminals_do_not_open() {
    for device in [TTY, CONSOLE, DeviceId::new(9, 9)] {
        assert_eq!(open(device).err(), Some(Errno::ENXIO));
    }
    assert_eq!(devices().open(FileKind::BlockDevice, NULL, OpenFlags::RDWR).err(), Some(Errno::ENXIO));
    assert!(open(PTMX).is_ok());
}

#[test]
fn the_tree_has_what_programs_expect() {
    let fs = new_fs(TmpfsOptions::unlimited(), true).unwrap();
    assert_eq!(fs.root().lookup(b"null").unwrap().attr().unwrap().rdev, NULL);
    assert_eq!(fs.root().lookup(b"stdin").unwrap().readlink().unwrap(), b"/proc/self/fd/0");
    assert_eq!(fs.root().lookup(b"shm").unwrap().attr().unwrap().perm, 0o1777);
}
