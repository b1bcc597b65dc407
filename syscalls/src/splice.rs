//! `sendfile`, `splice`, `tee`, `vmsplice`, `copy_file_range`.

use std::sync::Arc;

use abi::flags::OpenFlags;
use abi::signal::Signal;
use abi::types::MAX_RW_COUNT;
use abi::{Errno, Fd, Restart, SysError, UserAddr, UserRef};
use sentry::vfs::File;
use sentry::wait::{Interruptible, Waiter};
use sentry::{Current, Outcome, SysResult};
use sentry_fs::pipe::{Pipe, PipeEnd, splice as pipes};
use sentry_fs::{BytesDst, BytesSrc, FileOps, IoFlags};
use sentry_sync::{Notify, Registration};

use crate::io::{self, READ_INTEREST, WRITE_INTEREST};
use crate::read_write::attempt;

const SPLICE_F_NONBLOCK: u32 = 2;
const SPLICE_FLAGS: u32 = 15;

/// Bytes copied at once through the kernel.
const CHUNK: usize = 64 * 1024;

fn pipe_of(file: &File) -> Option<Arc<Pipe>> {
    let ops: Arc<dyn FileOps> = Arc::clone(&file.ops);
    ops.as_any().downcast::<PipeEnd>().ok().map(|end| Arc::clone(end.pipe()))
}

/// Where one side of a transfer stands: its own position, or one in guest memory that is written back.
struct Side {
    file: Arc<File>,
    at: UserRef<i64>,
    pos: Option<u64>,
}

impl Side {
    fn new(cur: &Current, file: Arc<File>, at: UserRef<i64>) -> Result<Side, Errno> {
        let pos = match cur.mem.read_opt(at)? {
            Some(pos) => Some(u64::try_from(pos).map_err(|_| Errno::EINVAL)?),
            None => None,
        };
        Ok(Side { file, at, pos })
    }

    fn write_back(&self, cur: &Current) -> Result<(), Errno> {
        match self.pos {
            Some(pos) => cur.mem.write(self.at, &i64::try_from(pos).map_err(|_| Errno::EOVERFLOW)?),
            None => Ok(()),
        }
    }

    /// Reads at most `buf` from where this side stands, without moving it.
    fn peek(&self, buf: &mut [u8]) -> Result<usize, Errno> {
        let mut at = self.pos.unwrap_or_else(|| self.file.position());
        self.file.read_from(Some(&mut at), IoFlags::empty(), &mut BytesDst::new(buf))
    }

    fn advance(&mut self, bytes: u64) {
        match &mut self.pos {
            Some(pos) => *pos = pos.saturating_add(bytes),
            None => self.file.with_position(|pos| *pos = pos.saturating_add(bytes)),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        let mut src = BytesSrc::new(bytes);
        match &mut self.pos {
            Some(pos) => self.file.write_to(Some(pos), IoFlags::empty(), &mut src),
            None => self.file.write(IoFlags::empty(), &mut src),
        }
    }
}

/// Moves bytes from a file with positions to any other, one chunk; `Ok(0)` at the end.
fn copy_chunk(from: &mut Side, to: &mut Side, max: usize) -> Result<usize, Errno> {
    let mut buf = vec![0; max.min(CHUNK)];
    let got = from.peek(&mut buf)?;
    let put = if got == 0 { 0 } else { to.write(&buf[..got])? };
    from.advance(put as u64);
    Ok(put)
}

/// Waits until either file may have become ready for its part.
async fn wait_ready(cur: &mut Current, from: &File, to: &File) -> Result<(), SysError> {
    let task = Arc::clone(&cur.task);
    let waiter = Waiter::new();
    let sides = [(from, READ_INTEREST), (to, WRITE_INTEREST)];
    let _registrations: Vec<Registration> = sides
        .into_iter()
        .filter_map(|(file, interest)| {
            Some(file.ops.wait_queue()?.register(interest, Arc::clone(&waiter) as Arc<dyn Notify>))
        })
        .collect();
    let ready = || {
        let can_read = from.ops.ready().bits() & READ_INTEREST != 0;
        let can_write = to.ops.ready().bits() & WRITE_INTEREST != 0;
        (can_read && can_write).then_some(())
    };
    task.wait_for(&waiter, None, Interruptible::Signals, ready).await.map_err(|_| SysError::Restart(Restart::Sys))
}

/// Serves `sendfile(2)`.
pub fn sendfile(cur: &mut Current, out_fd: Fd, in_fd: Fd, offset: UserRef<i64>, count: usize) -> Outcome<'_> {
    let (from, to) = attempt!(sendfile_sides(cur, out_fd, in_fd, offset, count));
    Outcome::block(async move {
        let (mut from, mut to) = (from, to);
        let max = count.min(MAX_RW_COUNT);
        let result = copy_all(cur, &mut from, &mut to, max).await;
        from.write_back(cur)?;
        result
    })
}

