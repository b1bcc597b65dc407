//! `sysinfo`, `syslog`.

use abi::{Errno, UserAddr, UserRef};
use sentry::Current;
use sentry::task::Caps;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// `struct sysinfo`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysInfo {
    uptime: i64,
    loads: [u64; 3],
    totalram: u64,
    freeram: u64,
    sharedram: u64,
    bufferram: u64,
    totalswap: u64,
    freeswap: u64,
    procs: u16,
    pad: u16,
    pad1: u32,
    totalhigh: u64,
    freehigh: u64,
    mem_unit: u32,
    pad2: u32,
}

/// Serves `sysinfo(2)`: memory and load are the host's.
pub fn sysinfo(cur: &mut Current, info: UserRef<SysInfo>) -> Result<(), Errno> {
    let host = rustix::system::sysinfo();
    let mut answer = SysInfo::new_zeroed();
    answer.uptime = sentry::time::monotonic().sec;
    answer.loads = host.loads;
    answer.totalram = host.totalram;
    answer.freeram = host.freeram;
    answer.sharedram = host.sharedram;
    answer.bufferram = host.bufferram;
    answer.procs = u16::try_from(cur.kernel().tasks.read().tasks.len()).unwrap_or(u16::MAX);
    answer.mem_unit = host.mem_unit;
    cur.mem.write_last(info, &answer)
}

const READ: i32 = 2;
const READ_ALL: i32 = 3;
const READ_CLEAR: i32 = 4;
const SIZE_UNREAD: i32 = 9;
const SIZE_BUFFER: i32 = 10;
/// Bytes that the log of an ordinary kernel holds.
const BUFFER: u64 = 1 << 18;

/// Serves `syslog(2)`: the sandbox's kernel log is empty.
pub fn syslog(cur: &mut Current, kind: i32, buf: UserAddr, len: i32) -> Result<u64, Errno> {
    if !cur.task.cred.load().has(Caps::SYSLOG) {
        return Err(Errno::EPERM);
    }
    match kind {
        READ | READ_ALL | READ_CLEAR if buf.is_null() || len < 0 => Err(Errno::EINVAL),
        0..=9 if kind != SIZE_UNREAD => Ok(0),
        SIZE_UNREAD => Ok(0),
        SIZE_BUFFER => Ok(BUFFER),
        _ => Err(Errno::EINVAL),
    }
}
