//! A platform without guest code: a context answers at once with the next call of a script.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use sentry::Kernel;
use sentry_platform::{
    AddressSpace, BoxFuture, Context, Event, Interrupt, MemOp, MemOpError, NewProcess, Platform, PlatformError,
    Registers, Vdso,
};
use sentry_sync::{Level, Mutex};

/// Where the scripts put their data.
pub(crate) const BASE: u64 = 0x10_0000;
const SIZE: usize = 1 << 20;
const PAGE: u64 = 4096;
/// What a mid-range processor's XSAVE image takes.
const XSAVE_LEN: usize = 2696;

/// Parts that are timed; the fastest counts, since the machine does other things too.
const CHUNKS: u64 = 40;

/// Counts what a call asks of the platform.
pub(crate) static COPIES: AtomicU64 = AtomicU64::new(0);
/// Batches of memory operations.
pub(crate) static BATCHES: AtomicU64 = AtomicU64::new(0);
/// Workers woken.
pub(crate) static UNPARKS: AtomicU64 = AtomicU64::new(0);

struct Content {
    window: Vec<u8>,
    elsewhere: HashMap<u64, Box<[u8]>>,
}

/// Guest memory: all addresses are mapped.
pub(crate) struct Memory(Mutex<Content>);

impl Memory {
    pub(crate) fn new() -> Arc<Memory> {
        Memory::with(vec![0; SIZE])
    }

    /// That of another process: slow, and made at once.
    fn small() -> Arc<Memory> {
        Memory::with(Vec::new())
    }

    fn with(window: Vec<u8>) -> Arc<Memory> {
        Arc::new(Memory(Mutex::new(Level::Platform, Content { window, elsewhere: HashMap::new() })))
    }
}

fn window(addr: u64, len: usize) -> Option<Range<usize>> {
    let at = usize::try_from(addr.checked_sub(BASE)?).ok()?;
    let end = at.checked_add(len)?;
    (end <= SIZE).then_some(at..end)
}

/// Splits a range at page boundaries: page, offset in it, and the part of the buffer.
fn pages(addr: u64, len: usize, mut each: impl FnMut(u64, usize, Range<usize>)) {
    let mut done = 0;
    while done < len {
        let at = addr.wrapping_add(done as u64);
        let inside = usize::try_from(at % PAGE).unwrap_or(0);
        let part = (4096 - inside).min(len - done);
        each(at / PAGE, inside, done..done + part);
        done += part;
    }
}

impl AddressSpace for Memory {
    fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        COPIES.fetch_add(1, Ordering::Relaxed);
        let content = self.0.lock();
        match window(addr, buf.len()).filter(|range| range.end <= content.window.len()) {
            Some(range) => buf.copy_from_slice(&content.window[range]),
            None => pages(addr, buf.len(), |page, inside, part| match content.elsewhere.get(&page) {
                Some(page) => {
                    let len = part.len();
                    buf[part].copy_from_slice(&page[inside..inside + len]);
                }
                None => buf[part].fill(0),
            }),
        }
        buf.len()
    }

    fn write(&self, addr: u64, buf: &[u8]) -> usize {
        COPIES.fetch_add(1, Ordering::Relaxed);
        let mut content = self.0.lock();
        match window(addr, buf.len()).filter(|range| range.end <= content.window.len()) {
            Some(range) => content.window[range].copy_from_slice(buf),
            None => pages(addr, buf.len(), |page, inside, part| {
                let page = content.elsewhere.entry(page).or_insert_with(|| vec![0; 4096].into());
                page[inside..inside + part.len()].copy_from_slice(&buf[part]);
            }),
        }
        buf.len()
    }

    fn host_pid(&self) -> i32 {
        0
    }
}

/// The platform.
pub(crate) struct Scripted {
    pub(crate) workers: usize,
}

impl Platform for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn max_workers(&self) -> Option<usize> {
        Some(self.workers)
    }

    fn user_range(&self) -> Range<u64> {
        0x1_0000..(1 << 47) - PAGE
    }

    fn vdso(&self) -> Vdso {
        Vdso { image: 0..0, data: 0..0 }
    }

    fn new_process(&self) -> BoxFuture<'_, Result<NewProcess, PlatformError>> {
        // A program ends at once.
        let exit: Step = Box::new(|regs| regs.orig_rax = u64::from(abi::table::nr::exit_group));
        let context: Box<dyn Context> = Box::new(Player::new(vec![exit], 0, 1, None));
        Box::pin(std::future::ready(Ok((Memory::small() as Arc<dyn AddressSpace>, context))))
    }

    fn poll(&self) -> bool {
        false
    }

    fn park(&self, _timeout: Option<Duration>) {
        std::thread::yield_now();
    }

    fn unpark(&self) {
        UNPARKS.fetch_add(1, Ordering::Relaxed);
    }
}

struct Silent;

impl Interrupt for Silent {
    fn interrupt(&self) {}

    fn cpu_time(&self) -> Duration {
        Duration::ZERO
    }
}

/// Sets the registers for a call; they hold the result of the call before.
pub(crate) type Step = Box<dyn FnMut(&mut Registers) + Send>;

