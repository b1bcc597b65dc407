//! The traced host threads: who they are, what they last reported, and who is to be told.
//!
//! All of it happens on the tracer thread (the worker that made the platform), except for [`Thread::interrupt`] and the
//! graveyard. Every report of the host goes through [`Tracees::dispatch`], also those that turn up while something else
//! is waited for, so none is lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Duration;

use abi::Errno;
use sentry_sync::{Level, Mutex};

use super::figures::Figures;
use super::host::{self, Block};
use crate::{Death, Interrupt};

/// One traced host thread.
#[derive(Debug)]
pub(super) struct Thread {
    pub(super) tid: i32,
    /// Thread group: the stub process.
    pub(super) pid: i32,
    /// An interrupt that nobody has seen yet.
    pub(super) interrupted: AtomicBool,
    figures: Arc<Figures>,
    slot: Mutex<Slot>,
}

#[derive(Debug)]
struct Slot {
    /// Wait status of the stop that nobody has looked at yet.
    stop: Option<i32>,
    /// Set once the thread is gone and reaped.
    death: Option<Death>,
    /// Whom to wake.
    waker: Option<Waker>,
    /// Nobody owns the thread any more.
    orphan: bool,
}

/// What a thread has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// It stopped with this wait status.
    Stop(i32),
    /// It is gone.
    Death(Death),
}

impl Thread {
    /// A stopped thread.
    fn new(pid: i32, tid: i32, figures: Arc<Figures>) -> Arc<Thread> {
        let slot = Slot { stop: None, death: None, waker: None, orphan: false };
        let (interrupted, slot) = (AtomicBool::new(false), Mutex::new(Level::Platform, slot));
        Arc::new(Thread { tid, pid, interrupted, figures, slot })
    }

    /// Takes the report that is there, or arranges for `waker` to be woken.
    pub(super) fn report(&self, waker: Option<&Waker>) -> Option<Report> {
        let mut slot = self.slot.lock();
        if let Some(death) = slot.death {
            return Some(Report::Death(death));
        }
        if let Some(status) = slot.stop.take() {
            return Some(Report::Stop(status));
        }
        let known = matches!((&slot.waker, waker), (Some(old), Some(new)) if old.will_wake(new));
        if !known {
            let old = std::mem::replace(&mut slot.waker, waker.cloned());
            // A waker may be the last that keeps a task, and a task may own this thread: not under the lock.
            drop(slot);
            drop(old);
        }
        None
    }

    /// Tells whether the thread leads its group: such a one must stay, since the host process is known by it.
    fn is_leader(&self) -> bool {
        self.tid == self.pid
    }
}

impl Interrupt for Thread {
    fn interrupt(&self) {
        if !self.interrupted.swap(true, Ordering::AcqRel) && self.slot.lock().death.is_none() {
            host::tgkill(self.pid, self.tid, host::KICK);
        }
    }

    fn cpu_time(&self) -> Duration {
        self.figures.cpu_time(self.pid, self.tid)
    }

    fn figures(&self) -> crate::ThreadFigures {
        self.figures.thread(self.pid, self.tid)
    }
}

/// All traced threads of one platform.
#[derive(Debug)]
pub(super) struct Tracees {
    tracer: i32,
    /// Address of the code page, the same in every stub.
    pub(super) code: u64,
    pub(super) figures: Arc<Figures>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    threads: HashMap<i32, Arc<Thread>>,
    /// First stops of children that have not been adopted yet.
    newborn: HashMap<i32, i32>,
    /// Threads whose owner went away on another thread than the tracer, which alone may act on them.
    graveyard: Vec<(Arc<Thread>, bool)>,
}

impl Tracees {
    /// An empty set whose tracer is the calling thread.
    pub(super) fn new(code: u64) -> Tracees {
        Tracees {
            tracer: host::gettid(),
            code,
            figures: Arc::new(Figures::new()),
            table: Mutex::new(Level::Platform, Table::default()),
        }
    }

    /// Enters a new thread.
    pub(super) fn adopt(&self, pid: i32, tid: i32) -> Arc<Thread> {
        let thread = Thread::new(pid, tid, Arc::clone(&self.figures));
        let mut table = self.table.lock();
        let early = table.newborn.remove(&tid);
        table.threads.insert(tid, Arc::clone(&thread));
        drop(table);
        thread.slot.lock().stop = early;
        thread
    }

