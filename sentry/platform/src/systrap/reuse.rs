//! Stub threads whose guest thread has ended, kept for the next one of the same process.
//!
//! To make a host thread takes two notifications and the start of a thread on some CPU; a stub that has just ended
//! looks for its next request anyway. What a new guest thread has of its own is all set when it starts: registers,
//! floating-point state, signal mask and signal stack stand in the frame or the context. Of the rest the kernel above keeps
//! the books, but for two things: a registered `rseq` area (such a stub isn't kept, the kernel ends registrations
//! before), and what the host has counted for the thread, which the stub reads as it lies down and which is taken off what
//! the host counts later ([`Life`]).
//!
//! A kept stub sleeps in its futex and costs nothing but its memory; it ends with its process.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sentry_sync::{Level, Mutex};

use super::context::{Entry, SystrapContext};
use super::hub::{self, Hub};
use super::layout::{command, field};
use super::process::Proc;
use super::shared::Shared;
use super::thread::{BUSY, IDLE, Thread};
use crate::ThreadFigures;

/// Most stubs kept in a process.
const MOST: usize = 8;
/// Most stubs kept in the sandbox.
pub(super) const MOST_OF_ALL: u32 = 64;
/// `RUSAGE_THREAD`.
pub(super) const OF_THREAD: u64 = 1;

/// A stub that is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub(super) slot: u32,
    entry: Entry,
}

/// One guest thread's part of the life of a stub.
#[derive(Debug)]
pub(super) struct Life {
    /// What earlier guest threads have used.
    base: OnceLock<ThreadFigures>,
    over: AtomicBool,
    /// Held while something is written to what the stub answers from: not after the end, when it may be another's.
    answers: Mutex<()>,
    /// Processor time as last told, in nanoseconds.
    told: AtomicU64,
}

impl Default for Life {
    fn default() -> Life {
        Life {
            base: OnceLock::new(),
            over: AtomicBool::new(false),
            answers: Mutex::new(Level::Leaf, ()),
            told: AtomicU64::new(0),
        }
    }
}

impl Life {
    /// Takes off the time of others; after the end it is what was told last.
    pub(super) fn time(&self, time: impl FnOnce() -> Duration) -> Duration {
        if !self.is_over() {
            let base = self.base.get().map_or(Duration::ZERO, |base| base.user + base.system);
            let time = time().saturating_sub(base);
            self.told.store(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        Duration::from_nanos(self.told.load(Ordering::Relaxed))
    }

    /// Takes off the figures of others.
    pub(super) fn figures(&self, all: ThreadFigures) -> ThreadFigures {
        let Some(base) = self.base.get() else { return all };
        // The host divides time into that of the user and its own in more ways than one; only the sum is exact.
        let time = (all.user + all.system).saturating_sub(base.user + base.system);
        let system = all.system.saturating_sub(base.system).min(time);
        ThreadFigures {
            user: time - system,
            system,
            minor_faults: all.minor_faults.saturating_sub(base.minor_faults),
            major_faults: all.major_faults.saturating_sub(base.major_faults),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    pub(super) fn end(&self) {
        let _writers = self.answers.lock();
        self.over.store(true, Ordering::SeqCst);
    }

    /// Writes what the stub answers from, unless this life is over.
    pub(super) fn with_answers(&self, write: impl FnOnce()) {
        let _writers = self.answers.lock();
        if !self.is_over() {
            write();
        }
    }
}

/// Reads what the stub says of itself (`struct rusage`). It may lie, about figures that concern only its own process.
fn used(shared: &Shared) -> ThreadFigures {
    let word = |at: usize| shared.get(field::RUSAGE + 8 * at);
    let time =
        |at: usize| Duration::from_secs(word(at).min(1 << 32)) + Duration::from_micros(word(at + 1).min(999_999));
    ThreadFigures { user: time(0), system: time(2), minor_faults: word(8), major_faults: word(9) }
}

/// Keeps the stub of a guest thread that has ended; returns whether that can be.
pub(super) fn keep(context: &SystrapContext) -> bool {
    let (hub, thread) = (&context.hub, &context.thread);
    let Some(proc) = thread.proc.get() else { return false };
    let waits =
        thread.state() == IDLE && !thread.dead.load(Ordering::SeqCst) && !thread.expecting.load(Ordering::SeqCst);
    // The first thread of a process stays in any case; another may find its time counted for that of the process.
    let leads = thread.tid.load(Ordering::SeqCst) == proc.pid;
    if !waits || leads || !context.is_plain() || !hub.begin_keeping() {
        return false;
    }
    thread.forget_waker();
    let shared = &thread.shared;
    shared.set(field::OPS, libc::SYS_getrusage.cast_unsigned());
    shared.set(field::OPS + 8, OF_THREAD);
    shared.set(field::OPS + 16, hub::address(thread.slot) + field::RUSAGE as u64);
    shared.u32(field::OP_COUNT).store(1, Ordering::Relaxed);
    thread.set_state(BUSY);
    thread.publish(hub, command::OPS);
    // From here on it may be another guest thread's: nothing of it is touched any more.
    let kept = proc.keep(Kept { slot: thread.slot, entry: context.entry }, MOST);
    if !kept {
        hub.end_keeping(1);
    }
    kept
}

/// Takes a kept stub of the parent's process for a new guest thread, which has not run yet.
pub(super) async fn take(parent: &SystrapContext) -> Option<SystrapContext> {
    while let Some((thread, entry)) = next(&parent.hub, &parent.process.proc) {
        let mut context = SystrapContext::new(Arc::clone(&parent.hub), Arc::clone(&parent.process), thread);
        context.entry = entry;
        if context.settle().await.is_ok() {
            context.thread.interrupt.store(false, Ordering::SeqCst);
            context.thread.later.allow(false);
            // Nobody else has seen this life.
            let _ = context.life.base.set(used(&context.thread.shared));
            return Some(context);
        }
    }
    None
}

fn next(hub: &Hub, proc: &Proc) -> Option<(Arc<Thread>, Entry)> {
    let kept = proc.take_kept()?;
    hub.end_keeping(1);
    Some((hub.table.get(kept.slot)?, kept.entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_counts_from_its_own_start() {
        let life = Life::default();
        let all = ThreadFigures { user: Duration::from_secs(3), minor_faults: 7, ..ThreadFigures::default() };
        assert_eq!(life.time(|| Duration::from_secs(3)), Duration::from_secs(3));
        assert_eq!(life.figures(all), all);
        let base = ThreadFigures { user: Duration::from_secs(2), minor_faults: 5, ..ThreadFigures::default() };
        life.base.set(base).unwrap();
        assert_eq!(life.time(|| Duration::from_secs(3)), Duration::from_secs(1));
        assert_eq!(life.time(|| Duration::from_secs(1)), Duration::ZERO);
        assert_eq!(life.figures(all).minor_faults, 2);
        let divided = ThreadFigures { user: Duration::from_secs(1), system: Duration::from_secs(1), ..all };
        assert_eq!(life.figures(divided).user + life.figures(divided).system, Duration::ZERO);
        assert_eq!(life.time(|| Duration::from_secs(4)), Duration::from_secs(2));
        life.end();
        assert_eq!(life.time(|| Duration::from_secs(9)), Duration::from_secs(2));
    }
}
