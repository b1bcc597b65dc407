//! `fcntl`, `flock`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::flags::OpenFlags;
use abi::{Errno, Fd, Pid, Restart, SysError, UserAddr, UserRef};
use sentry::task::Caps;
use sentry::vfs::locks::{AnyLock, InodeLocks, LockOwner, RangeLock, WholeLock};
use sentry::vfs::{FdFlags, File, Owner, OwnerKind, perm};
use sentry::{Current, Outcome, SysResult};
use sentry_fs::FileOps;
use sentry_fs::pipe::{Pipe, PipeEnd};
use sentry_fs::tmpfs::memfd;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::read_write::attempt;

const F_DUPFD: u32 = 0;
const F_GETFD: u32 = 1;
const F_SETFD: u32 = 2;
const F_GETFL: u32 = 3;
const F_SETFL: u32 = 4;
const F_GETLK: u32 = 5;
const F_SETLK: u32 = 6;
const F_SETLKW: u32 = 7;
const F_SETOWN: u32 = 8;
const F_GETOWN: u32 = 9;
const F_SETSIG: u32 = 10;
const F_GETSIG: u32 = 11;
const F_SETOWN_EX: u32 = 15;
const F_GETOWN_EX: u32 = 16;
const F_OFD_GETLK: u32 = 36;
const F_OFD_SETLK: u32 = 37;
const F_OFD_SETLKW: u32 = 38;
const F_SETLEASE: u32 = 1024;
const F_GETLEASE: u32 = 1025;
const F_NOTIFY: u32 = 1026;
const F_DUPFD_QUERY: u32 = 1027;
const F_CREATED_QUERY: u32 = 1028;
const F_DUPFD_CLOEXEC: u32 = 1030;
const F_SETPIPE_SZ: u32 = 1031;
const F_GETPIPE_SZ: u32 = 1032;
const F_ADD_SEALS: u32 = 1033;
const F_GET_SEALS: u32 = 1034;
const F_GET_RW_HINT: u32 = 1035;
const F_SET_RW_HINT: u32 = 1036;

const F_RDLCK: i16 = 0;
const F_WRLCK: i16 = 1;
const F_UNLCK: i16 = 2;

/// Highest write-lifetime hint (`RWH_WRITE_LIFE_EXTREME`).
const RW_HINT_MAX: u64 = 5;

/// `F_NOTIFY` reports more than once.
const DN_MULTISHOT: u32 = 0x8000_0000;

const LOCK_SH: u32 = 1;
const LOCK_EX: u32 = 2;
const LOCK_NB: u32 = 4;
const LOCK_UN: u32 = 8;

/// `struct flock`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Flock {
    kind: i16,
    whence: i16,
    pad0: u32,
    start: i64,
    len: i64,
    pid: i32,
    pad1: u32,
}

/// Serves `fcntl(2)`.
pub fn fcntl(cur: &mut Current, fd: Fd, op: u32, arg: u64) -> Outcome<'_> {
    let (file, own) = attempt!(cur.task.files.load().get_with_flags(fd));
    let for_path =
        matches!(op, F_DUPFD | F_DUPFD_CLOEXEC | F_DUPFD_QUERY | F_CREATED_QUERY | F_GETFD | F_SETFD | F_GETFL);
    if file.flags().contains(OpenFlags::PATH) && !for_path {
        return Outcome::Done(Err(Errno::EBADF.into()));
    }
    match op {
        F_SETLKW | F_OFD_SETLKW => {
            let request = attempt!(LockRequest::read(cur, &file, op == F_OFD_SETLKW, UserAddr::new(arg)));
            match request.attempt() {
                Ok(()) => Outcome::Done(Ok(0)),
                Err(holder) => Outcome::block(request.wait(cur, holder)),
            }
        }
        F_SETLK | F_OFD_SETLK => {
            let request = attempt!(LockRequest::read(cur, &file, op == F_OFD_SETLK, UserAddr::new(arg)));
            Outcome::Done(request.attempt().map(|()| 0).map_err(|_| Errno::EAGAIN.into()))
        }
        _ => Outcome::Done(at_once(cur, fd, &file, own, op, arg).map_err(SysError::Errno)),
    }
}

fn int(value: i32) -> u64 {
    i64::from(value).cast_unsigned()
}

/// The low half of the argument, as commands that take an `int` see it.
#[allow(clippy::cast_possible_truncation)] // so does the C prototype
fn int_arg(arg: u64) -> i32 {
    (arg as u32).cast_signed()
}

