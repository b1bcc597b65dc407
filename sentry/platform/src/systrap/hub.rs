//! What all contexts share: the table of threads, the workers' sleep, notifications, births and deaths.
//!
//! # No wake-up is lost
//!
//! A stub publishes its event, then (full barrier) reads the number of workers awake, and notifies if that is 0. A worker
//! that lies down lowers the number, then (full barrier) looks through the active contexts once more, and sleeps on the
//! listener. If the stub read a number above 0, some worker lowered it later, and the last one to do so looked after the
//! event was there. If it read 0, it notifies, and the sleep on the listener ends. A worker that is awake but never
//! polls again is a bug of the kernel above; one that the host holds up is counted as asleep by somebody else, who then has
//! another worker look through the contexts ([`Hub::worker_lost`]).
//!
//! [`Hub::unpark`] sets a flag, then looks for sleepers; a worker counts itself among the sleepers, then looks at the
//! flag.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use abi::Errno;
use rustix::event::epoll;
use sentry_sync::{Level, Mutex};

use super::birth;
use super::crowd::Crowd;
use super::fpu::Fpu;
use super::host::{self, Answer, Notification, Wait};
use super::layout::{self, OWN_LEN, call, control, field};
use super::process::Proc;
use super::reuse::MOST_OF_ALL;
use super::shared::{CONTEXT_SIZE, Shared};
use super::table::Table;
use super::thread::{Thread, arrival};
use super::turns::Turns;
use crate::counters::{Counter, count};
use crate::ptrace::figures::{Figures, process_clock};
use crate::{MemoryLimits, Vdso};

/// How often a worker that polls asks the host for notifications and deaths.
const SERVICE_EVERY: u32 = 64;
/// Most stubs that sleep in a notification at once; the host's handling gets slower with their number. Others are sent to
/// sleep in a futex.
const SLEEPERS_MAX: u32 = 64;
/// Most free slots whose memory is cleared and kept, until the sandbox rests: that costs a fraction of giving it back and having
/// the host find new pages, twice for each process.
const MOST_WARM: usize = 8;
/// Processes that nobody uses and that wait for each other's end.
const MOST_LEAVING: usize = 4;
/// Stands for [`Hub::attend`]'s descriptor among process ids.
const ATTENDED: u64 = u64::MAX;
/// Rounds between two looks at the clock while a worker spins.
const ROUNDS: u32 = 16;
/// How many times as long as otherwise a worker spins on a CPU that it has claimed.
const CLAIMED: u32 = 20;

/// How many times as long as a worker for a stub a stub looks for the worker that serves its call: waking the stub would cost
/// more than most calls, and the worker says when a call is to wait ([`super::layout::command::HOLD`]).
pub(super) const STUB_LOOKS: u32 = 6;

/// What was found out when the zygote was made, and what it uses.
pub(super) struct Setup {
    pub(super) control: Shared,
    pub(super) contexts: Shared,
    pub(super) memory: OwnedFd,
    pub(super) listener: OwnedFd,
    pub(super) frame: usize,
    /// Offset in a context of the floating-point state of its event.
    pub(super) fpstate: usize,
    pub(super) template: Vec<u8>,
    pub(super) fpu: Fpu,
    pub(super) user: Range<u64>,
    pub(super) vdso: Vdso,
    pub(super) fsgsbase: bool,
    /// `None` where calls can't be patched.
    pub(super) thunks: Option<super::patched::Thunks>,
    pub(super) figures: Figures,
    /// Longest time that a worker spins.
    pub(super) spin: Duration,
    /// How many times a stub, or a worker for one stub, looks at most.
    pub(super) rounds: u32,
    pub(super) copies: super::Copies,
    pub(super) limits: MemoryLimits,
}