fn sendfile_sides(
    cur: &Current,
    out_fd: Fd,
    in_fd: Fd,
    offset: UserRef<i64>,
    count: usize,
) -> Result<(Side, Side), Errno> {
    let input = io::file_of(cur, in_fd)?;
    if !input.flags().readable() {
        return Err(Errno::EBADF);
    }
    if !offset.is_null() && !input.is_seekable() {
        return Err(Errno::ESPIPE);
    }
    let from = Side::new(cur, Arc::clone(&input), offset)?;
    let at = from.pos.unwrap_or_else(|| input.position());
    if at.checked_add(count as u64).is_none_or(|end| i64::try_from(end).is_err()) {
        return Err(Errno::EINVAL);
    }
    let output = io::file_of(cur, out_fd)?;
    if !output.flags().writable() {
        return Err(Errno::EBADF);
    }
    if !input.is_seekable() || is_directory(&input) || output.flags().contains(OpenFlags::APPEND) {
        return Err(Errno::EINVAL);
    }
    Ok((from, Side { file: output, at: UserRef::new(UserAddr::NULL), pos: None }))
}

async fn copy_all(cur: &mut Current, from: &mut Side, to: &mut Side, max: usize) -> SysResult {
    let mut done = 0;
    while done < max {
        let limit = if to.file.is_regular() {
            let at = to.pos.unwrap_or_else(|| to.file.position());
            match io::size_limit(&cur.task, at) {
                Ok(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
                Err(errno) => return if done > 0 { Ok(done as u64) } else { Err(errno.into()) },
            }
        } else {
            usize::MAX
        };
        match copy_chunk(from, to, limit.min(max - done)) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(Errno::EAGAIN) if !to.file.nonblocking() => {
                if let Err(error) = wait_ready(cur, &from.file, &to.file).await {
                    return if done > 0 { Ok(done as u64) } else { Err(error) };
                }
            }
            Err(errno) => {
                if errno == Errno::EPIPE {
                    io::raise(&cur.task, Signal::SIGPIPE);
                }
                return if done > 0 { Ok(done as u64) } else { Err(io::sys_error(errno)) };
            }
        }
    }
    Ok(done as u64)
}

/// What `splice` moves between.
enum Route {
    Pipes(Arc<Pipe>, Arc<Pipe>),
    ToPipe(Arc<Pipe>),
    FromPipe(Arc<Pipe>),
}

/// Serves `splice(2)`.
pub fn splice(
    cur: &mut Current,
    fd_in: Fd,
    off_in: UserRef<i64>,
    fd_out: Fd,
    off_out: UserRef<i64>,
    len: usize,
    flags: u32,
) -> Outcome<'_> {
    if flags & !SPLICE_FLAGS != 0 {
        return Outcome::Done(Err(Errno::EINVAL.into()));
    }
    if len == 0 {
        return Outcome::Done(Ok(0));
    }
    let (from, to, route) = attempt!(splice_sides(cur, (fd_in, off_in), (fd_out, off_out)));
    Outcome::block(splice_waiting(cur, from, to, route, len.min(MAX_RW_COUNT), flags & SPLICE_F_NONBLOCK != 0))
}

