//! Sending signals: to a thread, a process, a group; by the kernel itself. Permission is the caller's business.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::signal::{SIG_DFL, SigInfo, SigSet, Signal, si};
use abi::{Errno, Pid};

use super::ignored;
use crate::task::Resource;
use crate::task::exit::end_threads;
use crate::{Kernel, Process, Task};

/// Signals that stop a process.
const STOPS: SigSet = SigSet((1 << 18) | (1 << 19) | (1 << 20) | (1 << 21));

/// Most signals queued per process, whatever `RLIMIT_SIGPENDING` says.
const QUEUE_LIMIT: usize = 65_536;

/// Sends a signal to a process; any of its threads may take it. `EAGAIN` where the queue is full.
pub fn to_process(kernel: &Kernel, process: &Arc<Process>, info: SigInfo) -> Result<(), Errno> {
    let Some(signal) = Signal::new(info.signo) else { return Ok(()) };
    let threads = threads_of(kernel, process);
    discard_opposites(process, &threads, signal);
    // Linux asks the leader, or whoever is left, whether the signal is blocked.
    let blocked = threads.first().is_some_and(|thread| blocks(thread, signal));
    let queues = if drops(process, signal, blocked, &info) {
        Ok(false)
    } else {
        admits(process, &threads, process.signals.pending(), signal, &info)
    };
    if queues == Ok(true) {
        process.signals.push(signal, info);
    }
    end_stop(kernel, process, &threads, signal);
    if queues? {
        // Threads made meanwhile as well.
        let threads = threads_of(kernel, process);
        threads.iter().for_each(|thread| thread.signals.answers.note_pending());
        wake(process, &threads, signal);
    }
    Ok(())
}

/// Sends a signal to one thread. `EAGAIN` where the queue is full.
pub fn to_task(task: &Arc<Task>, info: SigInfo) -> Result<(), Errno> {
    let Some(signal) = Signal::new(info.signo) else { return Ok(()) };
    // Most signals are of no concern to the other threads.
    let all = signal.is_realtime()
        || info.setting() != 0
        || matches!(signal, Signal::SIGCONT | Signal::SIGKILL)
        || STOPS.contains(signal);
    let threads = if all { threads_of(&task.kernel, &task.process) } else { Vec::new() };
    discard_opposites(&task.process, &threads, signal);
    let queues = if drops(&task.process, signal, blocks(task, signal), &info) {
        Ok(false)
    } else {
        admits(&task.process, &threads, task.signals.pending(), signal, &info)
    };
    if queues == Ok(true) {
        task.signals.push(signal, info);
    }
    end_stop(&task.kernel, &task.process, &threads, signal);
    if !queues? {
        return Ok(());
    }
    task.signals.arrival.wake(!0);
    if signal == Signal::SIGKILL {
        end_threads(&task.process, &threads, signal.number());
    }
    task.kick();
    Ok(())
}

/// Sends a signal that the running thread has caused itself and can't escape: a blocked or ignored one is put back to
/// its default first (kernel: `force_sig_info`).
pub fn force(task: &Arc<Task>, info: SigInfo) {
    let Some(signal) = Signal::new(info.signo) else { return };
    let hand = task.process.signals.hand.load_full();
    let action = hand.get(signal);
    if blocks(task, signal) || ignored(signal, &action) {
        hand.set(signal, abi::signal::SigAction { handler: SIG_DFL, ..action });
        task.signals.set_mask(task.signals.mask().without(SigSet::of(signal)));
    }
    task.signals.push(signal, info);
    task.kick();
}

/// Sends a signal from the kernel to every process of a group; returns whether there was any.
pub fn to_group(kernel: &Kernel, pgid: Pid, info: SigInfo) -> bool {
    let members: Vec<Arc<Process>> = {
        let table = kernel.tasks.read();
        table.processes.values().filter(|entry| entry.pgid == pgid).map(|entry| Arc::clone(&entry.process)).collect()
    };
    for process in &members {
        // A full queue loses nothing here: only standard signals are sent to groups by the kernel.
        let _ = to_process(kernel, process, info);
    }
    !members.is_empty()
}

fn threads_of(kernel: &Kernel, process: &Process) -> Vec<Arc<Task>> {
    let table = kernel.tasks.read();
    let entry = table.processes.get(&process.pid);
    entry.map(|entry| entry.threads.values().cloned().collect()).unwrap_or_default()
}

fn blocks(task: &Task, signal: Signal) -> bool {
    let waited = SigSet(task.signals.waited.load(Ordering::SeqCst));
    task.signals.mask().union(waited).contains(signal)
}

