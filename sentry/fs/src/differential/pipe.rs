//! Pipes: what writes and reads return, what polls show, what capacity changes say.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use abi::Errno;
use abi::flags::Ready;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size};

use super::Random;
use crate::pipe::{Pipe, PipeEnd};
use crate::{BytesDst, BytesSrc, FileOps, IoFlags};

fn host_ready(fd: &OwnedFd) -> Ready {
    let flags = PollFlags::IN | PollFlags::OUT | PollFlags::RDNORM | PollFlags::WRNORM;
    let mut fds = [PollFd::new(fd, flags)];
    rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap();
    Ready::from_bits_retain(u32::from(fds[0].revents().bits()))
}

fn result(host: rustix::io::Result<usize>) -> Result<usize, Errno> {
    host.map_err(|error| Errno::from_raw(error.raw_os_error()))
}

struct Pair {
    ours: (Arc<PipeEnd>, Arc<PipeEnd>),
    host: (OwnedFd, OwnedFd),
    sent: u8,
}

impl Pair {
    fn write(&mut self, len: usize, packet: bool) {
        let data: Vec<u8> = (0..len)
            .map(|_| {
                self.sent = self.sent.wrapping_add(1);
                self.sent
            })
            .collect();
        let mut flags = rustix::fs::OFlags::NONBLOCK;
        flags.set(rustix::fs::OFlags::DIRECT, packet);
        rustix::fs::fcntl_setfl(&self.host.1, flags).unwrap();
        let io = if packet { IoFlags::DIRECT } else { IoFlags::empty() };
        let ours = self.ours.1.write(&mut 0, io, &mut BytesSrc::new(&data));
        assert_eq!(ours, result(rustix::io::write(&self.host.1, &data)), "write of {len}");
    }

    fn read(&self, len: usize) {
        let (mut ours, mut host) = (vec![0; len], vec![0; len]);
        let got = self.ours.0.read(&mut 0, IoFlags::empty(), &mut BytesDst::new(&mut ours));
        assert_eq!(got, result(rustix::io::read(&self.host.0, &mut host)), "read of {len}");
        assert_eq!(ours, host);
    }

    fn resize(&self, size: usize) {
        let ours = self.ours.1.pipe().set_capacity(size as u64, true);
        let host = fcntl_setpipe_size(&self.host.1, size);
        assert_eq!(ours.is_ok(), host.is_ok(), "capacity of {size}");
        assert_eq!(self.ours.1.pipe().capacity(), fcntl_getpipe_size(&self.host.1).unwrap());
    }

    fn compare(&self) {
        let bytes = rustix::io::ioctl_fionread(&self.host.0).unwrap();
        assert_eq!(self.ours.0.pipe().readable_bytes() as u64, bytes);
        assert_eq!(self.ours.0.ready(), host_ready(&self.host.0));
        assert_eq!(self.ours.1.ready(), host_ready(&self.host.1));
    }
}

#[test]
fn pipes_behave_as_the_hosts() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let host = rustix::pipe::pipe_with(PipeFlags::NONBLOCK).unwrap();
        let mut pair = Pair { ours: Pipe::pair(), host, sent: 0 };
        for _ in 0..200 {
            let len = match random.below(4) {
                0 => random.below(20),
                1 => random.below(5000),
                2 => random.pick(&[1, 4095, 4096, 4097, 8192, 65536]),
                _ => random.below(100_000),
            };
            match random.below(10) {
                0..5 => pair.write(len, false),
                5 => pair.write(len, true),
                6..9 => pair.read(len.max(1)),
                _ => pair.resize(random.pick(&[1, 4096, 5000, 65536, 131_072])),
            }
            pair.compare();
        }
    }
}
