//! Keeps a worker off the CPU of the stub that it serves.
//!
//! The host wakes a sleeper on the CPU of the one that wakes it, which is right for a call now and then. But where calls
//! follow each other closely, a stub and a worker on one CPU put each other to sleep for every call, at some microseconds,
//! and since neither runs for long the host sees no reason to part them. A worker that finds itself in this place moves
//! to another CPU; there each spins for the other, at a tenth of the cost. On a machine without an idle CPU that doesn't
//! help, so it is tried at ever longer intervals.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::CpuSet;
use sentry_sync::{Level, Mutex};

/// Meetings on one CPU that make a crowd, within [`WINDOW`].
const CROWD: u32 = 32;
const WINDOW: Duration = Duration::from_millis(1);
const FIRST_REST: Duration = Duration::from_millis(1);
const LONGEST_REST: Duration = Duration::from_millis(64);

/// What workers know of the CPUs that they share with stubs.
pub(super) struct Crowd {
    /// The CPUs that the sentry may use; `None` where there is no choice.
    cpus: Option<CpuSet>,
    met: AtomicU32,
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
        Crowd {
            cpus,
            met: AtomicU32::new(0),
            state: Mutex::new(Level::Leaf, State { since: now, rest_until: now, rest: FIRST_REST }),
        }
    }

    /// Hears that the calling worker is about to wake a stub that lay down on this CPU.
    pub(super) fn meet(&self, cpu: u32) {
        let Some(cpus) = &self.cpus else { return };
        if rustix::thread::sched_getcpu() != cpu as usize {
            return;
        }
        if !(self.met.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(CROWD) {
            return;
        }
        let now = Instant::now();
        let Some(mut state) = self.state.try_lock() else { return };
        let crowded = now.duration_since(state.since) < WINDOW;
        state.since = now;
        if !crowded || now < state.rest_until {
            return;
        }
        // It has held for long since the last time: begin anew.
        let calm = now.duration_since(state.rest_until) > 4 * state.rest;
        state.rest = if calm { FIRST_REST } else { (2 * state.rest).min(LONGEST_REST) };
        state.rest_until = now + state.rest;
        drop(state);
        let mut others = *cpus;
        others.unset(cpu as usize);
        // The stub's word is not to be trusted, but a set without it is as good as any. What fails changes nothing.
        if others.count() > 0 && rustix::thread::sched_setaffinity(None, &others).is_ok() {
            let _ = rustix::thread::sched_setaffinity(None, cpus);
        }
    }
}
