//! What all contexts share: the table of threads, the workers' sleep, notifications, births and deaths.
//!
//! # No wake-up is lost
//!
//! A stub publishes its event, then (full barrier) reads the number of workers awake, and notifies if that is 0. A worker
//! that lies down lowers the number, then (full barrier) looks through the active contexts once more, and sleeps on the
//! listener. If the stub read a number above 0, some worker lowered it later, and the last one to do so looked after the
//! event was there. If it read 0, it notifies, and the sleep on the listener ends. A worker that is awake but never
//! polls again is a bug of the kernel above.
//!
//! [`Hub::unpark`] sets a flag, then looks for sleepers; a worker counts itself among the sleepers, then looks at the
//! flag.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use abi::Errno;
use rustix::event::epoll;
use sentry_sync::{Level, Mutex};

use super::crowd::Crowd;
use super::fpu::Fpu;
use super::host::{self, Answer, Notification};
use super::layout::{self, call, control};
use super::process::Proc;
use super::shared::{CONTEXT_SIZE, Shared};
use super::table::Table;
use super::thread::Thread;
use crate::Vdso;
use crate::ptrace::figures::Figures;

/// How often a worker that polls asks the host for notifications and deaths.
const SERVICE_EVERY: u32 = 64;
/// Most stubs that sleep in a notification at once; the host's handling gets slower with their number. Others are sent to
/// sleep in a futex.
const SLEEPERS_MAX: u32 = 64;
/// Rounds between two looks at the clock while a worker spins.
const ROUNDS: u32 = 16;

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
}

/// The state shared by all contexts.
pub(super) struct Hub {
    pub(super) setup: Setup,
    pub(super) table: Table,
    /// Threads of which notifications are expected soon.
    pub(super) watch: AtomicU32,
    sleeping_stubs: AtomicU32,
    tids: Mutex<HashMap<i32, Arc<Thread>>>,
    births: Mutex<HashMap<u64, Birth>>,
    procs: Mutex<HashMap<u64, Arc<Proc>>>,
    receiving: Mutex<()>,
    ticks: AtomicU32,
    spin_ns: AtomicU64,
    /// One worker at a time sleeps on the descriptors.
    led: AtomicBool,
    leader_sleeps: AtomicBool,
    /// The others that sleep.
    followers: Mutex<Vec<std::thread::Thread>>,
    unparked: AtomicBool,
    pub(super) crowd: Crowd,
    bell: OwnedFd,
    deaths: OwnedFd,
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
            hub.awake().fetch_sub(1, Ordering::SeqCst);
        }
    }
}

