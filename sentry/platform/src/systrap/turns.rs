//! Keeps programs that take turns on one CPU.
//!
//! A shell that runs one program after the other has one guest thread at work at a time. The host sees a second CPU idle and
//! puts each new process there, and whoever is woken: it has to be woken from idle, which takes tens of microseconds on a virtual
//! machine, and finds cold caches; and the next event brings the process back to the worker's CPU. So where processes are made
//! one soon after the other, and each time nobody but the maker was at work, workers and stubs are *gathered* on one CPU: the
//! worker and the stubs that it meets are confined to it, and children are born there.
//!
//! That is the wrong thing as soon as two guests have something to do. Whenever a process or thread is made while another guest
//! runs, all are *dismissed*; the watch over the workers does so within some milliseconds where no more processes are
//! made, or where the sandbox gets less than two thirds of that CPU, which others use as well.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, Pid, gettid, sched_setaffinity};
use sentry_sync::{Level, Mutex};

use super::crowd::only;
use super::thread::Thread;
use crate::counters::{Counter, count};

/// Processes in a row after which all are gathered.
const STREAK: u32 = 8;
/// Longest time between two of those.
const GAP: Duration = Duration::from_millis(4);
/// Least time between two reviews.
const REVIEW: Duration = Duration::from_millis(8);
/// Most stubs that are gathered.
const MOST: usize = 64;
/// More than the highest number of a CPU.
const CPUS: usize = 1024;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

