//! Keeps a worker off the CPU of the stub that it serves.
//!
//! The host wakes a sleeper on the CPU of the one that wakes it, which is right for a call now and then. But where calls
//! follow each other closely, a stub and a worker on one CPU put each other to sleep for every call, at some microseconds,
//! and since neither runs for long the host sees no reason to part them. A worker that finds itself in this place moves
//! to another CPU; there each spins for the other, at a tenth of the cost. On a machine without an idle CPU that doesn't
//! help, nor where the two soon meet again (each new process is where the host puts it), so it is tried at ever longer
//! intervals until it has helped for long.
//!
//! Where it has not, and as many guests are busy as there are CPUs, a worker would share its own with a stub whatever it did.
//! Then it *claims* its CPU: stubs that it meets there are sent to the others, where they take turns, each at the
//! full speed of calls that are answered by somebody who is awake. (Two programs that talk to each other on two CPUs did
//! half as much again.) The claim ends when the worker has nothing to do, and every few milliseconds, in case the guests
//! have come to compute. It is the wrong thing for guests that take turns by waking each other: each wake-up crosses to a
//! CPU that sleeps. They are told by how many of their stubs sleep when their reply comes, and left alone for some time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, Pid, gettid, sched_setaffinity};
use sentry_sync::{Level, Mutex};

use super::thread::Thread;
use crate::counters::{Counter, count};

/// Meetings on one CPU that make a crowd, within [`WINDOW`].
const CROWD: u32 = 8;
const WINDOW: Duration = Duration::from_micros(500);
const FIRST_REST: Duration = Duration::from_millis(1);
const LONGEST_REST: Duration = Duration::from_millis(64);
/// A move has helped if there is no crowd again within so many rests.
const CALM: u32 = 10;
/// Moves in vain after which a worker claims its CPU.
const MOVES: u32 = 2;
/// How long a claim lasts before it is made anew.
const TERM: Duration = Duration::from_millis(10);
/// A claim was worth it where at most one reply in so many had to wake its stub.
const SOUND: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often a stub and those who serve it have met on one CPU, the guest having been brief.
#[derive(Debug, Default)]
pub(super) struct Company {
    met: AtomicU32,
    /// At one of these meetings, since they were counted last, there was room elsewhere.
    had_room: AtomicBool,
}

/// What workers know of the CPUs that they share with stubs.
pub(super) struct Crowd {
    /// The CPUs that the sentry may use; `None` where there is no choice.
    cpus: Option<CpuSet>,
    state: Mutex<State>,
    /// Thread id of the worker that has claimed its CPU; 0: none has.
    claimant: AtomicI32,
    claim: Mutex<Option<Claim>>,
    /// Replies of the claimant since, and how many of them had to wake a stub.
    replies: AtomicU32,
    woken: AtomicU32,
    /// There was a claim once, so stubs may have been born by one that was sent away, whose CPUs they inherit.
    has_claimed: AtomicBool,
}

struct Claim {
    cpu: usize,
    since: Instant,
    /// Stubs that may not run there.
    sent_away: Vec<Arc<Thread>>,
}

/// What a worker should do about a stub that lies on its CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// Nothing.
    Stay,
    /// Go to another CPU: [`Crowd::part`].
    Part,
    /// Nothing: the stub will go on elsewhere.
    Settled,
}

struct State {
    since: Instant,
    /// Nothing is tried before this.
    rest_until: Instant,
    rest: Duration,
    /// When the last move was.
    moved: Instant,
    /// Moves that were not worth it since the last that was.
    vain: u32,
    /// No claim is made before this.
    pause_until: Instant,
    pause: Duration,
}

impl State {
    fn new(now: Instant) -> State {
        State {
            since: now,
            rest_until: now,
            rest: FIRST_REST,
            moved: now,
            vain: 0,
            pause_until: now,
            pause: FIRST_PAUSE,
        }
    }
}

impl Crowd {
    pub(super) fn new() -> Crowd {
        let cpus = rustix::thread::sched_getaffinity(None).ok().filter(|cpus| cpus.count() > 1);
        Crowd {
            cpus,
            state: Mutex::new(Level::Leaf, State::new(Instant::now())),
            claimant: AtomicI32::new(0),
            claim: Mutex::new(Level::Leaf, None),
            replies: AtomicU32::new(0),
            woken: AtomicU32::new(0),
            has_claimed: AtomicBool::new(false),
        }
    }

    /// Hears that the calling worker is about to wake a stub that lay down on this CPU, whose guest takes little time between
    /// its calls. `others`: how many more such guests run now.
    pub(super) fn meet(&self, thread: &Arc<Thread>, cpu: usize, others: impl Fn() -> u32) -> Advice {
        if self.cpus.is_none() {
            return Advice::Stay;
        }
        match self.claimant.load(Ordering::Relaxed) {
            0 => self.meet_often(thread, cpu, others),
            claimant if claimant == own_tid() => {
                if let Some(claim) = &mut *self.claim.lock()
                    && claim.cpu == cpu
                    && self.send_away(thread, cpu)
                {
                    claim.sent_away.push(Arc::clone(thread));
                    return Advice::Settled;
                }
                Advice::Stay
            }
            _ => Advice::Stay,
        }
    }