/// The state shared by all contexts.
pub(super) struct Hub {
    pub(super) setup: Setup,
    pub(super) table: Table,
    /// Threads of which notifications are expected soon.
    pub(super) watch: AtomicU32,
    sleeping_stubs: AtomicU32,
    kept: AtomicU32,
    /// Free slots that still have their memory.
    warm: Mutex<Vec<u32>>,
    /// Calls that stubs answered by themselves whose slots are free again.
    answered: AtomicU64,
    tids: Mutex<HashMap<i32, Arc<Thread>>>,
    births: Mutex<HashMap<u64, Birth>>,
    procs: Mutex<HashMap<u64, Arc<Proc>>>,
    receiving: Mutex<()>,
    /// Notifications asked for under that lock.
    received: AtomicU64,
    ticks: AtomicU32,
    spin_ns: AtomicU64,
    /// One worker at a time sleeps on the descriptors.
    led: AtomicBool,
    leader_sleeps: AtomicBool,
    /// The others that sleep.
    followers: Mutex<Vec<std::thread::Thread>>,
    unparked: AtomicBool,
    pub(super) crowd: Crowd,
    pub(super) turns: Turns,
    bell: OwnedFd,
    /// Tells of the ends of processes, and of what [`Hub::attend`] has added.
    deaths: OwnedFd,
    /// Processor time of those that were reaped, in nanoseconds.
    past_time: AtomicU64,
    /// Processes that nobody uses and that have not been killed yet.
    leaving: Mutex<Vec<Arc<Proc>>>,
    has_leaving: AtomicBool,
    attended: OnceLock<Box<dyn Fn() -> bool + Send + Sync>>,
}

/// A thread that has been asked for and has not said hello.
pub(super) struct Birth {
    pub(super) thread: Arc<Thread>,
    /// Whose thread it will be; `None`: it will be a process.
    pub(super) process: Option<Arc<Proc>>,
}

/// Counts a worker thread as awake while it lives.
struct Worker(Weak<Hub>);

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(hub) = self.0.upgrade() {
            hub.crowd.end_claim(false);
            hub.awake().fetch_sub(1, Ordering::SeqCst);
        }
    }
}

thread_local! {
    static WORKER: RefCell<Option<Worker>> = const { RefCell::new(None) };
    /// The worker shares its CPU with a guest that it has let run: it is not to spin there.
    static LEAVES: Cell<bool> = const { Cell::new(false) };
    /// It need not ask for notifications the next time that it looks for events, since it is about to lie down and be told.
    static SKIPS: Cell<bool> = const { Cell::new(false) };
}

/// Has the calling worker lie down at once the next time that it has nothing to do.
pub(super) fn leave_cpu() {
    LEAVES.set(true);
    SKIPS.set(true);
}

/// Hears that the calling worker, which is counted as lost, ends.
pub(super) fn worker_gone() {
    WORKER.with_borrow_mut(|worker| {
        if let Some(worker) = worker {
            // It has been taken off the number of those awake.
            worker.0 = Weak::new();
        }
    });
}

impl Hub {
    pub(super) fn new(setup: Setup) -> Result<Arc<Hub>, Errno> {
        let raw = |error: rustix::io::Errno| Errno::from_raw(error.raw_os_error());
        let flags = rustix::event::EventfdFlags::NONBLOCK | rustix::event::EventfdFlags::CLOEXEC;
        let bell = rustix::event::eventfd(0, flags).map_err(raw)?;
        let deaths = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(raw)?;
        Ok(Arc::new(Hub {
            spin_ns: AtomicU64::new(u64::try_from(setup.spin.as_nanos()).unwrap_or(0)),
            setup,
            table: Table::new(),
            watch: AtomicU32::new(0),
            sleeping_stubs: AtomicU32::new(0),
            kept: AtomicU32::new(0),
            warm: Mutex::new(Level::Leaf, Vec::new()),
            answered: AtomicU64::new(0),
            tids: Mutex::new(Level::Leaf, HashMap::new()),
            births: Mutex::new(Level::Leaf, HashMap::new()),
            procs: Mutex::new(Level::Leaf, HashMap::new()),
            receiving: Mutex::new(Level::Leaf, ()),
            received: AtomicU64::new(0),
            ticks: AtomicU32::new(0),
            led: AtomicBool::new(false),
            leader_sleeps: AtomicBool::new(false),
            followers: Mutex::new(Level::Leaf, Vec::new()),
            unparked: AtomicBool::new(false),
            crowd: Crowd::new(),
            turns: Turns::new(),
            bell,
            deaths,
            past_time: AtomicU64::new(0),
            leaving: Mutex::new(Level::Leaf, Vec::new()),
            has_leaving: AtomicBool::new(false),
            attended: OnceLock::new(),
        }))
    }

    /// Tells whether stubs write signal frames, and return from handlers.
    pub(super) fn has_frames(&self) -> bool {
        self.setup.copies == super::Copies::All && self.setup.fpu.size <= control::INITIAL_LEN
    }