/// Figures at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Reading {
    allocations: u64,
    copies: u64,
    batches: u64,
    unparks: u64,
}

impl Reading {
    pub(crate) fn now() -> Reading {
        Reading {
            allocations: crate::allocations(),
            copies: COPIES.load(Ordering::Relaxed),
            batches: BATCHES.load(Ordering::Relaxed),
            unparks: UNPARKS.load(Ordering::Relaxed),
        }
    }
}

/// What one round of a script costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) nanos: f64,
    pub(crate) allocations: f64,
    pub(crate) copies: f64,
    pub(crate) batches: f64,
    pub(crate) unparks: f64,
}

/// Where a script leaves its figures, and how it ends the kernel.
pub(crate) struct Report {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) figures: Mutex<Option<Figures>>,
}

/// Runs a script.
pub(crate) struct Player {
    steps: Vec<Step>,
    at: usize,
    warm: u64,
    left: u64,
    rounds: u64,
    began: Option<Reading>,
    chunk: Instant,
    best: Duration,
    report: Option<Arc<Report>>,
    regs: Registers,
    fork: Option<Arc<dyn Fn() -> Player + Send + Sync>>,
}

impl Player {
    /// Never runs.
    pub(crate) fn silent() -> Player {
        Player::new(Vec::new(), 0, 0, None)
    }

    /// Runs `steps` `warm` times, then `rounds` times measured (where there is a report).
    pub(crate) fn new(steps: Vec<Step>, warm: u64, rounds: u64, report: Option<Arc<Report>>) -> Player {
        let regs = Registers::default();
        Player {
            steps,
            at: 0,
            warm,
            left: rounds,
            rounds,
            began: None,
            chunk: Instant::now(),
            best: Duration::MAX,
            report,
            regs,
            fork: None,
        }
    }

    /// Gives children of a fork this script.
    pub(crate) fn with_fork(mut self, fork: Arc<dyn Fn() -> Player + Send + Sync>) -> Player {
        self.fork = Some(fork);
        self
    }

    /// Begins the next round; false at the end.
    fn round(&mut self) -> bool {
        if self.warm > 0 {
            self.warm -= 1;
            return true;
        }
        let began = *self.began.get_or_insert_with(Reading::now);
        let chunk = (self.rounds / CHUNKS).max(1);
        if self.report.is_some() && self.left.is_multiple_of(chunk) {
            let now = Instant::now();
            if self.left < self.rounds {
                self.best = self.best.min(now.duration_since(self.chunk));
            }
            self.chunk = now;
        }
        if self.left > 0 {
            self.left -= 1;
            return true;
        }
        if let Some(report) = self.report.take() {
            let now = Reading::now();
            #[allow(clippy::cast_precision_loss)] // figures for people
            let per = |before: u64, after: u64| (after - before) as f64 / self.rounds as f64;
            *report.figures.lock() = Some(Figures {
                nanos: self.best.as_secs_f64() * 1e9 / chunk as f64,
                allocations: per(began.allocations, now.allocations),
                copies: per(began.copies, now.copies),
                batches: per(began.batches, now.batches),
                unparks: per(began.unparks, now.unparks),
            });
            report.kernel.end(0);
        }
        false
    }
}

impl Context for Player {
    fn start(&mut self, regs: &Registers) {
        self.regs = *regs;
    }

    fn poll_event(&mut self, _cx: &mut TaskContext<'_>, regs: &mut Registers) -> Poll<Event> {
        if self.steps.is_empty() || (self.at == 0 && !self.round()) {
            return Poll::Pending;
        }
        *regs = self.regs;
        self.steps[self.at](regs);
        self.at = (self.at + 1) % self.steps.len();
        Poll::Ready(Event::Syscall)
    }

    fn submit(&mut self, _ops: &[MemOp]) {
        BATCHES.fetch_add(1, Ordering::Relaxed);
    }

    fn poll_ops(&mut self, _cx: &mut TaskContext<'_>) -> Poll<Result<u64, MemOpError>> {
        Poll::Ready(Ok(0))
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        Arc::new(Silent)
    }

    fn new_thread(&mut self) -> BoxFuture<'_, Result<Box<dyn Context>, PlatformError>> {
        let child: Box<dyn Context> = Box::new(self.fork.as_ref().map_or_else(Player::silent, |fork| fork()));
        Box::pin(std::future::ready(Ok(child)))
    }

    fn fork(&mut self) -> BoxFuture<'_, Result<NewProcess, PlatformError>> {
        let child: Box<dyn Context> = Box::new(self.fork.as_ref().map_or_else(Player::silent, |fork| fork()));
        Box::pin(std::future::ready(Ok((Memory::small() as Arc<dyn AddressSpace>, child))))
    }

    fn fpstate(&mut self) -> BoxFuture<'_, Result<Vec<u8>, PlatformError>> {
        Box::pin(std::future::ready(Ok(vec![0; XSAVE_LEN])))
    }

    fn set_fpstate<'a>(&'a mut self, _xsave: &'a [u8]) -> BoxFuture<'a, Result<(), PlatformError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn reset_fpstate(&mut self) {}

    fn aborts_rseq(&self) -> bool {
        true
    }
}
