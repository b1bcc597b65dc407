//! `set*uid`, `set*gid`, `getres*id`, groups, `capget`, `capset`.
//!
//! Source: `man 7 credentials`, `man 7 capabilities`, the kernel's `kernel/sys.c` and `security/commoncap.c`.

use abi::{Errno, Gid, Pid, Uid, UserRef};
use sentry::Current;
use sentry::task::{Caps, Cred};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const NGROUPS_MAX: usize = 65_536;
/// `SECBIT_NO_SETUID_FIXUP`, `SECBIT_KEEP_CAPS`.
const NO_SETUID_FIXUP: u32 = 1 << 2;
const KEEP_CAPS: u32 = 1 << 4;
/// Capabilities that follow the file-system user id.
const FS_CAPS: Caps = Caps::CHOWN
    .union(Caps::MKNOD)
    .union(Caps::DAC_OVERRIDE)
    .union(Caps::DAC_READ_SEARCH)
    .union(Caps::FOWNER)
    .union(Caps::FSETID)
    .union(Caps::LINUX_IMMUTABLE)
    .union(Caps::MAC_OVERRIDE);

fn copy(cur: &Current) -> Cred {
    (**cur.task.cred.load()).clone()
}

/// What changing user ids does to capabilities (`cap_task_fix_setuid`), then installs the credentials.
fn install(cur: &Current, mut new: Cred) {
    let old = cur.task.cred.load();
    if new.securebits & NO_SETUID_FIXUP == 0 {
        let had_root = old.ruid == 0 || old.euid == 0 || old.suid == 0;
        let has_root = new.ruid == 0 || new.euid == 0 || new.suid == 0;
        if had_root && !has_root {
            if new.securebits & KEEP_CAPS == 0 {
                new.permitted = Caps::empty();
                new.effective = Caps::empty();
            }
            new.ambient = Caps::empty();
        }
        if old.euid == 0 && new.euid != 0 {
            new.effective = Caps::empty();
        } else if old.euid != 0 && new.euid == 0 {
            new.effective = new.permitted;
        }
    }
    if old.euid != new.euid || old.egid != new.egid || old.fsuid != new.fsuid || old.fsgid != new.fsgid {
        cur.process().attributes.lock().dumpable = 0;
        cur.task.parent_death_signal.store(0, std::sync::atomic::Ordering::Relaxed);
    }
    drop(old);
    cur.task.set_cred(new);
}

/// Serves `setuid(2)`.
pub fn setuid(cur: &mut Current, uid: Uid) -> Result<(), Errno> {
    let mut new = copy(cur);
    if uid == Uid::UNCHANGED {
        return Err(Errno::EINVAL);
    }
    if new.has(Caps::SETUID) {
        new.ruid = uid.0;
        new.suid = uid.0;
    } else if uid.0 != new.ruid && uid.0 != new.suid {
        return Err(Errno::EPERM);
    }
    new.euid = uid.0;
    new.fsuid = uid.0;
    install(cur, new);
    Ok(())
}

/// Serves `setgid(2)`.
pub fn setgid(cur: &mut Current, gid: Gid) -> Result<(), Errno> {
    let mut new = copy(cur);
    if gid == Gid::UNCHANGED {
        return Err(Errno::EINVAL);
    }
    if new.has(Caps::SETGID) {
        new.rgid = gid.0;
        new.sgid = gid.0;
    } else if gid.0 != new.rgid && gid.0 != new.sgid {
        return Err(Errno::EPERM);
    }
    new.egid = gid.0;
    new.fsgid = gid.0;
    install(cur, new);
    Ok(())
}

/// Serves `setreuid(2)`.
pub fn setreuid(cur: &mut Current, ruid: Uid, euid: Uid) -> Result<(), Errno> {
    let mut new = copy(cur);
    let old = new.clone();
    let privileged = old.has(Caps::SETUID);
    if ruid != Uid::UNCHANGED {
        if !privileged && ruid.0 != old.ruid && ruid.0 != old.euid {
            return Err(Errno::EPERM);
        }
        new.ruid = ruid.0;
    }
    if euid != Uid::UNCHANGED {
        if !privileged && ![old.ruid, old.euid, old.suid].contains(&euid.0) {
            return Err(Errno::EPERM);
        }
        new.euid = euid.0;
    }
    if ruid != Uid::UNCHANGED || (euid != Uid::UNCHANGED && euid.0 != old.ruid) {
        new.suid = new.euid;
    }
    new.fsuid = new.euid;
    install(cur, new);
    Ok(())
}