    /// Returns the addresses that a guest may use.
    pub(super) fn user_range(&self) -> Range<u64> {
        self.setup.user.start..self.setup.user.end - OWN_LEN
    }

    /// Returns the addresses of the kernel's own mappings.
    pub(super) fn own_range(&self) -> Range<u64> {
        self.setup.user.end - OWN_LEN..self.setup.user.end
    }

    /// Returns the sentry's view of a context.
    pub(super) fn context(&self, slot: u32) -> Shared {
        self.setup.contexts.part(slot as usize * CONTEXT_SIZE, CONTEXT_SIZE)
    }

    /// Counts a worker that is held up as asleep, so that stubs don't rely on it. Nor do those that sleep as followers: where
    /// it was this one that was to lead again, one of them does.
    pub(super) fn worker_lost(&self) {
        if self.awake().fetch_sub(1, Ordering::SeqCst) == 1 && !self.led.load(Ordering::SeqCst) {
            self.unpark();
        }
    }

    pub(super) fn worker_found(&self) {
        self.awake().fetch_add(1, Ordering::SeqCst);
    }

    fn awake(&self) -> &AtomicU32 {
        self.setup.control.u32(control::AWAKE)
    }

    /// Counts the calling thread among the workers.
    fn enlist(self: &Arc<Hub>) {
        WORKER.with_borrow_mut(|worker| {
            let known = worker.as_ref().is_some_and(|worker| std::ptr::eq(worker.0.as_ptr(), Arc::as_ptr(self)));
            if !known {
                self.awake().fetch_add(1, Ordering::SeqCst);
                *worker = Some(Worker(Arc::downgrade(self)));
            }
        });
    }

    /// Looks for events, without a host call most times.
    pub(super) fn poll(self: &Arc<Hub>) -> bool {
        self.enlist();
        self.turns.follow();
        self.see_off();
        let tick = self.ticks.fetch_add(1, Ordering::Relaxed);
        let mut found = false;
        if tick.is_multiple_of(SERVICE_EVERY) {
            self.turns.review(|| self.used());
            self.table.scan(Thread::goes_on_sleeping, |thread| thread.overlook(self));
        }
        let watches = !SKIPS.replace(false) && self.watch.load(Ordering::Relaxed) > 0;
        if watches || tick.is_multiple_of(SERVICE_EVERY) {
            self.crowd.end_claim(true);
            found = self.service();
        }
        self.scan() || found
    }

    pub(super) fn scan(&self) -> bool {
        let mut found = false;
        self.table.scan(Thread::has_news, |thread| found |= thread.claim(self));
        found
    }

    /// Returns how many guests run whose calls follow each other closely, apart from those that workers serve.
    pub(super) fn brief_guests(&self) -> u32 {
        let brief = Cell::new(0);
        let look = |thread: &Thread| {
            brief.set(brief.get() + u32::from(thread.is_brief()));
            false
        };
        self.table.scan(look, |_| {});
        brief.get()
    }

    /// Hears that the guest that the calling worker serves makes a process or thread.
    pub(super) fn note_birth(&self, process: bool) {
        let others = || {
            let busy = Cell::new(0);
            // The zygote makes processes in advance.
            let look = |thread: &Thread| {
                busy.set(busy.get() + u32::from(thread.slot != 0 && !thread.is_asleep()));
                false
            };
            self.table.scan(look, |_| {});
            busy.get()
        };
        self.turns.note(process, others, || self.used());
    }

    /// Sleeps until there is something to do.
    /// `idle` is called if there isn't for some time.
    pub(super) fn park(self: &Arc<Hub>, timeout: Option<Duration>, idle: impl FnOnce()) {
        self.enlist();
        if self.spin(timeout) {
            return;
        }
        self.crowd.end_claim(false);
        self.turns.review(|| self.used());
        idle();
        count(Counter::Parked);
        self.awake().fetch_sub(1, Ordering::SeqCst);
        let received = self.received.load(Ordering::SeqCst);
        let [notified, died] = if self.led.swap(true, Ordering::SeqCst) {
            self.follow(timeout);
            // The leader looks.
            [false; 2]
        } else {
            let news = self.lead(timeout);
            self.led.store(false, Ordering::SeqCst);
            news
        };
        self.awake().fetch_add(1, Ordering::SeqCst);
        // The living first; the next look finds the dead again.
        self.answer(notified.then_some(received), died && !notified);
        self.scan();
    }

