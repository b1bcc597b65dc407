//! Pending signals: at most one instance of each standard signal, a queue of each real-time signal.

use std::collections::VecDeque;

use abi::signal::{SigInfo, SigSet, Signal};

/// Signals that hardware raises in the running thread: taken before all others (kernel: `SYNCHRONOUS_MASK`).
const SYNCHRONOUS: SigSet =
    SigSet((1 << (11 - 1)) | (1 << (7 - 1)) | (1 << (4 - 1)) | (1 << (5 - 1)) | (1 << (8 - 1)) | (1 << (31 - 1)));

/// Pending signals of a thread or of a process.
#[derive(Debug, Default)]
pub struct SigQueue {
    list: VecDeque<SigInfo>,
    set: SigSet,
}

impl SigQueue {
    /// Returns the pending signals.
    pub fn set(&self) -> SigSet {
        self.set
    }

    /// Returns the queued instances.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Tells whether nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds an instance; a standard signal that is pending already is dropped. Each timer has one of its own pending, which
    /// counts the others as overruns, unless it is of an earlier setting. Returns whether it was added.
    pub fn push(&mut self, signal: Signal, info: SigInfo) -> bool {
        if info.setting() != 0 && self.set.contains(signal) {
            let same = |other: &&mut SigInfo| {
                other.signo == info.signo && other.setting() != 0 && other.timer_id() == info.timer_id()
            };
            if let Some(pending) = self.list.iter_mut().find(same) {
                if pending.setting() == info.setting() {
                    pending.add_overrun(info.overrun().saturating_add(1));
                } else {
                    *pending = info;
                }
                return false;
            }
        }
        // A timer waits for its own signal to be taken.
        if !signal.is_realtime() && info.setting() == 0 && self.set.contains(signal) {
            return false;
        }
        self.set = self.set.union(SigSet::of(signal));
        self.list.push_back(info);
        true
    }

    /// Takes the next signal outside `blocked`: those that hardware raised, then the lowest number, oldest first.
    pub fn pop(&mut self, blocked: SigSet) -> Option<SigInfo> {
        let ready = self.set.without(blocked);
        let signal = ready.intersection(SYNCHRONOUS).first().or_else(|| ready.first())?;
        let at = self.list.iter().position(|info| info.signo == signal.number())?;
        let info = self.list.remove(at)?;
        if !self.list.iter().any(|other| other.signo == signal.number()) {
            self.set = self.set.without(SigSet::of(signal));
        }
        Some(info)
    }

    /// Drops what timers have sent (kernel: `flush_itimer_signals`).
    pub fn discard_timers(&mut self) {
        self.list.retain(|info| info.setting() == 0);
        self.set = self
            .list
            .iter()
            .filter_map(|info| Signal::new(info.signo))
            .map(SigSet::of)
            .fold(SigSet::EMPTY, SigSet::union);
    }

    /// Drops all instances of these signals.
    pub fn discard(&mut self, signals: SigSet) {
        if !self.set.intersection(signals).is_empty() {
            self.list.retain(|info| Signal::new(info.signo).is_none_or(|signal| !signals.contains(signal)));
            self.set = self.set.without(signals);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(signal: Signal, value: u64) -> SigInfo {
        SigInfo::from_process(signal, abi::signal::si::QUEUE, 1, 0, value)
    }

    #[test]
    fn standard_signals_merge_and_realtime_signals_queue() {
        let mut queue = SigQueue::default();
        let realtime = Signal::new(40).unwrap();
        assert!(queue.push(Signal::SIGUSR1, info(Signal::SIGUSR1, 1)));
        assert!(!queue.push(Signal::SIGUSR1, info(Signal::SIGUSR1, 2)));
        assert!(queue.push(realtime, info(realtime, 3)));
        assert!(queue.push(realtime, info(realtime, 4)));
        assert_eq!(queue.pop(SigSet::of(Signal::SIGUSR1)).unwrap().fields[1], 3);
        assert!(queue.set().contains(realtime));
        assert_eq!(queue.pop(SigSet::EMPTY).unwrap().fields[1], 1);
        assert_eq!(queue.pop(SigSet::EMPTY).unwrap().fields[1], 4);
        assert!(queue.pop(SigSet::EMPTY).is_none());
        assert!(queue.set().is_empty());
    }

    #[test]
    fn a_timer_has_one_signal_pending_that_counts_the_others() {
        let mut queue = SigQueue::default();
        let realtime = Signal::new(40).unwrap();
        for (timer, overrun, setting) in [(1, 0, 1), (2, 0, 1), (1, 3, 1), (1, 0, 1), (2, 0, 2)] {
            queue.push(realtime, SigInfo::timer(realtime, timer, overrun, 0).of_setting(setting));
        }
        let first = queue.pop(SigSet::EMPTY).unwrap();
        assert_eq!((first.timer_id(), first.overrun()), (1, 5));
        let second = queue.pop(SigSet::EMPTY).unwrap();
        assert_eq!(
            (second.timer_id(), second.overrun(), second.setting()),
            (2, 0, 2),
            "the earlier setting's is stale"
        );
        assert!(queue.is_empty());
    }

    #[test]
    fn what_timers_sent_can_be_dropped() {
        let mut queue = SigQueue::default();
        let realtime = Signal::new(40).unwrap();
        queue.push(realtime, SigInfo::timer(realtime, 1, 0, 0).of_setting(1));
        queue.push(Signal::SIGUSR1, SigInfo::timer(Signal::SIGUSR1, 1, 0, 0));
        queue.discard_timers();
        assert_eq!(queue.set(), SigSet::of(Signal::SIGUSR1), "a program may pretend to be a timer");
    }

    #[test]
    fn faults_come_before_lower_numbers() {
        let mut queue = SigQueue::default();
        queue.push(Signal::SIGHUP, info(Signal::SIGHUP, 0));
        queue.push(Signal::SIGSEGV, info(Signal::SIGSEGV, 0));
        assert_eq!(queue.pop(SigSet::EMPTY).unwrap().signo, Signal::SIGSEGV.number());
    }
}
