//! Sleepers that the kernel doesn't know: threads whose stub has put them to sleep in a futex of the host's, on private words.
//!
//! Such threads meet their wakers on the host. Only where a wake-up comes here (a call that trapped, one that the stub leaves
//! to the kernel) or sleepers of both kinds are on one word, the caller's stub goes on with what the
//! kernel has begun: first its own sleepers, then the host's.

use abi::Errno;
use sentry_platform::MemOp;

use super::Word;
use crate::Current;
use crate::mm::FutexKey;

/// What a wake-up by the kernel has left to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rest {
    addr: u64,
    count: u32,
    bitset: u32,
}

impl Current {
    /// Wakes those of the kernel's sleepers; returns how many, and what is left to the host.
    fn wake_known(&self, key: &FutexKey, count: usize, bitset: u32) -> Result<(usize, Option<Rest>), Errno> {
        let woken = self.kernel().futexes.wake(key, count, bitset)?;
        let left = host_count(count - woken);
        let rest = match *key {
            FutexKey::Private { addr, .. } if left > 0 && self.mem.space().may_sleep_on_host(addr) => {
                Some(Rest { addr, count: left, bitset })
            }
            _ => None,
        };
        Ok((woken, rest))
    }

    /// Wakes up to `count` threads that sleep on a word of this memory and whose bit set meets `bitset`; returns how many.
    /// `EINVAL` where one of them waits for a priority-inheritance operation.
    pub async fn wake_sleepers(&mut self, key: &FutexKey, count: usize, bitset: u32) -> Result<usize, Errno> {
        let (woken, rest) = self.wake_known(key, count, bitset)?;
        let Some(rest) = rest else { return Ok(woken) };
        Ok(woken + self.wake_rest(rest).await)
    }

    /// As [`Current::wake_sleepers`], where that can be done at once.
    pub fn wake_sleepers_now(&mut self, key: &FutexKey, count: usize, bitset: u32) -> crate::Outcome<'_> {
        match self.wake_known(key, count, bitset) {
            Ok((woken, Some(rest))) => {
                crate::Outcome::block(async move { Ok((woken + self.wake_rest(rest).await) as u64) })
            }
            Ok((woken, None)) => crate::Outcome::Done(Ok(woken as u64)),
            Err(errno) => crate::Outcome::Done(Err(errno.into())),
        }
    }

    async fn wake_rest(&mut self, Rest { addr, count, bitset }: Rest) -> usize {
        self.on_host(MemOp::FutexWake { addr, count, bitset }).await.unwrap_or(0)
    }

    /// Wakes up to `wake` sleepers of `from` and moves up to `requeue` others to `to`; returns how many in all. With
    /// `expected`, fails with `EAGAIN` unless the word holds its value.
    pub async fn requeue_sleepers(
        &mut self,
        from: Word,
        to: &FutexKey,
        (wake, requeue): (usize, usize),
        expected: bool,
    ) -> Result<usize, Errno> {
        let (woken, moved) = self.kernel().futexes.requeue(&self.mem, from, to, wake, requeue, expected)?;
        let known = woken + moved;
        let (FutexKey::Private { addr, .. }, FutexKey::Private { addr: target, .. }) = (from.key, *to) else {
            return Ok(known);
        };
        let (wake, requeue) = (host_count(wake - woken), host_count(requeue - moved));
        if wake + requeue == 0 || !self.mem.space().may_sleep_on_host(addr) {
            return Ok(known);
        }
        // Before any of them can be there.
        self.mem.space().expect_moved(target);
        let expected = expected.then_some(from.value);
        match self.on_host(MemOp::FutexRequeue { addr, wake, requeue, to: target, expected }).await {
            Ok(more) => Ok(known + more),
            // The word has changed since the kernel's own were dealt with.
            Err(Errno::EAGAIN) if known == 0 => Err(Errno::EAGAIN),
            Err(_) => Ok(known),
        }
    }

    async fn on_host(&mut self, op: MemOp) -> Result<usize, Errno> {
        let count = self.mm.clone().host_op(self.context.as_mut(), op).await?;
        // The stub's word: no more than a count of its own threads.
        Ok(usize::try_from(count).unwrap_or(0).min(MOST))
    }
}

/// Threads that a sandbox can have, and more.
const MOST: usize = 1 << 22;

/// A count as the host takes it.
fn host_count(count: usize) -> u32 {
    u32::try_from(count.min(MOST)).unwrap_or(0)
}