    /// Sleeps until there is something to do for any worker; returns whether there are notifications, and deaths.
    fn lead(&self, timeout: Option<Duration>) -> [bool; 2] {
        let mut news = [false; 2];
        self.leader_sleeps.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if !self.unparked.swap(false, Ordering::SeqCst) && !self.scan() {
            let fds = [self.setup.listener.as_fd(), self.bell.as_fd(), self.deaths.as_fd()];
            let [notified, rung, died] = host::readable(fds, timeout);
            news = [notified, died];
            if rung {
                let _ = rustix::io::read(&self.bell, &mut [0u8; 8]);
                self.unparked.store(false, Ordering::SeqCst);
            }
        }
        self.leader_sleeps.store(false, Ordering::SeqCst);
        news
    }

    /// Sleeps until a colleague wants help. The leader may wake for good meanwhile, and then nobody waits on the
    /// descriptors: it is awake, so no stub asks for that. Where it is so no longer without having slept, it says so
    /// ([`Hub::worker_lost`]).
    fn follow(&self, timeout: Option<Duration>) {
        let me = std::thread::current();
        self.followers.lock().push(me.clone());
        fence(Ordering::SeqCst);
        if !self.unparked.swap(false, Ordering::SeqCst) && !self.scan() {
            match timeout {
                Some(timeout) => std::thread::park_timeout(timeout),
                None => std::thread::park(),
            }
            self.unparked.store(false, Ordering::SeqCst);
        }
        self.followers.lock().retain(|thread| thread.id() != me.id());
    }

    /// Polls for a bounded time; returns whether there was something. The time shrinks while spinning doesn't pay.
    fn spin(self: &Arc<Hub>, timeout: Option<Duration>) -> bool {
        let most = self.setup.spin;
        if most.is_zero() || LEAVES.replace(false) {
            return self.unparked.swap(false, Ordering::SeqCst);
        }
        let budget = Duration::from_nanos(self.spin_ns.load(Ordering::Relaxed));
        let claimed = self.crowd.is_claimed();
        let budget = if claimed { most * CLAIMED } else { budget };
        let budget = timeout.map_or(budget, |timeout| timeout.min(budget));
        let began = Instant::now();
        loop {
            for _ in 0..ROUNDS {
                if self.poll() {
                    self.spin_ns.store(u64::try_from(most.as_nanos()).unwrap_or(0), Ordering::Relaxed);
                    return true;
                }
                if self.unparked.swap(false, Ordering::SeqCst) {
                    return true;
                }
                std::hint::spin_loop();
            }
            if began.elapsed() >= budget && claimed {
                return false;
            }
            if began.elapsed() >= budget {
                let shorter = (budget / 2).max(most / 8);
                self.spin_ns.store(u64::try_from(shorter.as_nanos()).unwrap_or(0), Ordering::Relaxed);
                return false;
            }
        }
    }

    pub(super) fn unpark(&self) {
        self.turns.stand_aside();
        self.unparked.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let follower = self.followers.lock().pop();
        if let Some(follower) = follower {
            follower.unpark();
        } else if self.leader_sleeps.load(Ordering::SeqCst) {
            let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        }
    }

    /// Handles what the host has to tell: notifications and deaths.
    fn service(&self) -> bool {
        let received = self.received.load(Ordering::SeqCst);
        let [notified, died] = host::readable([self.setup.listener.as_fd(), self.deaths.as_fd()], Some(Duration::ZERO));
        self.answer(notified.then_some(received), died)
    }

    /// `notified`: there is a notification, unless more have been received than these.
    fn answer(&self, notified: Option<u64>, died: bool) -> bool {
        let mut found = false;
        if let Some(received) = notified {
            found |= self.receive(received);
        }
        if died {
            found |= self.bury();
        }
        found
    }

