//! File locks: POSIX record locks, description locks and `flock` (`man 2 fcntl`, `man 2 flock`), and how `/proc/locks`
//! shows them (`man 5 proc_locks`).
//!
//! [`InodeLocks`] holds what is locked of one inode. A lock that conflicts is reported, not waited for: the caller waits
//! on [`InodeLocks::freed`]. [`LockWaits`] knows who waits for whom, to find deadlocks among POSIX locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use abi::Errno;
use sentry_fs::DeviceId;
use sentry_sync::{Level, Mutex, WaitQueue};

/// Whose lock it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockOwner {
    /// A descriptor table (POSIX record locks): its address.
    Table(usize),
    /// An open file description, by number.
    Description(u64),
}

/// A locked range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeLock {
    /// Whose it is.
    pub owner: LockOwner,
    /// The open file description that it was taken through.
    pub description: u64,
    /// Process that `F_GETLK` names; -1 for description locks.
    pub pid: i32,
    /// Exclusive.
    pub write: bool,
    /// First byte.
    pub start: u64,
    /// Last byte; `i64::MAX` is the end of the file, however far.
    pub end: u64,
}

impl RangeLock {
    fn overlaps(&self, start: u64, end: u64) -> bool {
        self.start <= end && start <= self.end
    }

    fn conflicts(&self, other: &RangeLock) -> bool {
        self.owner != other.owner && (self.write || other.write) && self.overlaps(other.start, other.end)
    }
}

/// A lock of the whole file, by `flock(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WholeLock {
    /// The open file description that holds it.
    pub description: u64,
    /// Process that locked.
    pub pid: i32,
    /// Exclusive.
    pub write: bool,
}

/// A lock of either kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AnyLock {
    Whole(WholeLock),
    Range(RangeLock),
}

impl AnyLock {
    /// Returns the open file description that it was taken through.
    pub fn description(&self) -> u64 {
        match self {
            AnyLock::Whole(lock) => lock.description,
            AnyLock::Range(lock) => lock.description,
        }
    }

    fn conflicts(&self, other: &AnyLock) -> bool {
        match (self, other) {
            (AnyLock::Whole(a), AnyLock::Whole(b)) => a.description != b.description && (a.write || b.write),
            (AnyLock::Range(a), AnyLock::Range(b)) => a.conflicts(b),
            _ => false,
        }
    }

    /// Returns the line of `/proc/locks` behind the number (kernel: `lock_get_status`).
    fn line(&self, (dev, ino): (DeviceId, u64)) -> String {
        let (kind, write, pid) = match self {
            AnyLock::Whole(lock) => ("FLOCK ", lock.write, lock.pid),
            AnyLock::Range(lock) if matches!(lock.owner, LockOwner::Table(_)) => ("POSIX ", lock.write, lock.pid),
            AnyLock::Range(lock) => ("OFDLCK", lock.write, lock.pid),
        };
        let range = match self {
            AnyLock::Range(lock) if lock.end != i64::MAX.unsigned_abs() => format!("{} {}", lock.start, lock.end),
            AnyLock::Range(lock) => format!("{} EOF", lock.start),
            AnyLock::Whole(_) => "0 EOF".to_owned(),
        };
        let mode = if write { "WRITE" } else { "READ" };
        format!("{kind} ADVISORY  {mode} {pid} {:02x}:{:02x}:{ino} {range}\n", dev.major, dev.minor)
    }
}

#[derive(Debug, Default)]
struct State {
    ranges: Vec<RangeLock>,
    whole: Vec<WholeLock>,
    /// Those that somebody waits for.
    wanted: Vec<AnyLock>,
}

/// The locks of one inode.
#[derive(Debug)]
pub struct InodeLocks {
    /// Woken when something is unlocked.
    pub freed: WaitQueue,
    /// How many locks there are, for a look without the lock.
    held: AtomicUsize,
    state: Mutex<State>,
}

impl Default for InodeLocks {
    fn default() -> InodeLocks {
        InodeLocks {
            freed: WaitQueue::new(),
            held: AtomicUsize::new(0),
            state: Mutex::new(Level::Leaf, State::default()),
        }
    }
}

impl InodeLocks {
    /// Tells whether nothing is locked.
    pub fn is_empty(&self) -> bool {
        self.held.load(Ordering::SeqCst) == 0
    }

