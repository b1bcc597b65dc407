//! Priority-inheritance futexes: the word holds the owner's thread id, and the kernel hands it on. Priorities don't
//! exist here, so the longest sleeper is next.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use abi::{Errno, Pid, UserAddr, UserRef};
use sentry_platform::MemOp;

use super::robust::{OWNER_DIED, TID_MASK, WAITERS};
use super::{FutexError, Known, Sleeper, Woken};
use crate::Current;
use crate::mm::FutexKey;
use crate::wait::{Interruptible, Waiter};

pub(super) async fn exchange(cur: &mut Current, addr: UserAddr, old: u32, new: u32) -> Result<u32, Errno> {
    let op = MemOp::CompareExchange { addr: addr.raw(), old, new };
    let found = cur.mm.clone().host_op(cur.context.as_mut(), op).await?;
    u32::try_from(found).map_err(|_| Errno::EFAULT)
}

pub(super) fn own_tid(cur: &Current) -> u32 {
    cur.task.tid.0.cast_unsigned()
}

/// Tells whether a thread with this id lives.
pub(super) fn lives(cur: &Current, tid: u32) -> bool {
    i32::try_from(tid).is_ok_and(|tid| cur.kernel().tasks.read().tasks.contains_key(&Pid(tid)))
}

/// `FUTEX_LOCK_PI`: returns once the caller owns the word. With `try_only`, `EAGAIN` where it would sleep.
pub async fn lock(
    cur: &mut Current,
    key: FutexKey,
    addr: UserAddr,
    deadline: Option<Instant>,
    try_only: bool,
) -> Result<(), FutexError> {
    let tid = own_tid(cur);
    let mut word = cur.mem.read(UserRef::<u32>::new(addr))?;
    loop {
        if word & TID_MASK == tid {
            return Err(Errno::EDEADLK.into());
        }
        if word & TID_MASK == 0 {
            // Free, or its owner has died: take it, and keep what is said about others.
            let found = exchange(cur, addr, word, tid | (word & (WAITERS | OWNER_DIED))).await?;
            if found == word {
                return Ok(());
            }
            word = found;
            continue;
        }
        if try_only {
            return Err(Errno::EAGAIN.into());
        }
        if !lives(cur, word & TID_MASK) {
            return Err(Errno::ESRCH.into());
        }
        let waiter = Waiter::new();
        let mut asleep = enqueue(cur, key, &waiter);
        if word & WAITERS == 0 {
            let found = exchange(cur, addr, word, word | WAITERS).await;
            if found != Ok(word) {
                if asleep.leave().await.is_some() {
                    return Ok(());
                }
                word = found?;
                continue;
            }
        }
        return sleep(cur, asleep, &waiter, deadline).await;
    }
}

/// A sleeper in its queue. To be ended by [`Queued::leave`].
pub(super) struct Queued {
    pub(super) kernel: Arc<crate::Kernel>,
    pub(super) woken: Arc<Woken>,
    pub(super) left: bool,
}

impl Queued {
    /// Leaves the queue, once: a sleeper that is no longer there would be looked for until someone wakes it. Tells
    /// whether someone had. Whoever hands the word on has the host change it between taking a sleeper out and waking it,
    /// so that may take a while, and perhaps this worker.
    pub(super) async fn leave(&mut self) -> Option<usize> {
        while !self.left {
            self.left = self.kernel.futexes.try_forget(&self.woken);
            if !self.left {
                futures_lite::future::yield_now().await;
            }
        }
        self.first_woken()
    }

    pub(super) fn first_woken(&self) -> Option<usize> {
        self.woken.done.load(Ordering::SeqCst).then_some(0)
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        // Only of a future that nobody polls to its end.
        if !self.left {
            self.kernel.futexes.try_forget(&self.woken);
        }
    }
}

fn enqueue(cur: &Current, key: FutexKey, waiter: &Arc<Waiter>) -> Queued {
    let kernel = Arc::clone(cur.kernel());
    let woken = Woken::asleep_on(key);
    let sleeper = Sleeper {
        bitset: super::MATCH_ANY,
        index: 0,
        waiter: Arc::clone(waiter),
        woken: Arc::clone(&woken),
        pi_tid: Some(cur.task.tid),
        requeue_to: None,
        known: Known::new(&cur.mem, &key),
    };
    kernel.futexes.lock(&key).entry(key).or_default().push_back(sleeper);
    Queued { kernel, woken, left: false }
}

