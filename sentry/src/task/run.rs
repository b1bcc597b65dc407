//! The life of a thread: run guest code, serve what comes of it, deliver signals, end.

use std::sync::Arc;

use abi::signal::Signal;
use abi::table::TABLE_LEN;
use abi::{Errno, SysError};
use sentry_platform::{Event, Fault};

use super::seccomp::Decision;
use crate::current::error_value;
use crate::mm::Limits;
use crate::syscall::{Outcome, Slot, SysResult};
use crate::{Current, signal};

/// Runs a thread until it ends.
pub async fn run(mut cur: Current) {
    loop {
        crate::worker::beat();
        // A kick after this look ends the run that begins below at once.
        if signal::wants_attention(&cur) {
            cur.flush().await;
            signal::before_guest(&mut cur).await;
            if cur.task.killed() {
                break;
            }
            continue;
        }
        if cur.kernel().executor.has_ready() {
            cur.context.hurry();
        }
        if let Some(event) = cur.run_guest().await {
            super::rseq::after_event(&mut cur, &event);
            other_event(&mut cur, *event).await;
            continue;
        }
        if cur.context.trapped() {
            super::thunk::patch(&mut cur).await;
        }
        let result = match begin_syscall(&mut cur) {
            Outcome::Done(result) => result,
            Outcome::Block(future) => future.await,
            Outcome::NoReturn => continue,
        };
        end_syscall(&mut cur, result);
    }
    super::exit::finish(cur).await;
}

async fn other_event(cur: &mut Current, event: Event) {
    match event {
        Event::Fault(fault) => {
            if !super::thunk::explains(cur, &fault) && !grows_stack(cur, &fault).await {
                signal::raise_fault(cur, &fault);
            }
        }
        Event::Dead(death) => {
            tracing::warn!(task = ?cur.task, ?death, "guest thread lost its stub; the process is killed");
            let signal = if super::rseq::explains(cur, death) { Signal::SIGSEGV } else { Signal::SIGKILL };
            super::exit::exit_group(&cur.task, signal.number());
        }
        Event::Interrupted => {
            super::thunk::leave(cur);
            // The stub may have changed the mask just when a signal came.
            signal::send::retarget(&cur.task);
        }
        // Of a change of memory, which whoever began it has dealt with.
        Event::Syscall | Event::Refused(_) => {}
    }
}

/// Deals with a fault just below a stack, which grows by it. Returns whether the access is worth another try.
async fn grows_stack(cur: &mut Current, fault: &Fault) -> bool {
    const SEGV_MAPERR: i32 = 1;
    if fault.signo != Signal::SIGSEGV.number() || fault.code != SEGV_MAPERR {
        return false;
    }
    let limits = Limits::of(&cur.task);
    let mm = Arc::clone(&cur.mm);
    mm.grow_stack(cur.context.as_mut(), fault.addr, &limits).await
}

/// Serves the call in the registers.
#[inline]
fn begin_syscall(cur: &mut Current) -> Outcome<'_> {
    match super::seccomp::check(cur) {
        Decision::Serve => {}
        Decision::Fail(errno) => return Outcome::Done(Ok(u64::from(errno).wrapping_neg())),
        Decision::Gone => return Outcome::NoReturn,
    }
    let number = usize::try_from(cur.call_number()).unwrap_or(TABLE_LEN);
    let Some(slot) = cur.kernel().table.get(number).copied().flatten() else {
        return Outcome::Done(Err(Errno::ENOSYS.into()));
    };
    if cur.kernel().tracer.is_on() {
        return Outcome::block(traced(cur, slot));
    }
    let args = cur.call_args();
    (slot.handler)(cur, &args)
}

/// Serves a call between the two lines that the log has of it.
async fn traced(cur: &mut Current, slot: Slot) -> SysResult {
    let args = cur.call_args();
    let task = Arc::clone(&cur.task);
    task.kernel.tracer.enter(&task, slot.entry, &args);
    let result = match (slot.handler)(cur, &args) {
        Outcome::Done(result) => Some(result),
        Outcome::Block(future) => Some(future.await),
        Outcome::NoReturn => None,
    };
    let Some(mut result) = result else {
        cur.registers_final = true;
        return Ok(0);
    };
    if let Some(value) = cur.context.flush() {
        result = if value == error_value(Errno::EFAULT) { Err(Errno::EFAULT.into()) } else { Ok(value) };
    }
    task.kernel.tracer.exit(&task, slot.entry, &args, &result);
    result
}

/// Puts the result of a call into the registers.
#[inline]
fn end_syscall(cur: &mut Current, result: SysResult) {
    if cur.take_registers_final() {
        return;
    }
    match result {
        Ok(value) => cur.set_result(value),
        Err(SysError::Errno(errno)) => cur.set_failure(errno),
        // Resolved when signals are delivered; until then the call looks interrupted.
        Err(SysError::Restart(kind)) => {
            cur.set_failure(Errno::EINTR);
            cur.restart = Some(kind);
        }
    }
}
