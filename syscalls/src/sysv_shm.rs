//! `shmget`, `shmat`, `shmctl`, `shmdt`.

use abi::{Errno, UserAddr};
use sentry::Current;

/// Serves `shmget(2)`.
pub fn shmget(cur: &mut Current, _key: i32, _size: usize, _shmflg: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "shmget")
}

/// Serves `shmat(2)`.
pub fn shmat(cur: &mut Current, _shmid: i32, _shmaddr: UserAddr, _shmflg: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "shmat")
}

/// Serves `shmctl(2)`.
pub fn shmctl(cur: &mut Current, _shmid: i32, _cmd: i32, _buf: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "shmctl")
}

/// Serves `shmdt(2)`.
pub fn shmdt(cur: &mut Current, _shmaddr: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "shmdt")
}