/// Serves the commands that never wait.
fn at_once(cur: &Current, fd: Fd, file: &Arc<File>, own: FdFlags, op: u32, arg: u64) -> Result<u64, Errno> {
    let files = cur.task.files.load();
    match op {
        F_DUPFD | F_DUPFD_CLOEXEC => {
            let limit = cur.process().fd_limit();
            let min = usize::try_from(int_arg(arg)).ok().filter(|min| *min < limit).ok_or(Errno::EINVAL)?;
            let flags = if op == F_DUPFD_CLOEXEC { FdFlags::CLOEXEC } else { FdFlags::empty() };
            files.install(Arc::clone(file), flags, min, limit).map(|fd| int(fd.0))
        }
        F_DUPFD_QUERY => {
            let other = files.get(Fd(int_arg(arg)))?;
            Ok(u64::from(Arc::ptr_eq(&other, file)))
        }
        F_CREATED_QUERY => Ok(u64::from(file.created.load(Ordering::Relaxed))),
        F_GETFD => Ok(u64::from(own.bits())),
        F_SETFD => {
            let flags = FdFlags::from_bits_truncate(int_arg(arg).cast_unsigned());
            files.set_flags(fd, flags).map(|()| 0)
        }
        F_GETFL => Ok(u64::from(file.flags().bits())),
        F_SETFL => {
            set_status(cur, file, OpenFlags::from_bits_retain(int_arg(arg).cast_unsigned()))?;
            file.set_async(cur.kernel(), fd);
            Ok(0)
        }
        F_GETLK | F_OFD_GETLK => get_lock(cur, file, op == F_OFD_GETLK, UserRef::new(UserAddr::new(arg))).map(|()| 0),
        F_SETOWN | F_GETOWN | F_SETSIG | F_GETSIG | F_SETOWN_EX | F_GETOWN_EX => owner(cur, file, op, arg),
        F_SETLEASE => lease(cur, file, int_arg(arg)),
        F_GETLEASE => Ok(u64::from(F_UNLCK.cast_unsigned())),
        F_SETPIPE_SZ => {
            let privileged = cur.task.cred.load().has(Caps::SYS_RESOURCE);
            let bytes = u64::from(int_arg(arg).cast_unsigned());
            pipe_of(file)?.set_capacity(bytes, privileged).map(|bytes| bytes as u64)
        }
        F_GETPIPE_SZ => Ok(pipe_of(file)?.capacity() as u64),
        F_ADD_SEALS => {
            let inode = file.inode.as_ref().ok_or(Errno::EINVAL)?;
            memfd::add_seals(inode, file.flags().writable(), int_arg(arg).cast_unsigned()).map(|()| 0)
        }
        F_GET_SEALS => {
            let inode = file.inode.as_ref().ok_or(Errno::EINVAL)?;
            memfd::get_seals(inode).map(|seals| u64::from(seals.bits()))
        }
        F_GET_RW_HINT => {
            cur.mem.write(UserRef::new(UserAddr::new(arg)), &file.rw_hint.load(Ordering::Relaxed)).map(|()| 0)
        }
        F_SET_RW_HINT => {
            let hint: u64 = cur.mem.read(UserRef::new(UserAddr::new(arg)))?;
            if hint > RW_HINT_MAX {
                return Err(Errno::EINVAL);
            }
            file.rw_hint.store(hint, Ordering::Relaxed);
            Ok(0)
        }
        // Without an event F_NOTIFY ends all watches, of which there never is one: events are refused below, as where the
        // kernel has no dnotify. So are the description's own hints.
        F_NOTIFY if int_arg(arg).cast_unsigned() & !DN_MULTISHOT == 0 => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

fn set_status(cur: &Current, file: &File, flags: OpenFlags) -> Result<(), Errno> {
    let mut changeable =
        OpenFlags::APPEND | OpenFlags::NONBLOCK | OpenFlags::ASYNC | OpenFlags::DIRECT | OpenFlags::NOATIME;
    if (flags ^ file.flags()).contains(OpenFlags::ASYNC) && !file.can_signal() {
        changeable -= OpenFlags::ASYNC;
    }
    let new = (file.flags() - changeable) | (flags & changeable);
    if new.contains(OpenFlags::NOATIME) && !file.flags().contains(OpenFlags::NOATIME) {
        let attr = crate::at::file_attr(file)?;
        if !perm::owner_or_capable(&cur.task.cred.load(), &attr) {
            return Err(Errno::EPERM);
        }
    }
    file.ops.set_status_flags(new)?;
    file.set_flags(new, changeable);
    Ok(())
}

fn pipe_of(file: &File) -> Result<Arc<Pipe>, Errno> {
    let ops: Arc<dyn FileOps> = Arc::clone(&file.ops);
    let end = ops.as_any().downcast::<PipeEnd>().map_err(|_| Errno::EBADF)?;
    Ok(Arc::clone(end.pipe()))
}

/// Leases aren't given out, as by a file system that has none; there is never one to give up.
fn lease(cur: &Current, file: &File, arg: i32) -> Result<u64, Errno> {
    let attr = crate::at::file_attr(file)?;
    let cred = cur.task.cred.load();
    if cred.fsuid != attr.uid && !cred.has(Caps::LEASE) {
        return Err(Errno::EACCES);
    }
    if file.is_regular() && arg == i32::from(F_UNLCK) { Err(Errno::EAGAIN) } else { Err(Errno::EINVAL) }
}

fn owner(cur: &Current, file: &File, op: u32, arg: u64) -> Result<u64, Errno> {
    let old = file.owner();
    match op {
        F_SETSIG => {
            let signal = i32::try_from(arg).ok().filter(|signal| (0..=abi::signal::NSIG).contains(signal));
            file.set_owner(Owner { signal: signal.ok_or(Errno::EINVAL)?, ..old });
            Ok(0)
        }
        F_GETSIG => Ok(int(old.signal)),
        F_GETOWN => Ok(int(if old.kind == OwnerKind::Group { -old.id } else { old.id })),
        F_SETOWN => {
            let id = int_arg(arg);
            let (kind, id) = if id < 0 {
                (OwnerKind::Group, id.checked_neg().ok_or(Errno::EINVAL)?)
            } else {
                (OwnerKind::Process, id)
            };
            check_exists(cur, kind, id)?;
            file.set_owner(Owner { kind, id, ..old });
            Ok(0)
        }
        F_SETOWN_EX => {
            let [kind, id]: [i32; 2] = cur.mem.read(UserRef::new(UserAddr::new(arg)))?;
            let kind = match kind {
                0 => OwnerKind::Thread,
                1 => OwnerKind::Process,
                2 => OwnerKind::Group,
                _ => return Err(Errno::EINVAL),
            };
            check_exists(cur, kind, id)?;
            file.set_owner(Owner { kind, id, ..old });
            Ok(0)
        }
        _ => {
            let kind = match old.kind {
                OwnerKind::Thread => 0,
                OwnerKind::Process => 1,
                OwnerKind::Group => 2,
            };
            cur.mem.write(UserRef::new(UserAddr::new(arg)), &[kind, old.id]).map(|()| 0)
        }
    }
}

fn check_exists(cur: &Current, kind: OwnerKind, id: i32) -> Result<(), Errno> {
    let table = cur.kernel().tasks.read();
    let exists = match kind {
        _ if id == 0 => true,
        OwnerKind::Thread => table.tasks.contains_key(&Pid(id)),
        OwnerKind::Process => table.process_of(Pid(id)).is_some(),
        OwnerKind::Group => table.processes.values().any(|entry| entry.pgid == Pid(id)),
    };
    if exists { Ok(()) } else { Err(Errno::ESRCH) }
}

/// Returns first and last byte of a lock (kernel: `flock64_to_posix_lock`).
fn range(file: &File, lock: &Flock) -> Result<(u64, u64), Errno> {
    let from = match lock.whence {
        0 => 0,
        1 => i64::try_from(file.position()).map_err(|_| Errno::EOVERFLOW)?,
        2 => i64::try_from(crate::at::file_attr(file)?.size).map_err(|_| Errno::EOVERFLOW)?,
        _ => return Err(Errno::EINVAL),
    };
    let start = from.checked_add(lock.start).ok_or(Errno::EOVERFLOW)?;
    let (start, end) = match lock.len {
        0 => (start, i64::MAX),
        len if len > 0 => (start, start.checked_add(len - 1).ok_or(Errno::EOVERFLOW)?),
        len => (start.checked_add(len).ok_or(Errno::EINVAL)?, start - 1),
    };
    let start = u64::try_from(start).map_err(|_| Errno::EINVAL)?;
    Ok((start, u64::try_from(end).map_err(|_| Errno::EINVAL)?))
}

fn lock_owner(cur: &Current, file: &File, ofd: bool) -> (LockOwner, i32) {
    if ofd { (LockOwner::Description(file.id), -1) } else { (cur.task.files.load().lock_owner(), cur.process().pid.0) }
}

fn get_lock(cur: &Current, file: &File, ofd: bool, at: UserRef<Flock>) -> Result<(), Errno> {
    let mut lock = cur.mem.read(at)?;
    if !matches!(lock.kind, F_RDLCK | F_WRLCK) {
        return Err(Errno::EINVAL);
    }
    let (start, end) = range(file, &lock)?;
    if ofd && lock.pid != 0 {
        return Err(Errno::EINVAL);
    }
    let (owner, pid) = lock_owner(cur, file, ofd);
    let want = RangeLock { owner, description: file.id, pid, write: lock.kind == F_WRLCK, start, end };
    match file.locks()?.conflict(&want) {
        None => lock.kind = F_UNLCK,
        Some(held) => {
            let len = if held.end == i64::MAX.unsigned_abs() { 0 } else { held.end - held.start + 1 };
            lock = Flock {
                kind: if held.write { F_WRLCK } else { F_RDLCK },
                whence: 0,
                start: i64::try_from(held.start).map_err(|_| Errno::EOVERFLOW)?,
                len: i64::try_from(len).map_err(|_| Errno::EOVERFLOW)?,
                pid: held.pid,
                ..lock
            };
        }
    }
    cur.mem.write_last(at, &lock)
}

/// A record lock to set or take away.
struct LockRequest {
    locks: Arc<InodeLocks>,
    want: RangeLock,
    unlock: bool,
}

impl LockRequest {
    fn read(cur: &Current, file: &File, ofd: bool, at: UserAddr) -> Result<LockRequest, Errno> {
        let lock: Flock = cur.mem.read(UserRef::new(at))?;
        let (start, end) = range(file, &lock)?;
        let flags = file.flags();
        match lock.kind {
            F_RDLCK if !flags.readable() => return Err(Errno::EBADF),
            F_WRLCK if !flags.writable() => return Err(Errno::EBADF),
            F_RDLCK | F_WRLCK | F_UNLCK => {}
            _ => return Err(Errno::EINVAL),
        }
        if ofd && lock.pid != 0 {
            return Err(Errno::EINVAL);
        }
        let (owner, pid) = lock_owner(cur, file, ofd);
        let want = RangeLock { owner, description: file.id, pid, write: lock.kind == F_WRLCK, start, end };
        Ok(LockRequest { locks: file.locks()?, want, unlock: lock.kind == F_UNLCK })
    }

    fn attempt(&self) -> Result<(), RangeLock> {
        if self.unlock {
            self.locks.unlock(self.want.owner, self.want.start, self.want.end);
            return Ok(());
        }
        self.locks.lock(self.want)
    }

    /// Waits for the lock: `EDEADLK` where its holder waits for this owner, directly or not (POSIX locks only).
    async fn wait(self, cur: &mut Current, mut holder: RangeLock) -> SysResult {
        let task = Arc::clone(&cur.task);
        let waits = &task.kernel.vfs.lock_waits;
        let me = self.want.owner;
        let posix = matches!(me, LockOwner::Table(_));
        let _shown = self.locks.want(AnyLock::Range(self.want));
        loop {
            if posix {
                waits.begin(me, holder.owner)?;
            }
            let attempt = || match self.attempt() {
                Ok(()) => Some(Ok(())),
                // Another one has been faster: now that one is waited for.
                Err(other) if other.owner != holder.owner => Some(Err(other)),
                Err(_) => None,
            };
            let result = task.wait(&self.locks.freed, !0, None, attempt).await;
            if posix {
                waits.end(me);
            }
            match result {
                Ok(Ok(())) => return Ok(0),
                Ok(Err(other)) => holder = other,
                Err(_) => return Err(Restart::Sys.into()),
            }
        }
    }
}

/// Serves `flock(2)`.
pub fn flock(cur: &mut Current, fd: Fd, op: u32) -> Outcome<'_> {
    let file = attempt!(cur.task.files.load().get_io(fd));
    let write = match op & !LOCK_NB {
        LOCK_SH => false,
        LOCK_EX => true,
        LOCK_UN => {
            attempt!(file.locks()).funlock(file.id);
            return Outcome::Done(Ok(0));
        }
        _ => return Outcome::Done(Err(Errno::EINVAL.into())),
    };
    let locks = attempt!(file.locks());
    let want = WholeLock { description: file.id, pid: cur.process().pid.0, write };
    match locks.flock(want) {
        Ok(()) => Outcome::Done(Ok(0)),
        Err(errno) if op & LOCK_NB != 0 => Outcome::Done(Err(errno.into())),
        Err(_) => Outcome::block(async move {
            let task = Arc::clone(&cur.task);
            let _shown = locks.want(AnyLock::Whole(want));
            let attempt = || locks.flock(want).ok();
            match task.wait(&locks.freed, !0, None, attempt).await {
                Ok(()) => Ok(0),
                Err(_) => Err(Restart::Sys.into()),
            }
        }),
    }
}
