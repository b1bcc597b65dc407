//! Futexes: queues of sleepers found by the identity of a word in memory (`man 2 futex`, kernel: `kernel/futex/`).
//!
//! The table is sharded by key. A sleeper checks the word with its shard locked, and wakers lock the same shard, so no
//! wake-up falls between check and sleep. Plain operations are here, priority inheritance in [`pi`] and [`requeue_pi`],
//! what happens to the futexes of an ended thread in [`robust`]; [`host`] is about sleepers that are not in the table.

mod host;
pub mod pi;
pub mod requeue_pi;
pub mod robust;

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use abi::{Errno, Pid, UserRef};
use sentry_platform::AddressSpace;
use sentry_sync::{Level, Mutex, MutexGuard, Notify};
use smallvec::SmallVec;

use crate::Task;
use crate::mm::FutexKey;
use crate::usermem::UserMem;
use crate::wait::{Interruptible, WaitError, Waiter};

/// Matches any bit set (`FUTEX_BITSET_MATCH_ANY`).
pub const MATCH_ANY: u32 = u32::MAX;

const SHARDS: usize = 64;

/// One thread asleep on a word.
struct Sleeper {
    bitset: u32,
    /// Index among the words of `futex_waitv`.
    index: usize,
    waiter: Arc<Waiter>,
    /// Set, with the shard locked, by whoever takes the sleeper out of its queue to wake it.
    woken: Arc<Woken>,
    /// Set for sleepers of priority-inheritance operations: the thread that is to own the word.
    pi_tid: Option<Pid>,
    /// Set while it waits to be moved (`FUTEX_WAIT_REQUEUE_PI`): the word that it wants to own.
    requeue_to: Option<FutexKey>,
    /// While it is in the queue of a private word.
    known: Option<Known>,
}

/// The platform knows of a sleeper, so that wake-ups for it come here. Made before the word is looked at.
struct Known {
    space: Arc<dyn AddressSpace>,
    addr: u64,
}

impl Known {
    fn new(mem: &UserMem, key: &FutexKey) -> Option<Known> {
        let FutexKey::Private { addr, .. } = *key else { return None };
        mem.space().begin_sleep(addr);
        Some(Known { space: Arc::clone(mem.space()), addr })
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.space.end_sleep(self.addr);
    }
}

/// Tells a sleeper that, and by which of its words, it was woken.
struct Woken {
    done: AtomicBool,
    index: AtomicUsize,
    /// Where the sleeper is now: requeueing moves it.
    key: Mutex<FutexKey>,
}

impl Woken {
    fn asleep_on(key: FutexKey) -> Arc<Woken> {
        let key = Mutex::new(Level::Leaf, key);
        Arc::new(Woken { done: AtomicBool::new(false), index: AtomicUsize::new(0), key })
    }
}

type Queues = HashMap<FutexKey, VecDeque<Sleeper>>;

/// Sleepers taken out of their queue, mostly one.
type Taken = SmallVec<[Sleeper; 1]>;

/// All sleepers of a kernel.
pub struct FutexTable {
    shards: Vec<Mutex<Queues>>,
}

impl Default for FutexTable {
    fn default() -> FutexTable {
        FutexTable { shards: (0..SHARDS).map(|_| Mutex::new(Level::Futex, HashMap::new())).collect() }
    }
}

/// One word to sleep on.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    /// Its identity.
    pub key: FutexKey,
    /// Where it is.
    pub addr: UserRef<u32>,
    /// What it must hold.
    pub value: u32,
    /// Which wake-ups count.
    pub bitset: u32,
}

impl Sleeper {
    /// Wakes a sleeper that has been taken out of its queue.
    fn wake(self) {
        self.woken.index.store(self.index, Ordering::SeqCst);
        self.woken.done.store(true, Ordering::SeqCst);
        self.waiter.notify(0);
    }
}

