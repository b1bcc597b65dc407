//! All tasks and processes, and how they are related.

use std::collections::BTreeMap;
use std::sync::Arc;

use abi::{Errno, Pid};

use crate::{Process, Task};

/// Highest process id, exclusive (`/proc/sys/kernel/pid_max` of a 64-bit system).
pub(crate) const PID_MAX: i32 = 4_194_304;

/// Linux starts over here once ids have wrapped.
const RESERVED_PIDS: i32 = 300;

/// A process and its relations.
pub struct ProcessEntry {
    /// The process.
    pub process: Arc<Process>,
    /// Living threads by id.
    pub threads: BTreeMap<Pid, Arc<Task>>,
    /// Parent process, 0 for init.
    pub parent: Pid,
    /// Living and zombie children.
    pub children: Vec<Pid>,
    /// Process group.
    pub pgid: Pid,
    /// Session.
    pub sid: Pid,
}

/// The task list.
#[derive(Default)]
pub struct TaskTable {
    last_pid: i32,
    /// Living threads by id.
    pub tasks: BTreeMap<Pid, Arc<Task>>,
    /// Living and zombie processes by id.
    pub processes: BTreeMap<Pid, ProcessEntry>,
}

impl TaskTable {
    /// Takes the next free id: `EAGAIN` where there is none. An id in use as thread, process, group or session is not
    /// free.
    pub fn allocate_pid(&mut self) -> Result<Pid, Errno> {
        for _ in 0..PID_MAX {
            let next = self.last_pid + 1;
            self.last_pid = if next >= PID_MAX { RESERVED_PIDS } else { next };
            let pid = Pid(self.last_pid);
            let taken = self.tasks.contains_key(&pid)
                || self.processes.contains_key(&pid)
                || self.processes.values().any(|entry| entry.pgid == pid || entry.sid == pid);
            if !taken {
                return Ok(pid);
            }
        }
        Err(Errno::EAGAIN)
    }
}
