//! Objects that processes share without a file name: memfds and System V IPC (`man 7 sysvipc`).
//!
//! Key types: [`Ipc`] (all objects), [`IdTable`] (semaphore sets and message queues by id and key), [`Perm`] (who may do
//! what). Objects never wait by themselves, except in the `async` functions that system calls are made of.

mod ids;
mod memfd;
pub mod msg;
mod perm;
pub mod sem;
mod shm;

pub use ids::{GetFlags, IdTable, PRIVATE};
pub use memfd::{MEMFD_NAME_MAX, Memfds};
pub use perm::{Perm, RawPerm};
pub use shm::{Creator, Segment, ShmInfo, ShmTable, shm_flags};

/// The kernel's own objects of this kind.
#[derive(Default)]
pub struct Ipc {
    /// Where memfds live.
    pub memfds: Memfds,
    /// System V shared memory.
    pub shm: ShmTable,
    /// Semaphore sets.
    pub sems: sem::SemTable,
    /// Message queues.
    pub msgs: msg::MsgTable,
}

impl Ipc {
    /// Renders `/proc/sysvipc/sem` and `msg`; `None` for other names.
    pub fn render(&self, name: &str) -> Option<Vec<u8>> {
        match name {
            "sem" => Some(self.sems.render()),
            "msg" => Some(self.msgs.render()),
            _ => None,
        }
    }
}

/// Returns the wall-clock time in seconds, as objects note it.
pub(crate) fn now() -> i64 {
    crate::time::realtime().sec
}