    /// Handles all notifications. One worker at a time, since receiving waits where there is nothing. (Of a call whose
    /// thread has died meanwhile the host says that it is gone.)
    fn receive(&self, received: u64) -> bool {
        let Some(_alone) = self.receiving.try_lock() else { return false };
        let mut found = false;
        let is_there = || host::readable([self.setup.listener.as_fd()], Some(Duration::ZERO)) == [true];
        while !found && self.received.load(Ordering::SeqCst) == received || is_there() {
            self.received.fetch_add(1, Ordering::SeqCst);
            if let Some(notification) = host::receive(self.setup.listener.as_fd()) {
                self.handle(&notification);
                found = true;
            }
            // One alone is the rule; what is left is found at the next look.
            if self.watch.load(Ordering::Relaxed) == 0 {
                break;
            }
        }
        found
    }

    fn handle(&self, it: &Notification) {
        let thread = self.tids.lock().get(&it.tid).cloned();
        // The host may have given the number of a thread that has ended to a new one.
        let is_new = thread.as_ref().is_none_or(|past| past.orphan.load(Ordering::SeqCst));
        let verdict = match (it.nr, thread) {
            (call::WAKE, Some(thread)) => {
                count(Counter::Called);
                thread.look_again(self);
                if thread.sleep_in(self, it.id, it.args[0] as u32) {
                    return;
                }
                Answer::Zero
            }
            // Answered with the first request.
            (call::HELLO | libc::SYS_mmap, _) if is_new && self.hello(it) => return,
            (libc::SYS_clone | libc::SYS_mmap, Some(thread)) if thread.is_expected(it.nr, &effective(it)) => {
                thread.expect_no_more(self);
                Answer::Continue
            }
            // Perhaps of a new one: then not that process is to blame.
            (call::HELLO, Some(_)) if is_new => Answer::Refuse,
            (nr, thread) => {
                tracing::warn!(tid = it.tid, nr, "a stub makes a call that it was not asked for");
                if let Some(proc) = thread.as_ref().and_then(|thread| thread.proc.get()) {
                    proc.kill("it made a call that it was not asked for");
                }
                Answer::Refuse
            }
        };
        host::answer(self.setup.listener.as_fd(), it.id, verdict);
        if verdict == Answer::Continue {
            // It goes on here, as soon as we leave, and will be back.
            leave_cpu();
        }
    }

    /// A new thread shows its cookie, which only its parent's context held. The host has told its id.
    fn hello(&self, it: &Notification) -> bool {
        let tid = it.tid;
        let by_map = it.nr == libc::SYS_mmap;
        let cookie = if by_map { birth::cookie_of(&it.args) } else { it.args[0] };
        let Some(birth) = self.births.lock().remove(&cookie) else { return false };
        let sound = if by_map { birth::mapping(self, birth.thread.slot, cookie) == it.args } else { true };
        if !sound || by_map != birth.process.is_none() {
            return false;
        }
        let proc = match birth.process {
            Some(proc) => proc,
            // It is inside the notification, so it lives, and nobody but us reaps it.
            None => match host::pidfd_open(tid) {
                Ok(pidfd) => Proc::new(tid, pidfd),
                Err(errno) => {
                    tracing::warn!(tid, %errno, "no pidfd of a new stub");
                    return false;
                }
            },
        };
        let thread = birth.thread;
        proc.add_slot(thread.slot);
        if proc.pid == tid && !self.adopt(&proc) {
            proc.kill("it can't be watched");
            return false;
        }
        thread.tid.store(tid, Ordering::SeqCst);
        self.crowd.welcome(&thread);
        self.turns.welcome(&thread);
        self.tids.lock().insert(tid, Arc::clone(&thread));
        thread.arrive(it.id, if by_map { arrival::BY_MAP } else { arrival::BY_HELLO });
        if thread.proc.set(Arc::clone(&proc)).is_err() {
            return false;
        }
        // After the process was set: who abandons the thread marks it, then looks for the process.
        if thread.orphan.load(Ordering::SeqCst) && proc.pid == tid {
            self.release(&proc, false);
        }
        thread.watch(self, false);
        thread.wake();
        true
    }

    /// Watches a process for its end.
    pub(super) fn adopt(&self, proc: &Arc<Proc>) -> bool {
        let token = u64::from(proc.pid.cast_unsigned());
        self.procs.lock().insert(token, Arc::clone(proc));
        epoll::add(&self.deaths, proc.pidfd(), epoll::EventData::new_u64(token), epoll::EventFlags::IN).is_ok()
    }

    /// Makes the zygote's thread known.
    pub(super) fn know(&self, tid: i32, thread: &Arc<Thread>) {
        self.tids.lock().insert(tid, Arc::clone(thread));
    }

