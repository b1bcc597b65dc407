//! Delivery: what happens to pending signals, restarts and stops before guest code runs again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::signal::{SIG_DFL, SIG_IGN, SigAction, SigInfo, SigSet, Signal, sa};
use abi::table::nr;
use abi::{Errno, Restart};
use sentry_platform::Fault;
use sentry_sync::Notify;

use super::{DefaultAction, default_action, frame, send};
use crate::task::exit::exit_group;
use crate::wait::{Interruptible, Waiter};
use crate::{Current, Task};

/// Bytes of the `syscall` instruction, stepped back over to restart a call.
const SYSCALL_LEN: u64 = 2;

/// Tells whether there is something to do before guest code runs.
#[inline]
pub(crate) fn wants_attention(cur: &Current) -> bool {
    cur.restart.is_some() || cur.saved_mask.is_some() || cur.task.interrupted() || cur.task.kernel.is_paused()
}

/// Resolves restarts, delivers pending signals, obeys stops.
pub(crate) async fn before_guest(cur: &mut Current) {
    while !cur.task.killed() {
        if cur.task.kernel.is_paused() {
            cur.task.kernel.wait_while_paused(&cur.task).await;
            continue;
        }
        if cur.task.process.signals.stopping() {
            stop(&cur.task).await;
            continue;
        }
        let blocked = cur.task.signals.mask();
        let Some(info) = cur.task.signals.dequeue(&cur.task.process, blocked) else { break };
        let Some(signal) = Signal::new(info.signo) else { continue };
        let action = cur.task.process.signals.action(signal);
        match action.handler {
            SIG_IGN if signal != Signal::SIGKILL => {}
            // One that was blocked when it was sent.
            SIG_DFL if send::init_ignores(&cur.task.process, action.handler, &info) => {}
            SIG_DFL => act_by_default(&cur.task, signal),
            _ => handle(cur, signal, &info, action).await,
        }
    }
    resolve_restart(cur, None);
    if let Some(mask) = cur.saved_mask.take() {
        cur.task.signals.set_mask(mask);
    }
    cur.task.signals.look(&cur.task.process.signals);
}

/// Decides how an interrupted call goes on; `handler` is the action that is about to run, if one is.
fn resolve_restart(cur: &mut Current, handler: Option<&SigAction>) {
    let Some(kind) = cur.restart.take() else { return };
    let again = match (kind, handler) {
        (Restart::NoIntr, _) | (Restart::Sys | Restart::NoHand, None) => Some(cur.call_number()),
        (Restart::Block, None) => Some(u64::from(nr::restart_syscall)),
        (Restart::Sys, Some(action)) if action.flags & sa::RESTART != 0 => Some(cur.call_number()),
        (Restart::Sys | Restart::NoHand | Restart::Block, Some(_)) => None,
    };
    match again {
        Some(number) => {
            let regs = cur.regs();
            regs.rax = number;
            regs.rip = regs.rip.wrapping_sub(SYSCALL_LEN);
        }
        None => cur.set_result(i64::from(-Errno::EINTR.raw()).cast_unsigned()),
    }
}

async fn handle(cur: &mut Current, signal: Signal, info: &SigInfo, action: SigAction) {
    resolve_restart(cur, Some(&action));
    let blocked = cur.task.signals.mask();
    let saved = cur.saved_mask.take().unwrap_or(blocked);
    if action.flags & sa::RESETHAND != 0 {
        let hand = cur.task.process.signals.hand.load_full();
        hand.set(signal, SigAction { handler: SIG_DFL, ..action });
    }
    if frame::push(cur, signal, info, &action, saved).await.is_err() {
        // The stack can't take the frame: fatal unless SIGSEGV itself has another handler (kernel: `force_sigsegv`).
        if signal == Signal::SIGSEGV {
            let hand = cur.task.process.signals.hand.load_full();
            hand.set(signal, SigAction::default());
        }
        send::force(&cur.task, SigInfo::from_kernel(Signal::SIGSEGV));
        return;
    }
    let mut mask = blocked.union(action.mask);
    if action.flags & sa::NODEFER == 0 {
        mask = mask.union(SigSet::of(signal));
    }
    cur.task.signals.set_mask(mask);
}

fn act_by_default(task: &Arc<Task>, signal: Signal) {
    match default_action(signal) {
        DefaultAction::Ignore | DefaultAction::Continue => {}
        DefaultAction::Terminate => exit_group(task, signal.number()),
        // No core file is written; the status says so by lacking bit 0x80, as with RLIMIT_CORE 0.
        DefaultAction::Core => exit_group(task, signal.number()),
        DefaultAction::Stop => {
            let orphaned = signal != Signal::SIGSTOP && crate::task::session::group_is_orphaned(task);
            if !orphaned {
                begin_stop(task, signal);
            }
        }
    }
}

fn begin_stop(task: &Arc<Task>, signal: Signal) {
    {
        let signals = &task.process.signals;
        let mut shared = signals.shared.lock();
        // A SIGCONT that came meanwhile has taken the stop signals away; one that comes later ends this stop.
        if shared.stop.is_none() {
            shared.stop = Some(signal);
            shared.stopped_threads = 0;
            shared.stop_reported = false;
        }
        signals.stopping.store(true, Ordering::SeqCst);
    }
    let table = task.kernel.tasks.read();
    let threads = table.processes.get(&task.process.pid).map(|entry| entry.threads.values().cloned().collect());
    drop(table);
    let threads: Vec<Arc<Task>> = threads.unwrap_or_default();
    threads.iter().filter(|thread| thread.tid != task.tid).for_each(|thread| thread.kick());
}

/// Takes part in a group stop until it ends; the last thread to stop tells the parent.
async fn stop(task: &Arc<Task>) {
    let threads = {
        let table = task.kernel.tasks.read();
        table.processes.get(&task.process.pid).map_or(1, |entry| entry.threads.len())
    };
    let report = {
        let mut shared = task.process.signals.shared.lock();
        shared.stopped_threads += 1;
        match shared.stop {
            Some(signal) if shared.stopped_threads >= threads && !shared.stop_reported => {
                shared.stop_reported = true;
                Some(signal)
            }
            _ => None,
        }
    };
    if let Some(signal) = report {
        crate::task::wait::report_stopped(&task.kernel, &task.process, signal);
    }
    let waiter = Waiter::new();
    let _registration = task.process.signals.continued.register(!0, Arc::clone(&waiter) as Arc<dyn Notify>);
    let ended = || (!task.process.signals.stopping()).then_some(());
    // Killed while stopped: the loop in `before_guest` sees it.
    let _ = task.wait_for(&waiter, None, Interruptible::Kill, ended).await;
}

/// Turns a hardware fault into its signal, which can't be blocked or ignored.
pub(crate) fn raise_fault(cur: &mut Current, fault: &Fault) {
    let Some(signal) = Signal::new(fault.signo) else { return };
    let rip = cur.regs().rip;
    tracing::debug!(task = ?cur.task, ?fault, rip, "guest fault");
    cur.fault = Some(*fault);
    send::force(&cur.task, SigInfo::fault(signal, fault.code, fault.addr));
}
