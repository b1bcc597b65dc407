//! What threads and processes have used of the machine, as the host counts it for the stubs that run them.
//!
//! Time that the kernel spends on a process's behalf isn't in it, nor are faults in memory that the kernel touches.
//! Reading everything takes the host several microseconds, so a thread that ends leaves its exact time, but its faults
//! and its share of system time only as far as somebody has asked before; and a process that ends leaves what was
//! resident then, which may be less than what once was.

use std::time::Duration;

use sentry_platform::ThreadFigures;

use super::{Process, ProcessEntry, Task};

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
        let mut usage = self.times.lock().dead_threads;
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
        self.times.lock().children
    }

    /// Adds what a thread has used that has ended; with the last one goes the memory.
    pub(super) fn add_dead_thread(&self, thread: &Task, memory_ends: bool) {
        let mut usage = thread.last_usage();
        if memory_ends {
            usage.peak_rss = thread.mm.load().space().resident_now();
        }
        self.times.lock().dead_threads.add(&usage);
    }

    /// Adds what a child has used that was waited for.
    pub(super) fn add_child(&self, child: &Process) {
        let child = child.times.lock();
        let (mut usage, descendants) = (child.dead_threads, child.children);
        drop(child);
        usage.add(&descendants);
        self.times.lock().children.add(&usage);
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
#[derive(Clone, Copy, Default)]
pub(super) struct Times {
    pub(super) dead_threads: Usage,
    pub(super) children: Usage,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_faults_add_up_and_the_larger_memory_counts() {
        let mut sum = Usage { user: Duration::from_secs(1), minor_faults: u64::MAX, peak_rss: 7, ..Usage::default() };
        sum.add(&Usage { system: Duration::from_secs(2), minor_faults: 1, peak_rss: 5, ..Usage::default() });
        assert_eq!((sum.time(), sum.minor_faults, sum.peak_rss), (Duration::from_secs(3), u64::MAX, 7));
    }
}