    /// Works on the state and counts what is held afterwards.
    fn change<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock();
        let result = work(&mut state);
        self.held.store(state.ranges.len() + state.whole.len(), Ordering::SeqCst);
        result
    }

    /// Returns a lock that stands against this one (`F_GETLK`).
    pub fn conflict(&self, want: &RangeLock) -> Option<RangeLock> {
        self.state.lock().ranges.iter().filter(|held| held.conflicts(want)).min_by_key(|held| held.start).copied()
    }

    /// Locks a range, or returns what stands against it.
    pub fn lock(&self, want: RangeLock) -> Result<(), RangeLock> {
        let weaker = self.change(|state| {
            if let Some(held) = state.ranges.iter().find(|held| held.conflicts(&want)) {
                return Err(*held);
            }
            let weaker = state.ranges.iter().any(|held| held.owner == want.owner && held.write && !want.write);
            cut(&mut state.ranges, want.owner, want.start, want.end);
            state.ranges.push(want);
            merge(&mut state.ranges, want.owner);
            Ok(weaker)
        })?;
        if weaker {
            self.freed.wake(!0);
        }
        Ok(())
    }

    /// Unlocks a range.
    pub fn unlock(&self, owner: LockOwner, start: u64, end: u64) {
        self.change(|state| cut(&mut state.ranges, owner, start, end));
        self.freed.wake(!0);
    }

    /// Releases all range locks of an owner.
    pub fn release(&self, owner: LockOwner) {
        let had = self.change(|state| {
            let before = state.ranges.len();
            state.ranges.retain(|held| held.owner != owner);
            before != state.ranges.len()
        });
        if had {
            self.freed.wake(!0);
        }
    }

    /// Locks the whole for a description: `EAGAIN` where another one's lock stands against it. A lock held before is
    /// given up first, as on Linux.
    pub fn flock(&self, want: WholeLock) -> Result<(), Errno> {
        let (free, dropped) = self.change(|state| {
            let own = |held: &WholeLock| held.description == want.description;
            if state.whole.iter().any(|held| own(held) && held.write == want.write) {
                return (true, false);
            }
            let before = state.whole.len();
            state.whole.retain(|held| !own(held));
            let dropped = before != state.whole.len();
            let free = state.whole.iter().all(|held| !want.write && !held.write);
            if free {
                state.whole.push(want);
            }
            (free, dropped)
        });
        if dropped {
            self.freed.wake(!0);
        }
        if free { Ok(()) } else { Err(Errno::EAGAIN) }
    }

    /// Gives up what a description holds of the whole.
    pub fn funlock(&self, description: u64) {
        self.change(|state| state.whole.retain(|held| held.description != description));
        self.freed.wake(!0);
    }

    /// Shows a lock among those that are waited for until the result is dropped.
    #[must_use]
    pub fn want(self: &Arc<InodeLocks>, lock: AnyLock) -> Wanted {
        self.state.lock().wanted.push(lock);
        Wanted { locks: Arc::clone(self), lock }
    }

    /// Returns what is held, and what is waited for.
    fn all(&self) -> (Vec<AnyLock>, Vec<AnyLock>) {
        let state = self.state.lock();
        let whole = state.whole.iter().copied().map(AnyLock::Whole);
        let mut ranges = state.ranges.clone();
        ranges.sort_by_key(|lock| lock.start);
        (whole.chain(ranges.into_iter().map(AnyLock::Range)).collect(), state.wanted.clone())
    }

    /// Returns the lines `lock:` of `/proc/PID/fdinfo/N` for a description in a descriptor table.
    pub fn fdinfo(&self, place: (DeviceId, u64), description: u64, table: LockOwner) -> String {
        let shown = |lock: &AnyLock| match lock {
            AnyLock::Range(range) if matches!(range.owner, LockOwner::Table(_)) => range.owner == table,
            _ => true,
        };
        let own = self.all().0.into_iter().filter(|lock| lock.description() == description && shown(lock));
        (1..).zip(own).map(|(id, lock)| format!("lock:\t{id}: {}", lock.line(place))).collect()
    }

    /// Appends the lines of `/proc/locks`, numbered from `next` on.
    pub fn list(&self, place: (DeviceId, u64), next: &mut u64, text: &mut String) {
        let (held, mut wanted) = self.all();
        for lock in held {
            text.push_str(&format!("{next}: {}", lock.line(place)));
            wanted.retain(|want| {
                let waits = lock.conflicts(want);
                if waits {
                    text.push_str(&format!("{next}: -> {}", want.line(place)));
                }
                !waits
            });
            *next += 1;
        }
    }
}

/// Shows a lock as waited for.
pub struct Wanted {
    locks: Arc<InodeLocks>,
    lock: AnyLock,
}

impl Drop for Wanted {
    fn drop(&mut self) {
        let mut state = self.locks.state.lock();
        if let Some(at) = state.wanted.iter().position(|lock| *lock == self.lock) {
            state.wanted.swap_remove(at);
        }
    }
}