impl FutexTable {
    fn shard_of(&self, key: &FutexKey) -> usize {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        usize::try_from(hasher.finish() % SHARDS as u64).unwrap_or(0)
    }

    fn lock(&self, key: &FutexKey) -> MutexGuard<'_, Queues> {
        self.shards[self.shard_of(key)].lock()
    }

    /// Sleeps while the word holds the value. `EAGAIN` where it doesn't, `EFAULT` where it can't be read.
    pub async fn wait(
        &self,
        task: &Task,
        mem: &UserMem,
        word: Word,
        deadline: Option<Instant>,
    ) -> Result<(), FutexError> {
        self.wait_many(task, mem, &[word], deadline).await.map(drop)
    }

    /// Sleeps while every word holds its value; returns the index of the word that was woken.
    pub async fn wait_many(
        &self,
        task: &Task,
        mem: &UserMem,
        words: &[Word],
        deadline: Option<Instant>,
    ) -> Result<usize, FutexError> {
        let waiter = Arc::clone(&task.waiter);
        let mut asleep = Asleep { table: self, entries: SmallVec::with_capacity(words.len()) };
        for (index, word) in words.iter().enumerate() {
            let woken = Woken::asleep_on(word.key);
            let known = Known::new(mem, &word.key);
            let mut queues = self.lock(&word.key);
            // Checked with the shard locked: a waker changes the word, then takes this lock.
            if mem.read(word.addr)? != word.value {
                drop(queues);
                // An earlier word may have been woken meanwhile: that counts.
                return asleep.first_woken().ok_or(FutexError::Errno(Errno::EAGAIN));
            }
            queues.entry(word.key).or_default().push_back(Sleeper {
                bitset: word.bitset,
                index,
                waiter: Arc::clone(&waiter),
                woken: Arc::clone(&woken),
                pi_tid: None,
                requeue_to: None,
                known,
            });
            drop(queues);
            asleep.entries.push(woken);
        }
        let ended = task.wait_for(&waiter, deadline, Interruptible::Signals, || asleep.first_woken()).await;
        match ended {
            Ok(index) => Ok(index),
            // Woken between the last look and now: the wake-up must not be lost.
            Err(error) => asleep.leave().ok_or(FutexError::Wait(error)),
        }
    }

    /// Wakes up to `count` sleepers whose bit set meets `bitset`; returns how many.
    pub fn wake(&self, key: &FutexKey, count: usize, bitset: u32) -> Result<usize, Errno> {
        let taken = take(&mut self.lock(key), key, count, bitset)?;
        let woken = taken.len();
        taken.into_iter().for_each(Sleeper::wake);
        Ok(woken)
    }

    /// Runs with the queues of two words locked; the second are `None` where both words share them.
    fn with_both<T>(
        &self,
        source: &FutexKey,
        target: &FutexKey,
        run: impl FnOnce(&mut Queues, Option<&mut Queues>) -> T,
    ) -> T {
        let (first, second) = (self.shard_of(source), self.shard_of(target));
        let mut low = self.shards[first.min(second)].lock();
        if first == second {
            return run(&mut low, None);
        }
        // Two shards are always locked in the order of their index.
        let mut high = self.shards[first.max(second)].lock_same_level();
        if first < second { run(&mut low, Some(&mut high)) } else { run(&mut high, Some(&mut low)) }
    }

    /// Wakes up to `wake` sleepers of `from` and moves up to `move_` more to `to`. With `expected`, fails with `EAGAIN`
    /// unless the word holds it. Returns how many were woken, and how many moved.
    pub fn requeue(
        &self,
        mem: &UserMem,
        from: Word,
        to: &FutexKey,
        wake: usize,
        move_: usize,
        expected: bool,
    ) -> Result<(usize, usize), Errno> {
        let mut counts = (0, 0);
        let woken = self.with_both(&from.key, to, |source, target| {
            move_sleepers(mem, source, target, from, to, (wake, move_), expected, &mut counts)
        })?;
        woken.into_iter().for_each(Sleeper::wake);
        Ok(counts)
    }
}

