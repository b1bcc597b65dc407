//! `poll`, `select`, `pselect6`, `ppoll`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use abi::flags::Ready;
use abi::signal::SigSet;
use abi::time::{Timespec, Timeval};
use abi::{Errno, Fd, PAGE_SIZE, Restart, SysError, UserAddr, UserRef};
use sentry::task::Resource;
use sentry::vfs::File;
use sentry::wait::{Interruptible, WaitError, Waiter};
use sentry::{Current, Outcome, SysResult};
use sentry_sync::{Notify, Registration};
use smallvec::SmallVec;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::read_write::attempt;

const SIGSET_SIZE: usize = 8;

/// `struct pollfd`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PollFd {
    fd: i32,
    events: u16,
    revents: u16,
}

/// Files that are waited for, and for what.
type Watched = Vec<(Arc<File>, Ready)>;

/// When a wait ends; `None` is never. A time too far away for the clock is never, too.
fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

/// Waits until `look` finds something or the deadline passes: `None` then.
async fn wait_any(
    cur: &mut Current,
    watched: &Watched,
    deadline: Option<Instant>,
    look: impl FnMut() -> Option<u64>,
) -> Result<Option<u64>, WaitError> {
    let task = Arc::clone(&cur.task);
    let waiter = Waiter::new();
    let _registrations: Vec<Registration> = watched
        .iter()
        .filter_map(|(file, interest)| {
            let interest = (*interest | Ready::ALWAYS).bits();
            Some(file.ops.wait_queue()?.register(interest, Arc::clone(&waiter) as Arc<dyn Notify>))
        })
        .collect();
    match task.wait_for(&waiter, deadline, Interruptible::Signals, look).await {
        Ok(count) => Ok(Some(count)),
        Err(WaitError::TimedOut) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a call looks at. Mostly few files: no memory of its own then.
struct PollSet {
    at: UserRef<PollFd>,
    /// As the guest gave them.
    fds: SmallVec<[PollFd; 8]>,
    files: SmallVec<[Option<Arc<File>>; 8]>,
    found: SmallVec<[u16; 8]>,
}

impl PollSet {
    fn read(cur: &Current, at: UserRef<PollFd>, nfds: u32) -> Result<PollSet, Errno> {
        if u64::from(nfds) > cur.process().limit(Resource::Nofile) {
            return Err(Errno::EINVAL);
        }
        // The limit bounds the size; it can't be raised beyond what a table may hold.
        let count = usize::try_from(nfds).map_err(|_| Errno::EINVAL)?;
        let mut fds: SmallVec<[PollFd; 8]> = SmallVec::from_elem(PollFd::default(), count);
        cur.mem.read_bytes(at.addr(), fds.as_mut_slice().as_mut_bytes())?;
        let files = fds.iter().map(|entry| crate::io::file_of(cur, Fd(entry.fd)).ok()).collect();
        Ok(PollSet { at, found: SmallVec::from_elem(0, count), fds, files })
    }

    /// Looks for what is ready; returns how many entries are.
    fn look(&mut self) -> u64 {
        let mut count = 0;
        for ((entry, file), found) in self.fds.iter().zip(&self.files).zip(&mut self.found) {
            let ready = match file {
                _ if entry.fd < 0 => Ready::empty(),
                None => Ready::NVAL,
                Some(file) => file.ops.ready() & (Ready::from_bits_retain(u32::from(entry.events)) | Ready::ALWAYS),
            };
            *found = u16::try_from(ready.bits()).unwrap_or(u16::MAX);
            count += u64::from(*found != 0);
        }
        count
    }

    /// Writes the results where they aren't there yet. Of each page something is written, so that one that can't be
    /// written fails the call as it must; the entries' other fields belong to the guest all the time.
    fn write_back(&self, cur: &Current) -> Result<(), Errno> {
        let mut page = None;
        for (index, (entry, found)) in self.fds.iter().zip(&self.found).enumerate() {
            let place = self.at.element(index).addr().wrapping_add(6);
            let ends = place.raw().wrapping_add(1) / PAGE_SIZE;
            if entry.revents != *found || page != Some(ends) {
                cur.mem.write(UserRef::<u16>::new(place), found)?;
                page = Some(ends);
            }
        }
        Ok(())
    }
}

enum Polled {
    Done(SysResult),
    Wait(Box<PollSet>),
}

fn poll_now(cur: &Current, at: UserRef<PollFd>, nfds: u32, no_wait: bool) -> Polled {
    let mut set = match PollSet::read(cur, at, nfds) {
        Ok(set) => set,
        Err(errno) => return Polled::Done(Err(errno.into())),
    };
    let count = set.look();
    if count == 0 && !no_wait {
        return Polled::Wait(Box::new(set));
    }
    Polled::Done(set.write_back(cur).map(|()| count).map_err(SysError::Errno))
}

async fn poll_wait(cur: &mut Current, mut set: Box<PollSet>, deadline: Option<Instant>) -> Result<u64, SysError> {
    let watched = set.fds.iter().zip(&set.files).filter_map(|(entry, file)| {
        Some((Arc::clone(file.as_ref()?), Ready::from_bits_retain(u32::from(entry.events))))
    });
    let watched: Watched = watched.collect();
    let look = || {
        let count = set.look();
        (count > 0).then_some(count)
    };
    let count = wait_any(cur, &watched, deadline, look).await.map_err(|_| SysError::Restart(Restart::NoHand))?;
    set.write_back(cur)?;
    Ok(count.unwrap_or(0))
}

/// Serves `poll(2)`.
pub fn poll(cur: &mut Current, fds: UserRef<PollFd>, nfds: u32, timeout: i32) -> Outcome<'_> {
    match poll_now(cur, fds, nfds, timeout == 0) {
        Polled::Done(result) => Outcome::Done(result),
        Polled::Wait(set) => {
            let span = u64::try_from(timeout).ok().map(Duration::from_millis);
            Outcome::block(poll_until(cur, set, deadline(span)))
        }
    }
}

/// Waits; an interrupted wait goes on to the same deadline (`ERESTART_RESTARTBLOCK`).
async fn poll_until(cur: &mut Current, set: Box<PollSet>, deadline: Option<Instant>) -> SysResult {
    let (at, nfds) = (set.at, u32::try_from(set.fds.len()).unwrap_or(u32::MAX));
    let result = poll_wait(cur, set, deadline).await;
    if let Err(SysError::Restart(_)) = result {
        cur.restart_block = Some(Box::new(move |cur| poll_again(cur, at, nfds, deadline)));
        return Err(Restart::Block.into());
    }
    result
}

fn poll_again(cur: &mut Current, at: UserRef<PollFd>, nfds: u32, deadline: Option<Instant>) -> Outcome<'_> {
    match poll_now(cur, at, nfds, false) {
        Polled::Done(result) => Outcome::Done(result),
        Polled::Wait(set) => Outcome::block(poll_until(cur, set, deadline)),
    }
}

