//! `clone`, `clone3`, `fork`, `vfork`, `set_tid_address`.

use abi::signal::Signal;
use abi::{Errno, Fd, PAGE_SIZE, Pid, SysError, UserAddr, UserRef};
use sentry::task::clone::{CloneArgs, CloneFlags, clone as clone_task};
use sentry::{Current, Outcome};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The exit signal in the flags of `clone(2)`.
const CSIGNAL: u64 = 0xff;

/// `struct clone_args`, version 2.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RawArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Size of the first published version of `struct clone_args`.
const ARGS_SIZE_VER0: usize = 64;
/// Size of the version with `cgroup`.
const ARGS_SIZE_VER2: usize = 88;

fn start(cur: &mut Current, args: CloneArgs) -> Outcome<'_> {
    Outcome::block(async move {
        let Pid(pid) = clone_task(cur, &args).await?;
        Ok(u64::from(pid.cast_unsigned()))
    })
}

fn plain(flags: CloneFlags) -> CloneArgs {
    CloneArgs {
        flags,
        exit_signal: Some(Signal::SIGCHLD),
        stack: UserAddr::NULL,
        tls: 0,
        parent_tid: UserRef::new(UserAddr::NULL),
        child_tid: UserRef::new(UserAddr::NULL),
        pidfd: UserRef::new(UserAddr::NULL),
        set_tid: None,
        cgroup: None,
    }
}

fn exit_signal(number: u64) -> Result<Option<Signal>, Errno> {
    let number = i32::try_from(number).map_err(|_| Errno::EINVAL)?;
    match number {
        0 => Ok(None),
        _ => Signal::new(number).map(Some).ok_or(Errno::EINVAL),
    }
}

/// Serves `clone(2)`.
pub fn clone(
    cur: &mut Current,
    flags: u64,
    stack: UserAddr,
    parent_tid: UserRef<i32>,
    child_tid: UserRef<i32>,
    tls: u64,
) -> Outcome<'_> {
    // The legacy call has 32 flag bits; the pidfd goes where the parent's copy of the id would.
    let words = CloneFlags::from_bits_retain(flags & 0xffff_ffff & !CSIGNAL);
    if words.contains(CloneFlags::PIDFD) && words.intersects(CloneFlags::PARENT_SETTID | CloneFlags::DETACHED) {
        return Outcome::Done(Err(Errno::EINVAL.into()));
    }
    let pidfd = parent_tid;
    // An invalid exit signal is accepted and never sent.
    let exit_signal = exit_signal(flags & CSIGNAL).unwrap_or(None);
    start(cur, CloneArgs { exit_signal, stack, tls, parent_tid, child_tid, pidfd, ..plain(words) })
}

/// Serves `clone3(2)`.
pub fn clone3(cur: &mut Current, args: UserAddr, size: usize) -> Outcome<'_> {
    match decode(cur, args, size) {
        Ok(args) => start(cur, args),
        Err(errno) => Outcome::Done(Err(SysError::Errno(errno))),
    }
}

fn decode(cur: &Current, at: UserAddr, size: usize) -> Result<CloneArgs, Errno> {
    if size as u64 > PAGE_SIZE {
        return Err(Errno::E2BIG);
    }
    if size < ARGS_SIZE_VER0 {
        return Err(Errno::EINVAL);
    }
    let raw: RawArgs = crate::ext::read_extensible(&cur.mem, at, size)?;
    let flags = CloneFlags::from_bits_retain(raw.flags);
    let known = CloneFlags::all().difference(CloneFlags::DETACHED);
    if raw.flags & CSIGNAL != 0 || !known.contains(flags) {
        return Err(Errno::EINVAL);
    }
    if raw.exit_signal & !CSIGNAL != 0 || raw.exit_signal > 64 {
        return Err(Errno::EINVAL);
    }
    if flags.intersects(CloneFlags::THREAD | CloneFlags::PARENT) && raw.exit_signal != 0 {
        return Err(Errno::EINVAL);
    }
    let cgroup = match i32::try_from(raw.cgroup) {
        _ if !flags.contains(CloneFlags::INTO_CGROUP) => None,
        Ok(fd) if size >= ARGS_SIZE_VER2 => Some(Fd(fd)),
        _ => return Err(Errno::EINVAL),
    };
    let set_tid = set_tid(cur, &raw)?;
    if (raw.stack == 0) != (raw.stack_size == 0) {
        return Err(Errno::EINVAL);
    }
    let top = raw.stack.checked_add(raw.stack_size).ok_or(Errno::EINVAL)?;
    Ok(CloneArgs {
        flags,
        exit_signal: exit_signal(raw.exit_signal)?,
        stack: UserAddr::new(top),
        tls: raw.tls,
        parent_tid: UserRef::new(UserAddr::new(raw.parent_tid)),
        child_tid: UserRef::new(UserAddr::new(raw.child_tid)),
        pidfd: UserRef::new(UserAddr::new(raw.pidfd)),
        set_tid,
        cgroup,
    })
}

/// The id that the child must get: one for each pid namespace that it is in, of which there is one.
fn set_tid(cur: &Current, raw: &RawArgs) -> Result<Option<i32>, Errno> {
    match (raw.set_tid, raw.set_tid_size) {
        (0, 0) => Ok(None),
        (0, _) | (_, 0) => Err(Errno::EINVAL),
        (at, 1) => cur.mem.read(UserRef::new(UserAddr::new(at))).map(Some),
        _ => Err(Errno::EINVAL),
    }
}

/// Serves `fork(2)`.
pub fn fork(cur: &mut Current) -> Outcome<'_> {
    start(cur, plain(CloneFlags::empty()))
}

/// Serves `vfork(2)`.
pub fn vfork(cur: &mut Current) -> Outcome<'_> {
    start(cur, plain(CloneFlags::VM | CloneFlags::VFORK))
}

/// Serves `set_tid_address(2)`.
pub fn set_tid_address(cur: &mut Current, tidptr: UserAddr) -> Result<Pid, Errno> {
    cur.task.set_clear_child_tid(tidptr);
    Ok(cur.task.tid)
}
