//! All tasks and processes, and how they are related.

use std::collections::BTreeMap;
use std::sync::Arc;

use abi::signal::Signal;
use abi::{Errno, Pid};

use crate::{Process, Task};

/// Highest process id, exclusive (`/proc/sys/kernel/pid_max` of a 64-bit system).
pub(super) const PID_MAX: i32 = 4_194_304;

/// Linux starts over here once ids have wrapped.
const RESERVED_PIDS: i32 = 300;

/// The process that adopts orphans.
pub const INIT: Pid = Pid(1);

/// What the first process is to whoever started the sandbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InitRole {
    /// The first process of a container, which Linux shields: from inside, no signal reaches it that it has no handler
    /// for (`man 7 pid_namespaces`).
    #[default]
    Container,
    /// A command like any other of the caller's: signals act on it, and the caller's shell controls its job.
    Command,
}

/// A process and its relations.
pub struct ProcessEntry {
    /// The process.
    pub process: Arc<Process>,
    /// Living threads by id.
    pub threads: BTreeMap<Pid, Arc<Task>>,
    /// Parent process, 0 for init.
    pub parent: Pid,
    /// Thread of the parent that made this process, or has taken it over (`PR_SET_PDEATHSIG`, `__WNOTHREAD`).
    pub parent_thread: Pid,
    /// Living and zombie children.
    pub children: Vec<Pid>,
    /// Process group.
    pub pgid: Pid,
    /// Session.
    pub sid: Pid,
    /// Signal that the parent gets at the end; `None` for none.
    pub exit_signal: Option<Signal>,
    /// Adopts orphaned descendants (`PR_SET_CHILD_SUBREAPER`).
    pub subreaper: bool,
    /// Wait status, once the last thread has ended.
    pub zombie: Option<i32>,
    /// A stop that nobody has waited for yet.
    pub stop_report: Option<Signal>,
    /// A continuation that nobody has waited for yet.
    pub continue_report: bool,
    /// Has called exec: its parent may no longer change its group.
    pub has_execed: bool,
}

impl ProcessEntry {
    /// A process without threads or children.
    pub fn new(process: Arc<Process>, parent: Pid, pgid: Pid, sid: Pid, exit_signal: Option<Signal>) -> ProcessEntry {
        ProcessEntry {
            process,
            threads: BTreeMap::new(),
            parent,
            parent_thread: parent,
            children: Vec::new(),
            pgid,
            sid,
            exit_signal,
            subreaper: false,
            zombie: None,
            stop_report: None,
            continue_report: false,
            has_execed: false,
        }
    }
}

/// The task list.
#[derive(Default)]
pub struct TaskTable {
    last_pid: i32,
    /// Living threads by id.
    pub tasks: BTreeMap<Pid, Arc<Task>>,
    /// Living and zombie processes by id.
    pub processes: BTreeMap<Pid, ProcessEntry>,
    /// What the first process is.
    pub init_role: InitRole,
    /// Most living threads (the limit of a container's processes).
    pub max_tasks: Option<usize>,
}

impl TaskTable {
    /// Takes the wanted id, `EEXIST` where it isn't free, or the next free one: `EAGAIN` where there is none. An id in use
    /// as thread, process, group or session is not free.
    pub fn allocate_pid(&mut self, wanted: Option<i32>) -> Result<Pid, Errno> {
        if self.max_tasks.is_some_and(|max| self.tasks.len() >= max) {
            return Err(Errno::EAGAIN);
        }
        if let Some(wanted) = wanted {
            return if self.is_free(Pid(wanted)) { Ok(Pid(wanted)) } else { Err(Errno::EEXIST) };
        }
        for _ in 0..PID_MAX {
            let next = self.last_pid + 1;
            self.last_pid = if next >= PID_MAX { RESERVED_PIDS } else { next };
            if self.is_free(Pid(self.last_pid)) {
                return Ok(Pid(self.last_pid));
            }
        }
        Err(Errno::EAGAIN)
    }

    fn is_free(&self, pid: Pid) -> bool {
        !self.tasks.contains_key(&pid)
            && !self.processes.contains_key(&pid)
            && !self.processes.values().any(|entry| entry.pgid == pid || entry.sid == pid)
    }

    /// Returns the id that was given out last.
    pub fn last_pid(&self) -> i32 {
        self.last_pid
    }

    /// Enters a thread, into its process's entry too.
    pub fn insert_task(&mut self, task: &Arc<Task>) {
        self.tasks.insert(task.tid, Arc::clone(task));
        if let Some(entry) = self.processes.get_mut(&task.process.pid) {
            entry.threads.insert(task.tid, Arc::clone(task));
            task.begin_answers(entry);
        }
    }

    /// Takes a thread out; returns whether it was its process's last.
    pub fn remove_task(&mut self, task: &Task) -> bool {
        self.tasks.remove(&task.tid);
        self.processes.get_mut(&task.process.pid).is_none_or(|entry| {
            entry.threads.remove(&task.tid);
            entry.threads.is_empty()
        })
    }

    /// Enters a process as its parent's child.
    pub fn insert_process(&mut self, entry: ProcessEntry) {
        let pid = entry.process.pid;
        if let Some(parent) = self.processes.get_mut(&entry.parent) {
            parent.children.push(pid);
        }
        self.processes.insert(pid, entry);
    }

    /// Takes a zombie out for good.
    pub fn remove_process(&mut self, pid: Pid) -> Option<ProcessEntry> {
        let entry = self.processes.remove(&pid)?;
        if let Some(parent) = self.processes.get_mut(&entry.parent) {
            parent.children.retain(|child| *child != pid);
        }
        Some(entry)
    }

    /// Returns who adopts the children of `pid`: its nearest living ancestor that is a subreaper, else init.
    pub fn reaper_of(&self, pid: Pid) -> Pid {
        let mut at = self.processes.get(&pid).map(|entry| entry.parent);
        while let Some(ancestor) = at.and_then(|pid| self.processes.get(&pid)) {
            if ancestor.subreaper && ancestor.zombie.is_none() {
                return ancestor.process.pid;
            }
            at = Some(ancestor.parent);
        }
        INIT
    }

    /// Finds a process by the id of any of its threads.
    pub fn process_of(&self, pid: Pid) -> Option<&ProcessEntry> {
        self.processes.get(&pid).or_else(|| self.processes.get(&self.tasks.get(&pid)?.process.pid))
    }

    /// Tells whether a process group has no member whose parent is in another group of the same session
    /// (`man 2 setpgid`, "orphaned process group"). `without` is a process to leave out of account.
    pub fn group_is_orphaned(&self, pgid: Pid, without: Option<Pid>) -> bool {
        !self.processes.values().any(|entry| {
            entry.pgid == pgid
                && Some(entry.process.pid) != without
                && entry.zombie.is_none()
                && match self.processes.get(&entry.parent) {
                    Some(parent) => parent.pgid != pgid && parent.sid == entry.sid,
                    // The parent of a command is the caller's shell.
                    None => self.init_role == InitRole::Command && entry.process.pid == INIT && entry.sid == INIT,
                }
        })
    }

    /// Tells whether a process group has a stopped member.
    pub fn group_has_stopped(&self, pgid: Pid) -> bool {
        let mut members = self.processes.values().filter(|entry| entry.pgid == pgid && entry.zombie.is_none());
        members.any(|entry| entry.process.signals.stopping())
    }
}
