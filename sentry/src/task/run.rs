//! The life of a thread: run guest code, serve what comes of it, deliver signals, end.

use std::sync::Arc;

use abi::signal::Signal;
use abi::table::TABLE_LEN;
use abi::{Errno, SysError};
use sentry_platform::{ContextExt, Event, Fault};

use super::seccomp::Decision;
use crate::mm::Limits;
use crate::syscall::Outcome;
use crate::{Current, signal};

/// What `rax` holds after a system call that failed.
fn error_value(errno: Errno) -> u64 {
    i64::from(-errno.raw()).cast_unsigned()
}

/// Runs a thread until it ends.
pub async fn run(mut cur: Current) {
    loop {
        signal::before_guest(&mut cur).await;
        if cur.task.killed() {
            break;
        }
        cur.task.enter_guest();
        // A kick from before `enter_guest` has not interrupted the context: look again.
        if cur.task.interrupted() {
            cur.task.leave_guest();
            continue;
        }
        let event = cur.context.run(&mut cur.regs).await;
        cur.task.leave_guest();
        super::rseq::after_event(&mut cur, &event);
        match event {
            Event::Syscall => syscall(&mut cur).await,
            Event::Fault(fault) => {
                if !grows_stack(&mut cur, &fault).await {
                    signal::raise_fault(&mut cur, &fault);
                }
            }
            Event::Interrupted => {}
            Event::Dead(death) => {
                tracing::warn!(task = ?cur.task, ?death, "guest thread lost its stub; the process is killed");
                let signal = if super::rseq::explains(&cur, death) { Signal::SIGSEGV } else { Signal::SIGKILL };
                super::exit::exit_group(&cur.task, signal.number());
            }
        }
    }
    super::exit::finish(cur).await;
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

/// Serves the call in the registers and puts its result there.
async fn syscall(cur: &mut Current) {
    let number = cur.regs.orig_rax;
    let args = cur.regs.syscall_args();
    match super::seccomp::check(cur) {
        Decision::Serve => {}
        Decision::Fail(errno) => {
            cur.regs.rax = u64::from(errno).wrapping_neg();
            return;
        }
        Decision::Gone => return,
    }
    let slot = usize::try_from(number).ok().filter(|number| *number < TABLE_LEN).and_then(|at| cur.kernel().table[at]);
    let result = match slot {
        None => Err(SysError::Errno(Errno::ENOSYS)),
        Some(slot) => {
            let task = Arc::clone(&cur.task);
            task.kernel.tracer.enter(&task, slot.entry, &args);
            let result = match (slot.handler)(cur, &args) {
                Outcome::Done(result) => result,
                Outcome::Block(future) => future.await,
                Outcome::NoReturn => return,
            };
            task.kernel.tracer.exit(&task, slot.entry, &args, &result);
            result
        }
    };
    if cur.take_registers_final() {
        return;
    }
    match result {
        Ok(value) => cur.regs.rax = value,
        Err(SysError::Errno(errno)) => cur.regs.rax = error_value(errno),
        // Resolved when signals are delivered; until then the call looks interrupted.
        Err(SysError::Restart(kind)) => {
            cur.regs.rax = error_value(Errno::EINTR);
            cur.restart = Some(kind);
        }
    }
}
