//! [`FileOps`]: what an open file can do.

use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use abi::flags::Ready;
use abi::{Errno, UserAddr};
use bitflags::bitflags;
use sentry_sync::WaitQueue;

use crate::{FileKind, IoDst, IoSrc};

bitflags! {
    /// How one read or write is to be done.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct IoFlags: u32 {
        /// Write at the end whatever the offset says, and move the offset there (`O_APPEND`, `RWF_APPEND`).
        const APPEND = 1;
        /// Data reach the disk before the call returns (`O_DSYNC`, `RWF_DSYNC`).
        const DSYNC = 2;
        /// Data and metadata reach the disk before the call returns (`O_SYNC`, `RWF_SYNC`).
        const SYNC = 4;
        /// Don't wait for the disk (`RWF_NOWAIT`): `EAGAIN` instead.
        const NOWAIT = 8;
        /// The description is non-blocking (`O_NONBLOCK`). Rarely of interest: nothing here blocks.
        const NONBLOCK = 16;
        /// Bypass the page cache where that means anything (`O_DIRECT`; packet mode of a pipe).
        const DIRECT = 32;
        /// The time that [`FileOps::read_timeout`] named is over: end with what there is, if that is nothing with 0.
        const TIMED_OUT = 64;
        /// The call names the position (`pread`, `pwrite`): not the one that the file itself may keep.
        const POSITIONED = 128;
        /// Don't append whatever the description says (`RWF_NOAPPEND`). The VFS deals with it.
        const NOAPPEND = 256;
    }
}

/// What stands behind a memory mapping of a file.
pub enum MapSource {
    /// A host file, with no more rights than the guest's own open file; the guest's offset plus `offset` bytes.
    Host {
        /// Donated or own descriptor.
        file: Arc<OwnedFd>,
        /// Added to the guest's file offset.
        offset: u64,
    },
    /// Zero pages (`/dev/zero`).
    Anonymous,
}

/// Guest memory as an `ioctl` implementation sees it.
pub trait UserMemory {
    /// Fills the buffer or fails with `EFAULT`.
    fn read(&self, addr: UserAddr, buf: &mut [u8]) -> Result<(), Errno>;
    /// Writes all bytes or fails with `EFAULT`.
    fn write(&self, addr: UserAddr, buf: &[u8]) -> Result<(), Errno>;
    /// Returns the calling thread's id, for ioctls that act on the caller.
    fn caller(&self) -> abi::Pid;
}

/// One entry of a directory listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry<'a> {
    /// Inode number.
    pub ino: u64,
    /// Kind, `None` for `DT_UNKNOWN`.
    pub kind: Option<FileKind>,
    /// Name.
    pub name: &'a [u8],
    /// Position from which a later listing goes on *after* this entry.
    pub next: u64,
}

/// Takes the entries of a directory listing.
pub trait DirSink {
    /// Accepts an entry or, by `false`, ends the listing before it.
    fn entry(&mut self, entry: &DirEntry<'_>) -> bool;
}

/// An open file, made by one `open` or by a call such as `pipe`. Offsets belong to the description, in the VFS: seekable
/// files get the position and move it, others ignore it.
///
/// `EAGAIN` means "would block": the system-call layer waits on [`FileOps::wait_queue`] and tries again. `ERESTART` means
/// that the caller has been sent a signal (job control) and the call starts again after it (`ERESTARTSYS`).
pub trait FileOps: Send + Sync + Any {
    /// Reads at `pos` and moves it.
    fn read(&self, _pos: &mut u64, _flags: IoFlags, _dst: &mut dyn IoDst) -> Result<usize, Errno> {
        Err(Errno::EINVAL)
    }

    /// Writes at `pos` (or at the end) and moves it.
    fn write(&self, _pos: &mut u64, _flags: IoFlags, _src: &mut dyn IoSrc) -> Result<usize, Errno> {
        Err(Errno::EINVAL)
    }

    /// Tells whether this is a socket, whose reads and writes have timeouts, signals and credentials of their own.
    fn is_socket(&self) -> bool {
        false
    }

    /// Tells whether the file has positions. Others answer `ESPIPE` to `lseek` and `pread`.
    fn seekable(&self) -> bool {
        false
    }

