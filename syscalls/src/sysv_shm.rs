//! `shmget`, `shmat`, `shmctl`, `shmdt`.

use std::sync::Arc;

use abi::flags::{MapFlags, Prot};
use abi::{Errno, PAGE_SIZE, UserAddr, UserRef};
use sentry::ipc::{Creator, Segment, shm_flags};
use sentry::mm::{Books, FileMap, Limits, MapRequest, MappedFile, Plan, Touch, VmFlags, Vma};
use sentry::{Current, Outcome};
use sentry_fs::MapSource;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::mmap::change;

const IPC_RMID: i32 = 0;
const IPC_SET: i32 = 1;
const IPC_STAT: i32 = 2;
const IPC_INFO: i32 = 3;
const SHM_LOCK: i32 = 11;
const SHM_UNLOCK: i32 = 12;
const SHM_STAT: i32 = 13;
const SHM_INFO: i32 = 14;
const SHM_STAT_ANY: i32 = 15;
/// Version bit that 64-bit callers may set.
const IPC_64: i32 = 0x100;

const SHM_DEST: u32 = 0o1000;
const SHM_LOCKED: u32 = 0o2000;

/// `struct shmid64_ds`.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct ShmidDs {
    key: i32,
    uid: u32,
    gid: u32,
    cuid: u32,
    cgid: u32,
    mode: u32,
    seq: u16,
    pad: [u16; 3],
    unused1: [u64; 2],
    segsz: u64,
    atime: i64,
    dtime: i64,
    ctime: i64,
    cpid: i32,
    lpid: i32,
    nattch: u64,
    unused2: [u64; 2],
}

/// `struct shminfo64`.
#[derive(Clone, Copy, Default, IntoBytes, Immutable)]
#[repr(C)]
struct ShmLimits {
    shmmax: u64,
    shmmin: u64,
    shmmni: u64,
    shmseg: u64,
    shmall: u64,
    unused: [u64; 4],
}

/// `struct shm_info`.
#[derive(Clone, Copy, Default, IntoBytes, Immutable)]
#[repr(C)]
struct ShmUsage {
    used_ids: u64,
    shm_tot: u64,
    shm_rss: u64,
    shm_swp: u64,
    swap: [u64; 2],
}

/// Serves `shmget(2)`.
pub fn shmget(cur: &mut Current, key: i32, size: usize, shmflg: u32) -> Result<u64, Errno> {
    let cred = cur.task.cred.load();
    let creator = Creator { cred: &cred, pid: cur.process().pid.0 };
    let id = cur.kernel().ipc.shm.get(key, size as u64, shmflg, creator)?;
    Ok(u64::from(id.cast_unsigned()))
}

/// Serves `shmat(2)`.
pub fn shmat(cur: &mut Current, shmid: i32, shmaddr: UserAddr, shmflg: u32) -> Outcome<'_> {
    match attach_request(cur, shmid, shmaddr.raw(), shmflg) {
        Ok((segment, request)) => {
            let remap = shmflg & shm_flags::SHM_REMAP != 0;
            let pid = cur.process().pid.0;
            change(cur, request.touch(), move |books, limits| attach(books, limits, &segment, request, remap, pid))
        }
        Err(errno) => Outcome::Done(Err(errno.into())),
    }
}

fn attach(
    books: &mut Books,
    limits: &Limits,
    segment: &Segment,
    request: MapRequest,
    remap: bool,
    pid: i32,
) -> Result<Plan, Errno> {
    if request.flags.contains(MapFlags::FIXED) && !remap {
        let end = request.addr.checked_add(request.len).ok_or(Errno::EINVAL)?;
        let taken = |vma: &Vma| !vma.flags.contains(VmFlags::RESERVE);
        if books.tree().overlapping(request.addr..end).any(taken) {
            return Err(Errno::EINVAL);
        }
    }
    let plan = books.plan_map(request, limits)?;
    segment.touched(pid, true);
    Ok(plan)
}

fn attach_request(cur: &Current, shmid: i32, addr: u64, flags: u32) -> Result<(Arc<Segment>, MapRequest), Errno> {
    let has = |flag: u32| flags & flag != 0;
    if shmid < 0 {
        return Err(Errno::EINVAL);
    }
    let mut place = addr;
    if addr != 0 {
        if !addr.is_multiple_of(PAGE_SIZE) {
            if !has(shm_flags::SHM_RND) {
                return Err(Errno::EINVAL);
            }
            place = abi::addr::page_floor(addr);
            if place == 0 && has(shm_flags::SHM_REMAP) {
                return Err(Errno::EINVAL);
            }
        }
    } else if has(shm_flags::SHM_REMAP) {
        return Err(Errno::EINVAL);
    }
    let segment = cur.kernel().ipc.shm.find(shmid)?;
    let writable = !has(shm_flags::SHM_RDONLY);
    let mut prot = Prot::READ;
    prot.set(Prot::WRITE, writable);
    prot.set(Prot::EXEC, has(shm_flags::SHM_EXEC));
    let mut wanted = if writable { 0o6 } else { 0o4 };
    if has(shm_flags::SHM_EXEC) {
        wanted |= 0o1;
    }
    segment.check(&cur.task.cred.load(), wanted)?;
    let memory = segment.memory(writable)?;
    let file = FileMap {
        file: Arc::clone(&segment) as Arc<dyn MappedFile>,
        readable: true,
        writable,
        noexec: false,
        append_only: false,
        write_sealed: false,
        source: Box::new(move |_shared| Ok(MapSource::Host { file: memory, offset: 0 })),
    };
    let mut map = MapFlags::SHARED;
    map.set(MapFlags::FIXED, place != 0);
    let request = MapRequest {
        addr: place,
        len: segment.size,
        prot,
        flags: map,
        offset: 0,
        file: Some(file),
        extra: VmFlags::SYSV,
    };
    Ok((segment, request))
}