/// Serves `setregid(2)`.
pub fn setregid(cur: &mut Current, rgid: Gid, egid: Gid) -> Result<(), Errno> {
    let mut new = copy(cur);
    let old = new.clone();
    let privileged = old.has(Caps::SETGID);
    if rgid != Gid::UNCHANGED {
        if !privileged && rgid.0 != old.rgid && rgid.0 != old.egid {
            return Err(Errno::EPERM);
        }
        new.rgid = rgid.0;
    }
    if egid != Gid::UNCHANGED {
        if !privileged && ![old.rgid, old.egid, old.sgid].contains(&egid.0) {
            return Err(Errno::EPERM);
        }
        new.egid = egid.0;
    }
    if rgid != Gid::UNCHANGED || (egid != Gid::UNCHANGED && egid.0 != old.rgid) {
        new.sgid = new.egid;
    }
    new.fsgid = new.egid;
    install(cur, new);
    Ok(())
}

/// Serves `setresuid(2)`.
pub fn setresuid(cur: &mut Current, ruid: Uid, euid: Uid, suid: Uid) -> Result<(), Errno> {
    let mut new = copy(cur);
    let own = [new.ruid, new.euid, new.suid];
    let asked = [ruid, euid, suid];
    if !new.has(Caps::SETUID) && asked.iter().any(|uid| *uid != Uid::UNCHANGED && !own.contains(&uid.0)) {
        return Err(Errno::EPERM);
    }
    for (slot, uid) in [&mut new.ruid, &mut new.euid, &mut new.suid].into_iter().zip(asked) {
        if uid != Uid::UNCHANGED {
            *slot = uid.0;
        }
    }
    new.fsuid = new.euid;
    install(cur, new);
    Ok(())
}

/// Serves `setresgid(2)`.
pub fn setresgid(cur: &mut Current, rgid: Gid, egid: Gid, sgid: Gid) -> Result<(), Errno> {
    let mut new = copy(cur);
    let own = [new.rgid, new.egid, new.sgid];
    let asked = [rgid, egid, sgid];
    if !new.has(Caps::SETGID) && asked.iter().any(|gid| *gid != Gid::UNCHANGED && !own.contains(&gid.0)) {
        return Err(Errno::EPERM);
    }
    for (slot, gid) in [&mut new.rgid, &mut new.egid, &mut new.sgid].into_iter().zip(asked) {
        if gid != Gid::UNCHANGED {
            *slot = gid.0;
        }
    }
    new.fsgid = new.egid;
    install(cur, new);
    Ok(())
}

/// Serves `getresuid(2)`.
pub fn getresuid(cur: &mut Current, r: UserRef<u32>, e: UserRef<u32>, s: UserRef<u32>) -> Result<(), Errno> {
    let cred = copy(cur);
    cur.mem.write(r, &cred.ruid)?;
    cur.mem.write(e, &cred.euid)?;
    cur.mem.write_last(s, &cred.suid)
}

/// Serves `getresgid(2)`.
pub fn getresgid(cur: &mut Current, r: UserRef<u32>, e: UserRef<u32>, s: UserRef<u32>) -> Result<(), Errno> {
    let cred = copy(cur);
    cur.mem.write(r, &cred.rgid)?;
    cur.mem.write(e, &cred.egid)?;
    cur.mem.write_last(s, &cred.sgid)
}

/// Serves `setfsuid(2)`: returns the old id whether or not it has changed.
pub fn setfsuid(cur: &mut Current, fsuid: Uid) -> Result<u64, Errno> {
    let mut new = copy(cur);
    let old = new.fsuid;
    let allowed = [new.ruid, new.euid, new.suid, new.fsuid].contains(&fsuid.0) || new.has(Caps::SETUID);
    if fsuid != Uid::UNCHANGED && allowed {
        new.fsuid = fsuid.0;
        if new.securebits & NO_SETUID_FIXUP == 0 {
            if old == 0 && fsuid.0 != 0 {
                new.effective -= FS_CAPS;
            } else if old != 0 && fsuid.0 == 0 {
                new.effective |= new.permitted & FS_CAPS;
            }
        }
        cur.task.set_cred(new);
    }
    Ok(u64::from(old))
}

/// Serves `setfsgid(2)`: returns the old id whether or not it has changed.
pub fn setfsgid(cur: &mut Current, fsgid: Gid) -> Result<u64, Errno> {
    let mut new = copy(cur);
    let old = new.fsgid;
    let allowed = [new.rgid, new.egid, new.sgid, new.fsgid].contains(&fsgid.0) || new.has(Caps::SETGID);
    if fsgid != Gid::UNCHANGED && allowed {
        new.fsgid = fsgid.0;
        cur.task.set_cred(new);
    }
    Ok(u64::from(old))
}

