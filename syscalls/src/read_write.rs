//! `read`, `write`, `lseek`, `pread64`, `pwrite64`, `readv`, `writev`, `preadv`, `pwritev`, `preadv2`, `pwritev2`.

use abi::{Errno, Fd, UserAddr};
use sentry::mm::IovecList;
use sentry::usermem::UserMem;
use sentry::vfs::File;
use sentry::{Current, Outcome};
use sentry_fs::IoFlags;

use crate::io;

const SEEK_SET: u32 = 0;
const SEEK_CUR: u32 = 1;
const SEEK_END: u32 = 2;
const SEEK_DATA: u32 = 3;
const SEEK_HOLE: u32 = 4;

const RWF_DSYNC: u32 = 2;
const RWF_SYNC: u32 = 4;
const RWF_NOWAIT: u32 = 8;
const RWF_APPEND: u32 = 16;
const RWF_NOAPPEND: u32 = 32;
/// `RWF_HIPRI`: polling a device is a hint.
const RWF_HIPRI: u32 = 1;

/// Ends a handler with the error.
macro_rules! attempt {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(errno) => return Outcome::Done(Err(Errno::into(errno))),
        }
    };
}
pub(crate) use attempt;

/// Serves `read(2)`.
pub fn read(cur: &mut Current, fd: Fd, buf: UserAddr, count: usize) -> Outcome<'_> {
    let file = attempt!(io::file_of(cur, fd));
    if !file.flags().readable() {
        return Outcome::Done(Err(Errno::EBADF.into()));
    }
    let list = attempt!(UserMem::one_iovec(buf, count));
    io::read(cur, file, None, IoFlags::empty(), list)
}

/// Serves `write(2)`.
pub fn write(cur: &mut Current, fd: Fd, buf: UserAddr, count: usize) -> Outcome<'_> {
    let file = attempt!(io::file_of(cur, fd));
    if !file.flags().writable() {
        return Outcome::Done(Err(Errno::EBADF.into()));
    }
    let list = attempt!(UserMem::one_iovec(buf, count));
    io::write(cur, file, None, IoFlags::empty(), list)
}

/// Serves `lseek(2)`.
pub fn lseek(cur: &mut Current, fd: Fd, offset: i64, whence: i32) -> Result<u64, Errno> {
    let file = io::file_of(cur, fd)?;
    let whence = u32::try_from(whence).ok().filter(|whence| *whence <= SEEK_HOLE).ok_or(Errno::EINVAL)?;
    if let Some(result) = file.ops.seek(offset, whence) {
        return result;
    }
    let is_dir = file.path.as_ref().is_some_and(|path| path.dentry.is_dir());
    if !file.is_seekable() && !is_dir {
        return if seeks_nowhere(&file) { Ok(0) } else { Err(Errno::ESPIPE) };
    }
    file.with_position(|pos| {
        let new = seek_target(&file, *pos, offset, whence, is_dir)?;
        *pos = new;
        Ok(new)
    })
}

/// Anonymous files accept a seek and stay where they are (kernel: `noop_llseek`); pidfds don't.
fn seeks_nowhere(file: &File) -> bool {
    let name = file.ops.anon_name();
    name.is_some_and(|name| name.starts_with("anon_inode:") && !name.contains("pidfd"))
}

fn seek_target(file: &File, pos: u64, offset: i64, whence: u32, is_dir: bool) -> Result<u64, Errno> {
    let size = || file.inode.as_ref().map_or(Ok(0), |inode| inode.attr().map(|attr| attr.size));
    let from = match whence {
        SEEK_SET => 0,
        SEEK_CUR => pos,
        SEEK_END if !is_dir => size()?,
        SEEK_DATA | SEEK_HOLE if !is_dir => {
            let offset = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
            let data = whence == SEEK_DATA;
            return match file.ops.seek_data_hole(offset, data) {
                // A file system that knows no holes: all is data, and the hole is at the end.
                Err(Errno::EINVAL) => {
                    let size = size()?;
                    match (offset < size, data) {
                        (false, _) => Err(Errno::ENXIO),
                        (true, true) => Ok(offset),
                        (true, false) => Ok(size),
                    }
                }
                result => result,
            };
        }
        _ => return Err(Errno::EINVAL),
    };
    let new = from.checked_add_signed(offset).ok_or(Errno::EINVAL)?;
    if i64::try_from(new).is_err() { Err(Errno::EINVAL) } else { Ok(new) }
}

/// Serves `pread64(2)`.
pub fn pread64(cur: &mut Current, fd: Fd, buf: UserAddr, count: usize, offset: i64) -> Outcome<'_> {
    let pos = attempt!(u64::try_from(offset).map_err(|_| Errno::EINVAL));
    let file = attempt!(positioned(cur, fd));
    if !file.flags().readable() {
        return Outcome::Done(Err(Errno::EBADF.into()));
    }
    let list = attempt!(UserMem::one_iovec(buf, count));
    io::read(cur, file, Some(pos), IoFlags::empty(), list)
}

