//! `eventfd`, `eventfd2`.

use abi::flags::OpenFlags;
use abi::{Errno, Fd};
use sentry::Current;
use sentry::vfs::File;
use sentry_fs::eventfd::EventFd;

use crate::at;

const EFD_SEMAPHORE: u32 = 1;

/// Serves `eventfd(2)`.
pub fn eventfd(cur: &mut Current, initval: u32) -> Result<Fd, Errno> {
    eventfd2(cur, initval, 0)
}

/// Serves `eventfd2(2)`.
pub fn eventfd2(cur: &mut Current, initval: u32, flags: u32) -> Result<Fd, Errno> {
    let open = OpenFlags::from_bits_retain(flags & !EFD_SEMAPHORE);
    if !(OpenFlags::CLOEXEC | OpenFlags::NONBLOCK).contains(open) {
        return Err(Errno::EINVAL);
    }
    let event = EventFd::new(initval, flags & EFD_SEMAPHORE != 0);
    at::install(cur, File::new(event, None, open | OpenFlags::RDWR), open)
}
