//! What the memory calls need to know of their caller.

use super::books::Limits;
use crate::Task;
use crate::task::{Caps, Resource};

impl Limits {
    /// Returns the limits and rights of a thread.
    pub fn of(task: &Task) -> Limits {
        let limits = task.process.limits();
        let soft = |resource: Resource| limits[resource as usize].cur;
        let cred = task.cred.load();
        Limits {
            address_space: soft(Resource::As),
            data: soft(Resource::Data),
            stack: soft(Resource::Stack),
            memlock: soft(Resource::Memlock),
            ipc_lock: cred.has(Caps::IPC_LOCK),
            rawio: cred.has(Caps::SYS_RAWIO),
            read_implies_exec: false,
        }
    }
}
