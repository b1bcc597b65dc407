//! Host calls on files, relative to descriptors only.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use abi::Errno;
use abi::time::Timespec;
use gofer_proto::WireAttr;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags};

/// Converts a host error of a call made on the guest's behalf: the guest sees the same.
pub(crate) fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}

/// How components are resolved where `openat2` exists.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS).union(ResolveFlags::NO_SYMLINKS);

/// Set once the host has said that it has no `openat2`.
static NO_OPENAT2: AtomicBool = AtomicBool::new(false);

/// Opens one component as `O_PATH`, a symbolic link itself included.
pub(crate) fn open_child(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    open_beneath(dir, name, flags, Mode::empty())
}

/// Opens one component (the caller has checked that it is one) without leaving `dir`.
pub(crate) fn open_beneath(dir: BorrowedFd<'_>, name: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NOFOLLOW;
    if !NO_OPENAT2.load(Ordering::Relaxed) {
        // One component can't leave its directory; the kernel is asked to hold that as well.
        match rustix::fs::openat2(dir, name, flags, mode, BENEATH) {
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {
                // Old kernel, or a filter of an outer container. One component with O_NOFOLLOW can't leave either.
                NO_OPENAT2.store(true, Ordering::Relaxed);
            }
            other => return other.map_err(errno),
        }
    }
    rustix::fs::openat(dir, name, flags, mode).map_err(errno)
}

/// Reads all attributes of an open file.
pub(crate) fn stat(fd: BorrowedFd<'_>) -> Result<WireAttr, Errno> {
    statx(fd, b"", AtFlags::EMPTY_PATH)
}

/// Reads all attributes of an entry, a symbolic link itself included.
pub(crate) fn stat_child(dir: BorrowedFd<'_>, name: &[u8]) -> Result<WireAttr, Errno> {
    statx(dir, name, AtFlags::SYMLINK_NOFOLLOW)
}

fn statx(dir: BorrowedFd<'_>, name: &[u8], flags: AtFlags) -> Result<WireAttr, Errno> {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let found = rustix::fs::statx(dir, name, flags | AtFlags::NO_AUTOMOUNT, mask).map_err(errno)?;
    let time = |time: rustix::fs::StatxTimestamp| Timespec { sec: time.tv_sec, nsec: i64::from(time.tv_nsec) };
    let device = |major: u32, minor: u32| u64::from(major) << 32 | u64::from(minor);
    let has_btime = found.stx_mask & StatxFlags::BTIME.bits() != 0;
    Ok(WireAttr {
        dev: device(found.stx_dev_major, found.stx_dev_minor),
        ino: found.stx_ino,
        nlink: u64::from(found.stx_nlink),
        size: found.stx_size,
        blocks: found.stx_blocks,
        rdev: device(found.stx_rdev_major, found.stx_rdev_minor),
        mode: u32::from(found.stx_mode),
        uid: found.stx_uid,
        gid: found.stx_gid,
        blksize: found.stx_blksize,
        atime: time(found.stx_atime),
        mtime: time(found.stx_mtime),
        ctime: time(found.stx_ctime),
        btime: if has_btime { time(found.stx_btime) } else { Timespec::default() },
        has_btime: u64::from(has_btime),
    })
}

/// `/proc/self/fd`, kept open so that descriptors can be opened anew after `/proc` has gone out of sight.
#[derive(Debug)]
pub(crate) struct ProcFds {
    dir: OwnedFd,
    /// Where it can be seen, for calls that take nothing but a path.
    place: &'static str,
}

impl ProcFds {
    /// Opens the directory.
    pub(crate) fn open() -> Result<ProcFds, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let place = "/proc/self/fd";
        rustix::fs::open(place, flags, Mode::empty()).map(|dir| ProcFds { dir, place }).map_err(errno)
    }

    /// Takes the directory from `place`, where it can be seen.
    pub(crate) fn from_dir(dir: OwnedFd, place: &'static str) -> ProcFds {
        ProcFds { dir, place }
    }

    /// Opens the file behind `fd` once more. The caller has checked what kind of file it is: an open of a FIFO would
    /// wait and an open of a device would act.
    pub(crate) fn reopen(&self, fd: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(self.dir(), self.name(fd), flags | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())
            .map_err(errno)
    }

    /// Returns the directory, for calls that take a path and act on what `name` leads to.
    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Returns the name of a descriptor in the directory.
    pub(crate) fn name(&self, fd: BorrowedFd<'_>) -> String {
        fd.as_raw_fd().to_string()
    }

    /// Returns an absolute path to what is behind a descriptor.
    pub(crate) fn path(&self, fd: BorrowedFd<'_>) -> String {
        format!("{}/{}", self.place, self.name(fd))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_openat2_a_link_is_not_followed_either() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("link")).unwrap();
        let opened = std::fs::File::open(dir.path()).unwrap();
        for missing in [false, true] {
            NO_OPENAT2.store(missing, Ordering::Relaxed);
            let link = open_child(opened.as_fd(), b"link").unwrap();
            assert_eq!(stat(link.as_fd()).unwrap().mode & abi::types::mode::IFMT, abi::types::mode::IFLNK);
            let writing = open_beneath(opened.as_fd(), b"link", OFlags::RDONLY, Mode::empty());
            assert_eq!(writing.err(), Some(Errno::ELOOP));
        }
        NO_OPENAT2.store(false, Ordering::Relaxed);
    }
}
