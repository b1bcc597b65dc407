//! Signals: what is pending, blocked and handled, and their delivery.

use std::sync::atomic::{AtomicU64, Ordering};

use abi::signal::{SigAction, SigSet, Signal};
use sentry_platform::Fault;
use sentry_sync::{Level, Mutex};

use crate::{Current, Process};

/// Signal state of one thread.
pub struct TaskSignals {
    mask: AtomicU64,
    pending: AtomicU64,
}

/// Signal state that a thread group shares.
pub struct ProcessSignals {
    pending: AtomicU64,
    /// Actions; index is signal number less one.
    pub actions: Mutex<[SigAction; 64]>,
}

impl Default for ProcessSignals {
    fn default() -> ProcessSignals {
        ProcessSignals { pending: AtomicU64::new(0), actions: Mutex::new(Level::Signal, [SigAction::default(); 64]) }
    }
}

impl TaskSignals {
    /// Nothing pending, this mask.
    pub fn new(mask: SigSet) -> TaskSignals {
        TaskSignals { mask: AtomicU64::new(mask.0), pending: AtomicU64::new(0) }
    }

    /// Returns the blocked signals.
    pub fn mask(&self) -> SigSet {
        SigSet(self.mask.load(Ordering::SeqCst))
    }

    /// Replaces the blocked signals; the two that can't be blocked are left out.
    pub fn set_mask(&self, mask: SigSet) {
        self.mask.store(mask.without(SigSet::UNBLOCKABLE).0, Ordering::SeqCst);
    }

    /// Tells whether an unblocked signal is pending for the thread or its group.
    pub fn attention(&self, shared: &ProcessSignals) -> bool {
        let pending = self.pending.load(Ordering::SeqCst) | shared.pending.load(Ordering::SeqCst);
        pending & !self.mask.load(Ordering::SeqCst) != 0
    }
}

/// Resolves restarts, delivers pending signals, obeys stops. Called before guest code runs.
pub(crate) async fn before_guest(_cur: &mut Current) {}

/// Turns a hardware fault into its signal, which can't be blocked or ignored.
pub(crate) fn raise_fault(cur: &mut Current, fault: &Fault) {
    tracing::info!(task = ?cur.task, ?fault, rip = cur.regs.rip, "fault");
    crate::task::exit::exit_group(&cur.task, fault.signo);
}

/// Sends a fatal signal to a whole process.
pub fn kill_process(process: &Process, signal: Signal) {
    process.signals.pending.fetch_or(SigSet::of(signal).0, Ordering::SeqCst);
}
