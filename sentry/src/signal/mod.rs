//! Signals: what is pending, blocked and handled ([`TaskSignals`], [`ProcessSignals`]), how they are sent ([`send`]),
//! delivered before guest code runs (`deliver`) and laid out on the guest stack (`frame`).
//!
//! Source: `man 7 signal`, the kernel's `kernel/signal.c`.

mod deliver;
mod frame;
mod queue;
pub mod send;
pub mod signalfd;

pub(crate) use deliver::{before_guest, raise_fault, wants_attention};
pub(crate) use frame::sound_stack;
pub use frame::{accept_stack, on_altstack, reported_flags, sigreturn};
pub use queue::SigQueue;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use abi::signal::{SIG_DFL, SIG_IGN, SigAction, SigInfo, SigSet, Signal, StackT};
use arc_swap::ArcSwap;
use sentry_sync::{Level, Mutex, WaitQueue};

use crate::Process;
use crate::task::answers::Answers;

/// `SS_DISABLE` of `sigaltstack(2)`.
pub const SS_DISABLE: i32 = 2;

/// Signal state of one thread.
pub struct TaskSignals {
    /// The blocked signals and the alternate stack, and who changes them without us.
    pub(crate) answers: Answers,
    /// Mirrors the set of `pending`.
    pending_set: AtomicU64,
    pending: Mutex<SigQueue>,
    /// Woken by every signal queued for this thread or its process (`signalfd`, `rt_sigtimedwait`).
    pub arrival: WaitQueue,
    /// Signals that `rt_sigtimedwait` waits for although they are blocked.
    waited: AtomicU64,
}

/// Actions of all signals; shared by `CLONE_SIGHAND`.
pub struct SigHand(Mutex<[SigAction; 64]>);

/// Signal state that a thread group shares.
pub struct ProcessSignals {
    pending_set: AtomicU64,
    shared: Mutex<Shared>,
    /// What is done with each signal.
    pub hand: ArcSwap<SigHand>,
    /// Mirrors `shared.stop.is_some()`: threads are to stop.
    stopping: AtomicBool,
    /// Woken when a stop ends.
    pub continued: WaitQueue,
}

#[derive(Default)]
struct Shared {
    pending: SigQueue,
    /// The signal of the group stop in force.
    stop: Option<Signal>,
    /// Threads that have stopped.
    stopped_threads: usize,
    /// The parent has been told of this stop.
    stop_reported: bool,
}

impl Default for SigHand {
    fn default() -> SigHand {
        SigHand(Mutex::new(Level::SigHand, [SigAction::default(); 64]))
    }
}

fn slot(signal: Signal) -> usize {
    usize::try_from(signal.number() - 1).unwrap_or_default()
}

impl SigHand {
    /// Returns the action of a signal.
    pub fn get(&self, signal: Signal) -> SigAction {
        self.0.lock()[slot(signal)]
    }

    /// Replaces the action of a signal and returns the old one.
    pub fn set(&self, signal: Signal, action: SigAction) -> SigAction {
        std::mem::replace(&mut self.0.lock()[slot(signal)], action)
    }

    /// Copies all actions (fork).
    #[must_use]
    pub fn duplicate(&self) -> SigHand {
        SigHand(Mutex::new(Level::SigHand, *self.0.lock()))
    }

    /// Copies what survives exec: ignored signals stay ignored, handlers become defaults.
    #[must_use]
    pub fn after_exec(&self) -> SigHand {
        let kept = self.0.lock().map(|action| SigAction {
            handler: if action.handler == SIG_IGN { SIG_IGN } else { SIG_DFL },
            ..SigAction::default()
        });
        SigHand(Mutex::new(Level::SigHand, kept))
    }

    /// Copies with every handler replaced by the default (`CLONE_CLEAR_SIGHAND`).
    #[must_use]
    pub fn cleared(&self) -> SigHand {
        self.after_exec()
    }
}

impl Default for ProcessSignals {
    fn default() -> ProcessSignals {
        ProcessSignals::new(Arc::new(SigHand::default()))
    }
}

