//! How others reach a guest thread that its owner runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::ptrace::figures::process_clock;
use crate::systrap::answers;
use crate::systrap::hub::Hub;
use crate::systrap::reuse::Life;
use crate::systrap::thread::{RUNNING, Thread};
use crate::{Answers, Interrupt};

/// Interrupts a context.
pub(super) struct Interrupter {
    pub(super) thread: Arc<Thread>,
    pub(super) hub: Arc<Hub>,
    pub(super) life: Arc<Life>,
}

impl Interrupt for Interrupter {
    fn interrupt(&self) {
        // One that comes at the end may still meet the stub's next guest thread, which has nothing to see then.
        if self.life.is_over() {
            return;
        }
        self.thread.interrupt.store(true, Ordering::SeqCst);
        if self.thread.state() == RUNNING {
            self.thread.look_again(&self.hub);
            self.thread.kick();
        }
    }

    fn sleeps(&self) -> bool {
        !self.life.is_over() && self.thread.is_asleep()
    }

    fn answers(&self) -> Option<Arc<dyn Answers>> {
        answers::of(&self.hub, &self.thread, &self.life)
    }

    fn has_performed(&self, run: u32) -> bool {
        self.thread.has_performed(run)
    }

    fn owes(&self) -> Option<u64> {
        // What the stub owes afterwards is another guest thread's.
        if self.life.is_over() { None } else { self.thread.owes() }
    }

    fn kill(&self, reason: &'static str) {
        if let Some(proc) = self.thread.proc.get().filter(|_| !self.life.is_over()) {
            proc.kill(reason);
        }
    }

    fn cpu_time(&self) -> Duration {
        let Some(proc) = self.thread.proc.get() else { return Duration::ZERO };
        let (figures, tid) = (&self.hub.setup.figures, self.thread.tid.load(Ordering::SeqCst));
        // The clock of a whole process is cheaper than a file.
        self.life.time(|| if proc.is_single() { process_clock(proc.pid) } else { figures.cpu_time(proc.pid, tid) })
    }

    fn figures(&self) -> crate::ThreadFigures {
        let Some(proc) = self.thread.proc.get() else { return crate::ThreadFigures::default() };
        self.life.figures(self.hub.setup.figures.thread(proc.pid, self.thread.tid.load(Ordering::SeqCst)))
    }
}
