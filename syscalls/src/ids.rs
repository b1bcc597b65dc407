//! `getpid`, `gettid`, `getppid`, `getuid`, `geteuid`, `getgid`, `getegid`.

use abi::{Errno, Pid};
use sentry::Current;

/// Serves `getpid(2)`.
pub fn getpid(cur: &mut Current) -> Result<Pid, Errno> {
    Ok(cur.process().pid)
}

/// Serves `gettid(2)`.
pub fn gettid(cur: &mut Current) -> Result<Pid, Errno> {
    Ok(cur.task.tid)
}

/// Serves `getppid(2)`.
pub fn getppid(cur: &mut Current) -> Result<Pid, Errno> {
    let table = cur.kernel().tasks.read();
    Ok(table.processes.get(&cur.process().pid).map_or(Pid(0), |entry| entry.parent))
}

/// Serves `getuid(2)`.
pub fn getuid(cur: &mut Current) -> Result<u64, Errno> {
    Ok(u64::from(cur.task.cred.load().ruid))
}

/// Serves `geteuid(2)`.
pub fn geteuid(cur: &mut Current) -> Result<u64, Errno> {
    Ok(u64::from(cur.task.cred.load().euid))
}

/// Serves `getgid(2)`.
pub fn getgid(cur: &mut Current) -> Result<u64, Errno> {
    Ok(u64::from(cur.task.cred.load().rgid))
}

/// Serves `getegid(2)`.
pub fn getegid(cur: &mut Current) -> Result<u64, Errno> {
    Ok(u64::from(cur.task.cred.load().egid))
}
