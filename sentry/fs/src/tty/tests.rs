//! Pseudo-terminals as programs see them, with a kernel of a few numbers.

use std::collections::HashMap;
use std::sync::Arc;

use abi::flags::{OpenFlags, Ready};
use abi::signal::Signal;
use abi::{Errno, Pid, UserAddr};
use sentry_sync::{Level, Mutex};

use super::{Caller, Terminal, TtyHost, ioctl};
use crate::devpts::{DevPts, DevPtsOptions};
use crate::{BytesDst, BytesSrc, FileOps, FileSystem, IoFlags, UserMemory};

struct MockState {
    caller: Caller,
    controlling: HashMap<i32, Arc<dyn Terminal>>,
    signals: Vec<(i32, Signal)>,
}

pub(crate) struct MockHost(Mutex<MockState>);

impl MockHost {
    pub(crate) fn new() -> Arc<MockHost> {
        let caller = Caller {
            session: Pid(10),
            group: Pid(10),
            leader: true,
            privileged: false,
            ignores_ttin: false,
            ignores_ttou: false,
            orphaned: false,
            ids: (5, 6),
        };
        let state = MockState { caller, controlling: HashMap::new(), signals: Vec::new() };
        Arc::new(MockHost(Mutex::new(Level::Kernel, state)))
    }

    fn edit(&self, work: impl FnOnce(&mut Caller)) {
        work(&mut self.0.lock().caller);
    }

    fn signals(&self) -> Vec<(i32, Signal)> {
        std::mem::take(&mut self.0.lock().signals)
    }
}

impl TtyHost for MockHost {
    fn caller(&self) -> Option<Caller> {
        Some(self.0.lock().caller.clone())
    }

    fn controlling(&self) -> Option<Arc<dyn Terminal>> {
        let state = self.0.lock();
        state.controlling.get(&state.caller.session.0).cloned()
    }

    fn set_controlling(&self, session: Pid, terminal: Option<Arc<dyn Terminal>>) {
        let mut state = self.0.lock();
        match terminal {
            Some(terminal) => drop(state.controlling.insert(session.0, terminal)),
            None => drop(state.controlling.remove(&session.0)),
        }
    }

    fn leave_controlling(&self) {}

    fn signal_group(&self, group: Pid, signal: Signal) {
        self.0.lock().signals.push((group.0, signal));
    }

    fn signal_leader(&self, session: Pid, signal: Signal) {
        self.0.lock().signals.push((session.0, signal));
    }

    fn group_session(&self, group: Pid) -> Option<Pid> {
        match group.0 {
            10..20 => Some(Pid(10)),
            20..30 => Some(Pid(20)),
            _ => None,
        }
    }
}

/// Guest memory of 64 bytes at address 0.
pub(crate) struct Memory(Mutex<[u8; 64]>);

impl Memory {
    pub(crate) fn new() -> Memory {
        Memory(Mutex::new(Level::Leaf, [0; 64]))
    }

    fn int(value: i32) -> Memory {
        let memory = Memory::new();
        memory.0.lock()[..4].copy_from_slice(&value.to_ne_bytes());
        memory
    }

    pub(crate) fn bytes(&self) -> [u8; 64] {
        *self.0.lock()
    }

    pub(crate) fn set(&self, bytes: [u8; 64]) {
        *self.0.lock() = bytes;
    }

    pub(crate) fn get(&self) -> i32 {
        i32::from_ne_bytes(self.0.lock()[..4].try_into().unwrap())
    }
}

impl UserMemory for Memory {
    fn read(&self, addr: UserAddr, buf: &mut [u8]) -> Result<(), Errno> {
        let at = usize::try_from(addr.raw()).unwrap();
        buf.copy_from_slice(&self.0.lock()[at..at + buf.len()]);
        Ok(())
    }

    fn write(&self, addr: UserAddr, buf: &[u8]) -> Result<(), Errno> {
        let at = usize::try_from(addr.raw()).unwrap();
        self.0.lock()[at..at + buf.len()].copy_from_slice(buf);
        Ok(())
    }

    fn caller(&self) -> Pid {
        Pid(1)
    }
}

type File = Arc<dyn FileOps>;

