//! Terminals: the same typing and printing on a pseudo-terminal of ours and of the host, with the same settings.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use abi::Errno;
use abi::flags::OpenFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios};

use super::Random;
use crate::devpts::{DevPts, DevPtsOptions};
use crate::tty::ioctl;
use crate::tty::tests::{Memory, MockHost};
use crate::tty::{PtyMaster, PtySlave};
use crate::{BytesDst, BytesSrc, FileOps, IoFlags};

struct Pair {
    ours: (Arc<PtyMaster>, Arc<PtySlave>),
    host: (OwnedFd, OwnedFd),
    _fs: DevPts,
}

fn host_termios(termios: &Termios) -> [u8; 64] {
    let mut bytes = [0; 64];
    let words = [
        termios.input_modes.bits(),
        termios.output_modes.bits(),
        termios.control_modes.bits(),
        termios.local_modes.bits(),
    ];
    for (place, word) in bytes.chunks_mut(4).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    let codes = [
        SpecialCodeIndex::VINTR,
        SpecialCodeIndex::VQUIT,
        SpecialCodeIndex::VERASE,
        SpecialCodeIndex::VKILL,
        SpecialCodeIndex::VEOF,
        SpecialCodeIndex::VTIME,
        SpecialCodeIndex::VMIN,
        SpecialCodeIndex::VSWTC,
        SpecialCodeIndex::VSTART,
        SpecialCodeIndex::VSTOP,
        SpecialCodeIndex::VSUSP,
        SpecialCodeIndex::VEOL,
        SpecialCodeIndex::VREPRINT,
        SpecialCodeIndex::VDISCARD,
        SpecialCodeIndex::VWERASE,
        SpecialCodeIndex::VLNEXT,
        SpecialCodeIndex::VEOL2,
    ];
    for (place, code) in bytes[17..].iter_mut().zip(codes) {
        *place = termios.special_codes[code];
    }
    bytes
}

impl Pair {
    fn new() -> Pair {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).unwrap();
        for fd in [&master, &slave] {
            rustix::fs::fcntl_setfl(fd, rustix::fs::OFlags::NONBLOCK).unwrap();
        }
        let fs = DevPts::new(MockHost::new(), DevPtsOptions::default());
        let ours = fs.open_master().unwrap();
        ours.ioctl(&Memory::new(), ioctl::TIOCSPTLCK, 0).unwrap();
        let peer = ours.open_peer(OpenFlags::RDWR | OpenFlags::NOCTTY).unwrap();
        Pair { ours: (ours, peer), host: (master, slave), _fs: fs }
    }

    fn settings(&self, work: impl FnOnce(&mut Termios)) {
        let mut termios = rustix::termios::tcgetattr(&self.host.1).unwrap();
        work(&mut termios);
        rustix::termios::tcsetattr(&self.host.1, OptionalActions::Now, &termios).unwrap();
        let memory = Memory::new();
        memory.set(host_termios(&rustix::termios::tcgetattr(&self.host.1).unwrap()));
        self.ours.1.ioctl(&memory, ioctl::TCSETS, 0).unwrap();
    }

    fn type_in(&self, data: &[u8]) {
        let ours = self.ours.0.write(&mut 0, IoFlags::empty(), &mut BytesSrc::new(data));
        assert_eq!(ours, Ok(rustix::io::write(&self.host.0, data).unwrap()));
    }

    fn print(&self, data: &[u8]) {
        let ours = self.ours.1.write(&mut 0, IoFlags::empty(), &mut BytesSrc::new(data));
        assert_eq!(ours, Ok(rustix::io::write(&self.host.1, data).unwrap()));
    }

    /// Reads what is there. The host passes bytes on in a worker thread: it gets until ours has been matched to do so.
    fn compare(fd: &OwnedFd, ours: &dyn FileOps, seed: u64) {
        let (mut expected, mut buf) = (Vec::new(), [0; 4096]);
        let mut ended = 0;
        while let Ok(got) = ours.read(&mut 0, IoFlags::NONBLOCK, &mut BytesDst::new(&mut buf)) {
            expected.extend_from_slice(&buf[..got]);
            if got == 0 {
                // An end of file.
                ended += 1;
                if ended > 50 {
                    break;
                }
            }
        }
        let until = Instant::now() + Duration::from_secs(2);
        let (mut seen, mut host_ended) = (Vec::new(), 0);
        while Instant::now() < until {
            match rustix::io::read(fd, &mut buf) {
                Ok(0) => host_ended += 1,
                Ok(got) => seen.extend_from_slice(&buf[..got]),
                Err(_) if seen.len() >= expected.len() && host_ended >= ended => break,
                Err(_) => std::thread::yield_now(),
            }
        }
        let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!((show(&expected), ended), (show(&seen), host_ended), "seed {seed}");
    }

    fn compare_both(&self, seed: u64) {
        // The screen first: the host has then dealt with all that was typed.
        Pair::compare(&self.host.0, &*self.ours.0, seed);
        Pair::compare(&self.host.1, &*self.ours.1, seed);
        assert_eq!(self.ours.1.read(&mut 0, IoFlags::NONBLOCK, &mut BytesDst::new(&mut [0; 9])), Err(Errno::EAGAIN));
    }
}

/// Bytes that mean something, among some that don't.
const KEYS: &[u8] = b"aab_ .\t\t\n\r\x7f\x7f\x15\x17\x16\x12\x01\x1b\xc3\xa9\xe2\x82\xacZ9";

#[test]
fn typing_is_edited_and_echoed_as_by_the_host() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let pair = Pair::new();
        let toggles = [
            LocalModes::ECHOE,
            LocalModes::ECHOK,
            LocalModes::ECHOCTL,
            LocalModes::ECHOKE,
            LocalModes::ECHOPRT,
            LocalModes::ECHONL,
            LocalModes::IEXTEN,
            LocalModes::ICANON,
        ];
        pair.settings(|termios| {
            for toggle in toggles {
                if random.below(4) == 0 {
                    termios.local_modes.toggle(toggle);
                }
            }
            // Bits of c_iflag and c_oflag, some of which have no names there.
            for bit in [0o40_000, 0o100, 0o40] {
                if random.below(3) == 0 {
                    termios.input_modes.toggle(rustix::termios::InputModes::from_bits_retain(bit));
                }
            }
            for bit in [0o4, 0o10, 0o20, 0o40, 0o14000] {
                if random.below(4) == 0 {
                    termios.output_modes.toggle(rustix::termios::OutputModes::from_bits_retain(bit));
                }
            }
        });
        for _ in 0..6 {
            let len = random.below(30);
            let mut typed: Vec<u8> = (0..len).map(|_| random.pick(KEYS)).collect();
            if random.below(2) == 0 {
                let prompt: Vec<u8> = (0..random.below(9)).map(|_| random.pick(b"ab\t\n\x08\r")).collect();
                pair.print(&prompt);
            }
            // Something that shows on the screen, and the end of the line.
            typed.extend_from_slice(b"!\n");
            pair.type_in(&typed);
            pair.compare_both(seed);
        }
    }
}

#[test]
fn ends_of_file_are_read_as_on_the_host() {
    for typed in [b"ab\x04\x04!\n".as_slice(), b"\x04x\n", b"a\x04b\n", b"a\n\x04\x04c\n"] {
        let pair = Pair::new();
        pair.type_in(typed);
        pair.compare_both(0);
    }
}