fn splice_sides(
    cur: &Current,
    (fd_in, off_in): (Fd, UserRef<i64>),
    (fd_out, off_out): (Fd, UserRef<i64>),
) -> Result<(Side, Side, Route), Errno> {
    let (input, output) = (io::file_of(cur, fd_in)?, io::file_of(cur, fd_out)?);
    if !input.flags().readable() || !output.flags().writable() {
        return Err(Errno::EBADF);
    }
    let (in_pipe, out_pipe) = (pipe_of(&input), pipe_of(&output));
    if (in_pipe.is_some() && !off_in.is_null()) || (out_pipe.is_some() && !off_out.is_null()) {
        return Err(Errno::ESPIPE);
    }
    let route = match (in_pipe, out_pipe) {
        (Some(a), Some(b)) if Arc::ptr_eq(&a, &b) => return Err(Errno::EINVAL),
        (Some(a), Some(b)) => Route::Pipes(a, b),
        (Some(pipe), None) => {
            let positioned = !off_out.is_null() && !output.is_seekable();
            if positioned || output.flags().contains(OpenFlags::APPEND) || is_directory(&output) {
                return Err(Errno::EINVAL);
            }
            Route::FromPipe(pipe)
        }
        (None, Some(pipe)) => {
            if (!off_in.is_null() && !input.is_seekable()) || is_directory(&input) {
                return Err(Errno::EINVAL);
            }
            Route::ToPipe(pipe)
        }
        (None, None) => return Err(Errno::EINVAL),
    };
    Ok((Side::new(cur, input, off_in)?, Side::new(cur, output, off_out)?, route))
}

fn is_directory(file: &File) -> bool {
    file.path.as_ref().is_some_and(|path| path.dentry.is_dir())
}

fn splice_once(from: &mut Side, to: &mut Side, route: &Route, max: usize) -> Result<usize, Errno> {
    match route {
        Route::Pipes(a, b) => pipes::move_between(a, b, max),
        Route::ToPipe(pipe) => {
            let mut staged = pipe.stage(max)?;
            match &mut from.pos {
                Some(pos) => from.file.read_from(Some(pos), IoFlags::empty(), &mut staged)?,
                None => from.file.read(IoFlags::empty(), &mut staged)?,
            };
            staged.commit()
        }
        Route::FromPipe(pipe) => match pipe.take(max)? {
            None => Ok(0),
            Some(mut taken) => match &mut to.pos {
                Some(pos) => to.file.write_to(Some(pos), IoFlags::empty(), &mut taken),
                None => to.file.write(IoFlags::empty(), &mut taken),
            },
        },
    }
}

async fn splice_waiting(
    cur: &mut Current,
    mut from: Side,
    mut to: Side,
    route: Route,
    max: usize,
    nonblock: bool,
) -> SysResult {
    // The pipe sides' own O_NONBLOCK counts for pipes only, SPLICE_F_NONBLOCK likewise.
    let blocking = match &route {
        Route::Pipes(..) => !nonblock && !from.file.nonblocking() && !to.file.nonblocking(),
        Route::ToPipe(_) => !nonblock && !to.file.nonblocking(),
        Route::FromPipe(_) => !nonblock && !from.file.nonblocking(),
    };
    loop {
        match splice_once(&mut from, &mut to, &route, max) {
            Err(Errno::EAGAIN) if blocking => wait_ready(cur, &from.file, &to.file).await?,
            Err(errno) => {
                if errno == Errno::EPIPE {
                    io::raise(&cur.task, Signal::SIGPIPE);
                }
                return Err(io::sys_error(errno));
            }
            Ok(count) => {
                from.write_back(cur)?;
                to.write_back(cur)?;
                return Ok(count as u64);
            }
        }
    }
}

/// Serves `tee(2)`.
pub fn tee(cur: &mut Current, fd_in: Fd, fd_out: Fd, len: usize, flags: u32) -> Outcome<'_> {
    if flags & !SPLICE_FLAGS != 0 {
        return Outcome::Done(Err(Errno::EINVAL.into()));
    }
    if len == 0 {
        return Outcome::Done(Ok(0));
    }
    let (input, output) = (attempt!(io::file_of(cur, fd_in)), attempt!(io::file_of(cur, fd_out)));
    if !input.flags().readable() || !output.flags().writable() {
        return Outcome::Done(Err(Errno::EBADF.into()));
    }
    let (Some(from), Some(to)) = (pipe_of(&input), pipe_of(&output)) else {
        return Outcome::Done(Err(Errno::EINVAL.into()));
    };
    Outcome::block(async move {
        let blocking = flags & SPLICE_F_NONBLOCK == 0 && !input.nonblocking() && !output.nonblocking();
        loop {
            match pipes::copy_between(&from, &to, len.min(MAX_RW_COUNT)) {
                Err(Errno::EAGAIN) if blocking => wait_ready(cur, &input, &output).await?,
                Err(errno) => {
                    if errno == Errno::EPIPE {
                        io::raise(&cur.task, Signal::SIGPIPE);
                    }
                    return Err(errno.into());
                }
                Ok(count) => return Ok(count as u64),
            }
        }
    })
}

