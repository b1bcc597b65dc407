//! The list of processes that `ps` shows.

use abi::Pid;

use super::protocol::ProcessInfo;
use crate::Kernel;

/// Lists the living processes, by id.
pub(super) fn processes(kernel: &Kernel) -> Vec<ProcessInfo> {
    let table = kernel.tasks.read();
    let living = table.processes.values().filter(|entry| entry.zombie.is_none());
    let shown = living.map(|entry| {
        let process = &entry.process;
        let leader = entry.threads.get(&process.pid).or_else(|| entry.threads.values().next());
        let milliseconds = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let Pid(ppid) = entry.parent;
        ProcessInfo {
            uid: leader.map_or(process.real_uid(), |task| task.cred.load().euid),
            pid: process.pid.0,
            ppid,
            threads: entry.threads.len(),
            terminal: process.terminal().is_some(),
            age_ms: milliseconds(process.started().elapsed()),
            cpu_ms: milliseconds(process.cpu_time(entry)),
            host_pid: leader.map_or(0, |task| task.mm.load().space().host_pid()),
            comm: leader.map(|task| String::from_utf8_lossy(&task.comm.lock()).into_owned()).unwrap_or_default(),
        }
    });
    shown.collect()
}
