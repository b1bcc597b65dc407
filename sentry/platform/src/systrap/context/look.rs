//! How long a worker looks for the answer of the stub that it serves.

use std::task::{Context as TaskContext, Poll};

use super::SystrapContext;
use crate::counters::{Counter, count};
use crate::systrap::hub;
use crate::systrap::thread::{Found, MOVE};

impl SystrapContext {
    /// Waits until the stub has answered. `false`: it is dead.
    pub(super) fn poll_taken(&mut self, cx: &mut TaskContext<'_>) -> Poll<bool> {
        if self.is_dead() {
            return Poll::Ready(false);
        }
        if self.thread.take(&self.hub).is_some() || self.look() && self.thread.take(&self.hub).is_some() {
            count(Counter::Hot);
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
        /// Lengths of a look that a stub takes to wake up.
        const LONG: u32 = 8;
        const SELDOM: u32 = 256;
        let most = self.hub.setup.rounds;
        let found = std::mem::replace(&mut self.found, Found::Awake);
        // A stub that is about to ask for leave by a notification waits for a worker that looks for those, and one that goes on
        // on this CPU for a worker that leaves it.
        if std::mem::take(&mut self.hurried) || self.thread.is_watched() {
            if found == Found::AsleepHere {
                hub::leave_cpu();
            }
            return self.thread.has_news();
        }
        match found {
            Found::AsleepHere => {
                hub::leave_cpu();
                return false;
            }
            Found::Left => {
                let well = self.look_long(MOVE);
                if well {
                    self.hub.crowd.went_well();
                }
                return well;
            }
            Found::Asleep if self.thinks_briefly() => {
                let well = self.look_long(LONG);
                let (rest, next) = &mut self.long_looks;
                (*rest, *next) = if well { (0, 1) } else { (*next, (*next * 2).min(SELDOM)) };
                return well;
            }
            Found::Asleep | Found::Awake => {}
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
        let (rest, _) = &mut self.long_looks;
        *rest = rest.saturating_sub(1);
        *rest == 0 && self.thread.is_brief() && self.hub.setup.rounds > 0
    }

    /// Looks for as long as a stub needs to wake up on another CPU and make the next call, or we to get there: from then on
    /// neither of us sleeps. Where we share a CPU that is in vain, unless we make room.
    fn look_long(&mut self, parts: u32) -> bool {
        for part in 0..parts {
            for _ in 0..self.hub.setup.rounds {
                if self.thread.has_news() {
                    self.patience = self.hub.setup.rounds;
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
        false
    }
}
