//! `semget`, `semop`, `semctl`, `semtimedop`.

use std::time::Instant;

use abi::time::Timespec;
use abi::{Errno, UserAddr, UserRef};
use sentry::ipc::sem::{self, SEMMNI, SEMMNS, SEMMSL, SEMOPM, SEMVMX, SemSet, Sembuf};
use sentry::ipc::{GetFlags, RawPerm};
use sentry::{Current, Outcome};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Commands that all System V objects share.
pub(crate) mod cmd {
    pub(crate) const IPC_RMID: i32 = 0;
    pub(crate) const IPC_SET: i32 = 1;
    pub(crate) const IPC_STAT: i32 = 2;
    pub(crate) const IPC_INFO: i32 = 3;
}

const GETPID: i32 = 11;
const GETVAL: i32 = 12;
const GETALL: i32 = 13;
const GETNCNT: i32 = 14;
const GETZCNT: i32 = 15;
const SETVAL: i32 = 16;
const SETALL: i32 = 17;
const SEM_STAT: i32 = 18;
const SEM_INFO: i32 = 19;
const SEM_STAT_ANY: i32 = 20;

/// `struct semid64_ds` of x86-64.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct SemidDs {
    perm: RawPerm,
    otime: i64,
    unused1: u64,
    ctime: i64,
    unused2: u64,
    nsems: u64,
    unused3: [u64; 2],
}

/// `struct seminfo`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct SemInfo {
    map: i32,
    mni: i32,
    mns: i32,
    mnu: i32,
    msl: i32,
    opm: i32,
    ume: i32,
    usz: i32,
    vmx: i32,
    aem: i32,
}

pub(crate) fn as_int(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Serves `semget(2)`.
pub fn semget(cur: &mut Current, key: i32, nsems: i32, flags: u32) -> Result<u64, Errno> {
    let nsems = usize::try_from(nsems).map_err(|_| Errno::EINVAL)?;
    let id = cur.kernel().ipc.sems.open(&cur.task.cred.load(), key, nsems, GetFlags(flags))?;
    Ok(u64::from(id.unsigned_abs()))
}

/// Serves `semop(2)`.
pub fn semop(cur: &mut Current, semid: i32, sops: UserRef<Sembuf>, nsops: usize) -> Outcome<'_> {
    semtimedop(cur, semid, sops, nsops, UserRef::new(UserAddr::NULL))
}

/// Serves `semtimedop(2)`. Never restarted after a signal.
pub fn semtimedop(
    cur: &mut Current,
    semid: i32,
    sops: UserRef<Sembuf>,
    nsops: usize,
    timeout: UserRef<Timespec>,
) -> Outcome<'_> {
    Outcome::block(async move {
        let timeout = cur.mem.read_opt(timeout)?;
        if nsops > SEMOPM {
            return Err(Errno::E2BIG.into());
        }
        if nsops < 1 {
            return Err(Errno::EINVAL.into());
        }
        let ops = cur.mem.read_array(sops, nsops)?;
        let deadline = match timeout {
            Some(time) => Instant::now().checked_add(time.duration()?),
            None => None,
        };
        sem::operate(cur, semid, ops, deadline).await
    })
}

/// Serves `semctl(2)`.
pub fn semctl(cur: &mut Current, semid: i32, semnum: i32, command: i32, arg: u64) -> Result<u64, Errno> {
    if semid < 0 {
        return Err(Errno::EINVAL);
    }
    let at = UserAddr::new(arg);
    match command {
        cmd::IPC_INFO | SEM_INFO => info(cur, command, UserRef::new(at)),
        cmd::IPC_STAT | SEM_STAT | SEM_STAT_ANY => stat(cur, semid, command, UserRef::new(at)),
        GETALL | GETVAL | GETPID | GETNCNT | GETZCNT | SETALL => main(cur, semid, semnum, command, at),
        SETVAL => set_value(cur, semid, semnum, arg),
        cmd::IPC_SET => {
            let new: SemidDs = cur.mem.read(UserRef::new(at))?;
            let set = cur.kernel().ipc.sems.get(semid)?;
            set.set_perm(&cur.task.cred.load(), &new.perm).map(|()| 0)
        }
        cmd::IPC_RMID => cur.kernel().ipc.sems.remove(&cur.task.cred.load(), semid).map(|()| 0),
        _ => Err(Errno::EINVAL),
    }
}

fn info(cur: &Current, command: i32, at: UserRef<SemInfo>) -> Result<u64, Errno> {
    let (highest, sets, sems) = cur.kernel().ipc.sems.usage();
    let mut info = SemInfo {
        map: as_int(SEMMNS),
        mni: as_int(SEMMNI),
        mns: as_int(SEMMNS),
        mnu: as_int(SEMMNS),
        msl: as_int(SEMMSL),
        opm: as_int(SEMOPM),
        ume: as_int(SEMOPM),
        usz: 20,
        vmx: SEMVMX,
        aem: SEMVMX,
    };
    if command == SEM_INFO {
        info.usz = as_int(sets);
        info.aem = as_int(sems);
    }
    cur.mem.write(at, &info)?;
    Ok(u64::from(highest))
}