    fn meet_often(&self, thread: &Arc<Thread>, cpu: usize, others: impl Fn() -> u32) -> Advice {
        let company = &thread.company;
        if self.cpus.is_some_and(|cpus| others() + 1 < cpus.count()) {
            company.had_room.store(true, Ordering::Relaxed);
        }
        let met = company.met.load(Ordering::Relaxed).wrapping_add(1);
        company.met.store(met, Ordering::Relaxed);
        if !met.is_multiple_of(CROWD) {
            return Advice::Stay;
        }
        let had_room = company.had_room.swap(false, Ordering::Relaxed);
        let now = Instant::now();
        let Some(mut state) = self.state.try_lock() else { return Advice::Stay };
        let crowded = now.duration_since(state.since) < WINDOW;
        state.since = now;
        if !crowded {
            return Advice::Stay;
        }
        if state.vain >= MOVES && now >= state.pause_until && !had_room {
            drop(state);
            return self.make_claim(thread, cpu, now);
        }
        if now < state.rest_until {
            return Advice::Stay;
        }
        let calm = now.duration_since(state.moved) > CALM * state.rest;
        state.rest = if calm { FIRST_REST } else { (2 * state.rest).min(LONGEST_REST) };
        state.moved = now;
        state.rest_until = now + state.rest;
        state.vain += 1;
        Advice::Part
    }

    /// Claims the CPU on which the calling worker is.
    fn make_claim(&self, thread: &Arc<Thread>, cpu: usize, now: Instant) -> Advice {
        let mut claim = self.claim.lock();
        if claim.is_some() || !self.send_away(thread, cpu) {
            return Advice::Stay;
        }
        // Where this fails the worker may be moved, and meets nobody on the CPU that it has claimed.
        let _ = sched_setaffinity(None, &only(cpu));
        *claim = Some(Claim { cpu, since: now, sent_away: vec![Arc::clone(thread)] });
        self.replies.store(0, Ordering::Relaxed);
        self.woken.store(0, Ordering::Relaxed);
        self.has_claimed.store(true, Ordering::SeqCst);
        self.claimant.store(own_tid(), Ordering::Relaxed);
        count(Counter::Claimed);
        Advice::Settled
    }

    /// Keeps a stub off a CPU; returns whether it now is.
    fn send_away(&self, thread: &Thread, cpu: usize) -> bool {
        let Some(mut others) = self.cpus else { return false };
        others.unset(cpu);
        others.count() > 0 && confine(thread, &others)
    }

    /// Tells whether the calling worker has claimed its CPU.
    pub(super) fn is_claimed(&self) -> bool {
        let claimant = self.claimant.load(Ordering::Relaxed);
        claimant != 0 && claimant == own_tid()
    }

    /// Ends the calling worker's claim, if it has one; `old`: only if it has lasted its term.
    pub(super) fn end_claim(&self, old: bool) {
        if !self.is_claimed() {
            return;
        }
        let claim = self.claim.lock().take_if(|claim| !old || claim.since.elapsed() > TERM);
        let (Some(claim), Some(cpus)) = (claim, &self.cpus) else { return };
        self.claimant.store(0, Ordering::Relaxed);
        let _ = sched_setaffinity(None, cpus);
        let sound = self.woken.load(Ordering::Relaxed).saturating_mul(SOUND) <= self.replies.load(Ordering::Relaxed);
        for thread in &claim.sent_away {
            if !sound {
                // Those that take turns do so best in one place.
                confine(thread, &only(claim.cpu));
            }
            self.admit(thread);
        }
        let mut state = self.state.lock();
        if sound {
            state.pause = FIRST_PAUSE;
        } else {
            state.pause_until = Instant::now() + state.pause;
            state.pause = (2 * state.pause).min(LONGEST_PAUSE);
        }
    }

    /// Hears that the calling worker has replied to a stub, and whether that slept.
    pub(super) fn note_reply(&self, slept: bool) {
        if self.claimant.load(Ordering::Relaxed) != 0 && self.is_claimed() {
            self.replies.store(self.replies.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
            self.woken.store(self.woken.load(Ordering::Relaxed).wrapping_add(slept.into()), Ordering::Relaxed);
        }
    }

    /// Lets a stub run on all CPUs again.
    fn admit(&self, thread: &Thread) {
        if let Some(cpus) = &self.cpus {
            confine(thread, cpus);
        }
    }

    /// Hears of a new stub.
    pub(super) fn welcome(&self, thread: &Thread) {
        if self.has_claimed.load(Ordering::SeqCst) {
            self.admit(thread);
        }
    }

    /// Has a process that is about to be killed die on another CPU than this one, where whoever has waited for its end goes on:
    /// giving its memory back takes as long as making it did.
    pub(super) fn send_off(&self, pid: i32) {
        let (Some(cpus), Some(pid)) = (&self.cpus, Pid::from_raw(pid)) else { return };
        let mut others = *cpus;
        others.unset(rustix::thread::sched_getcpu());
        if others.count() > 0 {
            let _ = sched_setaffinity(Some(pid), &others);
        }
    }

    /// Moves the calling worker to another CPU than this one; returns whether it has.
    pub(super) fn part(&self, cpu: usize) -> bool {
        let Some(cpus) = &self.cpus else { return false };
        let mut others = *cpus;
        others.unset(cpu);
        // What fails changes nothing.
        if others.count() == 0 || sched_setaffinity(None, &others).is_err() {
            return false;
        }
        let _ = sched_setaffinity(None, cpus);
        count(Counter::Moved);
        true
    }

    /// Hears that after a move the next call found both awake.
    pub(super) fn went_well(&self) {
        self.state.lock().vain = 0;
    }
}

/// Has a stub run on these CPUs only; returns whether it does.
fn confine(thread: &Thread, cpus: &CpuSet) -> bool {
    let tid = Pid::from_raw(thread.tid.load(Ordering::SeqCst));
    tid.is_some_and(|tid| sched_setaffinity(Some(tid), cpus).is_ok())
}

pub(super) fn only(cpu: usize) -> CpuSet {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    cpus
}

fn own_tid() -> i32 {
    thread_local! {
        static TID: i32 = gettid().as_raw_nonzero().get();
    }
    TID.with(|tid| *tid)
}