/// Takes a range out of an owner's locks.
fn cut(ranges: &mut Vec<RangeLock>, owner: LockOwner, start: u64, end: u64) {
    let mut rest = Vec::new();
    ranges.retain(|held| {
        if held.owner != owner || !held.overlaps(start, end) {
            return true;
        }
        if held.start < start {
            rest.push(RangeLock { end: start - 1, ..*held });
        }
        if held.end > end {
            rest.push(RangeLock { start: end + 1, ..*held });
        }
        false
    });
    ranges.extend(rest);
}

/// Joins adjacent ranges of one owner and kind.
fn merge(ranges: &mut Vec<RangeLock>, owner: LockOwner) {
    let (mut own, others): (Vec<_>, Vec<_>) = ranges.drain(..).partition(|held| held.owner == owner);
    own.sort_by_key(|held| held.start);
    *ranges = others;
    for held in own {
        match ranges.last_mut() {
            Some(last)
                if last.owner == owner && last.write == held.write && last.end.checked_add(1) == Some(held.start) =>
            {
                last.end = held.end;
            }
            _ => ranges.push(held),
        }
    }
}

/// Who waits for whose POSIX lock.
#[derive(Debug)]
pub struct LockWaits(Mutex<Vec<(LockOwner, LockOwner)>>);

impl Default for LockWaits {
    fn default() -> LockWaits {
        LockWaits(Mutex::new(Level::Leaf, Vec::new()))
    }
}

impl LockWaits {
    /// Notes that `waiter` waits for `holder`: `EDEADLK` where that closes a circle.
    pub fn begin(&self, waiter: LockOwner, holder: LockOwner) -> Result<(), Errno> {
        let mut waits = self.0.lock();
        let mut at = holder;
        // Linux gives up after ten steps, too.
        for _ in 0..10 {
            if at == waiter {
                return Err(Errno::EDEADLK);
            }
            match waits.iter().find(|(who, _)| *who == at) {
                Some((_, next)) => at = *next,
                None => break,
            }
        }
        waits.push((waiter, holder));
        Ok(())
    }

    /// Notes that `waiter` waits no more.
    pub fn end(&self, waiter: LockOwner) {
        let mut waits = self.0.lock();
        if let Some(at) = waits.iter().position(|(who, _)| *who == waiter) {
            waits.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: LockOwner = LockOwner::Table(1);
    const B: LockOwner = LockOwner::Table(2);

    fn range(owner: LockOwner, write: bool, start: u64, end: u64) -> RangeLock {
        RangeLock { owner, description: 1, pid: 1, write, start, end }
    }

    fn whole(description: u64, write: bool) -> WholeLock {
        WholeLock { description, pid: 1, write }
    }

    #[test]
    fn readers_share_and_writers_exclude() {
        let locks = InodeLocks::default();
        assert!(locks.lock(range(A, false, 0, 9)).is_ok());
        assert!(locks.lock(range(B, false, 5, 15)).is_ok());
        assert_eq!(locks.lock(range(B, true, 9, 9)), Err(range(A, false, 0, 9)));
        assert!(locks.lock(range(B, true, 10, 12)).is_ok());
    }

    #[test]
    fn unlocking_the_middle_splits_and_locking_it_joins() {
        let locks = InodeLocks::default();
        locks.lock(range(A, true, 0, 99)).unwrap();
        locks.unlock(A, 40, 59);
        assert_eq!(locks.conflict(&range(B, true, 45, 50)), None);
        assert_eq!(locks.conflict(&range(B, true, 0, 99)), Some(range(A, true, 0, 39)));
        locks.lock(range(A, true, 40, 59)).unwrap();
        assert_eq!(locks.conflict(&range(B, true, 99, 99)), Some(range(A, true, 0, 99)));
    }

    #[test]
    fn a_circle_of_waits_is_found() {
        let waits = LockWaits::default();
        waits.begin(A, B).unwrap();
        assert_eq!(waits.begin(B, A), Err(Errno::EDEADLK));
        waits.end(A);
        assert_eq!(waits.begin(B, A), Ok(()));
    }

    #[test]
    fn flock_belongs_to_the_description() {
        let locks = InodeLocks::default();
        assert_eq!(locks.flock(whole(1, false)), Ok(()));
        assert_eq!(locks.flock(whole(2, false)), Ok(()));
        assert_eq!(locks.flock(whole(2, true)), Err(Errno::EAGAIN));
        assert_eq!(locks.flock(whole(1, true)), Ok(()), "the failed conversion gave the shared lock up");
    }
}
