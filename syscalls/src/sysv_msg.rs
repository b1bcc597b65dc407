//! `msgget`, `msgsnd`, `msgrcv`, `msgctl`.

use abi::{Errno, UserAddr};
use sentry::Current;

/// Serves `msgget(2)`.
pub fn msgget(cur: &mut Current, _key: i32, _msgflg: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "msgget")
}

/// Serves `msgsnd(2)`.
pub fn msgsnd(cur: &mut Current, _msqid: i32, _msgp: UserAddr, _msgsz: usize, _msgflg: u32) -> Result<u64, Errno> {
    crate::unserved(cur, "msgsnd")
}

/// Serves `msgrcv(2)`.
pub fn msgrcv(
    cur: &mut Current,
    _msqid: i32,
    _msgp: UserAddr,
    _msgsz: usize,
    _msgtyp: i64,
    _msgflg: u32,
) -> Result<u64, Errno> {
    crate::unserved(cur, "msgrcv")
}

/// Serves `msgctl(2)`.
pub fn msgctl(cur: &mut Current, _msqid: i32, _cmd: i32, _buf: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "msgctl")
}
