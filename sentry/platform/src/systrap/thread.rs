//! What the sentry knows of one stub thread, in its own memory.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use sentry_sync::{Level, Mutex};

use super::crowd::{Advice, Company};
use super::hub::Hub;
use super::later::Later;
use super::layout::{command, field, waiting};
use super::process::Proc;
use super::shared::Shared;
use crate::counters::{Counter, count};

/// The stub waits for a request; what it last did has been looked at.
pub(super) const IDLE: u32 = 0;
/// Guest code runs.
pub(super) const RUNNING: u32 = 1;
/// The stub does something for the sentry.
pub(super) const BUSY: u32 = 2;
/// Added to the two above: done, and the task was woken.
pub(super) const READY: u32 = 0x10;

fn word(request: u32, state: u32) -> u64 {
    u64::from(request) << 32 | u64::from(state)
}

/// A call that a stub is expected to make, to be let through as a notification.
#[derive(Clone, Debug)]
pub(super) struct ExpectedCall {
    pub(super) nr: i64,
    pub(super) args: [u64; 6],
    pub(super) file: Option<Arc<OwnedFd>>,
}

/// Calls that wait to be let through, and descriptors that those let through may still be using.
#[derive(Default)]
pub(super) struct Expected {
    calls: VecDeque<ExpectedCall>,
    /// The last mapping let through. The host asks again where a signal came before it knew, which stubs let come only on
    /// their way back to the guest. To make the same mapping again changes nothing; a second process would be one too many.
    last: Option<ExpectedCall>,
    /// Files of calls that were let through. The stub says when it is done with them, but it may lie: another of its
    /// threads can pretend so while the call is still under way, and if the descriptor were closed and its number
    /// given to another file, that one would be mapped. The next notification of the same thread is the host's word that
    /// the earlier call is over.
    held: Vec<Arc<OwnedFd>>,
}

impl Expected {
    pub(super) fn expect(&mut self, calls: impl IntoIterator<Item = ExpectedCall>) {
        self.calls.extend(calls);
    }

    /// Takes the expectation that this call meets; `None`: nobody asked for it. The files returned are no longer in use.
    fn take(&mut self, nr: i64, args: &[u64; 6]) -> Option<Vec<Arc<OwnedFd>>> {
        let is_it = |call: &mut ExpectedCall| call.nr == nr && call.args == *args;
        let Some(call) = self.calls.pop_front_if(is_it) else {
            return self.last.as_mut().is_some_and(is_it).then(Vec::new);
        };
        let over = std::mem::take(&mut self.held);
        self.held.extend(call.file.clone());
        self.last = Some(call).filter(|call| call.nr == libc::SYS_mmap);
        Some(over)
    }

    /// Moves what was never called for out of the way, when the batch has ended early; its files stay held, too.
    pub(super) fn clear(&mut self) {
        self.last = None;
        while let Some(call) = self.calls.pop_front() {
            self.held.extend(call.file);
        }
    }
}

/// How many times as long as otherwise a stub looks for a worker that moves to another CPU, and the worker for it.
pub(super) const MOVE: u32 = 20;

/// What a request has found the stub doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It looks for requests.
    Awake,
    /// It slept in its futex. The host has it go on where it sees fit.
    Asleep,
    /// It slept in a notification: it goes on on the worker's own CPU, once the worker leaves that.
    AsleepHere,
    /// As above, but the worker has moved to another CPU since.
    Left,
}

/// How a stub sleeps on the CPU of the worker that is about to wake it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meeting {
    InFutex,
    InNotification,
}

/// How a new stub waits for its first request.
pub(super) mod arrival {
    /// It has not arrived, or has gone on.
    pub(in super::super) const NONE: u32 = 0;
    /// In a call that isn't one.
    pub(in super::super) const BY_HELLO: u32 = 1;
    /// In the call that maps its context.
    pub(in super::super) const BY_MAP: u32 = 2;
}