fn terminal(host: &Arc<MockHost>) -> (DevPts, File, File) {
    let fs = DevPts::new(Arc::clone(host) as Arc<dyn TtyHost>, DevPtsOptions::default());
    let master = fs.open_master().unwrap();
    assert_eq!(fs.open_slave(0, OpenFlags::RDWR).err(), Some(Errno::EIO));
    master.ioctl(&Memory::int(0), ioctl::TIOCSPTLCK, 0).unwrap();
    let slave = fs.open_slave(0, OpenFlags::RDWR).unwrap();
    (fs, master, slave)
}

fn write(file: &File, data: &[u8]) -> Result<usize, Errno> {
    file.write(&mut 0, IoFlags::empty(), &mut BytesSrc::new(data))
}

fn read(file: &File) -> Result<Vec<u8>, Errno> {
    let mut buf = [0; 256];
    let got = file.read(&mut 0, IoFlags::empty(), &mut BytesDst::new(&mut buf))?;
    Ok(buf[..got].to_vec())
}

#[test]
fn typing_reaches_the_slave_and_printing_the_master() {
    let (_fs, master, slave) = terminal(&MockHost::new());
    write(&master, b"ls\r").unwrap();
    assert_eq!(slave.ready(), Ready::READABLE | Ready::WRITABLE);
    assert_eq!(read(&slave).unwrap(), b"ls\n");
    write(&slave, b"a\n").unwrap();
    assert_eq!(read(&master).unwrap(), b"ls\r\na\r\n");
    assert_eq!(read(&master), Err(Errno::EAGAIN));
}

#[test]
fn opening_makes_a_leader_get_its_terminal() {
    let host = MockHost::new();
    let (_fs, master, slave) = terminal(&host);
    let memory = Memory::new();
    slave.ioctl(&memory, ioctl::TIOCGPGRP, 0).unwrap();
    assert_eq!(memory.get(), 10);
    slave.ioctl(&memory, ioctl::TIOCGSID, 0).unwrap();
    assert_eq!(memory.get(), 10);
    write(&master, b"\x03").unwrap();
    assert_eq!(host.signals(), [(10, Signal::SIGINT)]);
    let size = Memory::int(0x0050_0018);
    master.ioctl(&size, ioctl::TIOCSWINSZ, 0).unwrap();
    assert_eq!(host.signals(), [(10, Signal::SIGWINCH)]);
    slave.ioctl(&memory, ioctl::TIOCGWINSZ, 0).unwrap();
    assert_eq!(memory.get(), 0x0050_0018);
}

#[test]
fn the_background_is_stopped() {
    let host = MockHost::new();
    let (_fs, _master, slave) = terminal(&host);
    host.edit(|caller| (caller.group, caller.leader) = (Pid(11), false));
    assert_eq!(read(&slave), Err(Errno::ERESTART));
    assert_eq!(host.signals(), [(11, Signal::SIGTTIN)]);
    // Without TOSTOP it may write.
    assert_eq!(write(&slave, b"x"), Ok(1));
    assert_eq!(slave.ioctl(&Memory::int(11), ioctl::TIOCSPGRP, 0), Err(Errno::ERESTART));
    assert_eq!(host.signals(), [(11, Signal::SIGTTOU)]);
    host.edit(|caller| (caller.ignores_ttin, caller.ignores_ttou) = (true, true));
    assert_eq!(read(&slave), Err(Errno::EIO));
    assert_eq!(slave.ioctl(&Memory::int(11), ioctl::TIOCSPGRP, 0), Ok(0));
    assert_eq!(read(&slave), Err(Errno::EAGAIN));
    assert_eq!(slave.ioctl(&Memory::int(21), ioctl::TIOCSPGRP, 0), Err(Errno::EPERM));
    assert_eq!(slave.ioctl(&Memory::int(31), ioctl::TIOCSPGRP, 0), Err(Errno::ESRCH));
    assert_eq!(slave.ioctl(&Memory::int(-1), ioctl::TIOCSPGRP, 0), Err(Errno::EINVAL));
}

