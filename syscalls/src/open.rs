//! `open`, `creat`, `openat`, `openat2`.

use std::time::Instant;

use abi::flags::OpenFlags;
use abi::types::mode;
use abi::{Errno, Fd, Restart, SysError, UserAddr};
use sentry::vfs::WalkFlags;
use sentry::vfs::open::{How, Opened, PendingFifo, open as vfs_open};
use sentry::wait::WaitError;
use sentry::{Current, Outcome};
use sentry_fs::hostfd::HostFifo;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::at;
use crate::ext::read_extensible;
use crate::read_write::attempt;
use crate::socket::LONGEST_PAUSE;

/// All flags that `open(2)` knows.
const VALID: u32 = OpenFlags::ACCMODE
    | OpenFlags::CREAT.bits()
    | OpenFlags::EXCL.bits()
    | OpenFlags::NOCTTY.bits()
    | OpenFlags::TRUNC.bits()
    | OpenFlags::APPEND.bits()
    | OpenFlags::NONBLOCK.bits()
    | OpenFlags::SYNC.bits()
    | OpenFlags::ASYNC.bits()
    | OpenFlags::DIRECT.bits()
    | OpenFlags::LARGEFILE.bits()
    | OpenFlags::NOFOLLOW.bits()
    | OpenFlags::NOATIME.bits()
    | OpenFlags::CLOEXEC.bits()
    | OpenFlags::PATH.bits()
    | OpenFlags::TMPFILE.bits();

/// `struct open_how`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

const RESOLVE_NO_XDEV: u64 = 1;
const RESOLVE_NO_MAGICLINKS: u64 = 2;
const RESOLVE_NO_SYMLINKS: u64 = 4;
const RESOLVE_BENEATH: u64 = 8;
const RESOLVE_IN_ROOT: u64 = 16;
const RESOLVE_CACHED: u64 = 32;

/// Serves `open(2)`.
pub fn open(cur: &mut Current, pathname: UserAddr, flags: u32, mode: u32) -> Outcome<'_> {
    openat(cur, Fd::CWD, pathname, flags, mode)
}

/// Serves `creat(2)`.
pub fn creat(cur: &mut Current, pathname: UserAddr, mode: u32) -> Outcome<'_> {
    let flags = OpenFlags::CREAT | OpenFlags::WRONLY | OpenFlags::TRUNC;
    openat(cur, Fd::CWD, pathname, flags.bits(), mode)
}

/// Serves `openat(2)`.
pub fn openat(cur: &mut Current, dirfd: Fd, pathname: UserAddr, flags: u32, mode: u32) -> Outcome<'_> {
    // Unknown flags are ignored.
    let how = attempt!(How::new(flags & VALID, mode, WalkFlags::empty(), cur.fs().umask()));
    let path = attempt!(cur.mem.read_path(pathname));
    do_open(cur, dirfd, &path, &how)
}

/// Serves `openat2(2)`.
pub fn openat2(cur: &mut Current, dirfd: Fd, pathname: UserAddr, how: UserAddr, size: usize) -> Outcome<'_> {
    let how = attempt!(read_how(cur, how, size));
    let path = attempt!(cur.mem.read_path(pathname));
    do_open(cur, dirfd, &path, &how)
}

fn read_how(cur: &Current, at: UserAddr, size: usize) -> Result<How, Errno> {
    if size < size_of::<OpenHow>() {
        return Err(Errno::EINVAL);
    }
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    let how: OpenHow = read_extensible(&cur.mem, at, size)?;
    let flags = u32::try_from(how.flags).ok().filter(|flags| flags & !VALID == 0).ok_or(Errno::EINVAL)?;
    let mode = u32::try_from(how.mode).ok().filter(|mode| mode & !mode::PERM == 0).ok_or(Errno::EINVAL)?;
    let word = OpenFlags::from_bits_retain(flags);
    let creates = word.contains(OpenFlags::CREAT) || word.contains(OpenFlags::TMPFILE);
    if mode != 0 && !creates {
        return Err(Errno::EINVAL);
    }
    let path_flags = OpenFlags::DIRECTORY | OpenFlags::NOFOLLOW | OpenFlags::PATH | OpenFlags::CLOEXEC;
    if word.contains(OpenFlags::PATH) && !path_flags.contains(word) {
        return Err(Errno::EINVAL);
    }
    let resolve = resolve_flags(how.resolve)?;
    let changes = word.intersects(OpenFlags::TRUNC | OpenFlags::CREAT) || word.contains(OpenFlags::TMPFILE);
    if how.resolve & RESOLVE_CACHED != 0 && changes {
        return Err(Errno::EAGAIN);
    }
    How::new(flags, mode, resolve, cur.fs().umask())
}