/// One stub thread.
pub(super) struct Thread {
    pub(super) slot: u32,
    pub(super) shared: Shared,
    /// The process, once it is known.
    pub(super) proc: OnceLock<Arc<Proc>>,
    /// Thread id, once the host has told it.
    pub(super) tid: AtomicI32,
    /// One of the constants above, and in the upper half the number of the request that it is about: a worker that has
    /// looked at an earlier one must not succeed in claiming it.
    state: AtomicU64,
    /// Number of the last request. The stub has answered when its event has the same number.
    request: AtomicU32,
    /// The notification in which the stub sleeps, if it does. 0: none.
    notification: AtomicU64,
    /// That is the one by which a new thread has shown who it is: how it is answered. An [`arrival`].
    arrival: AtomicU32,
    /// Somebody wants the guest to stop, and no event was seen since.
    pub(super) interrupt: AtomicBool,
    /// Nobody owns the context any more.
    pub(super) orphan: AtomicBool,
    pub(super) dead: AtomicBool,
    /// It has made a child that has not said hello.
    pub(super) expecting: AtomicBool,
    /// Confined to the CPU where programs take turns ([`super::turns`]).
    pub(super) gathered: AtomicBool,
    /// Counted in the hub's `watch`.
    watched: AtomicBool,
    /// May be among the slots that workers look at; written by the owner.
    listed: AtomicBool,
    /// Was asleep in a futex of the host's when a worker last looked for those.
    drowsy: AtomicBool,
    waker: Mutex<Option<Waker>>,
    pub(super) expected: Mutex<Expected>,
    pub(super) company: Company,
    pub(super) later: Later,
}

impl Thread {
    /// A thread whose last request was this.
    pub(super) fn new(slot: u32, shared: Shared, request: u32, state: u32) -> Arc<Thread> {
        Arc::new(Thread {
            slot,
            shared,
            proc: OnceLock::new(),
            tid: AtomicI32::new(0),
            state: AtomicU64::new(word(request, state)),
            request: AtomicU32::new(request),
            notification: AtomicU64::new(0),
            arrival: AtomicU32::new(arrival::NONE),
            interrupt: AtomicBool::new(false),
            orphan: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            expecting: AtomicBool::new(false),
            gathered: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            listed: AtomicBool::new(false),
            drowsy: AtomicBool::new(false),
            waker: Mutex::new(Level::Leaf, None),
            expected: Mutex::new(Level::Leaf, Expected::default()),
            company: Company::default(),
            later: Later::default(),
        })
    }

    /// Tells whether the stub is busy with the request of this state, and has answered it.
    fn is_news(&self, state: u64) -> bool {
        let answered = self.shared.u32(field::EVENT).load(Ordering::Acquire) == (state >> 32) as u32;
        matches!(state as u32, RUNNING | BUSY) && answered
    }

    /// Tells whether there is something to claim.
    pub(super) fn has_news(&self) -> bool {
        self.is_news(self.state.load(Ordering::SeqCst))
    }

    /// Tells whether the last request has been answered, be it that a worker has claimed that for the owner.
    pub(super) fn is_answered(&self) -> bool {
        self.state() & READY != 0 || self.has_news()
    }

    /// Returns what the thread does.
    pub(super) fn state(&self) -> u32 {
        self.state.load(Ordering::SeqCst) as u32
    }

    /// Returns the number of the request that the stub, or a child of its, has not answered, if there is one and somebody
    /// waits for it.
    pub(super) fn owes(&self) -> Option<u64> {
        let state = self.state.load(Ordering::SeqCst);
        let gone = self.dead.load(Ordering::SeqCst) || self.orphan.load(Ordering::SeqCst);
        let expecting = self.expecting.load(Ordering::SeqCst);
        let asked = matches!(state as u32, RUNNING | BUSY) && !self.is_news(state);
        ((asked || expecting) && !gone).then_some(state)
    }

    /// Says what the thread will do with the next request, or that there is none.
    pub(super) fn set_state(&self, state: u32) {
        self.state.store(word(self.next_request(), state), Ordering::SeqCst);
    }

    /// Returns the number of the next request.
    pub(super) fn next_request(&self) -> u32 {
        self.request.load(Ordering::Relaxed).wrapping_add(1)
    }

    /// Tells whether the stub has performed the operations, or the copy, that this request began with.
    pub(super) fn has_performed(&self, request: u32) -> bool {
        self.request.load(Ordering::SeqCst) == request
            && self.shared.u32(field::PERFORMED).load(Ordering::Acquire) == request
    }