/// Serves `getgroups(2)`.
pub fn getgroups(cur: &mut Current, size: i32, list: UserRef<u32>) -> Result<u64, Errno> {
    let size = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
    let cred = copy(cur);
    if size != 0 {
        if cred.groups.len() > size {
            return Err(Errno::EINVAL);
        }
        cur.mem.write_array(list, &cred.groups)?;
    }
    Ok(cred.groups.len() as u64)
}

/// Serves `setgroups(2)`.
pub fn setgroups(cur: &mut Current, size: i32, list: UserRef<u32>) -> Result<(), Errno> {
    let mut new = copy(cur);
    if !new.has(Caps::SETGID) {
        return Err(Errno::EPERM);
    }
    let size = usize::try_from(size).ok().filter(|size| *size <= NGROUPS_MAX).ok_or(Errno::EINVAL)?;
    let mut groups = cur.mem.read_array(list, size)?;
    if groups.contains(&u32::MAX) {
        return Err(Errno::EINVAL);
    }
    groups.sort_unstable();
    new.groups = groups;
    cur.task.set_cred(new);
    Ok(())
}

/// `struct __user_cap_header_struct`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CapHeader {
    version: u32,
    pid: i32,
}

/// `struct __user_cap_data_struct`: 32 bits of each set.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const VERSION_1: u32 = 0x1998_0330;
const VERSION_2: u32 = 0x2007_1026;
const VERSION_3: u32 = 0x2008_0522;

/// Returns how many 32-bit words each set has; an unknown version is answered with the newest.
fn words(cur: &Current, at: UserRef<CapHeader>, header: CapHeader) -> Result<usize, Errno> {
    match header.version {
        VERSION_1 => Ok(1),
        VERSION_2 | VERSION_3 => Ok(2),
        _ => {
            cur.mem.write(at.cast::<u32>(), &VERSION_3)?;
            Err(Errno::EINVAL)
        }
    }
}

/// Serves `capget(2)`.
pub fn capget(cur: &mut Current, header: UserRef<CapHeader>, data: UserRef<CapData>) -> Result<(), Errno> {
    let asked = cur.mem.read(header)?;
    let words = match words(cur, header, asked) {
        // With no place for data this is how a program asks for the version.
        Err(Errno::EINVAL) if data.is_null() => return Ok(()),
        other => other?,
    };
    if asked.pid < 0 {
        return Err(Errno::EINVAL);
    }
    let target = match asked.pid {
        0 => cur.task.clone(),
        pid => cur.kernel().tasks.read().tasks.get(&Pid(pid)).cloned().ok_or(Errno::ESRCH)?,
    };
    if data.is_null() {
        return Ok(());
    }
    let cred = target.cred.load();
    let low = |caps: Caps| u32::try_from(caps.bits() & 0xffff_ffff).unwrap_or_default();
    let high = |caps: Caps| u32::try_from(caps.bits() >> 32).unwrap_or_default();
    let (effective, permitted, inheritable) = (cred.effective, cred.permitted, cred.inheritable);
    let sets = [
        CapData { effective: low(effective), permitted: low(permitted), inheritable: low(inheritable) },
        CapData { effective: high(effective), permitted: high(permitted), inheritable: high(inheritable) },
    ];
    cur.mem.write_array(data, &sets[..words])
}

/// Serves `capset(2)`.
pub fn capset(cur: &mut Current, header: UserRef<CapHeader>, data: UserRef<CapData>) -> Result<(), Errno> {
    let asked = cur.mem.read(header)?;
    let words = words(cur, header, asked)?;
    if asked.pid != 0 && asked.pid != cur.task.tid.0 {
        return Err(Errno::EPERM);
    }
    let mut sets = [CapData::default(); 2];
    sets[..words].copy_from_slice(&cur.mem.read_array(data, words)?);
    let join = |get: fn(&CapData) -> u32| {
        Caps::from_bits_truncate(u64::from(get(&sets[0])) | (u64::from(get(&sets[1])) << 32))
    };
    let (effective, permitted) = (join(|set| set.effective), join(|set| set.permitted));
    let inheritable = join(|set| set.inheritable);
    let mut new = copy(cur);
    // `cap_capset`: inheritable may grow within permitted (any, with CAP_SETPCAP) and always within bounding.
    let reachable = if new.has(Caps::SETPCAP) { Caps::all() } else { new.inheritable | new.permitted };
    let bounded = new.inheritable | new.bounding;
    let sound = reachable.contains(inheritable)
        && bounded.contains(inheritable)
        && new.permitted.contains(permitted)
        && permitted.contains(effective);
    if !sound {
        return Err(Errno::EPERM);
    }
    new.effective = effective;
    new.permitted = permitted;
    new.inheritable = inheritable;
    new.ambient &= permitted & inheritable;
    cur.task.set_cred(new);
    Ok(())
}