fn stat(cur: &Current, semid: i32, command: i32, at: UserRef<SemidDs>) -> Result<u64, Errno> {
    let sems = &cur.kernel().ipc.sems;
    let (id, set) = match command {
        cmd::IPC_STAT => (0, sems.get(semid)?),
        _ => sems.get_by_index(semid)?,
    };
    if command != SEM_STAT_ANY {
        set.check(&cur.task.cred.load(), 0o444)?;
    }
    let stat = set.stat();
    let raw = SemidDs {
        perm: stat.perm.to_raw(),
        otime: stat.otime,
        ctime: stat.ctime,
        nsems: set.len() as u64,
        ..SemidDs::default()
    };
    cur.mem.write(at, &raw)?;
    Ok(u64::from(id.unsigned_abs()))
}

fn main(cur: &Current, semid: i32, semnum: i32, command: i32, at: UserAddr) -> Result<u64, Errno> {
    let set = cur.kernel().ipc.sems.get(semid)?;
    let cred = cur.task.cred.load();
    set.check(&cred, if command == SETALL { 0o222 } else { 0o444 })?;
    match command {
        GETALL => cur.mem.write_array(UserRef::new(at), &set.values()).map(|()| 0),
        SETALL => set_all(cur, &set, UserRef::new(at)).map(|()| 0),
        GETVAL => set.value(semnum).map(u64::from),
        GETPID => set.pid(semnum).map(|pid| u64::from(pid.unsigned_abs())),
        GETNCNT => set.waiting(semnum, false).map(|count| count as u64),
        _ => set.waiting(semnum, true).map(|count| count as u64),
    }
}

fn set_all(cur: &Current, set: &SemSet, at: UserRef<u16>) -> Result<(), Errno> {
    let values = cur.mem.read_array(at, set.len())?;
    if values.iter().any(|value| i32::from(*value) > SEMVMX) {
        return Err(Errno::ERANGE);
    }
    set.set_values(&cur.task.cred.load(), &values, cur.process().pid.0)
}

fn set_value(cur: &Current, semid: i32, semnum: i32, arg: u64) -> Result<u64, Errno> {
    // The union's `int val` is the low half of the register.
    let value = <i32 as abi::FromArg>::from_arg(arg);
    if !(0..=SEMVMX).contains(&value) {
        return Err(Errno::ERANGE);
    }
    let value = u16::try_from(value).map_err(|_| Errno::ERANGE)?;
    let set = cur.kernel().ipc.sems.get(semid)?;
    set.set_value(&cur.task.cred.load(), semnum, value, cur.process().pid.0).map(|()| 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Guest;
    use abi::SysError;

    fn errno(result: Option<sentry::SysResult>) -> Errno {
        match result {
            Some(Err(SysError::Errno(errno))) => errno,
            other => panic!("no error but {other:?}"),
        }
    }

    fn op(guest: &mut Guest, num: u16, by: i16, flags: u16) -> UserRef<Sembuf> {
        UserRef::new(guest.put(Sembuf { num, op: by, flags }.as_bytes()))
    }

    #[test]
    fn operations_are_checked_in_the_order_of_linux() {
        let mut guest = Guest::new();
        assert_eq!(errno(guest.call(|cur| semget(cur, 0, 0, 0o600))), Errno::EINVAL);
        let id = i32::try_from(guest.call(|cur| semget(cur, 0, 2, 0o600)).unwrap().unwrap()).unwrap();
        let down = op(&mut guest, 0, -1, 0o4000);
        assert_eq!(errno(guest.call(|cur| semop(cur, id, down, SEMOPM + 1))), Errno::E2BIG);
        assert_eq!(errno(guest.call(|cur| semop(cur, id, down, 0))), Errno::EINVAL);
        assert_eq!(errno(guest.call(|cur| semop(cur, 77, down, 1))), Errno::EINVAL);
        assert_eq!(errno(guest.call(|cur| semop(cur, id, down, 1))), Errno::EAGAIN);
        let beyond = op(&mut guest, 2, 1, 0);
        assert_eq!(errno(guest.call(|cur| semop(cur, id, beyond, 1))), Errno::EFBIG);
        let up = op(&mut guest, 1, 3, 0);
        assert_eq!(guest.call(|cur| semop(cur, id, up, 1)), Some(Ok(0)));
        assert_eq!(guest.call(|cur| semctl(cur, id, 1, GETVAL, 0)), Some(Ok(3)));
        assert_eq!(guest.call(|cur| semctl(cur, id, 1, GETPID, 0)), Some(Ok(7)));
        assert_eq!(errno(guest.call(|cur| semctl(cur, id, 2, GETVAL, 0))), Errno::EINVAL);
        assert_eq!(errno(guest.call(|cur| semctl(cur, id, 0, SETVAL, 32_768))), Errno::ERANGE);
    }

    #[test]
    fn structs_have_their_sizes() {
        assert_eq!((size_of::<SemidDs>(), size_of::<SemInfo>(), size_of::<Sembuf>()), (104, 40, 6));
    }
}
