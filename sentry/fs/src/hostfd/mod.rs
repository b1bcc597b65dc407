//! Descriptors that the caller of `runsc` passed in: standard input, output and error.
//!
//! A regular file keeps the position and the append flag of the host's open file, which the caller may share with others
//! (`>> log`): it is read and written with `read` and `write`, not by position. A pipe, socket or terminal never blocks the
//! thread: its readiness comes through the kernel's [`HostReactor`], reads and writes are tried with `RWF_NOWAIT`, or
//! after a poll where the host can't do that. A terminal is opened a second time, so that it can be non-blocking without
//! making the caller's so.

mod fifo;
mod inode;
mod terminal;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::cell::RefCell;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use abi::flags::Ready;
use abi::{Errno, UserAddr};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags, SeekFrom};
use rustix::io::ReadWriteFlags;
use sentry_sync::{Level, Mutex, WaitQueue};

use crate::{FileKind, FileOps, IoDst, IoFlags, IoSrc, MapSource, UserMemory, host};

pub use fifo::HostFifo;
pub use inode::HostInode;
pub use terminal::HostTerminal;

/// Most bytes that one read or write of a pipe, socket or terminal moves.
const CHUNK: usize = 64 * 1024;

/// Ends a watch when it is dropped.
pub type Watch = Box<dyn Any + Send + Sync>;

/// Waits for descriptors of the host on behalf of this crate: the kernel's event loop.
pub trait HostReactor: Send + Sync {
    /// Wakes `queue` with the [`Ready`] bits whenever the readiness of `fd` may have grown (edge-triggered is enough),
    /// until the watch is dropped.
    fn watch(&self, fd: &Arc<OwnedFd>, queue: &WaitQueue) -> Result<Watch, Errno>;
}

/// What kind of thing was passed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nature {
    /// Has a position, is always ready.
    Regular,
    /// Comes and goes: pipe, socket.
    Stream,
    /// A FIFO, through a description of our own that doesn't block.
    OwnFifo,
    /// A terminal, through a description of our own that doesn't block.
    OwnTerminal,
    /// A terminal that could not be opened again.
    Terminal,
    /// Another device, always ready.
    Device,
}

/// A file of the host.
pub struct HostFd {
    fd: Arc<OwnedFd>,
    nature: Nature,
    ino: u64,
    kind: FileKind,
    queue: WaitQueue,
    /// A byte of a FIFO that came with the question whether anybody writes.
    first: Mutex<Option<u8>>,
    /// The host refuses `RWF_NOWAIT` here.
    must_poll: AtomicBool,
    terminal: Option<Arc<HostTerminal>>,
    _watch: Option<Watch>,
}

impl std::fmt::Debug for HostFd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostFd({}, {:?})", self.fd.as_raw_fd(), self.nature)
    }
}

/// Opens a terminal again without blocking and without making it ours. Whoever may open it does this: the caller's own
/// process, before a sandbox is started.
pub fn reopen_terminal(fd: impl AsFd) -> Option<OwnedFd> {
    let fd = fd.as_fd();
    let mode = rustix::fs::fcntl_getfl(fd).ok()? & OFlags::RWMODE;
    let flags = mode | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(format!("/proc/self/fd/{}", fd.as_raw_fd()), flags, Mode::empty()).ok()
}

impl HostFd {
    /// Takes over a descriptor. A terminal that blocks is opened again through `/proc`, as far as that is mounted and
    /// allowed. `EISDIR` for a directory, which would lead to the host's files.
    pub fn new(fd: OwnedFd, reactor: &dyn HostReactor) -> Result<HostFd, Errno> {
        let stat = rustix::fs::fstat(&fd).map_err(host::errno)?;
        let kind = FileKind::from_mode(stat.st_mode).ok_or(Errno::EINVAL)?;
        let (fd, nature) = match kind {
            FileKind::Directory | FileKind::Symlink => return Err(Errno::EISDIR),
            FileKind::Regular | FileKind::BlockDevice => (fd, Nature::Regular),
            FileKind::Fifo | FileKind::Socket => (fd, Nature::Stream),
            FileKind::CharDevice if rustix::termios::isatty(&fd) => {
                let waits = !rustix::fs::fcntl_getfl(&fd).map_err(host::errno)?.contains(OFlags::NONBLOCK);
                match waits.then(|| reopen_terminal(&fd)) {
                    Some(Some(own)) => (own, Nature::OwnTerminal),
                    Some(None) => (fd, Nature::Terminal),
                    None => (fd, Nature::OwnTerminal),
                }
            }
            FileKind::CharDevice => (fd, Nature::Device),
        };
        HostFd::with(Arc::new(fd), nature, kind, stat.st_ino, reactor)
    }