/// Sets the mask for the time of the wait (kernel: `set_user_sigmask`).
pub(crate) fn swap_mask(cur: &mut Current, mask: Option<SigSet>) {
    if let Some(mask) = mask {
        cur.saved_mask = Some(cur.task.signals.set_mask(mask));
    }
}

/// Puts the mask back unless a signal has ended the wait: then its handler runs first, with the temporary mask.
pub(crate) fn restore_mask(cur: &mut Current, interrupted: bool) {
    if !interrupted && let Some(mask) = cur.saved_mask.take() {
        cur.task.signals.set_mask(mask);
    }
}

/// Reads the mask that `ppoll`, `pselect6` and `epoll_pwait` are given.
pub(crate) fn read_mask(cur: &Current, mask: UserRef<SigSet>, size: usize) -> Result<Option<SigSet>, Errno> {
    if mask.is_null() {
        return Ok(None);
    }
    if size != SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    cur.mem.read(mask).map(Some)
}

fn interrupted(result: &SysResult) -> bool {
    matches!(result, Err(SysError::Restart(_) | SysError::Errno(Errno::EINTR)))
}

/// Writes back what is left of a timeout (kernel: `poll_select_finish`): a failure to do so is kept quiet, and a call
/// that would be restarted is not.
fn finish(cur: &Current, result: SysResult, at: TimeoutAt, deadline: Option<Instant>, given: bool) -> SysResult {
    if !given {
        return result;
    }
    let left = deadline.map_or(Duration::ZERO, |deadline| deadline.saturating_duration_since(Instant::now()));
    let written = match at {
        TimeoutAt::Spec(at) => cur.mem.write(at, &Timespec::from(left)),
        TimeoutAt::Val(at) => {
            let spec = Timespec::from(left);
            cur.mem.write(at, &Timeval { sec: spec.sec, usec: spec.nsec / 1000 })
        }
    };
    match (written, result) {
        // The timeout in guest memory is that of the first try: a restart would begin it anew.
        (Err(_), Err(SysError::Restart(_))) => Err(Errno::EINTR.into()),
        (_, result) => result,
    }
}

