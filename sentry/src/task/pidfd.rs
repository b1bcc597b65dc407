//! Descriptors that stand for a process or thread (`man 2 pidfd_open`).

use std::any::Any;
use std::sync::{Arc, Weak};

use abi::flags::Ready;
use abi::{Errno, Pid};
use sentry_fs::FileOps;
use sentry_sync::WaitQueue;

use super::ProcessEntry;
use crate::{Kernel, Process, Task};

/// What a pidfd stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The thread group.
    Process,
    /// One thread of it (`PIDFD_THREAD`).
    Thread(Pid),
}

/// How far the life of the target has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs.
    Alive,
    /// It has ended and not been waited for.
    Zombie,
    /// Nothing is left of it.
    Gone,
}

/// A pidfd. It names one process for ever: an id that is used again is another process.
pub struct PidFd {
    kernel: Weak<Kernel>,
    process: Arc<Process>,
    target: Target,
}

impl PidFd {
    /// Makes one for a process that is (or is about to be) in the table.
    pub fn new(kernel: &Arc<Kernel>, process: Arc<Process>, target: Target) -> Arc<PidFd> {
        Arc::new(PidFd { kernel: Arc::downgrade(kernel), process, target })
    }

    /// Finds the process (or, with `thread`, the thread) of an id: `ESRCH` where there is none, `ENOENT` for a thread
    /// that leads no process.
    pub fn open(kernel: &Arc<Kernel>, pid: Pid, thread: bool) -> Result<Arc<PidFd>, Errno> {
        let table = kernel.tasks.read();
        let entry = table.process_of(pid).ok_or(Errno::ESRCH)?;
        let leads = entry.process.pid == pid;
        if !leads && !thread {
            return Err(Errno::ENOENT);
        }
        let target = if thread { Target::Thread(pid) } else { Target::Process };
        Ok(PidFd::new(kernel, Arc::clone(&entry.process), target))
    }

    /// Returns what it stands for.
    pub fn target(&self) -> Target {
        self.target
    }

    /// Returns the id of process or thread.
    pub fn pid(&self) -> Pid {
        match self.target {
            Target::Process => self.process.pid,
            Target::Thread(tid) => tid,
        }
    }

    fn with_entry<R>(&self, look: impl FnOnce(&ProcessEntry) -> R) -> Option<R> {
        let kernel = self.kernel.upgrade()?;
        let table = kernel.tasks.read();
        let entry = table.processes.get(&self.process.pid)?;
        Arc::ptr_eq(&entry.process, &self.process).then(|| look(entry))
    }

    /// Returns whether the target still runs.
    pub fn life(&self) -> Life {
        let life = self.with_entry(|entry| match self.target {
            Target::Process if entry.zombie.is_some() => Life::Zombie,
            Target::Thread(tid) if !entry.threads.contains_key(&tid) => {
                // A leader stays as a zombie until its process is waited for.
                if tid == self.process.pid { Life::Zombie } else { Life::Gone }
            }
            _ => Life::Alive,
        });
        life.unwrap_or(Life::Gone)
    }

    /// Returns the process unless nothing is left of it: `ESRCH`.
    pub fn process(&self) -> Result<Arc<Process>, Errno> {
        if self.life() == Life::Gone { Err(Errno::ESRCH) } else { Ok(Arc::clone(&self.process)) }
    }

    /// Returns the living thread: that of a thread's pidfd, else the leader or whoever is left. `ESRCH` where none is.
    pub fn task(&self) -> Result<Arc<Task>, Errno> {
        let found = self.with_entry(|entry| match self.target {
            Target::Process => entry.threads.values().next().cloned(),
            Target::Thread(tid) => entry.threads.get(&tid).cloned(),
        });
        found.flatten().ok_or(Errno::ESRCH)
    }
}

impl FileOps for PidFd {
    fn ready(&self) -> Ready {
        match self.life() {
            Life::Alive => Ready::empty(),
            Life::Zombie => Ready::READABLE,
            Life::Gone => Ready::READABLE | Ready::HUP,
        }
    }

    fn wait_queue(&self) -> Option<WaitQueue> {
        Some(match self.target {
            Target::Process => self.process.exit_event.clone(),
            Target::Thread(_) => self.process.thread_gone.clone(),
        })
    }

    fn fdinfo(&self) -> String {
        let pid = if self.life() == Life::Gone { -1 } else { self.pid().0 };
        format!("Pid:\t{pid}\nNSpid:\t{pid}\n")
    }

    fn anon_name(&self) -> Option<String> {
        Some("anon_inode:[pidfd]".to_owned())
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
