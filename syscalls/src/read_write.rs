//! `read`, `write`, `lseek`, `pread64`, `pwrite64`, `readv`, `writev`, `preadv`, `pwritev`, `preadv2`, `pwritev2`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;

/// Serves `read(2)`.
pub fn read(cur: &mut Current, _fd: Fd, _buf: UserAddr, _count: usize) -> Result<u64, Errno> {
    crate::unserved(cur, "read")
}

/// Serves `write(2)`.
pub fn write(cur: &mut Current, _fd: Fd, _buf: UserAddr, _count: usize) -> Result<u64, Errno> {
    crate::unserved(cur, "write")
}

/// Serves `lseek(2)`.
pub fn lseek(cur: &mut Current, _fd: Fd, _offset: i64, _whence: i32) -> Result<u64, Errno> {
    crate::unserved(cur, "lseek")
}

/// Serves `pread64(2)`.
pub fn pread64(cur: &mut Current, _fd: Fd, _buf: UserAddr, _count: usize, _offset: i64) -> Result<u64, Errno> {
    crate::unserved(cur, "pread64")
}

/// Serves `pwrite64(2)`.
pub fn pwrite64(cur: &mut Current, _fd: Fd, _buf: UserAddr, _count: usize, _offset: i64) -> Result<u64, Errno> {
    crate::unserved(cur, "pwrite64")
}

/// Serves `readv(2)`.
pub fn readv(cur: &mut Current, _fd: Fd, _iov: UserAddr, _iovcnt: i32) -> Result<u64, Errno> {
    crate::unserved(cur, "readv")
}

/// Serves `writev(2)`.
pub fn writev(cur: &mut Current, _fd: Fd, _iov: UserAddr, _iovcnt: i32) -> Result<u64, Errno> {
    crate::unserved(cur, "writev")
}

/// Serves `preadv(2)`.
pub fn preadv(
    cur: &mut Current,
    _fd: Fd,
    _iov: UserAddr,
    _iovcnt: i32,
    _pos_l: u64,
    _pos_h: u64,
) -> Result<u64, Errno> {
    crate::unserved(cur, "preadv")
}

/// Serves `pwritev(2)`.
pub fn pwritev(
    cur: &mut Current,
    _fd: Fd,
    _iov: UserAddr,
    _iovcnt: i32,
    _pos_l: u64,
    _pos_h: u64,
) -> Result<u64, Errno> {
    crate::unserved(cur, "pwritev")
}

/// Serves `preadv2(2)`.
pub fn preadv2(
    cur: &mut Current,
    _fd: Fd,
    _iov: UserAddr,
    _iovcnt: i32,
    _pos_l: u64,
    _pos_h: u64,
    _flags: u32,
) -> Result<u64, Errno> {
    crate::unserved(cur, "preadv2")
}

/// Serves `pwritev2(2)`.
pub fn pwritev2(
    cur: &mut Current,
    _fd: Fd,
    _iov: UserAddr,
    _iovcnt: i32,
    _pos_l: u64,
    _pos_h: u64,
    _flags: u32,
) -> Result<u64, Errno> {
    crate::unserved(cur, "pwritev2")
}
