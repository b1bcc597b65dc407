//! `wait4`, `waitid`.

use std::sync::Arc;
use std::time::Duration;

use abi::signal::SigInfo;
use abi::time::Timeval;
use abi::{Errno, Pid, Restart, SysError, UserRef};
use sentry::syscall::SysResult;
use sentry::task::Usage;
use sentry::task::wait::{Options, Report, Which, try_wait};
use sentry::{Current, Outcome};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

mod flag {
    pub(super) const WNOHANG: u32 = 1;
    pub(super) const WUNTRACED: u32 = 2;
    pub(super) const WEXITED: u32 = 4;
    pub(super) const WCONTINUED: u32 = 8;
    pub(super) const WNOWAIT: u32 = 0x0100_0000;
    pub(super) const WNOTHREAD: u32 = 0x2000_0000;
    pub(super) const WALL: u32 = 0x4000_0000;
    pub(super) const WCLONE: u32 = 0x8000_0000;
}

/// `struct rusage`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Rusage {
    pub(crate) utime: Timeval,
    pub(crate) stime: Timeval,
    /// Kilobytes.
    pub(crate) maxrss: i64,
    pub(crate) ixrss: i64,
    pub(crate) idrss: i64,
    pub(crate) isrss: i64,
    pub(crate) minflt: i64,
    pub(crate) majflt: i64,
    pub(crate) nswap: i64,
    pub(crate) inblock: i64,
    pub(crate) oublock: i64,
    pub(crate) msgsnd: i64,
    pub(crate) msgrcv: i64,
    pub(crate) nsignals: i64,
    pub(crate) nvcsw: i64,
    pub(crate) nivcsw: i64,
}

impl Rusage {
    /// Converts what the kernel has counted.
    pub(crate) fn of(usage: &Usage) -> Rusage {
        let time = |time: Duration| Timeval::from_nanos(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX));
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        Rusage {
            utime: time(usage.user),
            stime: time(usage.system),
            maxrss: count(usage.peak_rss / 1024),
            minflt: count(usage.minor_faults),
            majflt: count(usage.major_faults),
            ..Rusage::default()
        }
    }
}

/// Tells what a child has used, where the guest wants to know.
fn write_usage(cur: &Current, at: UserRef<Rusage>, report: &Report) -> Result<(), Errno> {
    if at.is_null() { Ok(()) } else { cur.mem.write_last(at, &Rusage::of(&report.usage())) }
}

/// Waits for a report; `None` where there is none and `nohang`.
async fn wait(cur: &mut Current, which: Which, options: Options, nohang: bool) -> Result<Option<Report>, SysError> {
    let look = || match try_wait(&cur.task, which, &options) {
        Ok(None) if nohang => Some(Ok(None)),
        Ok(None) => None,
        Ok(found) => Some(Ok(found)),
        Err(errno) => Some(Err(SysError::Errno(errno))),
    };
    let process = Arc::clone(cur.process());
    match cur.task.wait(&process.child_events, !0, None, look).await {
        Ok(found) => found,
        Err(error) => Err(error.or(Restart::Sys, Errno::EINTR)),
    }
}

/// Serves `wait4(2)`.
pub fn wait4(cur: &mut Current, pid: Pid, status: UserRef<i32>, options: u32, rusage: UserRef<Rusage>) -> Outcome<'_> {
    let known = flag::WNOHANG | flag::WUNTRACED | flag::WCONTINUED | flag::WNOTHREAD | flag::WALL | flag::WCLONE;
    if options & !known != 0 {
        return Outcome::Done(Err(Errno::EINVAL.into()));
    }
    if pid.0 == i32::MIN {
        return Outcome::Done(Err(Errno::ESRCH.into()));
    }
    Outcome::block(async move {
        let which = match pid.0 {
            -1 => Which::Any,
            0 => Which::Group(own_group(cur)?),
            id if id < 0 => Which::Group(Pid(-id)),
            _ => Which::Pid(pid),
        };
        let wanted = Options {
            exited: true,
            stopped: options & flag::WUNTRACED != 0,
            continued: options & flag::WCONTINUED != 0,
            peek: false,
            clone_only: options & flag::WCLONE != 0,
            all: options & flag::WALL != 0,
            own_only: options & flag::WNOTHREAD != 0,
        };
        let Some(report) = wait(cur, which, wanted, options & flag::WNOHANG != 0).await? else { return Ok(0) };
        if rusage.is_null() {
            cur.mem.write_opt_last(status, &report.status)?;
        } else {
            cur.mem.write_opt(status, &report.status)?;
            write_usage(cur, rusage, &report)?;
        }
        Ok(u64::from(report.pid.0.cast_unsigned()))
    })
}

fn own_group(cur: &Current) -> Result<Pid, Errno> {
    sentry::task::session::getpgid(&cur.task, Pid(0))
}

const P_ALL: i32 = 0;
const P_PID: i32 = 1;
const P_PGID: i32 = 2;
const P_PIDFD: i32 = 3;

/// Serves `waitid(2)`.
pub fn waitid(
    cur: &mut Current,
    idtype: i32,
    id: Pid,
    info: UserRef<SigInfo>,
    options: u32,
    rusage: UserRef<Rusage>,
) -> Outcome<'_> {
    let kinds = flag::WEXITED | flag::WUNTRACED | flag::WCONTINUED;
    let known = kinds | flag::WNOHANG | flag::WNOWAIT | flag::WNOTHREAD | flag::WALL | flag::WCLONE;
    if options & !known != 0 || options & kinds == 0 {
        return Outcome::Done(Err(Errno::EINVAL.into()));
    }
    Outcome::block(async move { waitid_checked(cur, idtype, id, info, options, rusage).await })
}

async fn waitid_checked(
    cur: &mut Current,
    idtype: i32,
    id: Pid,
    info: UserRef<SigInfo>,
    options: u32,
    rusage: UserRef<Rusage>,
) -> SysResult {
    let (which, nonblocking) = match idtype {
        P_ALL => (Which::Any, false),
        P_PID if id.0 > 0 => (Which::Pid(id), false),
        P_PGID if id.0 > 0 => (Which::Group(id), false),
        P_PGID if id.0 == 0 => (Which::Group(own_group(cur)?), false),
        P_PIDFD if id.0 >= 0 => {
            let (pid, nonblocking) = crate::pidfd::waitable(cur, abi::Fd(id.0))?;
            (Which::Pid(pid), nonblocking)
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    let wanted = Options {
        exited: options & flag::WEXITED != 0,
        stopped: options & flag::WUNTRACED != 0,
        continued: options & flag::WCONTINUED != 0,
        peek: options & flag::WNOWAIT != 0,
        clone_only: options & flag::WCLONE != 0,
        all: options & flag::WALL != 0,
        own_only: options & flag::WNOTHREAD != 0,
    };
    let nohang = options & flag::WNOHANG != 0;
    let found = wait(cur, which, wanted, nohang || nonblocking).await?;
    if found.is_none() && nonblocking && !nohang {
        return Err(Errno::EAGAIN.into());
    }
    if let Some(report) = &found {
        write_usage(cur, rusage, report)?;
    }
    if !info.is_null() {
        // Linux writes the first fields only, and zeros where there is no news.
        let fields = match &found {
            Some(report) => {
                let full = SigInfo::child(report.code, report.pid.0, report.uid, report.si_status(), 0, 0);
                let head = full.as_bytes();
                <[u8; 28]>::try_from(&head[..28]).map_err(|_| Errno::EFAULT)?
            }
            None => [0; 28],
        };
        cur.mem.write(info.cast::<[u8; 28]>(), &fields)?;
    }
    Ok(0)
}
