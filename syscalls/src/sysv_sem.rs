//! `semget`, `semop`, `semctl`, `semtimedop`.

use abi::{Errno, UserAddr};
use sentry::Current;

/// Serves `semget(2)`.
pub fn semget(cur: &mut Current, _key: i32, _nsems: i32, _semflg: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "semget")
}

/// Serves `semop(2)`.
pub fn semop(cur: &mut Current, _semid: i32, _sops: UserAddr, _nsops: usize) -> Result<u64, Errno> {
    crate::unserved(cur, "semop")
}

/// Serves `semctl(2)`.
pub fn semctl(cur: &mut Current, _semid: i32, _semnum: i32, _cmd: i32, _arg: u64) -> Result<u64, Errno> {
    crate::unserved(cur, "semctl")
}

/// Serves `semtimedop(2)`.
pub fn semtimedop(
    cur: &mut Current,
    _semid: i32,
    _sops: UserAddr,
    _nsops: usize,
    _timeout: UserAddr,
) -> Result<u64, Errno> {
    crate::unserved(cur, "semtimedop")
}
