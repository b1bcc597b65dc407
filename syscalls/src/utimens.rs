//! `utime`, `utimes`, `futimesat`, `utimensat`.

use abi::time::{Timespec, Timeval};
use abi::{Errno, Fd, UserAddr, UserRef};
use sentry::Current;
use sentry::vfs::change::{self, NewTimes};
use sentry_fs::SetTime;

use crate::at::{self, Target};

const UTIME_NOW: i64 = (1 << 30) - 1;
const UTIME_OMIT: i64 = (1 << 30) - 2;

const NOW: NewTimes = NewTimes { atime: Some(SetTime::Now), mtime: Some(SetTime::Now), touch: true };

fn set(cur: &Current, target: &Target, times: &NewTimes) -> Result<(), Errno> {
    let cred = cur.task.cred.load();
    match (target, target.inode()) {
        (Target::Path(path), _) => change::set_times(&cred, path, times),
        (Target::File(_), Some(inode)) => change::set_times_inode(&cred, inode, times),
        (Target::File(_), None) => Ok(()),
    }
}

/// Serves `utime(2)`.
pub fn utime(cur: &mut Current, filename: UserAddr, times: UserRef<[i64; 2]>) -> Result<(), Errno> {
    let times = match cur.mem.read_opt(times)? {
        Some([atime, mtime]) => {
            let at = |sec| Some(SetTime::At(Timespec { sec, nsec: 0 }));
            NewTimes { atime: at(atime), mtime: at(mtime), touch: false }
        }
        None => NOW,
    };
    set(cur, &Target::at(cur, Fd::CWD, filename, 0, false)?, &times)
}

/// Serves `utimes(2)`.
pub fn utimes(cur: &mut Current, filename: UserAddr, times: UserRef<Timeval>) -> Result<(), Errno> {
    futimesat(cur, Fd::CWD, filename, times)
}

/// Serves `futimesat(2)`; a null path means the descriptor itself.
pub fn futimesat(cur: &mut Current, dirfd: Fd, pathname: UserAddr, times: UserRef<Timeval>) -> Result<(), Errno> {
    let times = if times.is_null() {
        NOW
    } else {
        let pair = cur.mem.read_array(times, 2)?;
        let time = |time: Timeval| match time.usec {
            0..1_000_000 => Ok(Some(SetTime::At(Timespec { sec: time.sec, nsec: time.usec * 1000 }))),
            _ => Err(Errno::EINVAL),
        };
        NewTimes { atime: time(pair[0])?, mtime: time(pair[1])?, touch: false }
    };
    let target = if pathname.is_null() && dirfd != Fd::CWD {
        Target::of_io_fd(cur, dirfd)?
    } else {
        Target::at(cur, dirfd, pathname, 0, false)?
    };
    set(cur, &target, &times)
}

/// Serves `utimensat(2)`; a null path means the descriptor itself.
pub fn utimensat(
    cur: &mut Current,
    dirfd: Fd,
    pathname: UserAddr,
    times: UserRef<Timespec>,
    flags: u32,
) -> Result<(), Errno> {
    let times = if times.is_null() {
        NOW
    } else {
        let pair = cur.mem.read_array(times, 2)?;
        let (atime, mtime) = (time(pair[0])?, time(pair[1])?);
        if atime.is_none() && mtime.is_none() {
            // Nothing to do is done whatever is named.
            return Ok(());
        }
        let touch = atime == Some(SetTime::Now) && mtime == Some(SetTime::Now);
        NewTimes { atime, mtime, touch }
    };
    if pathname.is_null() && dirfd != Fd::CWD {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        return set(cur, &Target::of_io_fd(cur, dirfd)?, &times);
    }
    if flags & !(at::NOFOLLOW | at::EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    set(cur, &Target::at(cur, dirfd, pathname, flags, false)?, &times)
}

fn time(time: Timespec) -> Result<Option<SetTime>, Errno> {
    match time.nsec {
        UTIME_NOW => Ok(Some(SetTime::Now)),
        UTIME_OMIT => Ok(None),
        0..1_000_000_000 => Ok(Some(SetTime::At(time))),
        _ => Err(Errno::EINVAL),
    }
}
