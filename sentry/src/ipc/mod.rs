//! Objects that processes share without a file name: memfds and System V shared memory.

mod memfd;
mod shm;

pub use memfd::{MEMFD_NAME_MAX, Memfds};
pub use shm::{Creator, Segment, ShmInfo, ShmTable, shm_flags};

/// The kernel's own objects of this kind.
#[derive(Default)]
pub struct Ipc {
    /// Where memfds live.
    pub memfds: Memfds,
    /// System V shared memory.
    pub shm: ShmTable,
}
