//! `unshare`, `setns`, and what `ioctl` has for files of namespaces.

use std::sync::Arc;

use abi::{Errno, Fd, UserAddr, UserRef};
use sentry::Current;
use sentry::ns::{Kind, Namespace, NsFile};
use sentry::task::clone::CloneFlags;
use sentry::task::pidfd::PidFd;
use sentry::task::{AccessMode, Caps, check_access};
use sentry::vfs::FdFlags;

/// What can be made anew.
const NEW: CloneFlags = CloneFlags::NEWNS.union(CloneFlags::NEWUTS);
const KINDS: [Kind; 8] =
    [Kind::User, Kind::Cgroup, Kind::Ipc, Kind::Uts, Kind::Net, Kind::Pid, Kind::Time, Kind::Mount];

/// Serves `unshare(2)`: descriptors, file-system attributes, mounts and names; other namespaces can't be made anew.
pub fn unshare(cur: &mut Current, flags: u32) -> Result<(), Errno> {
    let flags = CloneFlags::from_bits_retain(u64::from(flags));
    let offered = CloneFlags::FILES | CloneFlags::FS | CloneFlags::SYSVSEM | NEW;
    let alone = CloneFlags::THREAD | CloneFlags::SIGHAND | CloneFlags::VM;
    if !(offered | alone).contains(flags) {
        return Err(Errno::EINVAL);
    }
    // Sharing of memory and handlers can't be undone; asking for it is fine where there is nothing to undo.
    if flags.intersects(alone) {
        let table = cur.kernel().tasks.read();
        let threads = table.processes.get(&cur.process().pid).map_or(1, |entry| entry.threads.len());
        if threads > 1 {
            return Err(Errno::EINVAL);
        }
    }
    if flags.intersects(NEW) && !cur.task.cred.load().has(Caps::SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    if flags.contains(CloneFlags::FILES) {
        let own = cur.files().duplicate();
        cur.set_files(Arc::new(own));
    }
    if flags.intersects(CloneFlags::FS | CloneFlags::NEWNS) {
        let own = cur.fs().duplicate();
        if flags.contains(CloneFlags::NEWNS) {
            own.unshare_namespace();
        }
        cur.set_fs(Arc::new(own));
    }
    if flags.contains(CloneFlags::NEWUTS) {
        let own = cur.task.uts.load().duplicate();
        cur.task.uts.store(own);
    }
    Ok(())
}

/// Serves `setns(2)`.
pub fn setns(cur: &mut Current, fd: Fd, nstype: u32) -> Result<(), Errno> {
    let file = cur.task.files.load().get(fd)?;
    let wanted = CloneFlags::from_bits_retain(nstype.into());
    if let Ok(file) = Arc::clone(&file.ops).as_any().downcast::<NsFile>() {
        let namespace = file.namespace();
        if nstype != 0 && namespace.kind().flag() != wanted {
            return Err(Errno::EINVAL);
        }
        may_enter(cur, namespace)?;
        return enter(cur, namespace);
    }
    let pidfd = Arc::clone(&file.ops).as_any().downcast::<PidFd>().map_err(|_| Errno::EINVAL)?;
    let kinds: Vec<Kind> = KINDS.into_iter().filter(|kind| wanted.contains(kind.flag())).collect();
    let known = kinds.iter().fold(CloneFlags::empty(), |all, kind| all | kind.flag());
    if wanted.is_empty() || known != wanted {
        return Err(Errno::EINVAL);
    }
    let target = pidfd.task()?;
    check_access(&cur.task, &target, AccessMode::RealCreds)?;
    // All or none.
    let namespaces: Vec<Namespace> = kinds.into_iter().map(|kind| Namespace::of(&target, kind)).collect();
    namespaces.iter().try_for_each(|namespace| may_enter(cur, namespace))?;
    namespaces.iter().try_for_each(|namespace| enter(cur, namespace))
}

/// The checks of each kind's `install` in the kernel.
fn may_enter(cur: &Current, namespace: &Namespace) -> Result<(), Errno> {
    let cred = cur.task.cred.load();
    // One can't enter the user namespace that one is in.
    if namespace.kind() == Kind::User {
        return Err(Errno::EINVAL);
    }
    let needed = if namespace.kind() == Kind::Mount { Caps::SYS_ADMIN | Caps::SYS_CHROOT } else { Caps::SYS_ADMIN };
    if !cred.has(needed) {
        return Err(Errno::EPERM);
    }
    // Root and working directory change with the mounts, so nobody else may have them.
    if namespace.kind() == Kind::Mount && shares_fs(cur) { Err(Errno::EINVAL) } else { Ok(()) }
}

/// Tells whether another thread has the caller's root and working directory.
fn shares_fs(cur: &Current) -> bool {
    let own = cur.task.fs.load_full();
    let table = cur.kernel().tasks.read();
    table.tasks.values().filter(|task| Arc::ptr_eq(&task.fs.load(), &own)).count() > 1
}

fn enter(cur: &Current, namespace: &Namespace) -> Result<(), Errno> {
    match namespace {
        Namespace::Uts(uts) => cur.task.uts.store(Arc::clone(uts)),
        Namespace::Mount(mounts) => cur.task.fs.load().enter_namespace(mounts),
        Namespace::Only(_) => {}
    }
    Ok(())
}

/// Serves the ioctls of a namespace's file; `None` for those that it doesn't have (`man 2 ioctl_nsfs`).
pub(crate) fn ioctl(cur: &Current, file: &NsFile, op: u32, arg: u64) -> Option<Result<u64, Errno>> {
    const GET_USERNS: u32 = 0xb701;
    const GET_PARENT: u32 = 0xb702;
    const GET_NSTYPE: u32 = 0xb703;
    const GET_OWNER_UID: u32 = 0xb704;
    let kind = file.namespace().kind();
    Some(match op {
        // The initial user namespace belongs to none.
        GET_USERNS if kind == Kind::User => Err(Errno::EPERM),
        GET_USERNS => open(cur, &Namespace::Only(Kind::User)),
        GET_PARENT if matches!(kind, Kind::User | Kind::Pid) => Err(Errno::EPERM),
        GET_PARENT => Err(Errno::EINVAL),
        GET_NSTYPE => Ok(kind.flag().bits()),
        GET_OWNER_UID if kind == Kind::User => cur.mem.write(UserRef::new(UserAddr::new(arg)), &0_u32).map(|()| 0),
        GET_OWNER_UID => Err(Errno::EINVAL),
        _ => return None,
    })
}

fn open(cur: &Current, namespace: &Namespace) -> Result<u64, Errno> {
    let file = namespace.open()?;
    let fd = cur.task.files.load().install(file, FdFlags::CLOEXEC, 0, cur.process().fd_limit())?;
    Ok(u64::from(fd.0.unsigned_abs()))
}