thread_local! {
    static WORKER: RefCell<Option<Worker>> = const { RefCell::new(None) };
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
            tids: Mutex::new(Level::Leaf, HashMap::new()),
            births: Mutex::new(Level::Leaf, HashMap::new()),
            procs: Mutex::new(Level::Leaf, HashMap::new()),
            receiving: Mutex::new(Level::Leaf, ()),
            ticks: AtomicU32::new(0),
            led: AtomicBool::new(false),
            leader_sleeps: AtomicBool::new(false),
            followers: Mutex::new(Level::Leaf, Vec::new()),
            unparked: AtomicBool::new(false),
            crowd: Crowd::new(),
            bell,
            deaths,
        }))
    }

    pub(super) fn user_range(&self) -> Range<u64> {
        self.setup.user.clone()
    }

    /// Returns the sentry's view of a context.
    pub(super) fn context(&self, slot: u32) -> Shared {
        self.setup.contexts.part(slot as usize * CONTEXT_SIZE, CONTEXT_SIZE)
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
        let tick = self.ticks.fetch_add(1, Ordering::Relaxed);
        let mut found = false;
        if self.watch.load(Ordering::Relaxed) > 0 || tick.is_multiple_of(SERVICE_EVERY) {
            found = self.service();
        }
        self.scan() || found
    }

    pub(super) fn scan(&self) -> bool {
        let mut found = false;
        self.table.scan(Thread::has_news, |thread| found |= thread.claim(self));
        found
    }

    /// Sleeps until there is something to do.
    pub(super) fn park(self: &Arc<Hub>, timeout: Option<Duration>) {
        self.enlist();
        if self.spin(timeout) {
            return;
        }
        self.awake().fetch_sub(1, Ordering::SeqCst);
        if self.led.swap(true, Ordering::SeqCst) {
            self.follow(timeout);
        } else {
            self.lead(timeout);
            self.led.store(false, Ordering::SeqCst);
        }
        self.awake().fetch_add(1, Ordering::SeqCst);
        self.service();
        self.scan();
    }

    /// Sleeps until there is something to do for any worker.
    fn lead(&self, timeout: Option<Duration>) {
        self.leader_sleeps.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if !self.unparked.swap(false, Ordering::SeqCst) && !self.scan() {
            let fds = [self.setup.listener.as_fd(), self.bell.as_fd(), self.deaths.as_fd()];
            let [_, rung, _] = host::readable(fds, timeout);
            if rung {
                let _ = rustix::io::read(&self.bell, &mut [0u8; 8]);
                self.unparked.store(false, Ordering::SeqCst);
            }
        }
        self.leader_sleeps.store(false, Ordering::SeqCst);
    }

    /// Sleeps until a colleague wants help. The leader may wake for good meanwhile, and then nobody waits on the
    /// descriptors: it is awake, so no stub asks for that.
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
        if most.is_zero() {
            return self.unparked.swap(false, Ordering::SeqCst);
        }
        let budget = Duration::from_nanos(self.spin_ns.load(Ordering::Relaxed));
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
            if began.elapsed() >= budget {
                let shorter = (budget / 2).max(most / 8);
                self.spin_ns.store(u64::try_from(shorter.as_nanos()).unwrap_or(0), Ordering::Relaxed);
                return false;
            }
        }
    }

    pub(super) fn unpark(&self) {
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
        let [notified, died] = host::readable([self.setup.listener.as_fd(), self.deaths.as_fd()], Some(Duration::ZERO));
        let mut found = false;
        if notified {
            found |= self.receive();
        }
        if died {
            found |= self.bury();
        }
        found
    }

    /// Handles all notifications. One worker at a time, since receiving waits where there is nothing.
    fn receive(&self) -> bool {
        let Some(_alone) = self.receiving.try_lock() else { return false };
        let mut found = false;
        while let [true] = host::readable([self.setup.listener.as_fd()], Some(Duration::ZERO)) {
            if let Some(notification) = host::receive(self.setup.listener.as_fd()) {
                self.handle(&notification);
                found = true;
            }
        }
        found
    }

    fn handle(&self, it: &Notification) {
        let thread = self.tids.lock().get(&it.tid).cloned();
        let verdict = match (it.nr, thread) {
            (call::WAKE, Some(thread)) => {
                if thread.sleep_in(self, it.id, it.args[0] as u32) {
                    return;
                }
                Answer::Zero
            }
            (call::HELLO, None) if self.hello(it.tid, it.args[0]) => Answer::Zero,
            (libc::SYS_clone | libc::SYS_mmap, Some(thread)) if thread.is_expected(it.nr, &effective(it)) => {
                Answer::Continue
            }
            (nr, thread) => {
                tracing::warn!(tid = it.tid, nr, "a stub makes a call that it was not asked for");
                if let Some(proc) = thread.as_ref().and_then(|thread| thread.proc.get()) {
                    proc.kill("it made a call that it was not asked for");
                }
                Answer::Refuse
            }
        };
        host::answer(self.setup.listener.as_fd(), it.id, verdict);
    }

    /// A new thread shows its cookie, which only its parent's context held. The host has told its id.
    fn hello(&self, tid: i32, cookie: u64) -> bool {
        let Some(birth) = self.births.lock().remove(&cookie) else { return false };
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
        self.tids.lock().insert(tid, Arc::clone(&thread));
        if thread.proc.set(Arc::clone(&proc)).is_err() {
            return false;
        }
        // After the process was set: who abandons the thread marks it, then looks for the process.
        if thread.orphan.load(Ordering::SeqCst) && proc.pid == tid {
            self.release(&proc);
        }
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
            let proc = self.procs.lock().get(&token).cloned();
            let Some(proc) = proc else { continue };
            let Some(slots) = proc.check_end() else { continue };
            found = true;
            let _ = epoll::delete(&self.deaths, proc.pidfd());
            for thread in slots.iter().filter_map(|slot| self.table.get(*slot)) {
                thread.dead.store(true, Ordering::SeqCst);
                thread.watch(self, false);
                thread.forget_sleep(self);
                self.table.deactivate(thread.slot);
                self.tids.lock().remove(&thread.tid.load(Ordering::SeqCst));
                thread.wake();
            }
            if proc.is_released() {
                self.reap(&proc);
            }
        }
        found
    }

    /// Ends a process that nobody uses any more.
    pub(super) fn release(&self, proc: &Arc<Proc>) {
        if proc.release() {
            self.reap(proc);
        }
    }

    fn reap(&self, proc: &Proc) {
        let Some(slots) = proc.reap() else { return };
        self.procs.lock().remove(&u64::from(proc.pid.cast_unsigned()));
        for slot in slots {
            self.free_slot(slot);
        }
    }

    /// Gives back the slot of a context that is mapped in no stub any more.
    pub(super) fn free_slot(&self, slot: u32) {
        let offset = u64::from(slot) * CONTEXT_SIZE as u64;
        host::punch_hole(&self.setup.memory, offset, CONTEXT_SIZE as u64);
        self.table.release(slot);
    }

    /// Forgets the id of a thread that has ended while its process lives.
    pub(super) fn forget_tid(&self, tid: i32) {
        self.tids.lock().remove(&tid);
    }

    pub(super) fn begin_sleep(&self) -> bool {
        if self.sleeping_stubs.fetch_add(1, Ordering::Relaxed) < SLEEPERS_MAX {
            return true;
        }
        self.sleeping_stubs.fetch_sub(1, Ordering::Relaxed);
        false
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