async fn sleep(
    cur: &mut Current,
    mut asleep: Queued,
    waiter: &Arc<Waiter>,
    deadline: Option<Instant>,
) -> Result<(), FutexError> {
    let task = Arc::clone(&cur.task);
    match task.wait_for(waiter, deadline, Interruptible::Signals, || asleep.first_woken()).await {
        Ok(_) => Ok(()),
        // Whoever took the sleeper out has made this thread the owner.
        Err(error) => asleep.leave().await.map(drop).ok_or(FutexError::Wait(error)),
    }
}

/// Takes the longest sleeper of a word; also tells whether others remain. `EINVAL` for sleepers of other operations.
fn next_owner(cur: &Current, key: &FutexKey) -> Result<Option<(Sleeper, bool)>, Errno> {
    let mut queues = cur.kernel().futexes.lock(key);
    let Some(queue) = queues.get_mut(key) else { return Ok(None) };
    if queue.front().is_some_and(|sleeper| sleeper.pi_tid.is_none() || sleeper.requeue_to.is_some()) {
        return Err(Errno::EINVAL);
    }
    let next = queue.pop_front();
    let more = !queue.is_empty();
    if !more {
        queues.remove(key);
    }
    Ok(next.map(|sleeper| (sleeper, more)))
}

fn put_back(cur: &Current, key: FutexKey, sleeper: Sleeper) {
    let mut queues = cur.kernel().futexes.lock(&key);
    queues.entry(key).or_default().push_front(sleeper);
}

/// `FUTEX_UNLOCK_PI`: hands the word to the next sleeper. `EPERM` where the caller doesn't own it.
pub async fn unlock(cur: &mut Current, key: FutexKey, addr: UserAddr) -> Result<(), Errno> {
    let mut word = cur.mem.read(UserRef::<u32>::new(addr))?;
    if word & TID_MASK != own_tid(cur) {
        return Err(Errno::EPERM);
    }
    hand_on(cur, key, addr, &mut word, 0).await
}

/// Makes the longest sleeper the owner, or nobody.
pub(super) async fn hand_on(
    cur: &mut Current,
    key: FutexKey,
    addr: UserAddr,
    word: &mut u32,
    extra: u32,
) -> Result<(), Errno> {
    loop {
        let next = next_owner(cur, &key)?;
        let new = match &next {
            Some((sleeper, more)) => {
                let tid = sleeper.pi_tid.map_or(0, |tid| tid.0.cast_unsigned());
                tid | extra | if *more { WAITERS } else { 0 }
            }
            None => extra,
        };
        let found = match exchange(cur, addr, *word, new).await {
            Ok(found) => found,
            Err(errno) => {
                if let Some((sleeper, _)) = next {
                    put_back(cur, key, sleeper);
                }
                return Err(errno);
            }
        };
        match next {
            Some((sleeper, _)) if found == *word => {
                sleeper.wake();
                return Ok(());
            }
            None if found == *word => return Ok(()),
            Some((sleeper, _)) => put_back(cur, key, sleeper),
            None => {}
        }
        *word = found;
    }
}

/// The owner of a word has ended: the next sleeper gets it, with the mark.
pub(super) async fn owner_died(cur: &mut Current, addr: UserAddr) {
    for private in [true, false] {
        let Ok(key) = cur.mm.futex_key(addr, private) else { continue };
        let Ok(mut word) = cur.mem.read(UserRef::<u32>::new(addr)) else { return };
        if word & TID_MASK == 0 && word & OWNER_DIED != 0 {
            // A failure leaves the word marked: the next to lock it takes it over.
            let _ = hand_on_if_any(cur, key, addr, &mut word).await;
        }
    }
}

async fn hand_on_if_any(cur: &mut Current, key: FutexKey, addr: UserAddr, word: &mut u32) -> Result<(), Errno> {
    let sleepers = cur.kernel().futexes.lock(&key).contains_key(&key);
    if sleepers { hand_on(cur, key, addr, word, OWNER_DIED).await } else { Ok(()) }
}