    /// Gives the stub its next request, whose fields are written, and wakes it where it sleeps.
    ///
    /// The stub says that it will sleep, then looks at the request number once more; we raise the number, then look
    /// whether it sleeps. Both with full barriers, so that at least one sees the other.
    pub(super) fn publish(self: &Arc<Self>, hub: &Hub, what: u32) -> Found {
        let number = self.next_request();
        hub.turns.meet(self);
        let mut cpu = rustix::thread::sched_getcpu();
        let shared = &self.shared;
        let meeting = self.meeting(cpu);
        let meets = meeting.is_some() && self.is_brief() && !hub.turns.gathers();
        let advice = if meets { hub.crowd.meet(self, cpu, || hub.brief_guests()) } else { Advice::Stay };
        let mut parts = advice == Advice::Part;
        let mut moved = false;
        if parts && meeting == Some(Meeting::InFutex) {
            // The host wakes a sleeper where it lay down, if nobody is there.
            moved = hub.crowd.part(cpu);
            (parts, cpu) = (moved, rustix::thread::sched_getcpu());
        }
        let worker = if parts { 0 } else { u16::try_from(cpu + 1).unwrap_or(0) };
        shared.u32(field::COMMAND).store(what | u32::from(worker) << 16, Ordering::Relaxed);
        if parts {
            // Until we are there it is to look for longer.
            shared.u32(field::SPIN).store(hub.setup.rounds.saturating_mul(MOVE), Ordering::Relaxed);
        }
        self.request.store(number, Ordering::SeqCst);
        let word = shared.u32(field::REQUEST);
        word.store(number, Ordering::SeqCst);
        let mut found = Found::Awake;
        if shared.u32(field::WAITING).load(Ordering::SeqCst) == waiting::FUTEX {
            count(Counter::Woken);
            found = Found::Asleep;
            let _ = rustix::thread::futex::wake(word, rustix::thread::futex::Flags::empty(), 1);
        }
        if self.release_notification(hub) {
            found = if advice == Advice::Settled { Found::Asleep } else { Found::AsleepHere };
        }
        hub.crowd.note_reply(found != Found::Awake);
        // One that sleeps in a notification goes on here, and best before we leave.
        if moved || parts && hub.crowd.part(cpu) {
            return Found::Left;
        }
        found
    }

    /// Tells how the stub seems to sleep, if that is on this CPU.
    fn meeting(&self, cpu: usize) -> Option<Meeting> {
        let shared = &self.shared;
        let how = if self.notification.load(Ordering::Relaxed) != 0 {
            (self.arrival.load(Ordering::Relaxed) == arrival::NONE).then_some(Meeting::InNotification)
        } else {
            (shared.u32(field::WAITING).load(Ordering::Relaxed) == waiting::FUTEX).then_some(Meeting::InFutex)
        };
        let how = how.filter(|_| shared.u32(field::CPU).load(Ordering::Relaxed) as usize == cpu);
        if how.is_some() {
            count(Counter::Met);
        }
        how
    }

    /// Has the stub look for its reply no longer, if it waits for one. Only for the owner: nobody else gives it a request.
    pub(super) fn hold(&self) {
        if self.state() == IDLE {
            self.shared.u32(field::COMMAND).store(command::HOLD, Ordering::Relaxed);
        }
    }

    /// Tells whether the guest has taken little time when it last ran after a sleep of its stub.
    pub(super) fn is_brief(&self) -> bool {
        /// A few microseconds of the processor's time.
        const BRIEF: u32 = 10_000;
        (1..BRIEF).contains(&self.shared.u32(field::THOUGHT).load(Ordering::Relaxed))
    }

    /// Ends the notification in which the stub sleeps; returns whether it does.
    fn release_notification(&self, hub: &Hub) -> bool {
        if self.notification.load(Ordering::SeqCst) == 0 {
            return false;
        }
        let id = self.notification.swap(0, Ordering::SeqCst);
        let arrival = self.arrival.swap(arrival::NONE, Ordering::SeqCst);
        match (id, arrival) {
            (0, _) => return false,
            (id, arrival::NONE) => hub.end_sleep(id),
            (id, arrival) => hub.let_in(id, arrival == arrival::BY_MAP),
        }
        true
    }

    /// Hears that a new stub waits for its first request in this notification.
    pub(super) fn arrive(&self, id: u64, how: u32) {
        self.arrival.store(how, Ordering::SeqCst);
        self.notification.store(id, Ordering::SeqCst);
    }