impl ProcessSignals {
    /// Nothing pending, these actions.
    pub fn new(hand: Arc<SigHand>) -> ProcessSignals {
        ProcessSignals {
            pending_set: AtomicU64::new(0),
            shared: Mutex::new(Level::Signal, Shared::default()),
            hand: ArcSwap::new(hand),
            stopping: AtomicBool::new(false),
            continued: WaitQueue::new(),
        }
    }

    /// Returns the signals pending for the process as a whole.
    pub fn pending(&self) -> SigSet {
        SigSet(self.pending_set.load(Ordering::SeqCst))
    }

    /// Returns what is done with a signal.
    pub fn action(&self, signal: Signal) -> SigAction {
        self.hand.load().get(signal)
    }

    /// Tells whether the group is stopped or stopping.
    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Returns the signal of the stop in force.
    pub fn stop_signal(&self) -> Option<Signal> {
        self.shared.lock().stop
    }

    /// Returns how many signals are queued for the process.
    pub fn queued(&self) -> usize {
        self.shared.lock().pending.len()
    }

    /// Drops what timers have sent.
    pub fn discard_timers(&self) {
        let mut shared = self.shared.lock();
        shared.pending.discard_timers();
        self.pending_set.store(shared.pending.set().0, Ordering::SeqCst);
    }

    /// Drops pending instances of these signals.
    pub fn discard(&self, signals: SigSet) {
        let mut shared = self.shared.lock();
        shared.pending.discard(signals);
        self.pending_set.store(shared.pending.set().0, Ordering::SeqCst);
    }

    fn push(&self, signal: Signal, info: SigInfo) -> bool {
        let mut shared = self.shared.lock();
        let added = shared.pending.push(signal, info);
        self.pending_set.store(shared.pending.set().0, Ordering::SeqCst);
        added
    }

    fn pop(&self, blocked: SigSet) -> Option<SigInfo> {
        let mut shared = self.shared.lock();
        let info = shared.pending.pop(blocked);
        self.pending_set.store(shared.pending.set().0, Ordering::SeqCst);
        info
    }
}

impl TaskSignals {
    /// Nothing pending, this mask and alternate stack.
    pub fn new(mask: SigSet, altstack: StackT) -> TaskSignals {
        TaskSignals {
            answers: Answers::none(mask, altstack),
            pending_set: AtomicU64::new(0),
            pending: Mutex::new(Level::SignalTask, SigQueue::default()),
            arrival: WaitQueue::new(),
            waited: AtomicU64::new(0),
        }
    }

    /// The alternate stack of a new thread, and after one that disarms itself was used: none.
    pub fn no_altstack() -> StackT {
        StackT { flags: SS_DISABLE, ..StackT::default() }
    }

    /// Returns the alternate stack. Only the thread itself calls this, and who makes a thread of its own from it.
    pub fn altstack(&self) -> StackT {
        self.answers.altstack()
    }

    /// Replaces the alternate stack. Only the thread itself calls this.
    pub fn set_altstack(&self, stack: StackT) {
        self.answers.set_altstack(stack);
    }

    /// Moves everything to a new state (a thread that takes over its leader's id).
    pub(crate) fn take_over(&self) -> TaskSignals {
        let new = TaskSignals::new(self.mask(), self.altstack());
        let queue = std::mem::take(&mut *self.pending.lock());
        new.pending_set.store(queue.set().0, Ordering::SeqCst);
        *new.pending.lock() = queue;
        new
    }

    /// Returns the blocked signals.
    pub fn mask(&self) -> SigSet {
        self.answers.mask()
    }

    /// Replaces the blocked signals and returns the old ones; the two that can't be blocked are left out. Only the
    /// thread itself calls this.
    pub fn set_mask(&self, mask: SigSet) -> SigSet {
        self.answers.set_mask(mask)
    }

    /// Returns the signals pending for this thread alone.
    pub fn pending(&self) -> SigSet {
        SigSet(self.pending_set.load(Ordering::SeqCst))
    }

    /// Says which blocked signals the thread waits for right now (`rt_sigtimedwait`).
    pub fn set_waited(&self, signals: SigSet) {
        self.waited.store(signals.0, Ordering::SeqCst);
    }

