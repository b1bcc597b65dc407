//! What has happened how often on the way of guests' calls. Each worker counts for itself: that costs the hot path a plain
//! load and store.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Threads that count apart from each other; further ones share, and may lose counts to each other.
const SHARDS: usize = 64;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    /// Calls and other events that a worker found where it looked for them, having let the guest run.
    Hot,
    /// Events that a worker found when it looked through all contexts.
    Found,
    /// Calls that came by a patched site.
    Patched,
    /// Calls that came by a trap.
    Trapped,
    /// Faults, interrupts and other stops that were no calls.
    Stops,
    /// Stubs that called for a worker since none was awake.
    Called,
    /// Sleeping stubs that were woken in their futex.
    Woken,
    /// Replies to a stub that slept on the worker's own CPU.
    Met,
    /// Times that a worker moved away from the CPU of its stub.
    Moved,
    /// Times that a worker kept its CPU to itself.
    Claimed,
    /// Programs that take turns were gathered on one CPU.
    Gathered,
    /// Times that a worker lay down.
    Parked,
    /// Copies of guest memory that the stub made before it went on.
    CopiedByStub,
    /// Copies that the host made.
    CopiedByHost,
    /// What went to guest memory with a reply.
    Later,
    /// Reads and writes of files that a stub made by a mapping, with a reply.
    ByMapping,
    /// Memory operations that went with a reply.
    Behind,
    /// Times that a stub made memory present which the sentry was about to write.
    Populated,
}

/// All of them, as they are told.
const NAMES: [(Counter, &str); 18] = [
    (Counter::Hot, "events_hot"),
    (Counter::Found, "events_found"),
    (Counter::Patched, "calls_patched"),
    (Counter::Trapped, "calls_trapped"),
    (Counter::Stops, "stops"),
    (Counter::Called, "workers_called"),
    (Counter::Woken, "stubs_woken"),
    (Counter::Met, "stubs_met_on_one_cpu"),
    (Counter::Moved, "workers_moved"),
    (Counter::Claimed, "cpus_claimed"),
    (Counter::Gathered, "turns_gathered"),
    (Counter::Parked, "workers_parked"),
    (Counter::CopiedByStub, "copies_by_stub"),
    (Counter::CopiedByHost, "copies_by_host"),
    (Counter::Later, "copies_with_reply"),
    (Counter::ByMapping, "copies_by_mapping"),
    (Counter::Behind, "memory_changes_with_reply"),
    (Counter::Populated, "memory_populated_by_stub"),
];

/// One thread's counts, in cache lines of their own.
#[repr(align(128))]
struct Shard([AtomicU64; NAMES.len()]);

static SHARD: [Shard; SHARDS] = [const { Shard([const { AtomicU64::new(0) }; NAMES.len()]) }; SHARDS];
static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
}

/// Counts one.
#[inline]
pub(crate) fn count(what: Counter) {
    let shard = OWN.with(|own| &SHARD[*own]);
    let cell = &shard.0[what as usize];
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// Returns all counts of the process, with their names.
pub(crate) fn all() -> Vec<(&'static str, u64)> {
    let sum = |what: Counter| SHARD.iter().map(|shard| shard.0[what as usize].load(Ordering::Relaxed)).sum();
    NAMES.iter().map(|(what, name)| (*name, sum(*what))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_threads_are_summed_under_their_names() {
        assert!(NAMES.iter().enumerate().all(|(at, (what, _))| *what as usize == at));
        let of = || all().into_iter().find(|(name, _)| *name == "stops").map(|(_, count)| count).unwrap();
        let before = of();
        let threads: Vec<_> = (0..3).map(|_| std::thread::spawn(|| count(Counter::Stops))).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(of() - before, 3);
    }
}
