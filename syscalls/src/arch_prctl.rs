//! `arch_prctl`.

use abi::{Errno, UserAddr, UserRef};
use sentry::Current;

const ARCH_SET_GS: i32 = 0x1001;
const ARCH_SET_FS: i32 = 0x1002;
const ARCH_GET_FS: i32 = 0x1003;
const ARCH_GET_GS: i32 = 0x1004;
const ARCH_GET_CPUID: i32 = 0x1011;
const ARCH_SET_CPUID: i32 = 0x1012;
/// One more than the highest address of user space.
const TASK_SIZE_MAX: u64 = 0x7fff_ffff_f000;

/// Serves `arch_prctl(2)`.
pub fn arch_prctl(cur: &mut Current, op: i32, addr: u64) -> Result<u64, Errno> {
    match op {
        ARCH_SET_FS | ARCH_SET_GS if addr >= TASK_SIZE_MAX => return Err(Errno::EPERM),
        ARCH_SET_FS => cur.regs().fs_base = addr,
        ARCH_SET_GS => cur.regs().gs_base = addr,
        ARCH_GET_FS | ARCH_GET_GS => {
            let regs = cur.regs();
            let base = if op == ARCH_GET_FS { regs.fs_base } else { regs.gs_base };
            cur.mem.write_last(UserRef::new(UserAddr::new(addr)), &base)?;
        }
        // CPUID is always allowed and never faults, as on a processor without CPUID faulting.
        ARCH_GET_CPUID => return Ok(1),
        ARCH_SET_CPUID => return Err(Errno::ENODEV),
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}
