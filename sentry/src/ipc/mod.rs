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
mod shm_list;

pub use ids::{GetFlags, IdTable, PRIVATE};
pub use memfd::{MEMFD_NAME_MAX, Memfds};
pub use perm::{Perm, RawPerm};
pub use shm::{Creator, Segment, ShmInfo, ShmTable, shm_flags};
pub use shm_list::{attachments, segment_of};

use crate::Kernel;

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

/// Renders `/proc/sysvipc/NAME`; `None` for other names than `sem`, `msg` and `shm`.
pub(crate) fn render(kernel: &Kernel, name: &str) -> Option<Vec<u8>> {
    match name {
        "sem" => Some(kernel.ipc.sems.render()),
        "msg" => Some(kernel.ipc.msgs.render()),
        "shm" => Some(shm_list::render(kernel)),
        _ => None,
    }
}

/// Returns the wall-clock time in seconds, as objects note it.
pub(crate) fn now() -> i64 {
    crate::time::realtime().sec
}
