//! Sleeping until a stub stops or somebody calls: `SIGCHLD` and an eventfd.
//!
//! The host tells of a stop by `SIGCHLD` to the process. It is blocked in the worker (and in the threads it makes later)
//! except inside `ppoll(2)`, whose mask lets it in; a signal that came before ends the `ppoll` at once. Should it be
//! taken by a thread that was there before and doesn't block it, the handler still rings the eventfd. So a stop that
//! happened after the last look never goes unnoticed, however many were coalesced.

use std::cell::Cell;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use abi::Errno;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};

use super::host;
use crate::PlatformError;

/// Event descriptors of all platforms of this process, plus one; 0 is a free place. One is all that a sentry uses, tests
/// have more.
static BELLS: [AtomicI32; 64] = [const { AtomicI32::new(0) }; 64];

thread_local! {
    /// The bell beside which this thread sleeps: it needn't be rung by its own handler, which ends the sleep anyway.
    /// Constant and without destructor, so that a signal handler may look at it.
    static OWN_BELL: Cell<i32> = const { Cell::new(0) };
}

/// Where the worker sleeps.
#[derive(Debug)]
pub(super) struct Bed {
    bell: OwnedFd,
    place: usize,
    asleep: AtomicBool,
    called: AtomicBool,
    /// The worker's signal mask less `SIGCHLD`.
    open: libc::sigset_t,
}

impl Bed {
    /// Blocks `SIGCHLD` in the calling thread, sees to it that it is noticed, and makes the event descriptor.
    pub(super) fn new() -> Result<Bed, PlatformError> {
        let failed = |what, errno| PlatformError::Host { what, errno, hint: "the host must allow eventfd and SIGCHLD" };
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| failed("eventfd", Errno::from_raw(error.raw_os_error())))?;
        install_handler().map_err(|errno| failed("setting a handler for SIGCHLD", errno))?;
        let number = bell.as_raw_fd() + 1;
        let free = |bell: &AtomicI32| bell.compare_exchange(0, number, Ordering::AcqRel, Ordering::Acquire).is_ok();
        let place = BELLS.iter().position(free).ok_or_else(|| failed("registering a platform", Errno::ENOSPC))?;
        Ok(Bed {
            bell,
            place,
            asleep: AtomicBool::new(false),
            called: AtomicBool::new(false),
            open: mask_without_sigchld(),
        })
    }

    /// Sleeps until a child changes state, [`Bed::call`] or the end of the time.
    pub(super) fn sleep(&self, timeout: Option<Duration>) {
        // SeqCst on both sides: either the caller sees us asleep and rings, or we see its call.
        self.asleep.store(true, Ordering::SeqCst);
        if !self.called.swap(false, Ordering::SeqCst) && self.wait(timeout) {
            let mut count = [0; 8];
            // Nothing to do about failure: the descriptor doesn't block, and then there is nothing to take.
            let _ = rustix::io::read(&self.bell, &mut count);
        }
        self.asleep.store(false, Ordering::SeqCst);
        self.called.store(false, Ordering::SeqCst);
    }

    /// Ends the present or next sleep.
    pub(super) fn call(&self) {
        self.called.store(true, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) {
            ring(self.bell.as_raw_fd());
        }
    }

    /// Returns whether the bell rang.
    fn wait(&self, timeout: Option<Duration>) -> bool {
        OWN_BELL.set(self.bell.as_raw_fd() + 1);
        let mut fds = [PollFd::new(&self.bell, PollFlags::IN)];
        let time = timeout.map(|timeout| libc::timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: one `struct pollfd` (rustix's type has its layout), a timespec or null and a signal set, all alive.
        let ready = unsafe { libc::ppoll(fds.as_mut_ptr().cast(), 1, time, &raw const self.open) };
        OWN_BELL.set(0);
        ready == 1
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        BELLS[self.place].store(0, Ordering::Release);
    }
}

fn ring(bell: i32) {
    let one = 1_u64;
    // SAFETY: reads eight bytes of a live variable. Async-signal-safe.
    unsafe { libc::write(bell, (&raw const one).cast(), 8) };
}

/// Rings all bells. Runs as a signal handler, so it makes raw calls only, and keeps `errno`.
extern "C" fn on_sigchld(_signal: libc::c_int) {
    // SAFETY: returns the address of the thread's own errno.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: the address is valid for this thread.
    let errno = unsafe { *place };
    let own = OWN_BELL.get();
    for bell in &BELLS {
        let number = bell.load(Ordering::Acquire);
        if number != 0 && number != own {
            ring(number - 1);
        }
    }
    // SAFETY: as above.
    unsafe { *place = errno };
}

fn install_handler() -> Result<(), Errno> {
    // SAFETY: a zeroed sigaction is a valid one: default action, empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_sigchld as extern "C" fn(libc::c_int) as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the handler is async-signal-safe; the old action isn't wanted.
    host::check(i64::from(unsafe { libc::sigaction(libc::SIGCHLD, &raw const action, std::ptr::null_mut()) }))?;
    let set = sigchld_set();
    // SAFETY: reads one signal set.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(Errno::from_raw(error)),
    }
}

fn sigchld_set() -> libc::sigset_t {
    // SAFETY: a signal set is plain integers; zero is the empty set.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: changes a live set.
    unsafe { libc::sigaddset(&raw mut set, libc::SIGCHLD) };
    set
}

/// Returns the calling thread's signal mask, less `SIGCHLD`.
fn mask_without_sigchld() -> libc::sigset_t {
    // SAFETY: a signal set is plain integers; zero is the empty set.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: writes one signal set.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut set) };
    // SAFETY: changes a live set.
    unsafe { libc::sigdelset(&raw mut set, libc::SIGCHLD) };
    set
}
