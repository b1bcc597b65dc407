//! Descriptors of the host, as a caller passes them in.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use abi::Errno;
use abi::flags::Ready;
use rustix::fs::OFlags;
use rustix::pty::OpenptFlags;
use sentry_sync::WaitQueue;

use super::{HostFd, HostReactor, Watch};
use crate::tty::ioctl;
use crate::tty::tests::Memory;
use crate::{BytesDst, BytesSrc, FileOps, Inode, IoFlags, host};

struct NoReactor;

impl HostReactor for NoReactor {
    fn watch(&self, _fd: &Arc<OwnedFd>, _queue: &WaitQueue) -> Result<Watch, Errno> {
        Ok(Box::new(()))
    }
}

fn wrap(fd: OwnedFd) -> HostFd {
    HostFd::new(fd, &NoReactor).unwrap()
}

fn read(file: &HostFd, max: usize) -> Result<Vec<u8>, Errno> {
    let mut buf = vec![0; max];
    let got = file.read(&mut 0, IoFlags::empty(), &mut BytesDst::new(&mut buf))?;
    buf.truncate(got);
    Ok(buf)
}

fn write(file: &HostFd, data: &[u8]) -> Result<usize, Errno> {
    file.write(&mut 0, IoFlags::empty(), &mut BytesSrc::new(data))
}

#[test]
fn a_regular_file_shares_its_position_with_the_caller() {
    let caller = host::memfd("stdin").unwrap();
    rustix::io::write(&caller, b"one two three").unwrap();
    rustix::fs::seek(&caller, rustix::fs::SeekFrom::Start(4)).unwrap();
    let file = wrap(caller.try_clone().unwrap());
    assert_eq!(read(&file, 3).unwrap(), b"two");
    assert_eq!(rustix::fs::tell(&caller).unwrap(), 7);
    assert_eq!(file.seek(-3, 1), Some(Ok(4)));
    assert_eq!(write(&file, b"TWO"), Ok(3));
    assert_eq!(rustix::fs::tell(&caller).unwrap(), 7);
    let mut buf = [0; 3];
    assert_eq!(file.read(&mut 0, IoFlags::POSITIONED, &mut BytesDst::new(&mut buf)), Ok(3));
    assert_eq!((&buf, rustix::fs::tell(&caller).unwrap()), (b"one", 7));
    assert!(file.wait_queue().is_none());
}

#[test]
fn an_append_only_file_is_appended_to() {
    let caller = host::memfd("log").unwrap();
    rustix::io::write(&caller, b"old").unwrap();
    rustix::fs::fcntl_setfl(&caller, OFlags::APPEND).unwrap();
    rustix::fs::seek(&caller, rustix::fs::SeekFrom::Start(0)).unwrap();
    let file = Arc::new(wrap(caller));
    assert_eq!(write(&file, b"new"), Ok(3));
    assert_eq!(file.inode().attr().unwrap().size, 6);
}

#[test]
fn a_directory_is_not_taken() {
    let dir = std::fs::File::open("/").unwrap();
    assert_eq!(HostFd::new(dir.into(), &NoReactor).err(), Some(Errno::EISDIR));
}

#[test]
fn a_pipe_does_not_block() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let (reader, writer) = (wrap(reader), wrap(writer));
    assert_eq!(read(&reader, 9), Err(Errno::EAGAIN));
    assert_eq!(reader.ready(), Ready::empty());
    assert_eq!(write(&writer, b"abc"), Ok(3));
    assert_eq!(reader.ready(), Ready::READABLE);
    let memory = Memory::new();
    reader.ioctl(&memory, ioctl::FIONREAD, 0).unwrap();
    assert_eq!(memory.get(), 3);
    assert_eq!(read(&reader, 9).unwrap(), b"abc");
    while let Ok(count) = write(&writer, &[0; 65536]) {
        assert!(count > 0);
    }
    assert_eq!(write(&writer, &[0; 65536]), Err(Errno::EAGAIN));
    drop(reader);
    assert_eq!(write(&writer, b"x"), Err(Errno::EPIPE));
}

#[test]
fn a_terminal_keeps_its_settings_on_the_host() {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let master = rustix::pty::openpt(flags).unwrap();
    rustix::pty::grantpt(&master).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).unwrap();
    let file = wrap(slave.try_clone().unwrap());
    assert!(file.is_terminal());
    assert_eq!(read(&file, 9), Err(Errno::EAGAIN));
    assert!(!rustix::fs::fcntl_getfl(&slave).unwrap().contains(OFlags::NONBLOCK));
    let memory = Memory::new();
    file.ioctl(&memory, ioctl::TCGETS, 0).unwrap();
    let mut raw = memory.bytes();
    raw[12..16].copy_from_slice(&0_u32.to_ne_bytes());
    memory.set(raw);
    file.ioctl(&memory, ioctl::TCSETS, 0).unwrap();
    assert!(rustix::termios::tcgetattr(&slave).unwrap().local_modes.is_empty());
    rustix::io::write(&master, b"x").unwrap();
    assert_eq!(read(&file, 9).unwrap(), b"x");
    assert_eq!(file.ioctl(&memory, ioctl::TIOCSTI, 0), Err(Errno::ENOTTY));
}
