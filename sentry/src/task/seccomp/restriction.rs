//! What a thread has forbidden itself, with a memory for calls that are allowed whatever their arguments are.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sentry_platform::STATE_CALLS;
use sentry_sync::{Level, Mutex};

use super::{ARCH, Mode, action};

/// Words of a set of call numbers. Larger numbers are asked about each time.
const WORDS: usize = 8;

/// A set of call numbers.
type Numbers = [AtomicU64; WORDS];

/// What a thread has forbidden itself, seen by others too.
pub struct Restriction {
    /// False as long as nothing is forbidden, so that asking costs a load.
    active: AtomicBool,
    /// Calls that all filters allow whatever their arguments are. Changes only while `mode` is locked, so that nothing is
    /// learnt from filters that are no longer all there are (kernel: `seccomp_cache_check_allow`).
    allowed: Numbers,
    /// Calls that this has been found out about.
    examined: Numbers,
    mode: Mutex<Mode>,
}

impl Default for Restriction {
    fn default() -> Restriction {
        Restriction {
            active: AtomicBool::new(false),
            allowed: Numbers::default(),
            examined: Numbers::default(),
            mode: Mutex::new(Level::Leaf, Mode::Disabled),
        }
    }
}

impl Restriction {
    /// Returns what is forbidden.
    pub fn mode(&self) -> Mode {
        self.mode.lock().clone()
    }

    /// Forbids something else.
    pub(in crate::task) fn set(&self, mode: Mode) {
        self.replace(mode, [[0; WORDS]; 2]);
    }

    /// Forbids what another thread has forbidden itself.
    pub(in crate::task) fn inherit(&self, other: &Restriction) {
        let (mode, sets) = {
            let mode = other.mode.lock();
            let read = |set: &Numbers| set.each_ref().map(|word| word.load(Ordering::Relaxed));
            (mode.clone(), [read(&other.allowed), read(&other.examined)])
        };
        self.replace(mode, sets);
    }

    fn replace(&self, mode: Mode, sets: [[u64; WORDS]; 2]) {
        let mut own = self.mode.lock();
        let known = self.allowed.iter().chain(&self.examined);
        known.zip(sets.iter().flatten()).for_each(|(word, bits)| word.store(*bits, Ordering::Release));
        self.active.store(!matches!(mode, Mode::Disabled), Ordering::Release);
        *own = mode;
    }

    /// Tells whether anything is forbidden.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    /// Tells whether a call is known to be allowed whatever its arguments are.
    #[inline]
    pub fn always_allows(&self, number: u64) -> bool {
        contains(&self.allowed, number)
    }

    /// Tells whether the thread's stub may answer calls by itself: nobody has to be asked about those that change what is kept
    /// there.
    pub(in crate::task) fn lets_answer(&self) -> bool {
        STATE_CALLS.iter().all(|number| self.lets(*number))
    }

    /// Tells whether nobody has to be asked about a call.
    pub(in crate::task) fn lets(&self, number: u32) -> bool {
        if !self.is_active() {
            return true;
        }
        self.learn(number);
        self.always_allows(number.into())
    }

    /// Finds out, once, whether a call that has been allowed always is.
    pub(super) fn learn(&self, number: u32) {
        let mode = self.mode.lock();
        let Mode::Filter(filters) = &*mode else { return };
        if contains(&self.examined, number.into()) {
            return;
        }
        let allows = |value: u32| value & action::MASK == action::ALLOW;
        if filters.iter().all(|filter| filter.whatever_arguments(number, ARCH).is_some_and(allows)) {
            insert(&self.allowed, number);
        }
        insert(&self.examined, number);
    }
}

#[inline]
fn contains(set: &Numbers, number: u64) -> bool {
    let word = usize::try_from(number / 64).ok().and_then(|word| set.get(word));
    word.is_some_and(|word| word.load(Ordering::Acquire) & (1 << (number % 64)) != 0)
}

fn insert(set: &Numbers, number: u32) {
    if let Some(word) = usize::try_from(number / 64).ok().and_then(|word| set.get(word)) {
        word.fetch_or(1 << (number % 64), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Insn, Program};
    use super::*;

    fn insn(code: u16, k: u32) -> Insn {
        Insn { code, jt: 0, jf: 0, k }
    }

    fn filter(insns: &[Insn]) -> Arc<Program> {
        Arc::new(Program::new(insns).expect("sound"))
    }

    #[test]
    fn what_is_learnt_goes_with_the_filters() {
        let all = filter(&[insn(0x06, action::ALLOW)]);
        let by_argument = filter(&[insn(0x20, 16), insn(0x16, 0)]);
        let restriction = Restriction::default();
        restriction.set(Mode::Filter(Arc::new(vec![Arc::clone(&all)])));
        assert!(!restriction.always_allows(3));
        restriction.learn(3);
        restriction.learn(600);
        assert!(restriction.always_allows(3) && !restriction.always_allows(4) && !restriction.always_allows(600));
        assert!(!restriction.always_allows(u64::MAX) && !restriction.always_allows(3 | 1 << 32));
        let child = Restriction::default();
        child.inherit(&restriction);
        assert!(child.is_active() && child.always_allows(3));
        child.set(Mode::Filter(Arc::new(vec![all, by_argument])));
        assert!(!child.always_allows(3) && restriction.always_allows(3));
        child.learn(3);
        assert!(!child.always_allows(3));
    }
}
