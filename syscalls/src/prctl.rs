//! `prctl`.

use std::sync::atomic::Ordering;

use abi::signal::Signal;
use abi::{Errno, UserAddr, UserRef};
use sentry::Current;
use sentry::task::{Caps, Cred, DEFAULT_SLACK, MEMORY_FAILURE_DEFAULT};

mod op {
    pub(super) const SET_PDEATHSIG: i32 = 1;
    pub(super) const GET_PDEATHSIG: i32 = 2;
    pub(super) const GET_DUMPABLE: i32 = 3;
    pub(super) const SET_DUMPABLE: i32 = 4;
    pub(super) const GET_KEEPCAPS: i32 = 7;
    pub(super) const SET_KEEPCAPS: i32 = 8;
    pub(super) const GET_TIMING: i32 = 13;
    pub(super) const SET_TIMING: i32 = 14;
    pub(super) const SET_NAME: i32 = 15;
    pub(super) const GET_NAME: i32 = 16;
    pub(super) const GET_SECCOMP: i32 = 21;
    pub(super) const SET_SECCOMP: i32 = 22;
    pub(super) const CAPBSET_READ: i32 = 23;
    pub(super) const CAPBSET_DROP: i32 = 24;
    pub(super) const GET_TSC: i32 = 25;
    pub(super) const GET_SECUREBITS: i32 = 27;
    pub(super) const SET_SECUREBITS: i32 = 28;
    pub(super) const SET_TIMERSLACK: i32 = 29;
    pub(super) const GET_TIMERSLACK: i32 = 30;
    pub(super) const MCE_KILL: i32 = 33;
    pub(super) const MCE_KILL_GET: i32 = 34;
    pub(super) const SET_CHILD_SUBREAPER: i32 = 36;
    pub(super) const GET_CHILD_SUBREAPER: i32 = 37;
    pub(super) const SET_NO_NEW_PRIVS: i32 = 38;
    pub(super) const GET_NO_NEW_PRIVS: i32 = 39;
    pub(super) const GET_TID_ADDRESS: i32 = 40;
    pub(super) const SET_THP_DISABLE: i32 = 41;
    pub(super) const GET_THP_DISABLE: i32 = 42;
    pub(super) const CAP_AMBIENT: i32 = 47;
    pub(super) const SET_IO_FLUSHER: i32 = 57;
    pub(super) const GET_IO_FLUSHER: i32 = 58;
    pub(super) const SET_MDWE: i32 = 65;
    pub(super) const GET_MDWE: i32 = 66;
    /// "AUXV".
    pub(super) const GET_AUXV: i32 = 0x4155_5856;
}

const COMM_LEN: usize = 16;
const LAST_CAP: u64 = 40;
/// `SECURE_ALL_BITS | SECURE_ALL_LOCKS`.
const ALL_SECUREBITS: u32 = 0xff;
/// `SECBIT_KEEP_CAPS` and its lock, `SECBIT_NO_CAP_AMBIENT_RAISE`.
const KEEP_CAPS: u32 = 1 << 4;
const KEEP_CAPS_LOCKED: u32 = 1 << 5;
const NO_AMBIENT_RAISE: u32 = 1 << 6;

fn cred(cur: &Current) -> Cred {
    (**cur.task.cred.load()).clone()
}

fn cap(number: u64) -> Result<Caps, Errno> {
    if number > LAST_CAP { Err(Errno::EINVAL) } else { Ok(Caps::from_bits_truncate(1 << number)) }
}

/// Refuses arguments that the operation must be given as zero.
fn zeros(args: &[u64]) -> Result<(), Errno> {
    if args.iter().all(|arg| *arg == 0) { Ok(()) } else { Err(Errno::EINVAL) }
}

fn int(cur: &Current, at: u64, value: i32) -> Result<u64, Errno> {
    cur.mem.write(UserRef::new(UserAddr::new(at)), &value)?;
    Ok(0)
}