    /// Hears that the stub sleeps in a notification, having published the event of this request; returns whether it may.
    /// The pair to [`Thread::publish`]: it raises the number, then looks for a notification; this leaves one, then looks
    /// at the number.
    pub(super) fn sleep_in(&self, hub: &Hub, id: u64, request: u32) -> bool {
        if self.request.load(Ordering::SeqCst) != request || !hub.begin_sleep() {
            return false;
        }
        // A stub has one thread of execution; a second notification follows a first that was answered or has been
        // interrupted.
        let before = self.notification.swap(id, Ordering::SeqCst);
        if before != 0 {
            hub.end_sleep(before);
        }
        if self.request.load(Ordering::SeqCst) != request {
            self.release_notification(hub);
        }
        true
    }

    /// Ends the sleep of a stub that is dead.
    pub(super) fn forget_sleep(&self, hub: &Hub) {
        self.release_notification(hub);
    }

    /// Takes the outcome of the last request, if it is there: which of [`RUNNING`] and [`BUSY`] it was. Only for the
    /// context's owner.
    pub(super) fn take(&self, hub: &Hub) -> Option<u32> {
        let state = self.state.load(Ordering::SeqCst);
        let kind = state as u32;
        if kind & READY == 0 {
            if !self.is_news(state) {
                return None;
            }
            // A worker may be claiming it at the same time; then it has taken the slot off the list.
            if self.state.compare_exchange(state, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                self.unlist(hub);
                return Some(kind);
            }
        }
        self.set_state(IDLE);
        Some(kind & !READY)
    }

    /// Has workers look for the outcome. Look for it after this.
    pub(super) fn list(&self, hub: &Hub) {
        self.listed.store(true, Ordering::Relaxed);
        hub.table.activate(self.slot);
    }

    fn unlist(&self, hub: &Hub) {
        // Nobody else writes it, and an exchange is dear.
        if self.listed.load(Ordering::Relaxed) {
            self.listed.store(false, Ordering::Relaxed);
            hub.table.deactivate(self.slot);
        }
    }

    /// Tells whether guest code sleeps in a futex of the host's, as its stub says.
    pub(super) fn is_asleep(&self) -> bool {
        self.shared.get(field::ASLEEP) != 0 && self.state() == RUNNING
    }

    /// Tells whether the thread sleeps, and did so when it was last asked.
    pub(super) fn goes_on_sleeping(&self) -> bool {
        let asleep = self.is_asleep();
        self.drowsy.swap(asleep, Ordering::Relaxed) && asleep
    }