    /// Looks for reports without waiting, and wakes whom they concern. Returns whether there were any.
    pub(super) fn poll(&self) -> bool {
        let buried = std::mem::take(&mut self.table.lock().graveyard);
        for (thread, running) in buried {
            self.release(&thread, running);
        }
        let mut any = false;
        while let Ok(Some((tid, status))) = host::wait(Block::No) {
            self.dispatch(tid, status);
            any = true;
        }
        any
    }

    /// Waits for the next report of one thread; those of others find their way on the side.
    pub(super) fn wait_for(&self, thread: &Thread) -> Report {
        loop {
            if let Some(report) = thread.report(None) {
                return report;
            }
            match host::wait(Block::Yes) {
                Ok(Some((tid, status))) => self.dispatch(tid, status),
                Ok(None) => {}
                Err(error) => {
                    // ECHILD: the thread is gone and was not reported to us, which only a call from a thread other than
                    // the tracer brings about.
                    tracing::error!(tid = thread.tid, %error, "waiting for a stub failed");
                    return Report::Death(Death::Protocol("the host lost track of the stub"));
                }
            }
        }
    }

    /// Gives a thread back. `running` says whether guest code may be running in it.
    pub(super) fn release(&self, thread: &Arc<Thread>, running: bool) {
        if host::gettid() != self.tracer {
            self.table.lock().graveyard.push((Arc::clone(thread), running));
            return;
        }
        let mut slot = thread.slot.lock();
        slot.orphan = true;
        let stopped = slot.stop.take().is_some() || !running;
        let (waker, dead) = (slot.waker.take(), slot.death.is_some());
        drop(slot);
        drop(waker);
        match (dead, stopped) {
            (true, _) => {}
            (false, true) => self.bury(thread),
            (false, false) => host::tgkill(thread.pid, thread.tid, host::KICK),
        }
    }

    /// Kills and reaps all that is left. For the end of the platform.
    pub(super) fn reap_all(&self) {
        let threads = std::mem::take(&mut self.table.lock().threads);
        for thread in threads.values().filter(|thread| thread.is_leader()) {
            host::kill(thread.pid);
        }
        // A leader is reported only after all others of its group.
        for thread in threads.values().filter(|thread| !thread.is_leader()) {
            host::reap(thread.tid);
        }
        for thread in threads.values().filter(|thread| thread.is_leader()) {
            host::reap(thread.tid);
        }
    }

    /// Tells whether a thread has not been reaped yet.
    pub(super) fn knows(&self, tid: i32) -> bool {
        self.table.lock().threads.contains_key(&tid)
    }

    fn dispatch(&self, tid: i32, status: i32) {
        let death = if libc::WIFEXITED(status) {
            Some(Death::Protocol("the stub thread exited"))
        } else if libc::WIFSIGNALED(status) {
            Some(Death::Signal(libc::WTERMSIG(status)))
        } else {
            None
        };
        let thread = {
            let mut table = self.table.lock();
            match (death, table.threads.get(&tid).cloned()) {
                (Some(_), found) => {
                    table.threads.remove(&tid);
                    table.newborn.remove(&tid);
                    found
                }
                (None, None) => {
                    table.newborn.insert(tid, status);
                    None
                }
                (None, found) => found,
            }
        };
        let Some(thread) = thread else { return };
        let mut slot = thread.slot.lock();
        if slot.orphan && death.is_none() {
            drop(slot);
            self.bury(&thread);
            return;
        }
        slot.death = death;
        slot.stop = if death.is_none() { Some(status) } else { None };
        let waker = slot.waker.take();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends a stopped thread that nobody owns any more. A leader stays as it is, stopped, until its process goes.
    fn bury(&self, thread: &Thread) {
        if !thread.is_leader()
            && let Err(error) = self.begin_exit(thread.tid)
            && error != Errno::ESRCH
        {
            tracing::warn!(tid = thread.tid, %error, "a stub thread could not be ended; it goes with its process");
        }
    }
}