/// The part of a requeue that runs with the shards locked; `target` is `None` where both words share one. Returns the
/// sleepers to wake.
fn move_sleepers(
    mem: &UserMem,
    source: &mut Queues,
    target: Option<&mut Queues>,
    from: Word,
    to: &FutexKey,
    (wake, move_): (usize, usize),
    expected: bool,
    counts: &mut (usize, usize),
) -> Result<Taken, Errno> {
    if expected && mem.read(from.addr)? != from.value {
        return Err(Errno::EAGAIN);
    }
    let woken = take(source, &from.key, wake, MATCH_ANY)?;
    let moved = take(source, &from.key, move_, MATCH_ANY)?;
    *counts = (woken.len(), moved.len());
    let target = target.unwrap_or(source);
    for mut sleeper in moved {
        sleeper.known = Known::new(mem, to);
        *sleeper.woken.key.lock() = *to;
        target.entry(*to).or_default().push_back(sleeper);
    }
    Ok(woken)
}

/// Takes sleepers out of a queue. `EINVAL` where one belongs to a priority-inheritance operation: the guest mixes kinds.
fn take(queues: &mut Queues, key: &FutexKey, count: usize, bitset: u32) -> Result<Taken, Errno> {
    let Some(queue) = queues.get_mut(key) else { return Ok(Taken::new()) };
    let mut taken = Taken::new();
    let mut at = 0;
    while at < queue.len() && taken.len() < count {
        if queue[at].pi_tid.is_some() {
            return Err(Errno::EINVAL);
        }
        if queue[at].bitset & bitset == 0 {
            at += 1;
        } else if let Some(sleeper) = queue.remove(at) {
            taken.push(sleeper);
        }
    }
    if queue.is_empty() {
        queues.remove(key);
    }
    Ok(taken)
}

/// Why a futex wait has not ended by a wake-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FutexError {
    /// The guest's mistake, or a word that has changed.
    Errno(Errno),
    /// Signal or deadline.
    Wait(WaitError),
}

impl From<Errno> for FutexError {
    fn from(errno: Errno) -> FutexError {
        FutexError::Errno(errno)
    }
}

/// Takes sleepers that nobody has woken out of their queues when dropped.
struct Asleep<'a> {
    table: &'a FutexTable,
    entries: SmallVec<[Arc<Woken>; 1]>,
}

impl Asleep<'_> {
    fn first_woken(&self) -> Option<usize> {
        let woken = self.entries.iter().find(|entry| entry.done.load(Ordering::SeqCst))?;
        Some(woken.index.load(Ordering::SeqCst))
    }

    /// Leaves all queues; returns the index of a word that was woken first.
    fn leave(&mut self) -> Option<usize> {
        for entry in &self.entries {
            self.table.forget(entry);
        }
        let woken = self.first_woken();
        self.entries.clear();
        woken
    }
}

impl Drop for Asleep<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl FutexTable {
    /// Takes a sleeper out. One that somebody has just taken out is looked for until it has been woken, or put back.
    fn forget(&self, entry: &Arc<Woken>) {
        while !self.try_forget(entry) {
            std::hint::spin_loop();
        }
    }

    /// Takes a sleeper out of its queue unless it has been woken; `false`: it is in none now, for somebody is about to wake
    /// it, to put it back or to move it.
    fn try_forget(&self, entry: &Arc<Woken>) -> bool {
        if entry.done.load(Ordering::SeqCst) {
            return true;
        }
        let key = *entry.key.lock();
        let mut queues = self.lock(&key);
        let Some(queue) = queues.get_mut(&key) else { return false };
        let Some(at) = queue.iter().position(|sleeper| Arc::ptr_eq(&sleeper.woken, entry)) else { return false };
        queue.remove(at);
        if queue.is_empty() {
            queues.remove(&key);
        }
        true
    }
}
