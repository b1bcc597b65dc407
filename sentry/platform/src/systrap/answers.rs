//! System calls that the stub answers by itself, from what stands in the context (`answers.s`).
//!
//! The sentry writes the numbers, and before anybody can have been told of a change: a store here, then the reply to
//! whoever has caused it. The signal mask is the stub's while it answers. A sender of a signal marks that one is pending,
//! then looks at the mask; the stub changes the mask, then looks at the mark; both with full barriers, so that a signal that
//! has come to be unblocked is seen by at least one of them.
//!
//! Where a thread leaves its robust list and has its id cleared at its end stands in the context as well, and the stub writes
//! that, as it does the alternate signal stack. Threads and programs begin with these two calls, and with the base of fs, by sites that are hardly ever patched, so
//! these three are answered in the handler of a trapped call, too.
//!
//! The time comes from the functions of the vDSO ([`super::vdso`]).
//!
//! All of it is in the guest's hands, and all of it concerns only the guest that has changed it. A thread in a log of calls has
//! no answers, and one under filters of its own (guest seccomp) has those to calls that these let pass in any case. Where they
//! don't let pass one by which the guest could change its mask, its stack or its words, these are not here.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::hub::{self, Hub};
use super::layout::{answer, field};
use super::plain;
use super::reuse::Life;
use super::shared::Shared;
use super::thread::Thread;
use crate::{Answers, Identity, Word};

const _: () = assert!(Identity::Getpgrp as usize == answer::PGID && (Identity::Getsid as usize) < answer::MASK);

/// Calls by which a guest changes what is kept in its hands: its mask, its alternate stack, its words. Answered all together.
pub(crate) const STATE_CALLS: [u32; 5] = [
    libc::SYS_rt_sigprocmask as u32,
    libc::SYS_rt_sigreturn as u32,
    libc::SYS_set_robust_list as u32,
    libc::SYS_set_tid_address as u32,
    libc::SYS_sigaltstack as u32,
];

/// What `answers.s` has in its table.
const ANSWERED: [(i64, usize); 25] = [
    (libc::SYS_rt_sigprocmask, answer::MASK),
    (libc::SYS_rt_sigreturn, answer::SIGRETURN),
    (libc::SYS_set_robust_list, answer::ROBUST),
    (libc::SYS_set_tid_address, answer::TID_ADDRESS),
    (libc::SYS_sigaltstack, answer::ALTSTACK),
    (libc::SYS_getpid, Identity::Getpid as usize),
    (libc::SYS_gettid, Identity::Gettid as usize),
    (libc::SYS_getppid, Identity::Getppid as usize),
    (libc::SYS_getuid, Identity::Getuid as usize),
    (libc::SYS_geteuid, Identity::Geteuid as usize),
    (libc::SYS_getgid, Identity::Getgid as usize),
    (libc::SYS_getegid, Identity::Getegid as usize),
    (libc::SYS_getpgrp, answer::PGID),
    (libc::SYS_getpgid, answer::GETPGID),
    (libc::SYS_getsid, answer::GETSID),
    (libc::SYS_sched_yield, answer::YIELD),
    (libc::SYS_arch_prctl, answer::ARCH),
    (libc::SYS_futex, answer::FUTEX),
    (libc::SYS_clock_gettime, answer::CLOCK_GETTIME),
    (libc::SYS_clock_getres, answer::CLOCK_GETRES),
    (libc::SYS_gettimeofday, answer::GETTIMEOFDAY),
    (libc::SYS_time, answer::TIME),
    (libc::SYS_getcpu, answer::GETCPU),
    (libc::SYS_madvise, answer::MADVISE),
    (libc::SYS_membarrier, answer::MEMBARRIER),
];

/// Returns the bits of the calls that are let.
fn bits(lets: &dyn Fn(u32) -> bool) -> u64 {
    ANSWERED.iter().filter(|(number, _)| lets(*number as u32)).fold(0, |bits, (_, answer)| bits | 1 << answer)
}