#[derive(Clone, Copy)]
enum TimeoutAt {
    Spec(UserRef<Timespec>),
    Val(UserRef<Timeval>),
}

/// Serves `ppoll(2)`.
pub fn ppoll(
    cur: &mut Current,
    fds: UserRef<PollFd>,
    nfds: u32,
    tmo_p: UserRef<Timespec>,
    sigmask: UserRef<SigSet>,
    sigsetsize: usize,
) -> Outcome<'_> {
    let timeout = match attempt!(cur.mem.read_opt(tmo_p)) {
        Some(time) => Some(attempt!(time.duration())),
        None => None,
    };
    let mask = attempt!(read_mask(cur, sigmask, sigsetsize));
    Outcome::block(async move {
        swap_mask(cur, mask);
        let until = deadline(timeout);
        let result = match poll_now(cur, fds, nfds, timeout == Some(Duration::ZERO)) {
            Polled::Done(result) => result,
            Polled::Wait(set) => poll_wait(cur, set, until).await,
        };
        restore_mask(cur, interrupted(&result));
        finish(cur, result, TimeoutAt::Spec(tmo_p), until, timeout.is_some())
    })
}

/// What `select` calls readable, writable and exceptional (kernel: `POLLIN_SET` and its like).
const SETS: [Ready; 3] = [
    Ready::RDNORM.union(Ready::RDBAND).union(Ready::IN).union(Ready::HUP).union(Ready::ERR).union(Ready::NVAL),
    Ready::WRBAND.union(Ready::WRNORM).union(Ready::OUT).union(Ready::ERR).union(Ready::NVAL),
    Ready::PRI.union(Ready::NVAL),
];

/// The three descriptor sets of `select`, as words of 64 bits.
struct Sets {
    at: [UserAddr; 3],
    wanted: [Vec<u64>; 3],
    found: [Vec<u64>; 3],
    count: usize,
}

impl Sets {
    fn read(cur: &Current, nfds: i32, at: [UserAddr; 3]) -> Result<Sets, Errno> {
        let count = usize::try_from(nfds).map_err(|_| Errno::EINVAL)?;
        // Bits beyond the table name nothing.
        let count = count.min(cur.task.files.load().capacity());
        let words = count.div_ceil(64);
        let mut wanted = [Vec::new(), Vec::new(), Vec::new()];
        for (set, at) in wanted.iter_mut().zip(at) {
            *set = if at.is_null() { vec![0; words] } else { cur.mem.read_array(UserRef::new(at), words)? };
            if let (Some(last), true) = (set.last_mut(), count % 64 != 0) {
                *last &= (1 << (count % 64)) - 1;
            }
        }
        Ok(Sets { at, wanted, found: [vec![0; words], vec![0; words], vec![0; words]], count })
    }

    /// Returns the descriptors that some set names: `EBADF` where one isn't open.
    fn files(&self, cur: &Current) -> Result<Vec<(usize, Arc<File>, Ready)>, Errno> {
        let table = cur.task.files.load();
        let mut files = Vec::new();
        for fd in 0..self.count {
            let mut interest = Ready::empty();
            for (set, events) in self.wanted.iter().zip(SETS) {
                if set[fd / 64] >> (fd % 64) & 1 != 0 {
                    interest |= events;
                }
            }
            if !interest.is_empty() {
                let number = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
                files.push((fd, table.get_io(Fd(number))?, interest));
            }
        }
        Ok(files)
    }

