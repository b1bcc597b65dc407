//! `mmap`, `mprotect`, `munmap`, `brk`, `mremap`, `msync`, `mincore`, `madvise`, `pkey_mprotect`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;

/// Serves `mmap(2)`.
pub fn mmap(
    cur: &mut Current,
    _addr: UserAddr,
    _length: usize,
    _prot: u32,
    _flags: u32,
    _fd: Fd,
    _offset: i64,
) -> Result<u64, Errno> {
    crate::unserved(cur, "mmap")
}

/// Serves `mprotect(2)`.
pub fn mprotect(cur: &mut Current, _addr: UserAddr, _len: usize, _prot: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "mprotect")
}

/// Serves `munmap(2)`.
pub fn munmap(cur: &mut Current, _addr: UserAddr, _length: usize) -> Result<u64, Errno> {
    crate::unserved(cur, "munmap")
}

/// Serves `brk(2)`.
pub fn brk(cur: &mut Current, _addr: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "brk")
}

/// Serves `mremap(2)`.
pub fn mremap(
    cur: &mut Current,
    _old_address: UserAddr,
    _old_size: usize,
    _new_size: usize,
    _flags: u32,
    _new_address: UserAddr,
) -> Result<u64, Errno> {
    crate::unserved(cur, "mremap")
}

/// Serves `msync(2)`.
pub fn msync(cur: &mut Current, _addr: UserAddr, _length: usize, _flags: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "msync")
}

/// Serves `mincore(2)`.
pub fn mincore(cur: &mut Current, _addr: UserAddr, _length: usize, _vec: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "mincore")
}

/// Serves `madvise(2)`.
pub fn madvise(cur: &mut Current, _addr: UserAddr, _length: usize, _advice: i32) -> Result<u64, Errno> {
    crate::unserved(cur, "madvise")
}

/// Serves `pkey_mprotect(2)`.
pub fn pkey_mprotect(cur: &mut Current, _addr: UserAddr, _len: usize, _prot: u32, _pkey: i32) -> Result<u64, Errno> {
    crate::unserved(cur, "pkey_mprotect")
}
