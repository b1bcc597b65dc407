//! `setpgid`, `getpgid`, `getpgrp`, `setsid`, `getsid`.

use abi::{Errno, Pid};
use sentry::Current;
use sentry::task::session;

/// Serves `setpgid(2)`.
pub fn setpgid(cur: &mut Current, pid: Pid, pgid: Pid) -> Result<(), Errno> {
    session::setpgid(&cur.task, pid, pgid)
}

/// Serves `getpgid(2)`.
pub fn getpgid(cur: &mut Current, pid: Pid) -> Result<Pid, Errno> {
    session::getpgid(&cur.task, pid)
}

/// Serves `getpgrp(2)`.
pub fn getpgrp(cur: &mut Current) -> Result<Pid, Errno> {
    session::getpgid(&cur.task, Pid(0))
}

/// Serves `setsid(2)`.
pub fn setsid(cur: &mut Current) -> Result<Pid, Errno> {
    session::setsid(cur)
}

/// Serves `getsid(2)`.
pub fn getsid(cur: &mut Current, pid: Pid) -> Result<Pid, Errno> {
    session::getsid(&cur.task, pid)
}