    fn look(&mut self, files: &[(usize, Arc<File>, Ready)]) -> u64 {
        let mut count = 0;
        self.found.iter_mut().for_each(|set| set.fill(0));
        for (fd, file, _) in files {
            let ready = file.ops.ready();
            for ((wanted, found), events) in self.wanted.iter().zip(&mut self.found).zip(SETS) {
                let bit = 1 << (fd % 64);
                if wanted[fd / 64] & bit != 0 && ready.intersects(events) {
                    found[fd / 64] |= bit;
                    count += 1;
                }
            }
        }
        count
    }

    fn write_back(&self, cur: &Current) -> Result<(), Errno> {
        for (set, at) in self.found.iter().zip(self.at) {
            if !at.is_null() {
                cur.mem.write_array(UserRef::new(at), set)?;
            }
        }
        Ok(())
    }
}

async fn select_until(
    cur: &mut Current,
    nfds: i32,
    at: [UserAddr; 3],
    timeout: Option<Duration>,
    until: Option<Instant>,
) -> SysResult {
    let mut sets = Sets::read(cur, nfds, at)?;
    let files = sets.files(cur)?;
    let mut count = sets.look(&files);
    if count == 0 && timeout != Some(Duration::ZERO) {
        let watched: Watched = files.iter().map(|(_, file, interest)| (Arc::clone(file), *interest)).collect();
        let look = || {
            let count = sets.look(&files);
            (count > 0).then_some(count)
        };
        let waited = wait_any(cur, &watched, until, look).await.map_err(|_| SysError::Restart(Restart::NoHand))?;
        count = waited.unwrap_or(0);
    }
    sets.write_back(cur)?;
    Ok(count)
}

/// Serves `select(2)`.
pub fn select(
    cur: &mut Current,
    nfds: i32,
    readfds: UserAddr,
    writefds: UserAddr,
    exceptfds: UserAddr,
    timeout: UserRef<Timeval>,
) -> Outcome<'_> {
    let span = match attempt!(cur.mem.read_opt(timeout)) {
        // As in the kernel, microseconds beyond a second count as seconds.
        Some(time) => {
            let sec = time.sec.saturating_add(time.usec / 1_000_000);
            Some(attempt!(Timespec { sec, nsec: (time.usec % 1_000_000) * 1000 }.duration()))
        }
        None => None,
    };
    Outcome::block(async move {
        let until = deadline(span);
        let result = select_until(cur, nfds, [readfds, writefds, exceptfds], span, until).await;
        finish(cur, result, TimeoutAt::Val(timeout), until, span.is_some())
    })
}

/// Serves `pselect6(2)`; the last argument points to a mask's address and size.
pub fn pselect6(
    cur: &mut Current,
    nfds: i32,
    readfds: UserAddr,
    writefds: UserAddr,
    exceptfds: UserAddr,
    timeout: UserRef<Timespec>,
    sigmask: UserRef<[u64; 2]>,
) -> Outcome<'_> {
    let (mask_at, size) = match attempt!(cur.mem.read_opt(sigmask)) {
        Some([at, size]) => (UserRef::new(UserAddr::new(at)), usize::try_from(size).unwrap_or(usize::MAX)),
        None => (UserRef::new(UserAddr::NULL), 0),
    };
    let span = match attempt!(cur.mem.read_opt(timeout)) {
        Some(time) => Some(attempt!(time.duration())),
        None => None,
    };
    let mask = attempt!(read_mask(cur, mask_at, size));
    Outcome::block(async move {
        swap_mask(cur, mask);
        let until = deadline(span);
        let result = select_until(cur, nfds, [readfds, writefds, exceptfds], span, until).await;
        restore_mask(cur, interrupted(&result));
        finish(cur, result, TimeoutAt::Spec(timeout), until, span.is_some())
    })
}
