//! What threads and processes have used of the machine, as the host counts it for the stubs that run them.
//!
//! Time that the kernel spends on a process's behalf isn't in it, nor are faults in memory that the kernel touches.
//! Reading everything takes the host several microseconds, so a thread that ends leaves its exact time, but its faults
//! and its share of system time only as far as somebody has asked before. What was resident of a process at most, the host tells
//! when it has taken the memory apart, which takes longer than to wait for its end: who asks before that waits. Where others go
//! on using the memory it is what was resident at the end, which may be less than what once was.

use std::sync::Arc;
use std::time::Duration;

use sentry_platform::{Peak, ThreadFigures};

use super::{Process, ProcessEntry, Task};
use crate::mm::Mm;

/// What was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time in guest code.
    pub user: Duration,
    /// Time of the host's kernel for it.
    pub system: Duration,
    /// Page faults without I/O.
    pub minor_faults: u64,
    /// Page faults with I/O.
    pub major_faults: u64,
    /// Most bytes resident at a time.
    pub peak_rss: u64,
}

impl Usage {
    /// Returns the processor time.
    pub fn time(&self) -> Duration {
        self.user + self.system
    }

    /// Adds what another has used; of resident memory the larger counts.
    pub(super) fn add(&mut self, other: &Usage) {
        self.user += other.user;
        self.system += other.system;
        self.minor_faults = self.minor_faults.saturating_add(other.minor_faults);
        self.major_faults = self.major_faults.saturating_add(other.major_faults);
        self.peak_rss = self.peak_rss.max(other.peak_rss);
    }
}

impl From<ThreadFigures> for Usage {
    fn from(figures: ThreadFigures) -> Usage {
        let ThreadFigures { user, system, minor_faults, major_faults } = figures;
        Usage { user, system, minor_faults, major_faults, peak_rss: 0 }
    }
}

/// Address spaces that have come to their end, and of which it isn't known yet what was resident at most.
#[derive(Clone, Default)]
pub(super) struct Peaks(Vec<Arc<dyn Peak>>);

impl Peaks {
    /// Takes out those that are known, and raises a figure by them.
    fn settle(&mut self, most: &mut u64) {
        self.0.retain(|peak| {
            let known = peak.known();
            *most = known.unwrap_or(0).max(*most);
            known.is_none()
        });
    }

    /// Waits for all of them; returns the largest.
    pub(super) fn wait(&self) -> u64 {
        self.0.iter().map(|peak| peak.wait()).max().unwrap_or(0)
    }
}

impl Task {
    /// Returns what this thread has used, memory apart. No figure falls from one answer to the next.
    pub fn usage(&self) -> Usage {
        let figures = self.interrupter().figures();
        let mut seen = self.usage_seen.lock();
        let total = (figures.user + figures.system).max(seen.time());
        let system = figures.system.max(seen.system).min(total);
        *seen = Usage {
            user: (total - system).max(seen.user),
            system,
            minor_faults: figures.minor_faults.max(seen.minor_faults),
            major_faults: figures.major_faults.max(seen.major_faults),
            peak_rss: 0,
        };
        *seen
    }

    /// Returns what a thread that ends has used, as far as that is cheap to know.
    pub(super) fn last_usage(&self) -> Usage {
        let seen = *self.usage_seen.lock();
        Usage { user: self.cpu_time().saturating_sub(seen.system).max(seen.user), ..seen }
    }
}

impl Process {
    /// Returns what all threads have used, dead ones too. `entry` is this process's.
    pub fn usage(&self, entry: &ProcessEntry) -> Usage {
        let mut usage = self.times.lock().settled().dead_threads;
        for thread in entry.threads.values() {
            usage.add(&thread.usage());
        }
        if let Some(thread) = entry.threads.values().next()
            && let Some(memory) = thread.mm.load().space().resident()
        {
            // The host's figure is of counters that are only roughly in step: what was told once stays.
            self.note_resident(memory.peak);
            usage.peak_rss = usage.peak_rss.max(memory.peak);
        }
        usage
    }

    /// Returns what waited-for children and their descendants have used.
    pub fn children_usage(&self) -> Usage {
        self.times.lock().settled().children
    }

