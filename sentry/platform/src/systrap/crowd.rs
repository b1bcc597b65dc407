//! Keeps a worker off the CPU of the stub that it serves.
//!
//! The host wakes a sleeper on the CPU of the one that wakes it, which is right for a call now and then. But where calls
//! follow each other closely, a stub and a worker on one CPU put each other to sleep for every call, at some microseconds,
//! and since neither runs for long the host sees no reason to part them. A worker that finds itself in this place moves
//! to another CPU; there each spins for the other, at a tenth of the cost. On a machine without an idle CPU that doesn't
//! help, so it is tried at ever longer intervals until it has helped.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::CpuSet;
use sentry_sync::{Level, Mutex};

/// Meetings on one CPU that make a crowd, within [`WINDOW`].
const CROWD: u32 = 8;
const WINDOW: Duration = Duration::from_micros(500);
/// Calls without sleep that show that stub and worker are apart.
const WELL: u32 = 64;
const FIRST_REST: Duration = Duration::from_millis(1);
const LONGEST_REST: Duration = Duration::from_millis(64);

/// How a stub and those who serve it have fared.
#[derive(Debug, Default)]
pub(super) struct Company {
    /// Calls since the last meeting that were heard without sleep.
    well: AtomicU32,
    /// Meetings on one CPU.
    met: AtomicU32,
}

impl Company {
    /// Hears of a call that was heard without sleep. Only the owner of the context tells; a call lost doesn't matter.
    pub(super) fn goes_well(&self) {
        let well = self.well.load(Ordering::Relaxed);
        if well < WELL {
            self.well.store(well + 1, Ordering::Relaxed);
        }
    }
}

/// What workers know of the CPUs that they share with stubs.
pub(super) struct Crowd {
    /// The CPUs that the sentry may use; `None` where there is no choice.
    cpus: Option<CpuSet>,
    state: Mutex<State>,
}

struct State {
    since: Instant,
    /// Nothing is tried before this.
    rest_until: Instant,
    rest: Duration,
}

impl Crowd {
    pub(super) fn new() -> Crowd {
        let cpus = rustix::thread::sched_getaffinity(None).ok().filter(|cpus| cpus.count() > 1);
        let now = Instant::now();
        Crowd { cpus, state: Mutex::new(Level::Leaf, State { since: now, rest_until: now, rest: FIRST_REST }) }
    }

    /// Hears that the calling worker is about to wake a stub, and on which CPU if that is where the stub lay down.
    pub(super) fn meet(&self, company: &Company, here: Option<usize>) {
        let Some(cpus) = &self.cpus else { return };
        let well = company.well.swap(0, Ordering::Relaxed) >= WELL;
        let Some(cpu) = here else { return };
        let met = company.met.load(Ordering::Relaxed).wrapping_add(1);
        company.met.store(met, Ordering::Relaxed);
        if !well && !met.is_multiple_of(CROWD) {
            return;
        }
        let now = Instant::now();
        let Some(mut state) = self.state.try_lock() else { return };
        if well {
            // To part was worth it.
            *state = State { since: now, rest_until: now, rest: FIRST_REST };
            company.met.store(0, Ordering::Relaxed);
            return;
        }
        let crowded = now.duration_since(state.since) < WINDOW;
        state.since = now;
        if !crowded || now < state.rest_until {
            return;
        }
        state.rest = (2 * state.rest).min(LONGEST_REST);
        state.rest_until = now + state.rest;
        drop(state);
        let mut others = *cpus;
        others.unset(cpu);
        // What fails changes nothing.
        if others.count() > 0 && rustix::thread::sched_setaffinity(None, &others).is_ok() {
            let _ = rustix::thread::sched_setaffinity(None, cpus);
        }
    }
}