/// Serves `vmsplice(2)`: the pages are copied, which a guest can't tell from gifts that it doesn't touch again.
pub fn vmsplice(cur: &mut Current, fd: Fd, iov: UserAddr, nr_segs: u64, flags: u32) -> Outcome<'_> {
    if flags & !SPLICE_FLAGS != 0 {
        return Outcome::Done(Err(Errno::EINVAL.into()));
    }
    let file = attempt!(io::file_of(cur, fd));
    if pipe_of(&file).is_none() {
        return Outcome::Done(Err(Errno::EBADF.into()));
    }
    let list = attempt!(cur.mem.read_iovecs(iov, nr_segs));
    if list.iter().all(|iovec| iovec.len == 0) {
        return Outcome::Done(Ok(0));
    }
    let io_flags = if flags & SPLICE_F_NONBLOCK != 0 { IoFlags::NOWAIT } else { IoFlags::empty() };
    if file.flags().writable() {
        io::write(cur, file, None, io_flags, list)
    } else {
        io::read(cur, file, None, io_flags, list)
    }
}

/// Serves `copy_file_range(2)`.
pub fn copy_file_range(
    cur: &mut Current,
    fd_in: Fd,
    off_in: UserRef<i64>,
    fd_out: Fd,
    off_out: UserRef<i64>,
    len: usize,
    flags: u32,
) -> Outcome<'_> {
    let (from, to, len) = attempt!(copy_sides(cur, (fd_in, off_in), (fd_out, off_out), len, flags));
    Outcome::block(async move {
        let (mut from, mut to) = (from, to);
        let result = copy_all(cur, &mut from, &mut to, len.min(MAX_RW_COUNT)).await;
        from.write_back(cur)?;
        to.write_back(cur)?;
        result
    })
}

/// Checks in the order of the kernel's `generic_copy_file_checks`; returns also how much there is to copy.
fn copy_sides(
    cur: &Current,
    (fd_in, off_in): (Fd, UserRef<i64>),
    (fd_out, off_out): (Fd, UserRef<i64>),
    len: usize,
    flags: u32,
) -> Result<(Side, Side, usize), Errno> {
    let (input, output) = (io::file_of(cur, fd_in)?, io::file_of(cur, fd_out)?);
    let wraps = |at: Option<i64>| at.is_some_and(|at| at.cast_unsigned().checked_add(len as u64).is_none());
    let wrapped = wraps(cur.mem.read_opt(off_in)?) || wraps(cur.mem.read_opt(off_out)?);
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    if is_directory(&input) || is_directory(&output) {
        return Err(Errno::EISDIR);
    }
    if !input.is_regular() || !output.is_regular() {
        return Err(Errno::EINVAL);
    }
    let appends = output.flags().contains(OpenFlags::APPEND);
    if !input.flags().readable() || !output.flags().writable() || appends {
        return Err(Errno::EBADF);
    }
    if wrapped {
        return Err(Errno::EOVERFLOW);
    }
    let from = Side::new(cur, Arc::clone(&input), off_in)?;
    let to = Side::new(cur, Arc::clone(&output), off_out)?;
    let (Some(a), Some(b)) = (&input.inode, &output.inode) else { return Err(Errno::EINVAL) };
    let (a, b) = (a.attr()?, b.attr()?);
    if a.dev != b.dev {
        return Err(Errno::EXDEV);
    }
    let start = |side: &Side| side.pos.unwrap_or_else(|| side.file.position());
    let (in_start, out_start) = (start(&from), start(&to));
    let len = (len as u64).min(a.size.saturating_sub(in_start));
    if out_start >= i64::MAX.unsigned_abs() {
        return Err(Errno::EFBIG);
    }
    let fits = |start: u64| start.checked_add(len).is_some_and(|end| i64::try_from(end).is_ok());
    if !fits(in_start) || !fits(out_start) {
        return Err(Errno::EINVAL);
    }
    let overlaps = in_start < out_start + len && out_start < in_start + len;
    if a.ino == b.ino && overlaps {
        return Err(Errno::EINVAL);
    }
    Ok((from, to, usize::try_from(len).unwrap_or(usize::MAX)))
}