    /// Takes over a FIFO whose description is our own and doesn't block.
    fn own_fifo(fd: OwnedFd, reactor: &dyn HostReactor) -> Result<HostFd, Errno> {
        let ino = rustix::fs::fstat(&fd).map_err(host::errno)?.st_ino;
        HostFd::with(Arc::new(fd), Nature::OwnFifo, FileKind::Fifo, ino, reactor)
    }

    fn with(
        fd: Arc<OwnedFd>,
        nature: Nature,
        kind: FileKind,
        ino: u64,
        reactor: &dyn HostReactor,
    ) -> Result<HostFd, Errno> {
        let queue = WaitQueue::new();
        let waits = !matches!(nature, Nature::Regular | Nature::Device);
        let watch = if waits { Some(reactor.watch(&fd, &queue)?) } else { None };
        let must_poll = AtomicBool::new(false);
        let first = Mutex::new(Level::Leaf, None);
        Ok(HostFd { fd, nature, ino, kind, queue, first, must_poll, terminal: None, _watch: watch })
    }

    /// Tells whether this is a terminal.
    pub fn is_terminal(&self) -> bool {
        matches!(self.nature, Nature::OwnTerminal | Nature::Terminal)
    }

    /// Gives a terminal its session and foreground group: shared by all descriptors of the same one.
    #[must_use]
    pub fn with_terminal(mut self, terminal: Arc<HostTerminal>) -> HostFd {
        self.terminal = Some(terminal);
        self
    }

    /// Returns an inode for `fstat(2)`.
    pub fn inode(self: &Arc<HostFd>) -> Arc<HostInode> {
        Arc::new(HostInode::new(Arc::clone(self)))
    }

    fn is_null(&self) -> bool {
        let device = rustix::fs::fstat(&self.fd).map(|stat| stat.st_rdev);
        device.is_ok_and(|device| (rustix::fs::major(device), rustix::fs::minor(device)) == (1, 3))
    }

