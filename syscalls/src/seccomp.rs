//! `seccomp`, and what `prctl` has of it.

use abi::{Errno, Pid, UserAddr, UserRef};
use sentry::Current;
use sentry::task::seccomp::{Insn, MAX_INSNS, Program, Sync, action, add_filter, may_filter, set_strict};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

mod op {
    pub(super) const SET_MODE_STRICT: u32 = 0;
    pub(super) const SET_MODE_FILTER: u32 = 1;
    pub(super) const GET_ACTION_AVAIL: u32 = 2;
}

mod flag {
    pub(super) const TSYNC: u32 = 1;
    pub(super) const LOG: u32 = 2;
    pub(super) const SPEC_ALLOW: u32 = 4;
    pub(super) const TSYNC_ESRCH: u32 = 16;
}

/// Modes of `prctl(PR_SET_SECCOMP)`.
const MODE_STRICT: u64 = 1;
const MODE_FILTER: u64 = 2;

/// `struct sock_fprog`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RawProgram {
    len: u16,
    pad: [u16; 3],
    insns: u64,
}

/// Serves `seccomp(2)`. Listeners (`SECCOMP_FILTER_FLAG_NEW_LISTENER`) are refused as by a kernel before 5.0.
pub fn seccomp(cur: &mut Current, operation: u32, flags: u32, args: UserAddr) -> Result<u64, Errno> {
    match operation {
        op::SET_MODE_STRICT if flags != 0 || !args.is_null() => Err(Errno::EINVAL),
        op::SET_MODE_STRICT => set_strict(&cur.task).map(|()| 0),
        op::SET_MODE_FILTER => set_filter(cur, flags, args),
        op::GET_ACTION_AVAIL if flags != 0 => Err(Errno::EINVAL),
        op::GET_ACTION_AVAIL => {
            const KNOWN: [u32; 7] = [
                action::KILL_PROCESS,
                action::KILL_THREAD,
                action::TRAP,
                action::ERRNO,
                action::TRACE,
                action::LOG,
                action::ALLOW,
            ];
            let wanted: u32 = cur.mem.read(UserRef::new(args))?;
            if KNOWN.contains(&wanted) { Ok(0) } else { Err(Errno::EOPNOTSUPP) }
        }
        _ => Err(Errno::EINVAL),
    }
}

/// Serves `prctl(PR_SET_SECCOMP)`.
pub(crate) fn set_mode(cur: &Current, mode: u64, filter: u64) -> Result<u64, Errno> {
    match mode {
        MODE_STRICT => set_strict(&cur.task).map(|()| 0),
        MODE_FILTER => set_filter(cur, 0, UserAddr::new(filter)),
        _ => Err(Errno::EINVAL),
    }
}

fn set_filter(cur: &Current, flags: u32, at: UserAddr) -> Result<u64, Errno> {
    // Speculation is the host's business, and every call that a filter refuses can be seen in the log anyway.
    if flags & !(flag::TSYNC | flag::LOG | flag::SPEC_ALLOW | flag::TSYNC_ESRCH) != 0 {
        return Err(Errno::EINVAL);
    }
    let raw: RawProgram = cur.mem.read(UserRef::new(at))?;
    let len = usize::from(raw.len);
    if len == 0 || len > MAX_INSNS {
        return Err(Errno::EINVAL);
    }
    if !may_filter(&cur.task) {
        return Err(Errno::EACCES);
    }
    let insns: Vec<Insn> = cur.mem.read_array(UserRef::new(UserAddr::new(raw.insns)), len)?;
    let sync = match flags & (flag::TSYNC | flag::TSYNC_ESRCH) {
        0 | flag::TSYNC_ESRCH => Sync::Alone,
        flag::TSYNC => Sync::TellThread,
        _ => Sync::TellError,
    };
    let Pid(blocker) = add_filter(&cur.task, Program::new(&insns)?, sync)?;
    Ok(u64::from(blocker.cast_unsigned()))
}
