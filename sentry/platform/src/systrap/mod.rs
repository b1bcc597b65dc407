//! The systrap platform: guest code runs in stub processes under a seccomp filter; each system call is trapped into a
//! stub in the same process, which hands it to the sentry through shared memory.
//!
//! [`stub`] is the code in the guest's address space, [`layout`] what stands where in the memory shared with it,
//! [`filter`] what it may call. [`zygote`] makes the first stub, [`birth`] all others,
//! unless [`reuse`] has one left over. [`thread`] and [`process`] are what
//! the sentry knows of them, in memory of its own; [`hub`] is what workers poll, and says why no wake-up is lost;
//! [`context`] implements the traits; [`copier`] has stubs copy, [`present`] has them make memory present, [`answers`] is what
//! they answer by themselves, [`patched`] what differs for guests that come by a patched call.
//!
//! Everything that a stub shares is hostile: read once, through [`shared`], and checked.

mod answers;
mod birth;
mod context;
mod copier;
mod crowd;
mod filter;
mod fpu;
mod frame;
mod host;
mod hub;
mod input;
mod later;
mod layout;
mod ops;
mod patched;
mod plain;
mod present;
mod process;
mod reuse;
mod shared;
mod stub;
mod table;
mod thread;
mod turns;
mod vdso;
mod zygote;

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use sentry_sync::{Level, Mutex};

use birth::Unborn;
use context::SystrapContext;
pub(crate) use filter::listed as stub_calls;
use hub::Hub;
pub(crate) use layout::INTERRUPT;
pub(crate) use ops::describe;
use process::Process;
use thread::Thread;

pub(crate) use answers::STATE_CALLS;
pub use copier::{Waiting, turn_away, turn_back};

use crate::{BoxFuture, MemoryLimits, NewProcess, Patching, Platform, PlatformError, Vdso, counters};

/// How long stubs and workers look for each other's answer before they sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Spin {
    /// A few microseconds, less while it doesn't pay; not at all on one CPU.
    #[default]
    Auto,
    /// Not at all.
    Off,
    /// At most this long, in microseconds; up to 1000.
    Micros(u32),
}

/// Which ways guest memory is copied in. All behave alike, and tests have each do all the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Copies {
    /// With calls and replies, by waiting stubs and by the host: whatever is cheapest.
    #[default]
    All,
    /// By waiting stubs where they can, else by the host.
    Stub,
    /// By the host.
    Host,
}

/// Settings of the platform.
#[derive(Debug, Default)]
pub struct Options {
    /// `--spin`.
    pub spin: Spin,
    /// `--TESTONLY-copy`.
    pub copies: Copies,
    /// What the host allows the sandbox.
    pub limits: MemoryLimits,
    /// Stubs don't call the vDSO, as if it could not tell the time by itself (tests).
    pub no_clocks: bool,
}

/// The systrap platform.
pub struct Systrap {
    hub: Arc<Hub>,
    zygote: Mutex<Nursery>,
}

/// The zygote's context, lent to one future at a time.
struct Nursery {
    context: Option<SystrapContext>,
    /// A process made in advance.
    next: Option<Unborn>,
    waiting: Vec<Waker>,
}

impl Systrap {
    /// Makes the platform. Needs `/proc`; to be called before any other thread exists (the first stub is a fork of the
    /// caller, and dies with the calling thread), as the user that the sentry will be.
    #[expect(clippy::new_ret_no_self, reason = "nobody needs more than the trait")]
    pub fn new(options: Options) -> Result<Arc<dyn Platform>, PlatformError> {
        let (hub, thread) = zygote::make(options)?;
        let proc = thread.proc.get().map(Arc::clone).ok_or(PlatformError::Dead("it had just been made"))?;
        let process = Arc::new(Process::new(proc, Arc::clone(&thread), Arc::clone(&hub)));
        let context = SystrapContext::new(Arc::clone(&hub), process, thread);
        let nursery = Nursery { context: Some(context), next: None, waiting: Vec::new() };
        Ok(Arc::new(Systrap { hub, zygote: Mutex::new(Level::Platform, nursery) }))
    }

    /// Asks for a process in advance, so that the next exec need not wait for one.
    fn provide(&self) {
        let Some(mut nursery) = self.zygote.try_lock() else { return };
        let nursery = &mut *nursery;
        if let (Some(context), None) = (&mut nursery.context, &nursery.next)
            && context.is_free()
        {
            // Who needs one tries again, and hears of the failure.
            nursery.next = birth::begin(context).ok();
        }
    }

    async fn borrow_zygote(&self) -> Loan<'_> {
        let context = std::future::poll_fn(|cx| {
            let mut nursery = self.zygote.lock();
            match nursery.context.take() {
                Some(context) => Poll::Ready(context),
                None => {
                    nursery.waiting.push(cx.waker().clone());
                    Poll::Pending
                }
            }
        });
        Loan { platform: self, context: Some(context.await) }
    }
}

/// Waits for a child of the zygote.
async fn finish(zygote: &mut SystrapContext, unborn: Unborn) -> Result<Arc<Thread>, PlatformError> {
    if !unborn.has_arrived() {
        zygote.end_clone().await?;
    }
    unborn.arrival(zygote).await
}

/// Gives the zygote's context back.
struct Loan<'a> {
    platform: &'a Systrap,
    context: Option<SystrapContext>,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        let waiting = {
            let mut nursery = self.platform.zygote.lock();
            nursery.context = self.context.take();
            std::mem::take(&mut nursery.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Platform for Systrap {
    fn name(&self) -> &'static str {
        "systrap"
    }

    fn max_workers(&self) -> Option<usize> {
        None
    }

    fn user_range(&self) -> Range<u64> {
        self.hub.user_range()
    }

    fn vdso(&self) -> Vdso {
        self.hub.setup.vdso.clone()
    }

    fn new_process(&self) -> BoxFuture<'_, Result<NewProcess, PlatformError>> {
        Box::pin(async move {
            self.hub.note_birth(true);
            let mut loan = self.borrow_zygote().await;
            let context = loan.context.as_mut().ok_or(PlatformError::Dead("the zygote is gone"))?;
            let next = self.zygote.lock().next.take();
            if let Some(unborn) = next
                && let Ok(thread) = finish(context, unborn).await
            {
                return birth::process_of(&self.hub, thread);
            }
            context.settle().await?;
            let unborn = birth::begin(context)?;
            let thread = finish(context, unborn).await?;
            birth::process_of(&self.hub, thread)
        })
    }

    fn patching(&self) -> Option<&dyn Patching> {
        self.hub.setup.thunks.as_ref().map(|thunks| thunks as &dyn Patching)
    }

    fn poll(&self) -> bool {
        self.hub.poll()
    }

    fn park(&self, timeout: Option<Duration>) {
        self.hub.park(timeout, || self.provide());
    }

    fn attend(&self, fd: BorrowedFd<'_>, serve: Box<dyn Fn() -> bool + Send + Sync>) -> bool {
        self.hub.attend(fd, serve)
    }

    fn unpark(&self) {
        self.hub.unpark();
    }

    fn tidy(&self) {
        self.hub.tidy();
    }

    fn rest(&self) {
        self.hub.rest();
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut counters = vec![("calls_answered_in_stub", self.hub.answered())];
        counters.extend(counters::all());
        counters
    }

    fn worker_lost(&self) {
        self.hub.worker_lost();
    }

    fn worker_found(&self) {
        self.hub.worker_found();
    }

    fn worker_gone(&self) {
        hub::worker_gone();
    }

    fn waits_for_host(&self, tid: i32) -> bool {
        self.hub.setup.figures.sleeps(tid)
    }
}
