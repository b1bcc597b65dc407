//! epoll sets: the same events on counters in a set of ours and of the host.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use abi::Fd;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};

use super::Random;
use crate::epoll::{Epoll, EpollEvent};
use crate::eventfd::EventFd;
use crate::{BytesDst, BytesSrc, FileOps, IoFlags};

struct Pair {
    ours: Arc<Epoll>,
    host: OwnedFd,
    files: Vec<(Arc<dyn FileOps>, OwnedFd)>,
}

impl Pair {
    fn control(&self, random: &mut Random, at: usize) {
        let bits = random.pick(&[1_u32, 4, 5, 0]) | random.pick(&[0, 1 << 31, 1 << 30, 3 << 30]);
        let data = at as u64;
        let number = Fd(i32::try_from(at).unwrap());
        let flags = epoll::EventFlags::from_bits_retain(bits);
        let (ours, host) = &self.files[at];
        let event = EpollEvent { events: bits, data };
        let (mine, theirs) = match random.below(3) {
            0 => (
                self.ours.add(number, ours, event),
                epoll::add(&self.host, host, epoll::EventData::new_u64(data), flags),
            ),
            1 => (
                self.ours.modify(number, ours, event),
                epoll::modify(&self.host, host, epoll::EventData::new_u64(data), flags),
            ),
            _ => (self.ours.remove(number, ours), epoll::delete(&self.host, host)),
        };
        assert_eq!(mine.map_err(abi::Errno::raw), theirs.map_err(rustix::io::Errno::raw_os_error));
    }

    fn write(&self, at: usize, value: u64) {
        let (ours, host) = &self.files[at];
        let bytes = value.to_ne_bytes();
        let mine = ours.write(&mut 0, IoFlags::empty(), &mut BytesSrc::new(&bytes));
        let theirs = rustix::io::write(host, &bytes);
        assert_eq!(mine.map_err(abi::Errno::raw), theirs.map_err(rustix::io::Errno::raw_os_error));
    }

    fn read(&self, at: usize) {
        let (ours, host) = &self.files[at];
        let (mut mine, mut theirs) = ([0; 8], [0; 8]);
        let got = ours.read(&mut 0, IoFlags::empty(), &mut BytesDst::new(&mut mine));
        let expected = rustix::io::read(host.as_fd(), &mut theirs);
        assert_eq!(got.map_err(abi::Errno::raw), expected.map_err(rustix::io::Errno::raw_os_error));
        assert_eq!(mine, theirs);
    }

    fn wait(&self, max: usize) {
        let ours: Vec<(u32, u64)> =
            self.ours.collect(max).into_iter().map(|event| (event.events, event.data)).collect();
        let mut events = Vec::with_capacity(max);
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        epoll::wait(&self.host, rustix::buffer::spare_capacity(&mut events), Some(&now)).unwrap();
        let host: Vec<(u32, u64)> = events
            .iter()
            .map(|event: &epoll::Event| {
                let (flags, data) = (event.flags, event.data);
                (flags.bits(), data.u64())
            })
            .collect();
        assert_eq!(ours, host);
    }
}

#[test]
fn sets_report_the_events_that_the_hosts_report_in_their_order() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let files = (0..4).map(|_| {
            let ours: Arc<dyn FileOps> = EventFd::new(0, false);
            (ours, eventfd(0, EventfdFlags::NONBLOCK).unwrap())
        });
        let host = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let pair = Pair { ours: Epoll::new(), host, files: files.collect() };
        for _ in 0..300 {
            let at = random.below(4);
            match random.below(6) {
                0 => pair.control(&mut random, at),
                1 | 2 => pair.write(at, random.pick(&[1, 5, u64::MAX - 1])),
                3 => pair.read(at),
                _ => pair.wait(random.below(5) + 1),
            }
        }
    }
}