/// What sending does to the opposite signals, whether or not it is delivered (kernel: `prepare_signal`).
fn discard_opposites(process: &Process, threads: &[Arc<Task>], signal: Signal) {
    if STOPS.contains(signal) {
        let cont = SigSet::of(Signal::SIGCONT);
        process.signals.discard(cont);
        threads.iter().for_each(|thread| thread.signals.discard(cont));
    } else if signal == Signal::SIGCONT {
        process.signals.discard(STOPS);
        threads.iter().for_each(|thread| thread.signals.discard(STOPS));
    }
}

/// Ends the stop that this signal ends, whether or not it is delivered. After it was queued: a thread that goes on is to
/// find it at once, before it restarts the call that the stop interrupted.
fn end_stop(kernel: &Kernel, process: &Arc<Process>, threads: &[Arc<Task>], signal: Signal) {
    if signal == Signal::SIGCONT {
        resume(kernel, process, threads, true);
    } else if signal == Signal::SIGKILL {
        resume(kernel, process, threads, false);
    }
}

/// Ends a group stop. The parent hears of it where `report`.
fn resume(kernel: &Kernel, process: &Arc<Process>, threads: &[Arc<Task>], report: bool) {
    let was_stopped = {
        let mut shared = process.signals.shared.lock();
        let reported = shared.stop_reported;
        shared.stop_reported = false;
        shared.stopped_threads = 0;
        process.signals.stopping.store(false, Ordering::SeqCst);
        shared.stop.take().is_some() && reported
    };
    process.signals.continued.wake(!0);
    threads.iter().for_each(|thread| thread.kick());
    if was_stopped && report {
        crate::task::wait::report_continued(kernel, process);
    }
}

/// Tells whether another instance of a signal is queued where `pending` is. Beyond `RLIMIT_SIGPENDING`, which counts the
/// signals of one process here, a real-time signal that somebody queued is refused with `EAGAIN`, and of others one
/// instance is kept.
fn admits(
    process: &Process,
    threads: &[Arc<Task>],
    pending: SigSet,
    signal: Signal,
    info: &SigInfo,
) -> Result<bool, Errno> {
    // Timers are limited in number.
    let timer = info.setting() != 0;
    if !signal.is_realtime() && !timer {
        return Ok(true);
    }
    let limit = if timer { u64::MAX } else { process.limit(Resource::Sigpending) };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(QUEUE_LIMIT);
    let queued = process.signals.queued() + threads.iter().map(|thread| thread.signals.queued()).sum::<usize>();
    if queued < limit {
        return Ok(true);
    }
    match info.code {
        si::USER | si::KERNEL | si::TIMER => Ok(!pending.contains(signal)),
        _ => Err(Errno::EAGAIN),
    }
}

/// Tells whether the signal is dropped at once. One that is blocked waits, whatever its action is by then.
fn drops(process: &Process, signal: Signal, blocked: bool, info: &SigInfo) -> bool {
    let action = process.signals.action(signal);
    !blocked && (ignored(signal, &action) || init_ignores(process, action.handler, info))
}

/// Tells whether this is `init` of a container, which takes no signal of a guest that it has no handler for.
pub(super) fn init_ignores(process: &Process, handler: u64, info: &SigInfo) -> bool {
    let from_guest = info.code <= 0;
    process.is_unkillable() && handler == SIG_DFL && from_guest
}

/// Has other threads take what is pending for the process and the caller blocks (kernel: `retarget_shared_pending`).
pub fn retarget(task: &Task) {
    let pending = task.process.signals.pending();
    if pending.is_empty() {
        return;
    }
    let blocked = pending.intersection(task.signals.mask());
    if blocked.is_empty() {
        return;
    }
    for thread in threads_of(&task.kernel, &task.process) {
        let takes = !blocked.without(thread.signals.mask()).is_empty();
        if thread.tid != task.tid && takes && !thread.killed() {
            thread.kick();
        }
    }
}

/// Gets the attention of one thread that can take the signal. What nobody can escape ends the process here and now: a thread
/// that doesn't look any more ends as well.
fn wake(process: &Process, threads: &[Arc<Task>], signal: Signal) {
    for thread in threads {
        thread.signals.arrival.wake(!0);
    }
    if signal == Signal::SIGKILL {
        end_threads(process, threads, signal.number());
    } else if let Some(taker) =
        threads.iter().find(|thread| !thread.signals.mask().contains(signal) && !thread.killed())
    {
        taker.kick();
    }
}
