//! Host calls of the file systems that keep data themselves: backing files, the clock, the size of the machine.
//!
//! A backing file is a memfd. The guest's mappings go straight to it, so a guest file that is open for reading only must
//! be mapped shared through a descriptor that can't write: otherwise `mprotect(PROT_WRITE)` on a shared mapping, which the host
//! alone decides, would let a guest write a file that it may only read. [`reopen_readonly`] makes such a descriptor. The
//! confined sentry can't open anything by itself and asks the gofer named by [`reopen_through`], which opens memory files
//! anew and nothing else.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use abi::Errno;
use abi::time::Timespec;
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::time::ClockId;

use crate::gofer::Client;

static GOFER: OnceLock<Arc<Client>> = OnceLock::new();

/// Has memory files opened anew by this gofer from now on: needed where an attempt of this process's own would be its end.
/// Only the first call counts.
pub fn reopen_through(gofer: Arc<Client>) {
    let _ = GOFER.set(gofer);
}

/// Converts an error of a host call made on the guest's behalf, deliberately one to one.
pub(crate) fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}

/// Makes an empty backing file that accepts seals.
pub(crate) fn memfd(name: &str) -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Linux 6.3 and later want to be told that the content may be executed.
    match rustix::fs::memfd_create(name, flags | MemfdFlags::EXEC) {
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create(name, flags).map_err(exhausted),
        result => result.map_err(exhausted),
    }
}

/// Opens a memory file of ours again, for reading only: `EACCES` or `ENOMEM` where that fails.
pub fn reopen_readonly(file: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let opened = match GOFER.get() {
        Some(gofer) => gofer.reopen_memory(file),
        None => {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let number = file.as_raw_fd();
            rustix::fs::open(format!("/proc/self/fd/{number}"), flags, Mode::empty()).map_err(errno)
        }
    };
    opened.map_err(|error| match error {
        // Descriptors and memory of the sandbox's own processes.
        Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => Errno::ENOMEM,
        _ => Errno::EACCES,
    })
}

/// Running out of the sentry's own descriptors is not the guest's `EMFILE`.
fn exhausted(error: rustix::io::Errno) -> Errno {
    match error {
        rustix::io::Errno::MFILE | rustix::io::Errno::NFILE => Errno::ENOMEM,
        other => errno(other),
    }
}

/// Returns the time that file systems stamp on inodes (Linux's `current_time`: the coarse clock).
pub(crate) fn now() -> Timespec {
    let time = rustix::time::clock_gettime(ClockId::RealtimeCoarse);
    Timespec { sec: time.tv_sec, nsec: time.tv_nsec }
}

/// Returns the bytes of memory of the host, asked once.
pub(crate) fn total_memory() -> u64 {
    static TOTAL: OnceLock<u64> = OnceLock::new();
    *TOTAL.get_or_init(|| {
        let info = rustix::system::sysinfo();
        #[allow(clippy::useless_conversion)] // the C types differ between hosts
        u64::from(info.totalram).saturating_mul(u64::from(info.mem_unit.max(1)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reopened_memfd_reads_but_does_not_write() {
        let file = memfd("test").unwrap();
        rustix::io::pwrite(&file, b"abc", 0).unwrap();
        let again = reopen_readonly(std::os::fd::AsFd::as_fd(&file)).unwrap();
        let mut buf = [0; 3];
        rustix::io::pread(&again, &mut buf, 0).unwrap();
        assert_eq!(&buf, b"abc");
        assert_eq!(rustix::io::pwrite(&again, b"x", 0), Err(rustix::io::Errno::BADF));
    }
}