    /// Lets a thread say hello.
    pub(super) fn expect_birth(&self, cookie: u64, birth: Birth) {
        self.births.lock().insert(cookie, birth);
    }

    /// Takes that back; returns whether it was not too late.
    pub(super) fn cancel_birth(&self, cookie: u64) -> bool {
        self.births.lock().remove(&cookie).is_some()
    }

    /// Looks after a descriptor of the kernel's.
    pub(super) fn attend(&self, fd: BorrowedFd<'_>, serve: Box<dyn Fn() -> bool + Send + Sync>) -> bool {
        let token = epoll::EventData::new_u64(ATTENDED);
        self.attended.set(serve).is_ok() && epoll::add(&self.deaths, fd, token, epoll::EventFlags::IN).is_ok()
    }

    /// Handles processes that have ended.
    fn bury(&self) -> bool {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(16);
        let none = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        if epoll::wait(&self.deaths, rustix::buffer::spare_capacity(&mut events), Some(&none)).is_err() {
            return false;
        }
        let mut found = false;
        for event in events {
            let token = event.data.u64();
            if token == ATTENDED {
                found |= self.attended.get().is_some_and(|serve| serve());
                continue;
            }
            let proc = self.procs.lock().get(&token).cloned();
            let Some(proc) = proc else { continue };
            let Some((slots, reaped)) = proc.check_end() else { continue };
            found = true;
            let _ = epoll::delete(&self.deaths, proc.pidfd());
            for thread in slots.iter().filter_map(|slot| self.table.get(*slot)) {
                thread.dead.store(true, Ordering::SeqCst);
                thread.watch(self, false);
                thread.forget_sleep(self);
                self.table.deactivate(thread.slot);
                self.forget(&thread);
                thread.wake();
            }
            if reaped {
                self.forget_process(&proc, slots);
            } else if proc.is_released() {
                self.reap(&proc);
            }
        }
        found
    }

    /// Ends a process that nobody uses any more: all its stubs wait for requests that won't come. A worker does so when it looks
    /// for events next. By then it has made its parent go on, and the host frees the memory meanwhile; before, it would do
    /// so first, on this CPU.
    ///
    /// To kill one on another CPU takes as long as to wake that from idle, so small ones wait for each other, until
    /// [`Hub::tidy`] at most.
    pub(super) fn release(&self, proc: &Arc<Proc>, small: bool) {
        proc.release();
        if WORKER.try_with(|worker| worker.borrow().is_some()).unwrap_or(false) {
            let waits = small && !self.setup.limits.is_tight();
            let mut leaving = self.leaving.lock();
            leaving.push(Arc::clone(proc));
            if !waits || leaving.len() >= MOST_LEAVING {
                self.has_leaving.store(true, Ordering::SeqCst);
            }
        } else {
            self.end(proc);
        }
    }

    fn end(&self, proc: &Arc<Proc>) {
        if proc.end() {
            self.reap(proc);
        }
    }

    /// Ends the processes that [`Hub::release`] has left, if they are to wait no longer.
    fn see_off(&self) {
        if self.has_leaving.load(Ordering::Relaxed) && self.has_leaving.swap(false, Ordering::SeqCst) {
            self.end_leaving();
        }
    }

    /// Does what has been put off.
    pub(super) fn tidy(&self) {
        self.turns.review(|| self.used());
        self.end_leaving();
    }

    /// Returns the processor time of the sentry and all stubs, living and reaped.
    fn used(&self) -> Duration {
        let stubs: Vec<i32> = self.procs.lock().values().map(|proc| proc.pid).collect();
        let living: Duration = stubs.into_iter().map(process_clock).sum();
        living + process_clock(0) + Duration::from_nanos(self.past_time.load(Ordering::Relaxed))
    }

    fn end_leaving(&self) {
        let leaving = std::mem::take(&mut *self.leaving.lock());
        for proc in &leaving {
            self.crowd.send_off(proc.pid);
            self.end(proc);
        }
    }

    fn reap(&self, proc: &Proc) {
        if let Some(slots) = proc.reap() {
            self.forget_process(proc, slots);
        }
    }