#[test]
fn another_session_can_not_take_the_terminal() {
    let host = MockHost::new();
    let (_fs, _master, slave) = terminal(&host);
    host.edit(|caller| (caller.session, caller.group) = (Pid(20), Pid(20)));
    assert_eq!(slave.ioctl(&Memory::new(), ioctl::TIOCSCTTY, 0), Err(Errno::EPERM));
    assert_eq!(slave.ioctl(&Memory::new(), ioctl::TIOCGPGRP, 0), Err(Errno::ENOTTY));
    host.edit(|caller| caller.privileged = true);
    assert_eq!(slave.ioctl(&Memory::new(), ioctl::TIOCSCTTY, 1), Ok(0));
    let memory = Memory::new();
    slave.ioctl(&memory, ioctl::TIOCGSID, 0).unwrap();
    assert_eq!(memory.get(), 20);
    slave.ioctl(&memory, ioctl::TIOCNOTTY, 0).unwrap();
    assert_eq!(host.signals(), [(20, Signal::SIGHUP), (20, Signal::SIGCONT)]);
    assert_eq!(slave.ioctl(&memory, ioctl::TIOCNOTTY, 0), Err(Errno::ENOTTY));
}

#[test]
fn a_closed_master_hangs_up() {
    let host = MockHost::new();
    let (fs, master, slave) = terminal(&host);
    drop(master);
    assert_eq!(host.signals(), [(10, Signal::SIGHUP), (10, Signal::SIGCONT)]);
    assert_eq!((read(&slave), write(&slave, b"x")), (Ok(Vec::new()), Err(Errno::EIO)));
    assert!(slave.ready().contains(Ready::HUP));
    assert_eq!(slave.ioctl(&Memory::new(), ioctl::TCGETS, 0), Err(Errno::EIO));
    assert_eq!(fs.root().lookup(b"0").err(), Some(Errno::ENOENT));
}

#[test]
fn a_closed_slave_is_the_end_for_the_master_until_it_is_opened_again() {
    let (fs, master, slave) = terminal(&MockHost::new());
    write(&slave, b"bye").unwrap();
    drop(slave);
    assert_eq!(read(&master).unwrap(), b"bye");
    assert_eq!((read(&master), master.ready().contains(Ready::HUP)), (Err(Errno::EIO), true));
    let _slave = fs.open_slave(0, OpenFlags::RDWR).unwrap();
    assert_eq!(read(&master), Err(Errno::EAGAIN));
}

#[test]
fn packet_mode_tells_of_flushes() {
    let (_fs, master, slave) = terminal(&MockHost::new());
    master.ioctl(&Memory::int(1), ioctl::TIOCPKT, 0).unwrap();
    write(&slave, b"x").unwrap();
    assert_eq!(read(&master).unwrap(), b"\0x");
    slave.ioctl(&Memory::new(), ioctl::TCFLSH, 2).unwrap();
    assert!(master.ready().contains(Ready::PRI));
    assert_eq!(read(&master).unwrap(), [3]);
}

#[test]
fn unread_input_and_output_are_bounded() {
    let (_fs, master, slave) = terminal(&MockHost::new());
    let memory = Memory::new();
    slave.ioctl(&memory, ioctl::TCGETS, 0).unwrap();
    memory.0.lock()[12..16].copy_from_slice(&0_u32.to_ne_bytes());
    slave.ioctl(&memory, ioctl::TCSETS, 0).unwrap();
    let typed = write(&master, &[b'x'; 100_000]).unwrap();
    assert!((4096..20_000).contains(&typed));
    assert_eq!(write(&master, b"x"), Err(Errno::EAGAIN));
    let printed = write(&slave, &[b'y'; 100_000]).unwrap();
    assert!((4096..20_000).contains(&printed));
    assert_eq!(write(&slave, b"x"), Err(Errno::EAGAIN));
    let mut total = 0;
    while let Ok(bytes) = read(&slave) {
        total += bytes.len();
    }
    assert_eq!(total, typed);
}

#[test]
fn the_directory_lists_the_terminals() {
    let host = MockHost::new();
    let (fs, _master, _slave) = terminal(&host);
    let _other = fs.open_master().unwrap();
    let attr = fs.root().lookup(b"1").unwrap().attr().unwrap();
    assert_eq!((attr.rdev.major, attr.rdev.minor, attr.uid, attr.perm), (136, 1, 5, 0o600));
    assert_eq!(fs.root().lookup(b"01").err(), Some(Errno::ENOENT));
    assert_eq!(DevPtsOptions::parse("newinstance,ptmxmode=0666,mode=0620,gid=5").unwrap().gid, Some(5));
    assert_eq!(DevPtsOptions::parse("bad").err(), Some(Errno::EINVAL));
}