    /// Serves `lseek(2)` for a file that keeps its position itself (one of the host, shared with other processes there) or
    /// has none (`/dev/null`). `None`, the default, leaves it to the VFS.
    fn seek(&self, _offset: i64, _whence: u32) -> Option<Result<u64, Errno>> {
        None
    }

    /// Answers `SEEK_DATA` (`data` true) and `SEEK_HOLE`. The default is a file without holes.
    fn seek_data_hole(&self, _pos: u64, _data: bool) -> Result<u64, Errno> {
        Err(Errno::EINVAL)
    }

    /// Returns what is ready now. Never waits.
    fn ready(&self) -> Ready {
        Ready::READABLE | Ready::WRITABLE
    }

    /// Returns the queue woken (with [`Ready`] bits) when readiness may have grown; `None` for files that are always
    /// ready and can't be put into an epoll set.
    fn wait_queue(&self) -> Option<WaitQueue> {
        None
    }

    /// Returns how long a read that has just said `EAGAIN` may wait before it is tried again with
    /// [`IoFlags::TIMED_OUT`] (`VTIME` of a terminal); `None` is for ever. Asked anew after each try.
    fn read_timeout(&self) -> Option<std::time::Duration> {
        None
    }

    /// Lists a directory from position `pos` on (0 is the start). Implementations include `.` and `..`.
    fn read_dir(&self, _pos: u64, _sink: &mut dyn DirSink) -> Result<(), Errno> {
        Err(Errno::ENOTDIR)
    }

    /// Serves a file-specific `ioctl(2)`: `ENOTTY` for what it doesn't know.
    fn ioctl(&self, _memory: &dyn UserMemory, _op: u32, _arg: u64) -> Result<u64, Errno> {
        Err(Errno::ENOTTY)
    }

    /// Returns what to map for `mmap(2)`: `ENODEV` where that makes no sense. The VFS has checked the access mode.
    fn map(&self, _shared: bool) -> Result<MapSource, Errno> {
        Err(Errno::ENODEV)
    }

    /// Returns the host file of which a read of at most `most` bytes from `pos` on would return a part from the same place on,
    /// and how many bytes; whoever has mapped that file may copy them from there instead, which counts as such a read.
    /// `None`: nothing, or to be read in another way.
    fn stored(&self, _pos: u64, _most: u64) -> Option<(Arc<OwnedFd>, u64)> {
        None
    }

    /// Hears that this host file is going to be mapped for that, private and for reading, or shared and for writing as well if
    /// [`FileOps::replaceable`] has returned it.
    fn show(&self) {}

    /// The same for a write of at most `most` bytes, where that only replaces what is there, in a file that may be mapped shared
    /// and writable; [`FileOps::replaced`] is to follow where it does.
    fn replaceable(&self, _pos: u64, _most: u64) -> Option<(Arc<OwnedFd>, u64)> {
        None
    }

    /// Hears that bytes have been replaced.
    fn replaced(&self) {}

    /// Tells whether a seal forbids mappings that write to the file although the access mode allows them.
    fn write_sealed(&self) -> bool {
        false
    }

    /// Writes data (and, unless `data_only`, metadata) to the disk.
    fn sync(&self, _data_only: bool) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    /// `fallocate(2)` with its mode bits.
    fn allocate(&self, _mode: u32, _offset: u64, _len: u64) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Called at each `close(2)` of a descriptor of this file, before the last of which drops it.
    fn flush(&self) -> Result<(), Errno> {
        Ok(())
    }

    /// Hears of changes of `O_NONBLOCK` and the like by `fcntl(F_SETFL)`: may refuse.
    fn set_status_flags(&self, _flags: abi::flags::OpenFlags) -> Result<(), Errno> {
        Ok(())
    }

    /// Returns further lines of `/proc/PID/fdinfo/N`.
    fn fdinfo(&self) -> String {
        String::new()
    }

    /// Returns the name shown by `/proc/PID/fd/N` for files without a path, for example `"anon_inode:[eventpoll]"` or
    /// `"pipe:[12]"`.
    fn anon_name(&self) -> Option<String> {
        None
    }

    /// Returns the same file as `Any`, so that a system call can find its own kind (socket, epoll, pidfd, …).
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}
