//! How long a worker looks for the answer of the stub that it serves.

use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll};

use super::SystrapContext;
use crate::systrap::layout::field;

impl SystrapContext {
    /// Waits until the stub has answered. `false`: it is dead.
    pub(super) fn poll_taken(&mut self, cx: &mut TaskContext<'_>) -> Poll<bool> {
        if self.is_dead() {
            return Poll::Ready(false);
        }
        if self.thread.take(&self.hub).is_some() || self.look() && self.thread.take(&self.hub).is_some() {
            return Poll::Ready(true);
        }
        self.thread.register(cx.waker());
        self.thread.list(&self.hub);
        if self.is_dead() {
            return Poll::Ready(false);
        }
        if self.thread.take(&self.hub).is_some() { Poll::Ready(true) } else { Poll::Pending }
    }

    /// Looks for the answer for a bounded time, which shrinks while that doesn't pay; other stubs that have news end it.
    /// Until the slot is listed nobody else looks for this one.
    fn look(&mut self) -> bool {
        /// Rounds between two looks at the other stubs.
        const OTHERS: u32 = 32;
        let most = self.hub.setup.rounds;
        let woken = std::mem::take(&mut self.woken);
        if std::mem::take(&mut self.hurried) {
            return self.thread.has_news();
        }
        if woken && self.thinks_briefly() {
            return self.look_long();
        }
        if self.patience < most / 16 {
            self.cold += 1;
            if !self.cold.is_multiple_of(16) {
                return self.thread.has_news();
            }
            self.patience = most / 4;
        }
        for round in 1..=self.patience {
            if self.thread.has_news() {
                self.patience = most;
                self.thread.company.goes_well();
                return true;
            }
            if round.is_multiple_of(OTHERS) && self.hub.scan() {
                return false;
            }
            std::hint::spin_loop();
        }
        self.patience /= 2;
        false
    }

    /// Tells whether the guest is likely to come back at once, though it is far from here as long as its stub wakes up.
    fn thinks_briefly(&mut self) -> bool {
        /// A few microseconds of the processor's time.
        const BRIEF: u32 = 10_000;
        let (rest, _) = &mut self.long_looks;
        *rest = rest.saturating_sub(1);
        let thought = self.thread.shared.u32(field::THOUGHT).load(Ordering::Relaxed);
        *rest == 0 && (1..BRIEF).contains(&thought) && self.hub.setup.rounds > 0
    }

    /// Looks for as long as a stub needs to wake up on another CPU and make the next call: from then on neither of us
    /// sleeps. Where they share a CPU that is in vain, unless we make room.
    fn look_long(&mut self) -> bool {
        const LONG: u32 = 8;
        const SELDOM: u32 = 256;
        for part in 0..LONG {
            for _ in 0..self.hub.setup.rounds {
                if self.thread.has_news() {
                    self.patience = self.hub.setup.rounds;
                    self.long_looks = (0, 1);
                    return true;
                }
                std::hint::spin_loop();
            }
            if self.hub.scan() {
                return self.thread.has_news();
            }
            if part == 0 {
                std::thread::yield_now();
            }
        }
        let (rest, next) = &mut self.long_looks;
        (*rest, *next) = (*next, (*next * 2).min(SELDOM));
        false
    }
}
