//! What terminals need of the kernel: who calls, sessions, signals to groups.

use std::sync::{Arc, Weak};

use abi::Pid;
use abi::signal::{SIG_IGN, SigInfo, Signal};
use sentry_fs::tty::{Caller, Terminal, TtyHost};

use crate::signal::send;
use crate::task::{Caps, served};
use crate::{Kernel, Task};

/// Terminals' view of a kernel.
pub struct KernelTtyHost(Weak<Kernel>);

impl KernelTtyHost {
    /// Wraps a kernel.
    pub fn new(kernel: &Weak<Kernel>) -> Arc<KernelTtyHost> {
        Arc::new(KernelTtyHost(Weak::clone(kernel)))
    }
}

fn ignores(task: &Task, signal: Signal) -> bool {
    task.signals.mask().contains(signal) || task.process.signals.action(signal).handler == SIG_IGN
}

impl TtyHost for KernelTtyHost {
    fn caller(&self) -> Option<Caller> {
        let task = served()?;
        let (session, group, orphaned) = {
            let table = task.kernel.tasks.read();
            let entry = table.processes.get(&task.process.pid)?;
            (entry.sid, entry.pgid, table.group_is_orphaned(entry.pgid, None))
        };
        let cred = task.cred.load();
        Some(Caller {
            session,
            group,
            leader: session == task.process.pid,
            privileged: cred.has(Caps::SYS_ADMIN),
            ignores_ttin: ignores(&task, Signal::SIGTTIN),
            ignores_ttou: ignores(&task, Signal::SIGTTOU),
            orphaned,
            ids: (cred.fsuid, cred.fsgid),
        })
    }

    fn controlling(&self) -> Option<Arc<dyn Terminal>> {
        served()?.process.terminal()
    }

    fn set_controlling(&self, session: Pid, terminal: Option<Arc<dyn Terminal>>) {
        let Some(kernel) = self.0.upgrade() else { return };
        let table = kernel.tasks.read();
        for entry in table.processes.values().filter(|entry| entry.sid == session) {
            entry.process.set_terminal(terminal.clone());
        }
    }

    fn leave_controlling(&self) {
        if let Some(task) = served() {
            task.process.set_terminal(None);
        }
    }

    fn signal_group(&self, group: Pid, signal: Signal) {
        if let Some(kernel) = self.0.upgrade() {
            send::to_group(&kernel, group, SigInfo::from_kernel(signal));
        }
    }

    fn signal_leader(&self, session: Pid, signal: Signal) {
        let Some(kernel) = self.0.upgrade() else { return };
        let leader = kernel.tasks.read().processes.get(&session).map(|entry| Arc::clone(&entry.process));
        if let Some(leader) = leader {
            // A standard signal always fits.
            let _ = send::to_process(&kernel, &leader, SigInfo::from_kernel(signal));
        }
    }

    fn group_session(&self, group: Pid) -> Option<Pid> {
        let kernel = self.0.upgrade()?;
        let table = kernel.tasks.read();
        table.processes.values().find(|entry| entry.pgid == group).map(|entry| entry.sid)
    }
}
