//! How threads and processes end.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use abi::signal::{SigInfo, Signal, si};
use abi::{Pid, UserAddr};

use super::table::INIT;
use crate::{Current, Process, Task};

/// Ends the calling thread's whole group with this wait status (`exit_group`, a fatal signal): every thread is told.
pub fn exit_group(task: &Task, status: i32) {
    end_threads(&task.process, &threads_of(task), status);
}

/// Ends a process whose living threads are these.
pub(crate) fn end_threads(process: &Process, threads: &[Arc<Task>], status: i32) {
    process.set_group_exit(status);
    for thread in threads {
        thread.request_exit(status);
    }
}

/// Returns the living threads of the task's group.
pub(crate) fn threads_of(task: &Task) -> Vec<Arc<Task>> {
    let table = task.kernel.tasks.read();
    let entry = table.processes.get(&task.process.pid);
    entry.map(|entry| entry.threads.values().cloned().collect()).unwrap_or_default()
}

/// Last act of a thread: gives up what it holds, tells who waits.
pub(crate) async fn finish(mut cur: Current) {
    let task = Arc::clone(&cur.task);
    let status = task.exit_status().unwrap_or_default();
    {
        let mut release = std::pin::pin!(release_memory(&mut cur));
        if poll_fn(|cx| Poll::Ready(release.as_mut().poll(cx))).await.is_pending() {
            // Its stub is asked for something, and may not be honest.
            super::stragglers::watch(&task);
            release.await;
        }
    }
    crate::ipc::sem::exit(&task);
    // The last user of a table closes what is in it.
    cur.set_files(Arc::default());
    task.process.add_dead_thread(&task, Process::is_last(&task));
    if task.is_leader() {
        let comm = task.comm.lock().clone();
        task.process.set_last_comm(comm);
    }
    task.signals.answers.leave();
    // The stub thread goes first: nobody may see a process as ended while its code still runs.
    drop(cur);
    let last = task.kernel.tasks.write().remove_task(&task);
    leave_children(&task);
    // An exec of another thread may wait for this one.
    task.process.thread_gone.wake(!0);
    if !last {
        return;
    }
    let status = task.process.group_exit().unwrap_or(status);
    task.process.set_group_exit(status);
    task.process.interval_timers.clear();
    task.process.posix_timers.clear();
    leave_terminal(&task);
    if task.process.pid == INIT {
        end_namespace(&task);
        task.kernel.end(status);
    } else {
        super::wait::process_ended(&task.kernel, &task.process, status);
    }
}

/// Gives the children that this thread has made to another thread of its group, and sends the signals that their threads
/// want at the end of their parent (`PR_SET_PDEATHSIG`; kernel: `forget_original_parent`). Where no other thread is left,
/// the end of the process gives them away.
fn leave_children(task: &Task) {
    let mut signals: Vec<(Arc<crate::Process>, Signal)> = Vec::new();
    {
        let mut table = task.kernel.tasks.write();
        let Some(own) = table.processes.get(&task.process.pid) else { return };
        let heir = own.threads.keys().next().copied();
        for child in own.children.clone() {
            let Some(entry) = table.processes.get_mut(&child).filter(|entry| entry.parent_thread == task.tid) else {
                continue;
            };
            if let Some(heir) = heir {
                entry.parent_thread = heir;
            }
            let wanted = entry.threads.values().map(|thread| thread.parent_death_signal.load(Ordering::Relaxed));
            signals.extend(wanted.filter_map(Signal::new).map(|signal| (Arc::clone(&entry.process), signal)));
        }
    }
    let (pid, uid) = (task.process.pid.0, task.cred.load().ruid);
    for (process, signal) in signals {
        let info = SigInfo::from_process(signal, si::USER, pid, uid, 0);
        // Only a real-time signal can find its queue full, and is lost then as on Linux.
        let _ = crate::signal::send::to_process(&task.kernel, &process, info);
    }
}

/// The end of a session leader takes the terminal from its session.
fn leave_terminal(task: &Task) {
    let leads = {
        let table = task.kernel.tasks.read();
        table.processes.get(&task.process.pid).is_some_and(|entry| entry.sid == task.process.pid)
    };
    if let Some(terminal) = task.process.terminal().filter(|_| leads) {
        terminal.job().disassociate(task.kernel.tty_host().as_ref(), true);
    }
}

/// What happens to memory that a thread shares or leaves behind (kernel: `mm_release`): robust futexes, the cleared
/// thread id, the parent waiting in vfork.
pub(crate) async fn release_memory(cur: &mut Current) {
    crate::futex::robust::release(cur).await;
    super::rseq::leave(cur).await;
    let clear = cur.task.clear_child_tid();
    cur.task.set_clear_child_tid(UserAddr::NULL);
    // Where nobody else has the memory, nobody looks.
    if !clear.is_null() && cur.mm.is_shared() {
        crate::futex::robust::clear_tid(cur, clear);
    }
    cur.mm.remove_user();
    if let Some(done) = cur.task.vfork_done.lock().take() {
        done.finish();
    }
}

/// Kills every process but init, which has ended.
fn end_namespace(init: &Task) {
    let others: Vec<Arc<Task>> = {
        let table = init.kernel.tasks.read();
        table.tasks.values().filter(|task| task.process.pid != Pid(1)).cloned().collect()
    };
    for task in others {
        task.request_exit(abi::signal::Signal::SIGKILL.number());
    }
}