    /// Has workers no longer look at a thread that sleeps: its stub then tells them of its next event by a notification.
    ///
    /// The stub says that it sleeps no longer, publishes its event, then (full barrier) looks whether it is overlooked; we mark
    /// it, then look whether it sleeps. Last the mark: whoever takes it back lists the slot after that, so that none is marked
    /// no longer and yet off the list. One that is interrupted is looked at whatever its stub says: its interrupter notes the
    /// interrupt, then lists it.
    pub(super) fn overlook(&self, hub: &Hub) {
        hub.table.deactivate(self.slot);
        self.shared.u32(field::OVERLOOKED).store(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if !self.is_asleep() || self.interrupt.load(Ordering::SeqCst) {
            self.look_again(hub);
        }
    }

    /// Takes that back, whether it was so or not. Its event may be there already.
    pub(super) fn look_again(&self, hub: &Hub) {
        if self.state() == RUNNING {
            let mark = self.shared.u32(field::OVERLOOKED);
            if mark.load(Ordering::SeqCst) != 0 {
                mark.store(0, Ordering::SeqCst);
            }
            hub.table.activate(self.slot);
        }
    }

    /// Claims the outcome for the owner and wakes it. Any worker may try, one succeeds.
    pub(super) fn claim(self: &Arc<Self>, hub: &Hub) -> bool {
        let state = self.state.load(Ordering::SeqCst);
        if !self.is_news(state) {
            return false;
        }
        // Before the claim: once it is made, the owner may go on and put the slot on the list again.
        hub.table.deactivate(self.slot);
        let claimed = state | u64::from(READY);
        if self.state.compare_exchange(state, claimed, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            // Somebody else has, and the slot may have been there for the next request.
            hub.table.activate(self.slot);
            return false;
        }
        count(Counter::Found);
        if self.orphan.load(Ordering::SeqCst) {
            self.end_orphan(hub);
        }
        self.wake();
        true
    }

    /// Ends a thread that nobody owns and that has answered its last request.
    fn end_orphan(self: &Arc<Self>, hub: &Hub) {
        let leader = self.proc.get().is_some_and(|proc| proc.pid == self.tid.load(Ordering::SeqCst));
        // The first thread of a process stays, asleep: without it the host would not let us reach the memory.
        if !leader && self.state.swap(0, Ordering::SeqCst) as u32 & READY != 0 {
            self.publish(hub, command::EXIT);
        }
    }

    /// Forgets who is told of the outcome.
    pub(super) fn forget_waker(&self) {
        let waker = self.waker.lock().take();
        drop(waker);
    }

    /// Hears that the owner is gone.
    pub(super) fn abandon(self: &Arc<Self>, hub: &Hub) {
        self.orphan.store(true, Ordering::SeqCst);
        self.forget_waker();
        match self.state() {
            IDLE => {
                self.set_state(RUNNING | READY);
                self.end_orphan(hub);
            }
            RUNNING => {
                self.list(hub);
                self.kick();
            }
            BUSY => self.list(hub),
            _ => self.end_orphan(hub),
        }
    }

    /// Hears that somebody wants the guest to stop; returns whether that is so.
    pub(super) fn see_interrupt(&self) -> bool {
        // The owner is about to look for what it is interrupted for; a plain look is enough where there is nothing.
        self.interrupt.load(Ordering::SeqCst) && self.interrupt.swap(false, Ordering::SeqCst)
    }

    /// Makes guest code stop.
    pub(super) fn kick(&self) {
        if let Some(proc) = self.proc.get() {
            proc.signal(self.tid.load(Ordering::SeqCst), super::layout::INTERRUPT);
        }
    }

    /// Sets who is told of the outcome. Look for it after this.
    pub(super) fn register(&self, waker: &Waker) {
        let old = {
            let mut place = self.waker.lock();
            match &*place {
                Some(old) if old.will_wake(waker) => return,
                _ => place.replace(waker.clone()),
            }
        };
        drop(old);
    }

    pub(super) fn wake(&self) {
        let waker = self.waker.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Checks a notified call against what was asked for.
    pub(super) fn is_expected(&self, nr: i64, args: &[u64; 6]) -> bool {
        let over = self.expected.lock().take(nr, args);
        over.is_some()
    }

    /// Has these calls let through when the stub makes them.
    pub(super) fn let_through(&self, hub: &Hub, calls: Vec<ExpectedCall>) {
        if !calls.is_empty() {
            self.watch(hub, true);
            self.expected.lock().expect(calls);
        }
    }

    /// Has workers look for this thread's notifications no longer, if it goes on to guest code behind the last one.
    pub(super) fn expect_no_more(&self, hub: &Hub) {
        if self.state() == RUNNING && self.expected.lock().calls.is_empty() {
            self.watch(hub, false);
        }
    }

    /// Tells whether a notification of this thread's, or of a child of its, is expected.
    pub(super) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// Makes workers look for notifications often, or no longer, because of this thread.
    pub(super) fn watch(&self, hub: &Hub, on: bool) {
        if self.watched.swap(on, Ordering::SeqCst) != on {
            if on {
                hub.watch.fetch_add(1, Ordering::SeqCst);
            } else {
                hub.watch.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_call_may_come_again_until_the_batch_is_over() {
        let call = |addr: u64| ExpectedCall { nr: libc::SYS_mmap, args: [addr, 0, 0, 0, 0, 0], file: None };
        let mut expected = Expected::default();
        expected.expect([call(1), call(2)]);
        let mut take = |addr: u64| expected.take(libc::SYS_mmap, &call(addr).args).is_some();
        assert!(!take(2), "out of order");
        assert!(take(1) && take(1), "the host has lost the first");
        assert!(take(2) && take(2));
        assert!(!take(1));
        expected.clear();
        assert!(expected.take(libc::SYS_mmap, &call(2).args).is_none());
    }

    #[test]
    fn a_clone_is_let_through_once() {
        let clone = ExpectedCall { nr: libc::SYS_clone, args: [1, 0, 0, 0, 0, 0], file: None };
        let mut expected = Expected::default();
        expected.expect([clone]);
        assert!(expected.take(libc::SYS_clone, &[1, 0, 0, 0, 0, 0]).is_some());
        assert!(expected.take(libc::SYS_clone, &[1, 0, 0, 0, 0, 0]).is_none());
    }
}