/// Serves `prctl(2)`.
pub fn prctl(cur: &mut Current, operation: i32, a2: u64, a3: u64, a4: u64, a5: u64) -> Result<u64, Errno> {
    match operation {
        op::SET_PDEATHSIG => {
            let number = i32::try_from(a2).map_err(|_| Errno::EINVAL)?;
            if number != 0 {
                Signal::new(number).ok_or(Errno::EINVAL)?;
            }
            cur.task.parent_death_signal.store(number, Ordering::Relaxed);
            Ok(0)
        }
        op::GET_PDEATHSIG => int(cur, a2, cur.task.parent_death_signal.load(Ordering::Relaxed)),
        op::SET_NAME => set_name(cur, UserAddr::new(a2)),
        op::GET_NAME => get_name(cur, UserAddr::new(a2)),
        op::SET_CHILD_SUBREAPER => {
            let mut table = cur.kernel().tasks.write();
            if let Some(entry) = table.processes.get_mut(&cur.process().pid) {
                entry.subreaper = a2 != 0;
            }
            Ok(0)
        }
        op::GET_CHILD_SUBREAPER => {
            let subreaper = {
                let table = cur.kernel().tasks.read();
                table.processes.get(&cur.process().pid).is_some_and(|entry| entry.subreaper)
            };
            int(cur, a2, i32::from(subreaper))
        }
        op::GET_TID_ADDRESS => {
            let addr = cur.task.clear_child_tid().raw();
            cur.mem.write(UserRef::new(UserAddr::new(a2)), &addr)?;
            Ok(0)
        }
        op::SET_TIMERSLACK => {
            let slack = if a2.cast_signed() <= 0 { DEFAULT_SLACK } else { a2 };
            cur.task.timer_slack.store(slack, Ordering::Relaxed);
            Ok(0)
        }
        op::GET_TIMERSLACK => Ok(cur.task.timer_slack.load(Ordering::Relaxed)),
        op::GET_TIMING => Ok(0),
        op::SET_TIMING => zeros(&[a2]).map(|()| 0),
        op::GET_SECCOMP => Ok(u64::from(cur.task.seccomp.mode().number())),
        op::SET_SECCOMP => crate::seccomp::set_mode(cur, a2, a3),
        // The time-stamp counter may be read: PR_TSC_ENABLE.
        op::GET_TSC => int(cur, a2, 1),
        op::CAPBSET_READ..=op::SET_SECUREBITS | op::GET_KEEPCAPS | op::SET_KEEPCAPS | op::CAP_AMBIENT => {
            capabilities(cur, operation, [a2, a3, a4, a5])
        }
        op::MCE_KILL => memory_failure(cur, [a2, a3, a4, a5]),
        op::MCE_KILL_GET => {
            zeros(&[a2, a3, a4, a5])?;
            Ok(u64::from(cur.task.memory_failure.load(Ordering::Relaxed)))
        }
        op::SET_NO_NEW_PRIVS => {
            if a2 != 1 {
                return Err(Errno::EINVAL);
            }
            zeros(&[a3, a4, a5])?;
            let mut new = cred(cur);
            new.no_new_privs = true;
            cur.task.set_cred(new);
            Ok(0)
        }
        op::GET_NO_NEW_PRIVS => {
            zeros(&[a2, a3, a4, a5])?;
            Ok(u64::from(cur.task.cred.load().no_new_privs))
        }
        op::GET_AUXV => {
            zeros(&[a4, a5])?;
            let auxv = cur.mm.books().image().auxv.clone();
            let wanted = auxv.len().min(usize::try_from(a3).unwrap_or(usize::MAX));
            cur.mem.write_bytes(UserAddr::new(a2), &auxv[..wanted])?;
            Ok(auxv.len() as u64)
        }
        _ => process_attribute(cur, operation, [a2, a3, a4, a5]),
    }
}

/// When a thread wants to hear of broken memory: remembered, as the host tells guests of none.
fn memory_failure(cur: &Current, [a2, a3, a4, a5]: [u64; 4]) -> Result<u64, Errno> {
    const CLEAR: u64 = 0;
    const SET: u64 = 1;
    zeros(&[a4, a5])?;
    let policy = match (a2, a3) {
        (CLEAR, 0) => MEMORY_FAILURE_DEFAULT,
        (SET, late_early_default @ 0..=2) => late_early_default as u8,
        _ => return Err(Errno::EINVAL),
    };
    cur.task.memory_failure.store(policy, Ordering::Relaxed);
    Ok(0)
}

fn set_name(cur: &Current, at: UserAddr) -> Result<u64, Errno> {
    let mut name = Vec::new();
    let mut byte = [0];
    while name.len() < COMM_LEN - 1 {
        cur.mem.read_bytes(at.wrapping_add(name.len() as u64), &mut byte)?;
        if byte[0] == 0 {
            break;
        }
        name.push(byte[0]);
    }
    *cur.task.comm.lock() = name;
    Ok(0)
}

fn get_name(cur: &Current, at: UserAddr) -> Result<u64, Errno> {
    let mut name = [0; COMM_LEN];
    {
        let comm = cur.task.comm.lock();
        let len = comm.len().min(COMM_LEN - 1);
        name[..len].copy_from_slice(&comm[..len]);
    }
    cur.mem.write_bytes(at, &name)?;
    Ok(0)
}

