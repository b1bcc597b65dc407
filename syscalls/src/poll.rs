//! `poll`, `select`, `pselect6`, `ppoll`.

use abi::{Errno, UserAddr};
use sentry::Current;

/// Serves `poll(2)`.
pub fn poll(cur: &mut Current, _fds: UserAddr, _nfds: u32, _timeout: i32) -> Result<u64, Errno> {
    crate::unserved(cur, "poll")
}

/// Serves `select(2)`.
pub fn select(
    cur: &mut Current,
    _nfds: i32,
    _readfds: UserAddr,
    _writefds: UserAddr,
    _exceptfds: UserAddr,
    _timeout: UserAddr,
) -> Result<u64, Errno> {
    crate::unserved(cur, "select")
}

/// Serves `pselect6(2)`.
pub fn pselect6(
    cur: &mut Current,
    _nfds: i32,
    _readfds: UserAddr,
    _writefds: UserAddr,
    _exceptfds: UserAddr,
    _timeout: UserAddr,
    _sigmask: UserAddr,
) -> Result<u64, Errno> {
    crate::unserved(cur, "pselect6")
}

/// Serves `ppoll(2)`.
pub fn ppoll(
    cur: &mut Current,
    _fds: UserAddr,
    _nfds: u32,
    _tmo_p: UserAddr,
    _sigmask: UserAddr,
    _sigsetsize: usize,
) -> Result<u64, Errno> {
    crate::unserved(cur, "ppoll")
}
