//! `swapon`, `swapoff`: the sandbox has no swap space of its own.

use abi::{Errno, UserAddr};
use sentry::Current;
use sentry::task::Caps;

/// `SWAP_FLAGS_VALID`.
const FLAGS: u32 = 0x7_ffff;

fn check(cur: &Current) -> Result<(), Errno> {
    if cur.task.cred.load().has(Caps::SYS_ADMIN) { Ok(()) } else { Err(Errno::EPERM) }
}

/// Serves `swapon(2)`, for those who may, as a kernel without swap.
pub fn swapon(cur: &mut Current, _path: UserAddr, flags: u32) -> Result<(), Errno> {
    if flags & !FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    check(cur)?;
    Err(Errno::ENOSYS)
}

/// Serves `swapoff(2)`, for those who may, as a kernel without swap.
pub fn swapoff(cur: &mut Current, _path: UserAddr) -> Result<(), Errno> {
    check(cur)?;
    Err(Errno::ENOSYS)
}
