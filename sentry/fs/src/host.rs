//! Host calls of the file systems that keep data themselves: backing files, the clock, the size of the machine.
//!
//! A backing file is a memfd. The guest's mappings go straight to it, so a guest file that is open for reading only must
//! be mapped shared through a descriptor that can't write: otherwise `mprotect(PROT_WRITE)` on a shared mapping, which the host
//! alone decides, would let a guest write a file that it may only read. [`reopen_readonly`] makes such a descriptor by
//! opening the memfd again below `/proc/self/fd`. The confined sentry has no `/proc` in its tree; whoever confines it
//! opens `/proc/self/fd` of the sandbox's own pid namespace first (a mount with `subset=pid,ro` is enough) and hands it to
//! [`set_proc_fd`]. Without it, and without `/proc`, such a mapping fails with `EACCES`: never is more right given out.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use abi::Errno;
use abi::time::Timespec;
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::time::ClockId;

static PROC_FD: OnceLock<OwnedFd> = OnceLock::new();

/// Gives this crate `/proc/self/fd` of the running process. Only the first call counts.
pub fn set_proc_fd(dir: OwnedFd) {
    let _ = PROC_FD.set(dir);
}

static CONFINED: AtomicBool = AtomicBool::new(false);

/// Says that this process may open nothing by name from now on: an attempt would be its end.
pub fn set_confined() {
    CONFINED.store(true, Ordering::Relaxed);
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

/// Opens a descriptor of ours again, for reading only.
pub(crate) fn reopen_readonly(file: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let number = file.as_raw_fd().to_string();
    let opened = match PROC_FD.get() {
        Some(dir) => rustix::fs::openat(dir, number, flags, Mode::empty()),
        None if CONFINED.load(Ordering::Relaxed) => return Err(Errno::EACCES),
        None => rustix::fs::open(format!("/proc/self/fd/{number}"), flags, Mode::empty()),
    };
    opened.map_err(|error| match exhausted(error) {
        Errno::ENOMEM => Errno::ENOMEM,
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
