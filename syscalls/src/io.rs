//! Reads and writes: tried at once, waited for where the file says "would block".

use std::sync::Arc;
use std::time::Instant;

use abi::flags::{OpenFlags, Ready};
use abi::signal::{SigInfo, Signal};
use abi::types::Iovec;
use abi::{Errno, Fd, Restart, SysError};
use sentry::mm::{IovecList, UserDst, UserSrc};
use sentry::task::{Caps, Resource};
use sentry::usermem::UserMem;
use sentry::vfs::File;
use sentry::wait::WaitError;
use sentry::{Current, Outcome, SysResult, Task};
use sentry_fs::IoFlags;

/// What a reader waits for.
pub(crate) const READ_INTEREST: u32 =
    Ready::READABLE.bits() | Ready::HUP.bits() | Ready::ERR.bits() | Ready::RDHUP.bits() | Ready::PRI.bits();

/// What a writer waits for.
pub(crate) const WRITE_INTEREST: u32 = Ready::WRITABLE.bits() | Ready::HUP.bits() | Ready::ERR.bits();

/// Turns an error of a file into that of a call: `ERESTART` is the request to start again after a signal.
pub(crate) fn sys_error(errno: Errno) -> SysError {
    if errno == Errno::ERESTART { SysError::Restart(Restart::Sys) } else { SysError::Errno(errno) }
}

fn done(result: Result<usize, Errno>) -> SysResult {
    result.map(|count| count as u64).map_err(sys_error)
}

/// Returns the file behind a descriptor for reading or writing.
pub(crate) fn file_of(cur: &Current, fd: Fd) -> Result<Arc<File>, Errno> {
    let file = cur.file(fd)?;
    if file.flags().contains(OpenFlags::PATH) { Err(Errno::EBADF) } else { Ok(file) }
}

/// Checks a position that the guest gave, and that the transfer ends before the largest.
pub(crate) fn check_range(pos: u64, list: &[Iovec]) -> Result<(), Errno> {
    let len: u64 = list.iter().map(|iovec| iovec.len).sum();
    let end = pos.checked_add(len).ok_or(Errno::EINVAL)?;
    if i64::try_from(end).is_err() { Err(Errno::EINVAL) } else { Ok(()) }
}

fn may_wait(file: &File, flags: IoFlags) -> bool {
    !file.nonblocking() && !flags.contains(IoFlags::NOWAIT) && file.ops.wait_queue().is_some()
}

fn try_read(file: &File, mem: &UserMem, pos: Option<u64>, flags: IoFlags, list: &[Iovec]) -> Result<usize, Errno> {
    read_to(file, pos, flags, &mut UserDst::new(mem, list))
}

fn read_to(file: &File, pos: Option<u64>, flags: IoFlags, dst: &mut UserDst<'_>) -> Result<usize, Errno> {
    match pos {
        Some(mut pos) => file.read_from(Some(&mut pos), flags, dst),
        None => file.read(flags, dst),
    }
}

/// Reads into guest buffers.
pub(crate) fn read(
    cur: &mut Current,
    file: Arc<File>,
    pos: Option<u64>,
    flags: IoFlags,
    list: IovecList,
) -> Outcome<'_> {
    if !file.flags().readable() {
        return Outcome::Done(Err(Errno::EBADF.into()));
    }
    if file.ops.is_socket() {
        return crate::socket::read(cur, &file, flags, list);
    }
    if file.path.as_ref().is_some_and(|path| path.dentry.is_dir()) {
        return Outcome::Done(Err(Errno::EISDIR.into()));
    }
    if let Some(pos) = pos
        && let Err(errno) = check_range(pos, &list)
    {
        return Outcome::Done(Err(errno.into()));
    }
    if flags.is_empty()
        && let Some(count) = cur.read_mapped(&file, pos, &list)
    {
        return Outcome::Done(Ok(count));
    }
    let leading = UserDst::leading(cur, &list);
    let mut dst = UserDst::new(&cur.mem, &list).to_be_last(leading);
    let result = read_to(&file, pos, flags, &mut dst);
    if !dst.has_left() {
        cur.release_memory();
    }
    if let Ok(count) = result {
        cur.has_read(&file, pos, count as u64);
    }
    match result {
        Err(Errno::EAGAIN) if may_wait(&file, flags) => Outcome::block(read_waiting(cur, file, pos, flags, list)),
        result => Outcome::Done(done(result)),
    }
}

async fn read_waiting(
    cur: &mut Current,
    file: Arc<File>,
    pos: Option<u64>,
    flags: IoFlags,
    list: IovecList,
) -> SysResult {
    let task = Arc::clone(&cur.task);
    let mem = cur.mem.clone();
    let Some(queue) = file.ops.wait_queue() else { return Err(Errno::EAGAIN.into()) };
    let unless_blocked = |result| if result == Err(Errno::EAGAIN) { None } else { Some(result) };
    loop {
        let deadline = file.ops.read_timeout().and_then(|timeout| Instant::now().checked_add(timeout));
        let attempt = || unless_blocked(try_read(&file, &mem, pos, flags, &list));
        match task.wait(&queue, READ_INTEREST, deadline, attempt).await {
            Ok(result) => return done(result),
            Err(WaitError::Interrupted) => return Err(Restart::Sys.into()),
            Err(WaitError::TimedOut) => {
                if let Some(result) = unless_blocked(try_read(&file, &mem, pos, flags | IoFlags::TIMED_OUT, &list)) {
                    return done(result);
                }
            }
        }
    }
}