    /// Waits until the memory is known that past programs of the process have had, and its children; the two figures of usage
    /// tell of it then. Not while locks are held.
    pub fn await_peaks(&self) {
        let [own, children] = self.times.lock().settled().peaks.clone();
        let (own, children) = (own.wait(), children.wait());
        let mut times = self.times.lock();
        times.dead_threads.peak_rss = times.dead_threads.peak_rss.max(own);
        times.children.peak_rss = times.children.peak_rss.max(children);
        times.settled();
    }

    /// Returns what is still to be known of the memory of the process and its children.
    pub(super) fn peaks(&self) -> Peaks {
        Peaks(self.times.lock().settled().peaks.iter().flat_map(|peaks| peaks.0.iter().cloned()).collect())
    }

    /// Adds what a thread has used that has ended; with the last one goes the memory.
    pub(super) fn add_dead_thread(&self, thread: &Task, memory_ends: bool) {
        let usage = thread.last_usage();
        if memory_ends {
            self.note_end_of(&thread.mm.load());
        }
        self.times.lock().dead_threads.add(&usage);
    }

    /// Adds what a child has used that was waited for.
    pub(super) fn add_child(&self, child: &Process) {
        let mut child = child.times.lock();
        let (mut usage, descendants) = (child.settled().dead_threads, child.children);
        let peaks = std::mem::take(&mut child.peaks);
        drop(child);
        usage.add(&descendants);
        let mut times = self.times.lock();
        times.settled().children.add(&usage);
        let [_, children] = &mut times.peaks;
        children.0.extend(peaks.into_iter().flat_map(|peaks| peaks.0));
    }

    /// Notes memory that the process uses no longer. Others may.
    pub(super) fn note_end_of(&self, mm: &Mm) {
        let peak = if mm.is_used() { None } else { mm.space().peak() };
        match peak {
            Some(peak) => {
                let mut times = self.times.lock();
                let [own, _] = &mut times.settled().peaks;
                own.0.push(peak);
            }
            None => self.note_resident(mm.space().resident_now()),
        }
    }

    /// Notes what was resident of a program that exec replaces.
    pub(super) fn note_resident(&self, bytes: u64) {
        let mut times = self.times.lock();
        times.dead_threads.peak_rss = times.dead_threads.peak_rss.max(bytes);
    }

    /// Tells whether a thread is the only one of its process.
    pub(super) fn is_last(thread: &Task) -> bool {
        let table = thread.kernel.tasks.read();
        table.processes.get(&thread.process.pid).is_none_or(|entry| entry.threads.len() <= 1)
    }
}

/// What a process has used, for `Process`.
#[derive(Clone, Default)]
pub(super) struct Times {
    pub(super) dead_threads: Usage,
    pub(super) children: Usage,
    /// Of the memory of either.
    peaks: [Peaks; 2],
}

impl Times {
    /// Adds what has come to be known.
    fn settled(&mut self) -> &mut Times {
        let [own, children] = &mut self.peaks;
        own.settle(&mut self.dead_threads.peak_rss);
        children.settle(&mut self.children.peak_rss);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Late(std::sync::OnceLock<u64>);

    impl Peak for Late {
        fn known(&self) -> Option<u64> {
            self.0.get().copied()
        }

        fn wait(&self) -> u64 {
            *self.0.get_or_init(|| 9)
        }
    }

    #[test]
    fn memory_counts_once_it_is_known() {
        let late = Arc::new(Late(std::sync::OnceLock::new()));
        let peaks = || Peaks(vec![Arc::clone(&late) as Arc<dyn Peak>]);
        let mut times = Times { peaks: [peaks(), Peaks::default()], ..Times::default() };
        times.dead_threads.peak_rss = 7;
        assert_eq!(times.settled().dead_threads.peak_rss, 7);
        assert_eq!(peaks().wait(), 9);
        assert_eq!(times.settled().dead_threads.peak_rss, 9);
        assert!(times.peaks[0].0.is_empty());
    }

    #[test]
    fn times_and_faults_add_up_and_the_larger_memory_counts() {
        let mut sum = Usage { user: Duration::from_secs(1), minor_faults: u64::MAX, peak_rss: 7, ..Usage::default() };
        sum.add(&Usage { system: Duration::from_secs(2), minor_faults: 1, peak_rss: 5, ..Usage::default() });
        assert_eq!((sum.time(), sum.minor_faults, sum.peak_rss), (Duration::from_secs(3), u64::MAX, 7));
    }
}