    fn poll(&self) -> Ready {
        let flags = PollFlags::IN | PollFlags::PRI | PollFlags::OUT | PollFlags::RDHUP;
        let mut fds = [PollFd::new(&self.fd, flags)];
        match rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(_) => Ready::from_bits_truncate(u32::from(fds[0].revents().bits())),
            Err(_) => Ready::ERR,
        }
    }

    /// Runs a host call that may wait, so that it doesn't: with `RWF_NOWAIT`, or once a poll says that it won't.
    fn without_waiting(
        &self,
        wanted: Ready,
        nowait: impl FnOnce() -> rustix::io::Result<usize>,
        plain: impl FnOnce() -> rustix::io::Result<usize>,
    ) -> Result<usize, Errno> {
        if matches!(self.nature, Nature::OwnTerminal | Nature::OwnFifo | Nature::Device) {
            return plain().map_err(host::errno);
        }
        if !self.must_poll.load(Ordering::Relaxed) {
            match nowait() {
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS | rustix::io::Errno::SPIPE) => {
                    self.must_poll.store(true, Ordering::Relaxed);
                }
                result => return result.map_err(host::errno),
            }
        }
        if self.poll().intersects(wanted | Ready::ERR | Ready::HUP) {
            plain().map_err(host::errno)
        } else {
            Err(Errno::EAGAIN)
        }
    }

    /// Tells whether anybody writes to this FIFO, or has. Nobody says so before there is data but a read, which finds the
    /// end where there is no writer.
    fn writer_has_come(&self) -> bool {
        if self.first.lock().is_some() || self.poll().intersects(Ready::IN | Ready::HUP) {
            return true;
        }
        let mut byte = [0];
        match rustix::io::read(&self.fd, &mut byte) {
            Ok(0) => false,
            Ok(_) => {
                *self.first.lock() = Some(byte[0]);
                true
            }
            Err(_) => true,
        }
    }

    /// Hands over the byte that came early.
    fn read_first(&self, dst: &mut dyn IoDst) -> Result<Option<usize>, Errno> {
        let Some(byte) = self.first.lock().take() else { return Ok(None) };
        match dst.put(&[byte]) {
            Ok(put) => Ok(Some(put)),
            Err(errno) => {
                *self.first.lock() = Some(byte);
                Err(errno)
            }
        }
    }

    fn read_stream(&self, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        if dst.remaining() > 0
            && let Some(put) = self.read_first(dst)?
        {
            // The rest may be there, or not.
            return Ok(put + self.read_stream(dst).unwrap_or(0));
        }
        // Both ways of reading need the buffer, one after the other.
        let buf = RefCell::new(vec![0; dst.remaining().min(CHUNK)]);
        if buf.borrow().is_empty() {
            return Ok(0);
        }
        let got = self.without_waiting(
            Ready::IN,
            || {
                let mut buf = buf.borrow_mut();
                // Position -1 is the file's own, as in read(2).
                rustix::io::preadv2(&self.fd, &mut [IoSliceMut::new(&mut buf)], u64::MAX, ReadWriteFlags::NOWAIT)
            },
            || {
                let mut buf = buf.borrow_mut();
                rustix::io::retry_on_intr(|| rustix::io::read(&self.fd, &mut buf[..]))
            },
        )?;
        let buf = buf.into_inner();
        dst.put(&buf[..got.min(buf.len())])
    }

    fn write_stream(&self, src: &mut dyn IoSrc) -> Result<usize, Errno> {
        let mut buf = vec![0; src.remaining().min(self.most_at_once())];
        let taken = src.take(&mut buf)?;
        let bytes = &buf[..taken];
        let result = self.without_waiting(
            Ready::OUT,
            || rustix::io::pwritev2(&self.fd, &[IoSlice::new(bytes)], u64::MAX, ReadWriteFlags::NOWAIT),
            || {
                let bytes = &bytes[..bytes.len().min(self.most_at_once())];
                rustix::io::retry_on_intr(|| rustix::io::write(&self.fd, bytes))
            },
        );
        src.untake(taken - result.as_ref().copied().unwrap_or(0).min(taken));
        result
    }

    /// Returns the most bytes of one write. After a poll a pipe takes `PIPE_BUF` bytes, and a terminal some hundred; more might
    /// wait.
    fn most_at_once(&self) -> usize {
        match self.nature {
            _ if !self.must_poll.load(Ordering::Relaxed) => CHUNK,
            Nature::Stream if self.kind == FileKind::Fifo => 4096,
            _ => 512,
        }
    }

    fn check_job(&self, signal: abi::signal::Signal) -> Result<(), Errno> {
        self.terminal.as_ref().map_or(Ok(()), |terminal| terminal.check(signal))
    }
}

impl FileOps for HostFd {
    fn read(&self, pos: &mut u64, flags: IoFlags, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        if self.nature != Nature::Regular {
            self.check_job(abi::signal::Signal::SIGTTIN)?;
            return match (self.read_stream(dst), &self.terminal) {
                // Said of a terminal that is there only while our whole sandbox is a background job of the caller.
                (Err(Errno::EIO), Some(terminal)) if !self.poll().contains(Ready::HUP) => Err(terminal.background()),
                (result, _) => result,
            };
        }
        let want = dst.remaining();
        let mut at = *pos;
        let positioned = flags.contains(IoFlags::POSITIONED);
        let done = dst.fill_with(want, &mut |buf| {
            let got = if positioned { rustix::io::pread(&self.fd, buf, at) } else { rustix::io::read(&self.fd, buf) };
            let got = got.map_err(host::errno)?;
            at += got as u64;
            Ok(got)
        })?;
        if positioned {
            *pos += done as u64;
        }
        Ok(done)
    }

