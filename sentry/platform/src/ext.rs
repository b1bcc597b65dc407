//! The poll-style methods of [`Context`] as futures.

use std::future::poll_fn;

use crate::{Context, Event, MemOp, MemOpError, Registers};

/// Returns an entry of the sentry's own auxiliary vector, 0 where there is none (`man 3 getauxval`).
pub fn auxiliary(kind: u64) -> u64 {
    // SAFETY: looks a number up.
    unsafe { libc::getauxval(kind) }
}

/// Awaitable forms of [`Context`]'s poll-style methods.
pub trait ContextExt: Context {
    /// Runs guest code until the next event. Allocates nothing. See [`Context::poll_event`] for what is in `regs` then.
    fn run(&mut self, regs: &mut Registers) -> impl Future<Output = Event> + Send {
        async move {
            self.start(regs);
            poll_fn(|cx| self.poll_event(cx, regs)).await
        }
    }

    /// Runs guest code until the next event, with which all registers are there.
    fn run_complete(&mut self, regs: &mut Registers) -> impl Future<Output = Event> + Send {
        async move {
            let event = self.run(regs).await;
            self.complete(regs);
            event
        }
    }

    /// Performs memory operations in order; returns the result of the last.
    fn memory(&mut self, ops: &[MemOp]) -> impl Future<Output = Result<u64, MemOpError>> + Send {
        async move {
            if ops.is_empty() {
                return Ok(0);
            }
            self.submit(ops);
            poll_fn(|cx| self.poll_ops(cx)).await
        }
    }
}

impl<C: Context + ?Sized> ContextExt for C {}
