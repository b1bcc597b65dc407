//! `signalfd`, `signalfd4`.

use std::sync::Arc;

use abi::flags::OpenFlags;
use abi::signal::SigSet;
use abi::{Errno, Fd, UserRef};
use sentry::Current;
use sentry::signal::signalfd::SignalFd;
use sentry::vfs::{FdFlags, File};

const SFD_NONBLOCK: u32 = OpenFlags::NONBLOCK.bits();
const SFD_CLOEXEC: u32 = OpenFlags::CLOEXEC.bits();
const SIGSET_SIZE: usize = 8;
/// The descriptor that asks for a new one.
const NEW: Fd = Fd(-1);

/// Serves `signalfd(2)`.
pub fn signalfd(cur: &mut Current, fd: Fd, mask: UserRef<SigSet>, size: usize) -> Result<Fd, Errno> {
    signalfd4(cur, fd, mask, size, 0)
}

/// Serves `signalfd4(2)`.
pub fn signalfd4(cur: &mut Current, fd: Fd, mask: UserRef<SigSet>, size: usize, flags: u32) -> Result<Fd, Errno> {
    if size != SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    let signals = cur.mem.read(mask)?;
    if flags & !(SFD_NONBLOCK | SFD_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    let files = cur.task.files.load();
    if fd == NEW {
        let mut open = OpenFlags::RDWR;
        open.set(OpenFlags::NONBLOCK, flags & SFD_NONBLOCK != 0);
        let mut own = FdFlags::empty();
        own.set(FdFlags::CLOEXEC, flags & SFD_CLOEXEC != 0);
        let file = File::new(SignalFd::new(signals), None, open);
        return files.install(file, own, 0, cur.process().fd_limit());
    }
    let file = files.get_io(fd)?;
    let found = Arc::clone(&file.ops).as_any().downcast::<SignalFd>().map_err(|_| Errno::EINVAL)?;
    found.set(&cur.task, signals);
    Ok(fd)
}