/// Size of `struct robust_list_head`, which the call must name.
pub(super) const ROBUST_LEN: usize = 24;
/// Size that an alternate stack must have (`MINSIGSTKSZ`).
pub(super) const STACK_LEAST: usize = 2048;

/// The answers of one guest thread.
struct OfThread {
    thread: Arc<Thread>,
    life: Arc<Life>,
    /// What can be answered: bits of [`answer`].
    calls: u64,
}

/// Returns the answers of a guest thread, where its calls can be patched.
pub(super) fn of(hub: &Hub, thread: &Arc<Thread>, life: &Arc<Life>) -> Option<Arc<dyn Answers>> {
    hub.setup.thunks.as_ref()?;
    let calls = if hub.has_frames() { u64::MAX } else { !(1 << answer::SIGRETURN) };
    Some(Arc::new(OfThread { thread: Arc::clone(thread), life: Arc::clone(life), calls }))
}

/// Prepares the context of a new stub thread, which answers nothing.
pub(super) fn prepare(shared: &Shared, slot: u32) {
    shared.u64(field::ANSWERS).store(0, Ordering::Relaxed);
    shared.set(field::SELF, hub::address(slot));
    shared.set(field::ASLEEP, 0);
    plain::prepare(shared);
}

impl OfThread {
    fn shared(&self) -> &Shared {
        &self.thread.shared
    }
}

impl Answers for OfThread {
    fn begin(&self, mask: u64, lets: &dyn Fn(u32) -> bool) {
        let calls = self.calls & bits(lets);
        self.life.with_answers(|| {
            let shared = self.shared();
            shared.set(field::SIGMASK, mask & !answer::UNBLOCKABLE);
            shared.u32(field::SIGNALS).store(1, Ordering::SeqCst);
            shared.u64(field::ANSWERS).store(calls, Ordering::SeqCst);
        });
    }

    fn restrict(&self, lets: &dyn Fn(u32) -> bool) {
        let calls = bits(lets);
        self.life.with_answers(|| {
            self.shared().u64(field::ANSWERS).fetch_and(calls, Ordering::SeqCst);
        });
    }

    fn end(&self) {
        self.life.with_answers(|| self.shared().u64(field::ANSWERS).store(0, Ordering::SeqCst));
    }

    fn set(&self, what: Identity, value: u32) {
        let at = field::IDENTITY + 4 * what as usize;
        self.life.with_answers(|| self.shared().u32(at).store(value, Ordering::SeqCst));
    }

    fn mask(&self) -> u64 {
        self.shared().u64(field::SIGMASK).load(Ordering::SeqCst) & !answer::UNBLOCKABLE
    }

    fn set_mask(&self, mask: u64) {
        self.shared().u64(field::SIGMASK).store(mask & !answer::UNBLOCKABLE, Ordering::SeqCst);
    }

    fn word(&self, word: Word) -> u64 {
        self.shared().u64(field::WORDS + 8 * word as usize).load(Ordering::SeqCst)
    }

    fn set_word(&self, word: Word, value: u64) {
        self.shared().u64(field::WORDS + 8 * word as usize).store(value, Ordering::SeqCst);
    }

    fn stack(&self) -> (u64, i32, u64) {
        let word = |at: usize| self.shared().get(field::ALTSTACK + at);
        (word(0), (word(8) as u32).cast_signed(), word(16))
    }

    fn set_stack(&self, sp: u64, flags: i32, size: u64) {
        self.life.with_answers(|| {
            let shared = self.shared();
            shared.set(field::ALTSTACK, sp);
            shared.set(field::ALTSTACK + 8, flags.cast_unsigned().into());
            shared.set(field::ALTSTACK + 16, size);
        });
    }

    fn set_pending(&self, pending: bool) {
        self.life.with_answers(|| self.shared().u32(field::SIGNALS).store(pending.into(), Ordering::SeqCst));
    }

    fn count(&self) -> u64 {
        self.shared().get(field::ANSWERED)
    }
}