fn process_attribute(cur: &Current, operation: i32, [a2, a3, a4, a5]: [u64; 4]) -> Result<u64, Errno> {
    let mut attributes = cur.process().attributes.lock();
    match operation {
        op::GET_DUMPABLE => Ok(u64::from(attributes.dumpable)),
        op::SET_DUMPABLE => match u32::try_from(a2) {
            Ok(value @ 0..=1) => {
                attributes.dumpable = value;
                Ok(0)
            }
            _ => Err(Errno::EINVAL),
        },
        op::SET_THP_DISABLE => {
            zeros(&[a3, a4, a5])?;
            attributes.thp_disable = a2 != 0;
            Ok(0)
        }
        op::GET_THP_DISABLE => {
            zeros(&[a2, a3, a4, a5])?;
            Ok(u64::from(attributes.thp_disable))
        }
        op::SET_IO_FLUSHER | op::GET_IO_FLUSHER if !cur.task.cred.load().has(Caps::SYS_RESOURCE) => Err(Errno::EPERM),
        op::SET_IO_FLUSHER => {
            zeros(&[a3, a4, a5])?;
            attributes.io_flusher = match a2 {
                0 => false,
                1 => true,
                _ => return Err(Errno::EINVAL),
            };
            Ok(0)
        }
        op::GET_IO_FLUSHER => {
            zeros(&[a2, a3, a4, a5])?;
            Ok(u64::from(attributes.io_flusher))
        }
        op::SET_MDWE => {
            zeros(&[a3, a4, a5])?;
            let bits = u32::try_from(a2).ok().filter(|bits| matches!(bits, 0 | 1 | 3)).ok_or(Errno::EINVAL)?;
            if attributes.mdwe != 0 && attributes.mdwe != bits {
                return Err(Errno::EPERM);
            }
            attributes.mdwe = bits;
            Ok(0)
        }
        op::GET_MDWE => {
            zeros(&[a2, a3, a4, a5])?;
            Ok(u64::from(attributes.mdwe))
        }
        _ => Err(Errno::EINVAL),
    }
}

fn capabilities(cur: &Current, operation: i32, args: [u64; 4]) -> Result<u64, Errno> {
    let [a2, ..] = args;
    let mut new = cred(cur);
    match operation {
        op::GET_KEEPCAPS => return Ok(u64::from(new.securebits & KEEP_CAPS != 0)),
        op::SET_KEEPCAPS => {
            if a2 > 1 {
                return Err(Errno::EINVAL);
            }
            if new.securebits & KEEP_CAPS_LOCKED != 0 {
                return Err(Errno::EPERM);
            }
            new.securebits = (new.securebits & !KEEP_CAPS) | if a2 == 1 { KEEP_CAPS } else { 0 };
        }
        op::CAPBSET_READ => return Ok(u64::from(new.bounding.contains(cap(a2)?))),
        op::CAPBSET_DROP => {
            if !new.has(Caps::SETPCAP) {
                return Err(Errno::EPERM);
            }
            new.bounding -= cap(a2)?;
        }
        op::GET_SECUREBITS => return Ok(u64::from(new.securebits)),
        op::SET_SECUREBITS => {
            let wanted = u32::try_from(a2).ok().filter(|bits| bits & !ALL_SECUREBITS == 0).ok_or(Errno::EPERM)?;
            // The odd bits lock the even ones below them, and themselves.
            let locks = new.securebits & 0xaa;
            let locked = locks | (locks >> 1);
            if (new.securebits ^ wanted) & locked != 0 || !new.has(Caps::SETPCAP) {
                return Err(Errno::EPERM);
            }
            new.securebits = wanted;
        }
        op::CAP_AMBIENT => return ambient(cur, new, args),
        _ => return Err(Errno::EINVAL),
    }
    cur.task.set_cred(new);
    Ok(0)
}

fn ambient(cur: &Current, mut new: Cred, [a2, a3, a4, a5]: [u64; 4]) -> Result<u64, Errno> {
    const IS_SET: u64 = 1;
    const RAISE: u64 = 2;
    const LOWER: u64 = 3;
    const CLEAR_ALL: u64 = 4;
    if a2 == CLEAR_ALL {
        zeros(&[a3, a4, a5])?;
        new.ambient = Caps::empty();
        cur.task.set_cred(new);
        return Ok(0);
    }
    zeros(&[a4, a5])?;
    let cap = cap(a3)?;
    match a2 {
        IS_SET => return Ok(u64::from(new.ambient.contains(cap))),
        RAISE => {
            let reachable = new.permitted.contains(cap) && new.inheritable.contains(cap);
            if !reachable || new.securebits & NO_AMBIENT_RAISE != 0 {
                return Err(Errno::EPERM);
            }
            new.ambient |= cap;
        }
        LOWER => new.ambient -= cap,
        _ => return Err(Errno::EINVAL),
    }
    cur.task.set_cred(new);
    Ok(0)
}