/// Raises a signal that the call itself has brought about.
pub(crate) fn raise(task: &Arc<Task>, signal: Signal) {
    let info = SigInfo::from_process(signal, abi::signal::si::USER, task.process.pid.0, task.cred.load().ruid, 0);
    // Standard signals always fit.
    let _ = sentry::signal::send::to_task(task, info);
}

/// Cuts a list of buffers to a number of bytes.
pub(crate) fn truncate_list(list: &mut IovecList, max: u64) {
    let mut left = max;
    for iovec in list {
        iovec.len = iovec.len.min(left);
        left -= iovec.len;
    }
}

/// Returns how many bytes may be written from `pos` on (`RLIMIT_FSIZE`): `EFBIG` and SIGXFSZ where none may.
pub(crate) fn size_limit(task: &Arc<Task>, pos: u64) -> Result<u64, Errno> {
    let limit = task.process.limit(Resource::Fsize);
    if limit == u64::MAX {
        return Ok(u64::MAX);
    }
    match limit.checked_sub(pos) {
        Some(left) if left > 0 => Ok(left),
        _ => {
            raise(task, Signal::SIGXFSZ);
            Err(Errno::EFBIG)
        }
    }
}

/// What has to be seen to before a regular file is written: its size limit and its set-id bits.
fn prepare_regular(
    task: &Arc<Task>,
    file: &File,
    pos: Option<u64>,
    flags: IoFlags,
    list: &mut IovecList,
) -> Result<(), Errno> {
    if task.process.limit(Resource::Fsize) != u64::MAX && list.iter().any(|iovec| iovec.len > 0) {
        let appends = flags.contains(IoFlags::APPEND) || file.flags().contains(OpenFlags::APPEND);
        let at = match (&file.inode, pos) {
            (Some(inode), _) if appends => inode.attr()?.size,
            (_, Some(pos)) => pos,
            _ => file.position(),
        };
        truncate_list(list, size_limit(task, at)?);
    }
    if !task.cred.load().has(Caps::FSETID) {
        file.drop_setid()?;
    }
    Ok(())
}

/// Writes from guest buffers.
pub(crate) fn write(
    cur: &mut Current,
    file: Arc<File>,
    pos: Option<u64>,
    flags: IoFlags,
    mut list: IovecList,
) -> Outcome<'_> {
    if !file.flags().writable() {
        return Outcome::Done(Err(Errno::EBADF.into()));
    }
    if file.ops.is_socket() {
        return crate::socket::write(cur, &file, flags, list);
    }
    if let Some(pos) = pos
        && let Err(errno) = check_range(pos, &list)
    {
        return Outcome::Done(Err(errno.into()));
    }
    if file.is_regular()
        && let Err(errno) = prepare_regular(&cur.task, &file, pos, flags, &mut list)
    {
        return Outcome::Done(Err(errno.into()));
    }
    if flags.is_empty()
        && let Some(count) = cur.write_mapped(&file, pos, &list)
    {
        return Outcome::Done(Ok(count));
    }
    let total: usize = list.iter().map(|iovec| usize::try_from(iovec.len).unwrap_or(usize::MAX)).sum();
    let mut src = UserSrc::new(&cur.mem, &list);
    let first = match pos {
        Some(mut pos) => file.write_to(Some(&mut pos), flags, &mut src),
        None => file.write(flags, &mut src),
    };
    if let Ok(count) = first {
        cur.has_written(&file, pos, count as u64);
    }
    match first {
        Err(Errno::EAGAIN) if may_wait(&file, flags) => Outcome::block(write_waiting(cur, file, flags, list, 0)),
        Ok(count) if count < total && !file.is_regular() && may_wait(&file, flags) => {
            Outcome::block(write_waiting(cur, file, flags, list, count))
        }
        Err(Errno::EPIPE) => {
            raise(&cur.task, Signal::SIGPIPE);
            Outcome::Done(Err(Errno::EPIPE.into()))
        }
        result => Outcome::Done(done(result)),
    }
}

/// Drops the first bytes of a list of buffers.
fn skip(list: &mut IovecList, bytes: usize) {
    let mut left = bytes as u64;
    for iovec in list {
        let gone = iovec.len.min(left);
        iovec.base = iovec.base.wrapping_add(gone);
        iovec.len -= gone;
        left -= gone;
    }
}

/// Goes on with a write of which `written` bytes are through, until all are.
async fn write_waiting(
    cur: &mut Current,
    file: Arc<File>,
    flags: IoFlags,
    mut list: IovecList,
    mut written: usize,
) -> SysResult {
    let task = Arc::clone(&cur.task);
    let mem = cur.mem.clone();
    let Some(queue) = file.ops.wait_queue() else { return Err(Errno::EAGAIN.into()) };
    skip(&mut list, written);
    loop {
        let attempt = || {
            let mut src = UserSrc::new(&mem, &list);
            match file.write(flags, &mut src) {
                Err(Errno::EAGAIN) => None,
                result => Some(result),
            }
        };
        let result = task.wait(&queue, WRITE_INTEREST, None, attempt).await;
        match result {
            Ok(Ok(count)) => {
                written += count;
                skip(&mut list, count);
                if count == 0 || list.iter().all(|iovec| iovec.len == 0) {
                    return Ok(written as u64);
                }
            }
            Ok(Err(errno)) => {
                if errno == Errno::EPIPE {
                    raise(&task, Signal::SIGPIPE);
                }
                return if written > 0 { Ok(written as u64) } else { Err(sys_error(errno)) };
            }
            Err(_) if written > 0 => return Ok(written as u64),
            Err(_) => return Err(Restart::Sys.into()),
        }
    }
}
