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

use crate::counters::{Counter, count};

/// Meetings on one CPU that make a crowd, within [`WINDOW`].
const CROWD: u32 = 8;
const WINDOW: Duration = Duration::from_micros(500);
const FIRST_REST: Duration = Duration::from_millis(1);
const LONGEST_REST: Duration = Duration::from_millis(64);

/// How often a stub and those who serve it have met on one CPU, the guest having been brief.
#[derive(Debug, Default)]
pub(super) struct Company {
    met: AtomicU32,
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

    /// Hears that the calling worker is about to wake a stub that lay down on this CPU, whose guest takes little time between
    /// its calls. Returns whether the worker should [`Crowd::part`] from it.
    pub(super) fn meet(&self, company: &Company) -> bool {
        if self.cpus.is_none() {
            return false;
        }
        let met = company.met.load(Ordering::Relaxed).wrapping_add(1);
        company.met.store(met, Ordering::Relaxed);
        if !met.is_multiple_of(CROWD) {
            return false;
        }
        let now = Instant::now();
        let Some(mut state) = self.state.try_lock() else { return false };
        let crowded = now.duration_since(state.since) < WINDOW;
        state.since = now;
        if !crowded || now < state.rest_until {
            return false;
        }
        state.rest = (2 * state.rest).min(LONGEST_REST);
        state.rest_until = now + state.rest;
        true
    }

    /// Moves the calling worker to another CPU than this one; returns whether it has.
    pub(super) fn part(&self, cpu: usize) -> bool {
        let Some(cpus) = &self.cpus else { return false };
        let mut others = *cpus;
        others.unset(cpu);
        // What fails changes nothing.
        if others.count() == 0 || rustix::thread::sched_setaffinity(None, &others).is_err() {
            return false;
        }
        let _ = rustix::thread::sched_setaffinity(None, cpus);
        count(Counter::Moved);
        true
    }

    /// Hears that to part was worth it.
    pub(super) fn went_well(&self) {
        let now = Instant::now();
        *self.state.lock() = State { since: now, rest_until: now, rest: FIRST_REST };
    }
}
