//! How threads and processes end.

use std::sync::Arc;

use abi::Pid;

use crate::{Current, Task};

/// Ends the calling thread's whole group with this wait status (`exit_group`, a fatal signal): every thread is told.
pub fn exit_group(task: &Task, status: i32) {
    let threads: Vec<Arc<Task>> = {
        let table = task.kernel.tasks.read();
        let entry = table.processes.get(&task.process.pid);
        entry.map(|entry| entry.threads.values().cloned().collect()).unwrap_or_default()
    };
    for thread in threads {
        thread.request_exit(status);
    }
}

/// Last act of a thread: gives up what it holds, tells who waits.
pub(crate) async fn finish(cur: Current) {
    let task = Arc::clone(&cur.task);
    let status = task.exit_status().unwrap_or_default();
    // The stub thread goes first: nobody may see a process as ended while its code still runs.
    drop(cur);
    let last = {
        let mut table = task.kernel.tasks.write();
        table.tasks.remove(&task.tid);
        table.processes.get_mut(&task.process.pid).is_none_or(|entry| {
            entry.threads.remove(&task.tid);
            entry.threads.is_empty()
        })
    };
    if last && task.process.pid == Pid(1) {
        task.kernel.end(status);
    }
}