    /// Gives up what there was for a process that has been reaped.
    fn forget_process(&self, proc: &Proc, slots: Vec<u32>) {
        self.past_time.fetch_add(proc.time(), Ordering::Relaxed);
        while proc.take_kept().is_some() {
            self.end_keeping(1);
        }
        self.procs.lock().remove(&u64::from(proc.pid.cast_unsigned()));
        for slot in slots {
            self.free_slot(slot);
        }
    }

    /// Reaps a process that has ended before it said hello. The number is a stub's word: it may be any.
    pub(super) fn reap_unborn(&self, pid: u64) {
        let Ok(pid) = i32::try_from(pid) else { return };
        let known = self.procs.lock().contains_key(&u64::from(pid.cast_unsigned()));
        if let (false, Ok(pidfd)) = (known, host::pidfd_open(pid)) {
            // Only a child of ours that has ended is reaped, and nobody waits for one that we don't know.
            let _ = host::wait(pidfd.as_fd(), Wait::Reap);
        }
    }

    /// Gives back the slot of a context that is mapped in no stub any more.
    pub(super) fn free_slot(&self, slot: u32) {
        let shared = self.context(slot);
        self.answered.fetch_add(shared.get(field::ANSWERED), Ordering::Relaxed);
        self.table.leave(slot);
        let warm = self.warm.lock().len() < MOST_WARM;
        if warm {
            // Before anybody can take it.
            shared.clear();
            self.warm.lock().push(slot);
        } else {
            self.cool(slot);
        }
    }

    /// Takes a slot that nobody uses, whose memory is zero.
    pub(super) fn take_slot(&self) -> Option<u32> {
        let warm = self.warm.lock().pop();
        warm.or_else(|| self.table.allocate())
    }

    /// Gives the memory of free slots back to the host.
    pub(super) fn rest(&self) {
        let warm = std::mem::take(&mut *self.warm.lock());
        warm.into_iter().for_each(|slot| self.cool(slot));
    }

    fn cool(&self, slot: u32) {
        let offset = u64::from(slot) * CONTEXT_SIZE as u64;
        host::punch_hole(&self.setup.memory, offset, CONTEXT_SIZE as u64);
        self.table.release(slot);
    }

    /// Returns how many calls the stubs say that they have answered.
    pub(super) fn answered(&self) -> u64 {
        let past = self.answered.load(Ordering::Relaxed);
        let live = (0..self.table.allocated()).map(|slot| self.context(slot).get(field::ANSWERED));
        live.fold(past, u64::wrapping_add)
    }

    /// Forgets the id of a thread that has ended, unless it is another's by now.
    pub(super) fn forget(&self, thread: &Arc<Thread>) {
        let tid = thread.tid.load(Ordering::SeqCst);
        let mut tids = self.tids.lock();
        if tids.get(&tid).is_some_and(|known| Arc::ptr_eq(known, thread)) {
            tids.remove(&tid);
        }
    }

    /// Lets a new stub go on to its first request.
    pub(super) fn let_in(&self, id: u64, by_map: bool) {
        let answer = if by_map { Answer::Continue } else { Answer::Zero };
        host::answer(self.setup.listener.as_fd(), id, answer);
    }

    pub(super) fn begin_sleep(&self) -> bool {
        if self.sleeping_stubs.fetch_add(1, Ordering::Relaxed) < SLEEPERS_MAX {
            return true;
        }
        self.sleeping_stubs.fetch_sub(1, Ordering::Relaxed);
        false
    }

    /// Counts a stub among those kept for later; returns whether there may be one more.
    pub(super) fn begin_keeping(&self) -> bool {
        let room = |kept: u32| (kept < MOST_OF_ALL).then_some(kept + 1);
        self.kept.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok()
    }

    /// Takes them off that count.
    pub(super) fn end_keeping(&self, count: u32) {
        self.kept.fetch_sub(count, Ordering::Relaxed);
    }

    pub(super) fn end_sleep(&self, id: u64) {
        self.sleeping_stubs.fetch_sub(1, Ordering::Relaxed);
        host::answer(self.setup.listener.as_fd(), id, Answer::Zero);
    }
}

/// The arguments that count: `clone` has five.
fn effective(it: &Notification) -> [u64; 6] {
    let mut args = it.args;
    if it.nr == libc::SYS_clone {
        args[5] = 0;
    }
    args
}

/// The address of a context in stubs.
pub(super) fn address(slot: u32) -> u64 {
    layout::context_address(slot)
}