/// Serves `shmdt(2)`.
pub fn shmdt(cur: &mut Current, shmaddr: UserAddr) -> Outcome<'_> {
    let pid = cur.process().pid.0;
    change(cur, Touch::Nothing, move |books, _| detach(books, shmaddr.raw(), pid))
}

fn detach(books: &mut Books, addr: u64, pid: i32) -> Result<Plan, Errno> {
    if !addr.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    // The first piece may have been unmapped: what counts is where the segment would begin.
    let attached = |vma: &&Vma| {
        sentry::ipc::segment_of(vma).is_some_and(|(_, offset)| vma.start.checked_sub(offset) == Some(addr))
    };
    let (id, size) = {
        let first = books.tree().overlapping(addr..u64::MAX).find(attached).ok_or(Errno::EINVAL)?;
        let (segment, _) = sentry::ipc::segment_of(first).ok_or(Errno::EINVAL)?;
        segment.touched(pid, false);
        (segment.id, segment.size.next_multiple_of(PAGE_SIZE))
    };
    let end = addr.saturating_add(size);
    let same = |vma: &&Vma| attached(vma) && sentry::ipc::segment_of(vma).is_some_and(|(segment, _)| segment.id == id);
    let pieces: Vec<_> = books.tree().overlapping(addr..end).filter(same).map(Vma::range).collect();
    let mut plan = Plan::done(0);
    for piece in pieces {
        plan.steps.extend(books.plan_unmap(piece.start, piece.end - piece.start)?.steps);
    }
    Ok(plan)
}

fn describe(cur: &Current, segment: &Segment) -> ShmidDs {
    let info = segment.info();
    let state = |set: bool, bit: u32| if set { bit } else { 0 };
    ShmidDs {
        key: info.key,
        uid: info.uid,
        gid: info.gid,
        cuid: info.cuid,
        cgid: info.cgid,
        mode: info.mode | state(info.removed, SHM_DEST) | state(info.locked, SHM_LOCKED),
        seq: u16::try_from(segment.id / 32768).unwrap_or(u16::MAX),
        segsz: segment.size,
        atime: info.atime,
        dtime: info.dtime,
        ctime: info.ctime,
        cpid: info.cpid,
        lpid: info.lpid,
        nattch: sentry::ipc::attachments(cur.kernel()).get(&segment.id).copied().unwrap_or(0),
        ..ShmidDs::default()
    }
}

/// Serves `shmctl(2)`.
pub fn shmctl(cur: &mut Current, shmid: i32, cmd: i32, buf: UserAddr) -> Result<u64, Errno> {
    let cmd = cmd & !IPC_64;
    if cmd < 0 || shmid < 0 {
        return Err(Errno::EINVAL);
    }
    let shm = &cur.kernel().ipc.shm;
    let cred = cur.task.cred.load_full();
    match cmd {
        IPC_INFO | SHM_INFO => limits(cur, cmd, buf),
        IPC_STAT | SHM_STAT | SHM_STAT_ANY => {
            let segment = if cmd == IPC_STAT { shm.find(shmid)? } else { shm.in_slot(shmid)? };
            if cmd != SHM_STAT_ANY {
                segment.check(&cred, 0o4)?;
            }
            cur.mem.write(UserRef::new(buf), &describe(cur, &segment))?;
            Ok(if cmd == IPC_STAT { 0 } else { u64::from(segment.id.cast_unsigned()) })
        }
        IPC_SET => {
            let new: ShmidDs = cur.mem.read(UserRef::new(buf))?;
            let segment = shm.find(shmid)?;
            segment.check_owner(&cred)?;
            if new.uid == u32::MAX || new.gid == u32::MAX {
                return Err(Errno::EINVAL);
            }
            segment.set(new.uid, new.gid, new.mode);
            Ok(0)
        }
        IPC_RMID => {
            let segment = shm.find(shmid)?;
            segment.check_owner(&cred)?;
            shm.remove(&segment);
            Ok(0)
        }
        SHM_LOCK | SHM_UNLOCK => {
            let segment = shm.find(shmid)?;
            if !cred.has(sentry::task::Caps::IPC_LOCK) {
                segment.check_owner(&cred)?;
                if cmd == SHM_LOCK && Limits::of(&cur.task).memlock == 0 {
                    return Err(Errno::EPERM);
                }
            }
            segment.set_locked(cmd == SHM_LOCK);
            Ok(0)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// Answers with limits or usage and returns the highest slot in use.
fn limits(cur: &Current, cmd: i32, buf: UserAddr) -> Result<u64, Errno> {
    const UNLIMITED: u64 = u64::MAX - (1 << 24);
    let segments = cur.kernel().ipc.shm.list();
    if cmd == IPC_INFO {
        let limits = ShmLimits {
            shmmax: UNLIMITED,
            shmmin: 1,
            shmmni: 4096,
            shmseg: 4096,
            shmall: UNLIMITED,
            ..ShmLimits::default()
        };
        cur.mem.write(UserRef::new(buf), &limits)?;
    } else {
        let pages = segments.iter().map(|(_, segment)| segment.size.div_ceil(PAGE_SIZE)).sum();
        let usage = ShmUsage { used_ids: segments.len() as u64, shm_tot: pages, ..ShmUsage::default() };
        cur.mem.write(UserRef::new(buf), &usage)?;
    }
    Ok(segments.last().map_or(0, |(slot, _)| u64::from(slot.cast_unsigned())))
}