    /// Drops what timers have sent.
    pub fn discard_timers(&self) {
        let mut pending = self.pending.lock();
        pending.discard_timers();
        self.pending_set.store(pending.set().0, Ordering::SeqCst);
    }

    /// Drops pending instances of these signals.
    pub fn discard(&self, signals: SigSet) {
        let mut pending = self.pending.lock();
        pending.discard(signals);
        self.pending_set.store(pending.set().0, Ordering::SeqCst);
    }

    /// Returns how many signals are queued for this thread alone.
    pub fn queued(&self) -> usize {
        self.pending.lock().len()
    }

    /// Tells whether the thread must look at its signals: an unblocked one is pending, or the group is to stop.
    #[inline]
    pub fn attention(&self, shared: &ProcessSignals) -> bool {
        let pending = self.pending().union(shared.pending());
        !pending.is_empty() && !pending.without(self.mask()).is_empty() || shared.stopping()
    }

    /// Looks whether signals are pending still, for the thread's stub.
    pub fn look(&self, shared: &ProcessSignals) {
        self.answers.look(|| self.pending().union(shared.pending()));
    }

    /// Takes the next signal outside `blocked`, of this thread first, then of the process (`dequeue_signal`). `process`
    /// is the thread's own.
    pub fn dequeue(&self, process: &Process, blocked: SigSet) -> Option<SigInfo> {
        loop {
            let mut info = self.take(&process.signals, blocked)?;
            if info.setting() == 0 {
                process.interval_timers.delivered(&info);
                return Some(info);
            }
            // What a timer sent before it was set anew or deleted reaches nobody (kernel: `posixtimer_deliver_signal`).
            if let Ok(timer) = process.posix_timers.get(info.timer_id())
                && timer.delivered(&mut info)
            {
                return Some(info.of_setting(0));
            }
        }
    }

    fn take(&self, shared: &ProcessSignals, blocked: SigSet) -> Option<SigInfo> {
        if !self.pending().without(blocked).is_empty()
            && let Some(info) = self.pop(blocked)
        {
            return Some(info);
        }
        if shared.pending().without(blocked).is_empty() { None } else { shared.pop(blocked) }
    }

    fn push(&self, signal: Signal, info: SigInfo) -> bool {
        let mut pending = self.pending.lock();
        let added = pending.push(signal, info);
        self.pending_set.store(pending.set().0, Ordering::SeqCst);
        drop(pending);
        self.answers.note_pending();
        added
    }

    fn pop(&self, blocked: SigSet) -> Option<SigInfo> {
        let mut pending = self.pending.lock();
        let info = pending.pop(blocked);
        self.pending_set.store(pending.set().0, Ordering::SeqCst);
        info
    }
}

/// What happens by default (`man 7 signal`, "Standard signals").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultAction {
    /// The process ends.
    Terminate,
    /// The process ends, in Linux with a core dump.
    Core,
    /// The process stops.
    Stop,
    /// The process continues if stopped.
    Continue,
    /// Nothing.
    Ignore,
}

/// Returns the default action of a signal.
pub fn default_action(signal: Signal) -> DefaultAction {
    match signal {
        Signal::SIGCHLD | Signal::SIGURG | Signal::SIGWINCH => DefaultAction::Ignore,
        Signal::SIGCONT => DefaultAction::Continue,
        Signal::SIGSTOP | Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU => DefaultAction::Stop,
        Signal::SIGQUIT
        | Signal::SIGILL
        | Signal::SIGTRAP
        | Signal::SIGABRT
        | Signal::SIGBUS
        | Signal::SIGFPE
        | Signal::SIGSEGV
        | Signal::SIGXCPU
        | Signal::SIGXFSZ
        | Signal::SIGSYS => DefaultAction::Core,
        _ => DefaultAction::Terminate,
    }
}

/// Tells whether a signal with this action has no effect at all.
pub fn ignored(signal: Signal, action: &SigAction) -> bool {
    match action.handler {
        SIG_IGN => signal != Signal::SIGKILL && signal != Signal::SIGSTOP,
        SIG_DFL => matches!(default_action(signal), DefaultAction::Ignore | DefaultAction::Continue),
        _ => false,
    }
}