thread_local! {
    /// Where this worker is confined to, as in [`Turns::place`]. One that is new has the CPUs of whoever has
    /// made it.
    static CONFINED: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Who takes turns where.
pub(super) struct Turns {
    /// The CPUs that the sentry may use; `None` where there is no choice.
    cpus: Option<CpuSet>,
    /// Where all are gathered: one more than the number of the CPU, and above [`CPUS`] how many times they have been; 0: nowhere.
    place: AtomicUsize,
    state: Mutex<State>,
}

struct State {
    pace: Pace,
    /// The stubs that are gathered, and the workers.
    stubs: Vec<Arc<Thread>>,
    workers: Vec<Pid>,
    /// How many times they have been gathered.
    times: usize,
    /// Processor time of all at the last review, and when that was.
    used: Duration,
    reviewed: Instant,
}

/// How processes follow each other.
#[derive(Clone, Copy, Debug)]
struct Pace {
    streak: u32,
    last: Instant,
    /// Nobody is gathered before this.
    pause_until: Instant,
    pause: Duration,
}

impl Pace {
    /// Hears that a process is made; returns whether that makes enough in a row.
    fn step(&mut self, now: Instant) -> bool {
        let soon = now.duration_since(self.last) < GAP;
        self.streak = if soon { self.streak.saturating_add(1) } else { 1 };
        self.last = now;
        self.streak >= STREAK && now >= self.pause_until
    }

    /// Hears that guests don't take turns.
    fn stop(&mut self) {
        self.streak = 0;
    }

    /// Hears whether it was a bad idea.
    fn judge(&mut self, now: Instant, good: bool) {
        if good {
            self.pause = FIRST_PAUSE;
        } else {
            self.pause_until = now + self.pause;
            self.pause = (2 * self.pause).min(LONGEST_PAUSE);
        }
    }
}

impl Turns {
    pub(super) fn new() -> Turns {
        let cpus = rustix::thread::sched_getaffinity(None).ok().filter(|cpus| cpus.count() > 1);
        let now = Instant::now();
        let pace = Pace { streak: 0, last: now, pause_until: now, pause: FIRST_PAUSE };
        let state =
            State { pace, stubs: Vec::new(), workers: Vec::new(), times: 0, used: Duration::ZERO, reviewed: now };
        Turns { cpus, place: AtomicUsize::new(0), state: Mutex::new(Level::Leaf, state) }
    }

    /// Tells whether all are gathered.
    pub(super) fn gathers(&self) -> bool {
        self.place.load(Ordering::Relaxed) != 0
    }

    /// Hears that the calling worker serves a guest that makes a process, or a thread; `others`: guests that run meanwhile.
    pub(super) fn note(&self, process: bool, others: impl FnOnce() -> u32, used: impl FnOnce() -> Duration) {
        if self.cpus.is_none() || !process && !self.gathers() {
            return;
        }
        let parallel = others() > 0;
        let mut state = self.state.lock();
        if parallel {
            state.pace.stop();
            self.dismiss(&mut state);
            return;
        }
        if !process || !state.pace.step(Instant::now()) || self.gathers() {
            return;
        }
        drop(state);
        let used = used();
        let mut state = self.state.lock();
        (state.used, state.reviewed) = (used, Instant::now());
        let cpu = rustix::thread::sched_getcpu();
        if cpu + 1 < CPUS {
            state.times += 1;
            self.place.store(state.times * CPUS + cpu + 1, Ordering::SeqCst);
            count(Counter::Gathered);
        }
    }

    /// Has the calling worker be where all are.
    pub(super) fn follow(&self) {
        let place = self.place.load(Ordering::Relaxed);
        if place == CONFINED.get() {
            return;
        }
        let Some(cpus) = &self.cpus else { return };
        let mut state = self.state.lock();
        // Whoever dismisses all does so under that lock.
        if self.place.load(Ordering::SeqCst) != place {
            return;
        }
        // Where this fails the worker goes on as it was.
        let _ = match cpu_of(place) {
            Some(cpu) => sched_setaffinity(None, &only(cpu)),
            None => sched_setaffinity(None, cpus),
        };
        if place != 0 {
            state.workers.push(gettid());
        }
        CONFINED.set(place);
    }

    /// Lets the calling thread run everywhere if it is no worker: one that a worker has started (that of the alarms) has the CPUs of
    /// that one.
    pub(super) fn stand_aside(&self) {
        if let (Some(cpus), usize::MAX) = (&self.cpus, CONFINED.get()) {
            CONFINED.set(0);
            let _ = sched_setaffinity(None, cpus);
        }
    }

    /// Has a stub that is about to be served be where all are.
    pub(super) fn meet(&self, thread: &Arc<Thread>) {
        let Some(cpu) = cpu_of(self.place.load(Ordering::Relaxed)) else { return };
        let Some(tid) = tid_of(thread).filter(|_| !thread.gathered.swap(true, Ordering::SeqCst)) else { return };
        let _ = sched_setaffinity(Some(tid), &only(cpu));
        self.enter(thread);
    }

    /// Hears that one stub makes another, which is born where that is.
    pub(super) fn inherit(&self, parent: &Thread, child: &Arc<Thread>) {
        if parent.gathered.load(Ordering::SeqCst) {
            child.gathered.store(true, Ordering::SeqCst);
            self.enter(child);
        }
    }

    /// Hears that a stub has been born, perhaps after all were dismissed.
    pub(super) fn welcome(&self, thread: &Arc<Thread>) {
        if thread.gathered.load(Ordering::SeqCst) && !self.gathers() {
            self.admit(thread);
        }
    }

    fn enter(&self, thread: &Arc<Thread>) {
        let mut state = self.state.lock();
        if state.stubs.len() >= MOST {
            state.stubs.retain(|stub| !stub.dead.load(Ordering::Relaxed));
        }
        state.stubs.push(Arc::clone(thread));
        // It may have been the last moment for the others.
        if state.stubs.len() > MOST || !self.gathers() {
            state.pace.stop();
            self.dismiss(&mut state);
        }
    }

    fn dismiss(&self, state: &mut State) {
        self.place.store(0, Ordering::SeqCst);
        for stub in state.stubs.drain(..).filter(|stub| !stub.dead.load(Ordering::Relaxed)) {
            self.admit(&stub);
        }
        // One that sleeps is not to wake up where others may be at work by then.
        if let Some(cpus) = &self.cpus {
            for worker in state.workers.drain(..) {
                let _ = sched_setaffinity(Some(worker), cpus);
            }
        }
    }

    /// Lets a stub run on all CPUs again. One that has not been born is let when it is.
    fn admit(&self, thread: &Thread) {
        if let (Some(cpus), Some(tid)) = (&self.cpus, tid_of(thread))
            && thread.gathered.swap(false, Ordering::SeqCst)
        {
            let _ = sched_setaffinity(Some(tid), cpus);
        }
    }

    /// Looks whether those that are gathered still take turns, and have the CPU for themselves: whether they use nearly all of it.
    /// `used` tells the processor time of the sandbox.
    pub(super) fn review(&self, used: impl FnOnce() -> Duration) {
        if !self.gathers() {
            return;
        }
        if self.state.lock().reviewed.elapsed() < REVIEW {
            return;
        }
        let total = used();
        let mut state = self.state.lock();
        let now = Instant::now();
        let since = now.duration_since(state.reviewed);
        let alone = 3 * total.saturating_sub(state.used) > 2 * since;
        (state.used, state.reviewed) = (total, now);
        state.pace.judge(now, alone);
        if !alone || now.duration_since(state.pace.last) > GAP {
            state.pace.stop();
            self.dismiss(&mut state);
        }
    }
}

/// Returns the number of the CPU in a place.
fn cpu_of(place: usize) -> Option<usize> {
    (place % CPUS).checked_sub(1)
}

fn tid_of(thread: &Thread) -> Option<Pid> {
    Pid::from_raw(thread.tid.load(Ordering::SeqCst))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_processes_one_soon_after_the_other_make_a_streak() {
        let mut now = Instant::now();
        let mut pace = Pace { streak: 0, last: now, pause_until: now, pause: FIRST_PAUSE };
        let mut steps = |pace: &mut Pace, count: u32, gap: Duration| {
            (0..count).fold(false, |_, _| {
                now += gap;
                pace.step(now)
            })
        };
        let soon = Duration::from_millis(1);
        assert!(!steps(&mut pace, STREAK - 1, soon));
        assert!(steps(&mut pace, 1, soon));
        assert!(!steps(&mut pace, 1, GAP));
        assert!(!steps(&mut pace, 3 * STREAK, GAP));
        assert!(steps(&mut pace, STREAK - 1, soon));
        pace.stop();
        assert!(!steps(&mut pace, STREAK - 1, soon));
    }

    #[test]
    fn who_has_met_others_on_the_cpu_pauses_for_longer_and_longer() {
        let now = Instant::now();
        let mut pace = Pace { streak: STREAK, last: now, pause_until: now, pause: FIRST_PAUSE };
        pace.judge(now, false);
        assert!(!pace.step(now));
        let mut later = Pace { last: now + FIRST_PAUSE, ..pace };
        assert!(later.step(now + FIRST_PAUSE));
        assert_eq!((pace.pause_until, pace.pause), (now + FIRST_PAUSE, 2 * FIRST_PAUSE));
        (0..20).for_each(|_| pace.judge(now, false));
        assert_eq!(pace.pause, LONGEST_PAUSE);
        pace.judge(now, true);
        assert_eq!(pace.pause, FIRST_PAUSE);
    }
}
