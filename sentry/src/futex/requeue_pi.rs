//! `FUTEX_WAIT_REQUEUE_PI` and `FUTEX_CMP_REQUEUE_PI`: who sleeps on one word (a condition) is moved to another (a
//! priority-inheritance lock), and wakes as its owner (kernel: `Documentation/locking/futex-requeue-pi.rst`).

use std::sync::Arc;
use std::time::Instant;

use abi::{Errno, Pid, UserAddr, UserRef};

use super::pi::{Queued, exchange, hand_on, lives};
use super::robust::{TID_MASK, WAITERS};
use super::{FutexError, Known, MATCH_ANY, Queues, Sleeper, Woken, Word};
use crate::Current;
use crate::mm::FutexKey;
use crate::usermem::UserMem;
use crate::wait::{Interruptible, WaitError};

/// Sleeps on `from` until moved to `to` and made its owner. `EAGAIN` where the word doesn't hold its value, and for a
/// signal that comes after the move: the caller can't begin anew then.
pub async fn wait(cur: &mut Current, from: Word, to: FutexKey, deadline: Option<Instant>) -> Result<(), FutexError> {
    if from.key == to {
        return Err(Errno::EINVAL.into());
    }
    let task = Arc::clone(&cur.task);
    let (kernel, waiter) = (Arc::clone(cur.kernel()), Arc::clone(&task.waiter));
    let woken = Woken::asleep_on(from.key);
    let known = Known::new(&cur.mem, &from.key);
    {
        let mut queues = kernel.futexes.lock(&from.key);
        // Checked with the shard locked: a waker changes the word, then takes this lock.
        if cur.mem.read(from.addr)? != from.value {
            return Err(Errno::EAGAIN.into());
        }
        queues.entry(from.key).or_default().push_back(Sleeper {
            bitset: MATCH_ANY,
            index: 0,
            waiter: Arc::clone(&waiter),
            woken: Arc::clone(&woken),
            pi_tid: Some(task.tid),
            requeue_to: Some(to),
            known,
        });
    }
    let mut asleep = Queued { kernel: Arc::clone(&task.kernel), woken, left: false };
    match task.wait_for(&waiter, deadline, Interruptible::Signals, || asleep.first_woken()).await {
        Ok(_) => Ok(()),
        Err(error) => {
            if asleep.leave().await.is_some() {
                // Whoever took the sleeper out has made this thread the owner.
                return Ok(());
            }
            let moved = *asleep.woken.key.lock() != from.key;
            match error {
                WaitError::Interrupted if moved => Err(Errno::EAGAIN.into()),
                error => Err(FutexError::Wait(error)),
            }
        }
    }
}

/// Makes the longest sleeper of `from` the owner of the word at `addr`, or moves it to its queue, with up to `more`
/// others; returns how many. `EAGAIN` unless `from` holds its value.
pub async fn requeue(cur: &mut Current, from: Word, to: FutexKey, addr: UserAddr, more: usize) -> Result<usize, Errno> {
    if from.key == to {
        return Err(Errno::EINVAL);
    }
    let first = {
        let queues = cur.kernel().futexes.lock(&from.key);
        if cur.mem.read(from.addr)? != from.value {
            return Err(Errno::EAGAIN);
        }
        first_tid(&queues, &from.key, &to)?
    };
    let Some(first) = first else { return Ok(0) };
    let word = cur.mem.read(UserRef::<u32>::new(addr))?;
    // Faults before anybody is moved.
    exchange(cur, addr, word, word).await?;
    match word & TID_MASK {
        0 => {}
        owner if owner == first.0.cast_unsigned() => return Err(Errno::EDEADLK),
        owner if !lives(cur, owner) => return Err(Errno::ESRCH),
        _ => {}
    }
    let count = more.saturating_add(1);
    let futexes = &cur.kernel().futexes;
    let moved = futexes
        .with_both(&from.key, &to, |source, target| move_sleepers(&cur.mem, source, target, from, &to, count))?;
    if moved > 0 {
        settle(cur, to, addr).await?;
    }
    Ok(moved)
}

/// Returns the thread that is to own the word first. `EINVAL` for a sleeper of another operation, or of another word.
fn first_tid(queues: &Queues, from: &FutexKey, to: &FutexKey) -> Result<Option<Pid>, Errno> {
    let Some(first) = queues.get(from).and_then(|queue| queue.front()) else { return Ok(None) };
    match first.pi_tid {
        Some(tid) if first.requeue_to == Some(*to) => Ok(Some(tid)),
        _ => Err(Errno::EINVAL),
    }
}

/// The part that runs with the shards locked; `target` is `None` where both words share one.
fn move_sleepers(
    mem: &UserMem,
    source: &mut Queues,
    target: Option<&mut Queues>,
    from: Word,
    to: &FutexKey,
    count: usize,
) -> Result<usize, Errno> {
    if mem.read(from.addr)? != from.value {
        return Err(Errno::EAGAIN);
    }
    let Some(queue) = source.get_mut(&from.key) else { return Ok(0) };
    let fits = |sleeper: &Sleeper| sleeper.pi_tid.is_some() && sleeper.requeue_to == Some(*to);
    let moving = queue.iter().take(count).take_while(|sleeper| fits(sleeper)).count();
    if moving == 0 && !queue.is_empty() {
        return Err(Errno::EINVAL);
    }
    let moved: Vec<Sleeper> = queue.drain(..moving).collect();
    if queue.is_empty() {
        source.remove(&from.key);
    }
    let target = target.unwrap_or(source);
    for mut sleeper in moved {
        sleeper.requeue_to = None;
        sleeper.known = Known::new(mem, to);
        *sleeper.woken.key.lock() = *to;
        target.entry(*to).or_default().push_back(sleeper);
    }
    Ok(moving)
}

/// Sees to it that the sleepers of a lock get it: from its owner, which is told of them, or at once where it is free.
async fn settle(cur: &mut Current, key: FutexKey, addr: UserAddr) -> Result<(), Errno> {
    let mut word = cur.mem.read(UserRef::<u32>::new(addr))?;
    loop {
        if word & TID_MASK == 0 {
            return hand_on(cur, key, addr, &mut word, 0).await;
        }
        if word & WAITERS != 0 {
            return Ok(());
        }
        let found = exchange(cur, addr, word, word | WAITERS).await?;
        if found == word {
            return Ok(());
        }
        word = found;
    }
}
