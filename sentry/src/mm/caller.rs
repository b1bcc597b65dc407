//! What the memory calls need to know of their caller.

use super::books::Limits;
use crate::Task;
use crate::task::{Caps, Resource};

impl Limits {
    /// Returns the limits and rights of a thread.
    pub fn of(task: &Task) -> Limits {
        let [address_space, data, stack, memlock] =
            task.process.soft_limits([Resource::As, Resource::Data, Resource::Stack, Resource::Memlock]);
        let cred = task.cred.load();
        Limits {
            address_space,
            data,
            stack,
            memlock,
            ipc_lock: cred.has(Caps::IPC_LOCK),
            rawio: cred.has(Caps::SYS_RAWIO),
            read_implies_exec: false,
        }
    }
}