/// Serves `pwrite64(2)`.
pub fn pwrite64(cur: &mut Current, fd: Fd, buf: UserAddr, count: usize, offset: i64) -> Outcome<'_> {
    let pos = attempt!(u64::try_from(offset).map_err(|_| Errno::EINVAL));
    let file = attempt!(positioned(cur, fd));
    if !file.flags().writable() {
        return Outcome::Done(Err(Errno::EBADF.into()));
    }
    let list = attempt!(UserMem::one_iovec(buf, count));
    io::write(cur, file, Some(pos), IoFlags::empty(), list)
}

/// Returns a file that has positions: `ESPIPE` for others.
fn positioned(cur: &Current, fd: Fd) -> Result<std::sync::Arc<File>, Errno> {
    let file = io::file_of(cur, fd)?;
    let is_dir = || file.path.as_ref().is_some_and(|path| path.dentry.is_dir());
    if file.is_seekable() || is_dir() { Ok(file) } else { Err(Errno::ESPIPE) }
}

fn iovecs(cur: &Current, iov: UserAddr, count: i32) -> Result<IovecList, Errno> {
    cur.mem.read_iovecs(iov, u64::try_from(count).map_err(|_| Errno::EINVAL)?)
}

/// Serves `readv(2)`.
pub fn readv(cur: &mut Current, fd: Fd, iov: UserAddr, iovcnt: i32) -> Outcome<'_> {
    let file = attempt!(io::file_of(cur, fd));
    let list = attempt!(iovecs(cur, iov, iovcnt));
    io::read(cur, file, None, IoFlags::empty(), list)
}

/// Serves `writev(2)`.
pub fn writev(cur: &mut Current, fd: Fd, iov: UserAddr, iovcnt: i32) -> Outcome<'_> {
    let file = attempt!(io::file_of(cur, fd));
    let list = attempt!(iovecs(cur, iov, iovcnt));
    io::write(cur, file, None, IoFlags::empty(), list)
}

/// Serves `preadv(2)`. On 64-bit machines the whole offset is in the first half.
pub fn preadv(cur: &mut Current, fd: Fd, iov: UserAddr, iovcnt: i32, pos_l: u64, _pos_h: u64) -> Outcome<'_> {
    let pos = attempt!(offset(pos_l));
    let file = attempt!(positioned(cur, fd));
    let list = attempt!(iovecs(cur, iov, iovcnt));
    io::read(cur, file, Some(pos), IoFlags::empty(), list)
}

/// Serves `pwritev(2)`.
pub fn pwritev(cur: &mut Current, fd: Fd, iov: UserAddr, iovcnt: i32, pos_l: u64, _pos_h: u64) -> Outcome<'_> {
    let pos = attempt!(offset(pos_l));
    let file = attempt!(positioned(cur, fd));
    let list = attempt!(iovecs(cur, iov, iovcnt));
    io::write(cur, file, Some(pos), IoFlags::empty(), list)
}

fn offset(raw: u64) -> Result<u64, Errno> {
    i64::try_from(raw).map(|_| raw).map_err(|_| Errno::EINVAL)
}

/// Converts `RWF_*`; `EOPNOTSUPP` for those that aren't served.
fn rw_flags(flags: u32) -> Result<IoFlags, Errno> {
    let known = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND | RWF_NOAPPEND;
    if flags & !known != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    if flags & RWF_APPEND != 0 && flags & RWF_NOAPPEND != 0 {
        return Err(Errno::EINVAL);
    }
    let mut io = IoFlags::empty();
    io.set(IoFlags::DSYNC, flags & RWF_DSYNC != 0);
    io.set(IoFlags::SYNC, flags & RWF_SYNC != 0);
    io.set(IoFlags::NOWAIT, flags & RWF_NOWAIT != 0);
    io.set(IoFlags::APPEND, flags & RWF_APPEND != 0);
    io.set(IoFlags::NOAPPEND, flags & RWF_NOAPPEND != 0);
    Ok(io)
}

/// Serves `preadv2(2)`.
pub fn preadv2(
    cur: &mut Current,
    fd: Fd,
    iov: UserAddr,
    iovcnt: i32,
    pos_l: u64,
    _pos_h: u64,
    flags: u32,
) -> Outcome<'_> {
    let (pos, file) = attempt!(place(cur, fd, pos_l));
    let list = attempt!(iovecs(cur, iov, iovcnt));
    let flags = attempt!(rw_flags(flags));
    io::read(cur, file, pos, flags - IoFlags::APPEND, list)
}

/// Serves `pwritev2(2)`.
pub fn pwritev2(
    cur: &mut Current,
    fd: Fd,
    iov: UserAddr,
    iovcnt: i32,
    pos_l: u64,
    _pos_h: u64,
    flags: u32,
) -> Outcome<'_> {
    let (pos, file) = attempt!(place(cur, fd, pos_l));
    let list = attempt!(iovecs(cur, iov, iovcnt));
    let flags = attempt!(rw_flags(flags));
    io::write(cur, file, pos, flags, list)
}

/// Position -1 means the description's own.
fn place(cur: &Current, fd: Fd, raw: u64) -> Result<(Option<u64>, std::sync::Arc<File>), Errno> {
    if raw == u64::MAX {
        return Ok((None, io::file_of(cur, fd)?));
    }
    Ok((Some(offset(raw)?), positioned(cur, fd)?))
}