    fn write(&self, pos: &mut u64, flags: IoFlags, src: &mut dyn IoSrc) -> Result<usize, Errno> {
        if self.nature != Nature::Regular {
            return self.write_stream(src);
        }
        let mut done = 0;
        let mut buf = vec![0; src.remaining().min(CHUNK)];
        while src.remaining() > 0 {
            let want = buf.len().min(src.remaining());
            let taken = match src.take(&mut buf[..want]) {
                Ok(taken) => taken,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            };
            let bytes = &buf[..taken];
            let written = if flags.contains(IoFlags::APPEND) {
                rustix::io::pwritev2(&self.fd, &[IoSlice::new(bytes)], u64::MAX, ReadWriteFlags::APPEND)
            } else if flags.contains(IoFlags::POSITIONED) {
                rustix::io::pwrite(&self.fd, bytes, *pos)
            } else {
                rustix::io::write(&self.fd, bytes)
            };
            let count = match written {
                Ok(count) => count.min(taken),
                Err(error) => {
                    src.untake(taken);
                    return if done > 0 { Ok(done) } else { Err(host::errno(error)) };
                }
            };
            src.untake(taken - count);
            done += count;
            if flags.contains(IoFlags::POSITIONED) {
                *pos += count as u64;
            }
            if count < want {
                break;
            }
        }
        Ok(done)
    }

    fn seekable(&self) -> bool {
        self.nature == Nature::Regular
    }

    fn seek(&self, offset: i64, whence: u32) -> Option<Result<u64, Errno>> {
        if self.nature != Nature::Regular {
            return None;
        }
        let to = match (whence, u64::try_from(offset)) {
            (0, Ok(offset)) => SeekFrom::Start(offset),
            (1, _) => SeekFrom::Current(offset),
            (2, _) => SeekFrom::End(offset),
            (3, Ok(offset)) => SeekFrom::Data(offset),
            (4, Ok(offset)) => SeekFrom::Hole(offset),
            (3 | 4, Err(_)) => return Some(Err(Errno::ENXIO)),
            _ => return Some(Err(Errno::EINVAL)),
        };
        Some(rustix::fs::seek(&self.fd, to).map_err(host::errno))
    }

    fn seek_data_hole(&self, pos: u64, data: bool) -> Result<u64, Errno> {
        let to = if data { SeekFrom::Data(pos) } else { SeekFrom::Hole(pos) };
        rustix::fs::seek(&self.fd, to).map_err(host::errno)
    }

    fn ready(&self) -> Ready {
        match self.nature {
            Nature::Regular | Nature::Device => Ready::READABLE | Ready::WRITABLE,
            _ => {
                let mut ready = self.poll();
                ready.set(Ready::RDNORM, ready.contains(Ready::IN));
                ready.set(Ready::WRNORM, ready.contains(Ready::OUT));
                if self.first.lock().is_some() { ready | Ready::READABLE } else { ready }
            }
        }
    }

    fn wait_queue(&self) -> Option<WaitQueue> {
        (!matches!(self.nature, Nature::Regular | Nature::Device)).then(|| self.queue.clone())
    }

    fn ioctl(&self, memory: &dyn UserMemory, op: u32, arg: u64) -> Result<u64, Errno> {
        if self.is_terminal() {
            return terminal::ioctl(&self.fd, self.terminal.as_ref(), memory, op, arg);
        }
        if op == crate::tty::ioctl::FIONREAD && matches!(self.nature, Nature::Stream | Nature::OwnFifo) {
            let bytes = rustix::io::ioctl_fionread(&self.fd).map_err(host::errno)?;
            memory.write(UserAddr::new(arg), &i32::try_from(bytes).unwrap_or(i32::MAX).to_ne_bytes())?;
            return Ok(0);
        }
        Err(Errno::ENOTTY)
    }

    fn map(&self, _shared: bool) -> Result<MapSource, Errno> {
        // The caller's own description: it has the rights that the guest's descriptor has.
        match self.nature {
            Nature::Regular => Ok(MapSource::Host { file: Arc::clone(&self.fd), offset: 0 }),
            _ => Err(Errno::ENODEV),
        }
    }

    fn sync(&self, data_only: bool) -> Result<(), Errno> {
        let sync = || if data_only { rustix::fs::fdatasync(&self.fd) } else { rustix::fs::fsync(&self.fd) };
        let synced = sentry_sync::blocking(sync);
        synced.map_err(host::errno)
    }

    fn anon_name(&self) -> Option<String> {
        let prefix = match self.kind {
            FileKind::Fifo => "pipe",
            FileKind::Socket => "socket",
            _ if self.is_terminal() => {
                let place = self.terminal.as_ref().and_then(|terminal| terminal.place());
                return Some(place.map_or_else(|| "/dev/console".to_owned(), |place| place.path()));
            }
            FileKind::CharDevice if self.is_null() => return Some("/dev/null".to_owned()),
            _ => "host",
        };
        Some(format!("{prefix}:[{}]", self.ino))
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
