//! `sendfile`, `splice`, `tee`, `vmsplice`, `copy_file_range`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;

/// Serves `sendfile(2)`.
pub fn sendfile(cur: &mut Current, _out_fd: Fd, _in_fd: Fd, _offset: UserAddr, _count: usize) -> Result<u64, Errno> {
    crate::unserved(cur, "sendfile")
}

/// Serves `splice(2)`.
pub fn splice(
    cur: &mut Current,
    _fd_in: Fd,
    _off_in: UserAddr,
    _fd_out: Fd,
    _off_out: UserAddr,
    _len: usize,
    _flags: u32,
) -> Result<u64, Errno> {
    crate::unserved(cur, "splice")
}

/// Serves `tee(2)`.
pub fn tee(cur: &mut Current, _fd_in: Fd, _fd_out: Fd, _len: usize, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "tee")
}

/// Serves `vmsplice(2)`.
pub fn vmsplice(cur: &mut Current, _fd: Fd, _iov: UserAddr, _nr_segs: u64, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "vmsplice")
}

/// Serves `copy_file_range(2)`.
pub fn copy_file_range(
    cur: &mut Current,
    _fd_in: Fd,
    _off_in: UserAddr,
    _fd_out: Fd,
    _off_out: UserAddr,
    _len: usize,
    _flags: u32,
) -> Result<u64, Errno> {
    crate::unserved(cur, "copy_file_range")
}