fn resolve_flags(resolve: u64) -> Result<WalkFlags, Errno> {
    let table = [
        (RESOLVE_NO_XDEV, WalkFlags::NO_XDEV),
        (RESOLVE_NO_MAGICLINKS, WalkFlags::NO_MAGICLINKS),
        (RESOLVE_NO_SYMLINKS, WalkFlags::NO_SYMLINKS),
        (RESOLVE_BENEATH, WalkFlags::BENEATH),
        (RESOLVE_IN_ROOT, WalkFlags::IN_ROOT),
        (RESOLVE_CACHED, WalkFlags::empty()),
    ];
    let known = table.iter().fold(0, |all, (bit, _)| all | bit);
    if resolve & !known != 0 || resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT) == RESOLVE_BENEATH | RESOLVE_IN_ROOT {
        return Err(Errno::EINVAL);
    }
    let wanted = table.iter().filter(|(bit, _)| resolve & bit != 0);
    Ok(wanted.fold(WalkFlags::empty(), |all, (_, flag)| all | *flag))
}

fn do_open<'a>(cur: &'a mut Current, dirfd: Fd, path: &[u8], how: &How) -> Outcome<'a> {
    if path.is_empty() {
        return Outcome::Done(Err(Errno::ENOENT.into()));
    }
    // Linux reserves the descriptor first: EMFILE comes before anything that is wrong with the path, and makes no file.
    attempt!(cur.files().check_room(cur.process().fd_limit()));
    let start = cur.start();
    let walker = start.walker();
    // With IN_ROOT even an absolute path starts at the descriptor.
    let scoped = how.resolve.intersects(WalkFlags::IN_ROOT | WalkFlags::BENEATH);
    let opened = if dirfd == Fd::CWD || (path.first() == Some(&b'/') && !scoped) {
        vfs_open(&cur.kernel().vfs, &walker, start.cwd(), path, how)
    } else {
        let file = attempt!(cur.file(dirfd));
        let base = attempt!(file.path.as_ref().ok_or(Errno::ENOTDIR));
        vfs_open(&cur.kernel().vfs, &walker, base, path, how)
    };
    drop(start);
    match attempt!(opened) {
        Opened::File(file) => {
            let fd = attempt!(at::install(cur, file, how.flags));
            Outcome::Done(Ok(u64::from(fd.0.cast_unsigned())))
        }
        Opened::Fifo(pending) => Outcome::block(open_fifo(cur, pending, how.flags)),
    }
}

async fn open_fifo(cur: &mut Current, mut pending: PendingFifo, flags: OpenFlags) -> Result<u64, SysError> {
    let queue = pending.wait_queue();
    let task = std::sync::Arc::clone(&cur.task);
    let mut pause = HostFifo::PAUSE;
    loop {
        // The host tells nobody: it is asked from time to time.
        let again = if queue.is_none() { Instant::now().checked_add(pause) } else { None };
        let ready = || pending.ready().map(|ready| ready.then_some(())).transpose();
        match task.wait(&queue.clone().unwrap_or_default(), !0, again, ready).await {
            Ok(ready) => break ready?,
            Err(WaitError::TimedOut) => pause = LONGEST_PAUSE.min(pause * 2),
            Err(WaitError::Interrupted) => return Err(Restart::Sys.into()),
        }
    }
    let fd = at::install(cur, pending.finish()?, flags)?;
    Ok(u64::from(fd.0.cast_unsigned()))
}
