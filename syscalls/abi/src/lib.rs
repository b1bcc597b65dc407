//! The Linux x86-64 ABI as the guest sees it: the bottom layer of the project.
//!
//! Key types: [`Errno`] and [`SysError`], [`UserAddr`] and [`UserRef`], the newtyped ids ([`Fd`], [`Pid`], …), the
//! structs in [`types`] and the declaration of every system call in [`mod@table`]. No I/O, no unsafe, no state; every other
//! crate may use this one, and it uses none of them.

#![forbid(unsafe_code)]

pub mod addr;
pub mod decode;
pub mod errno;
pub mod flags;
pub mod ids;
mod residency;
pub mod signal;
pub mod table;
pub mod time;
pub mod types;

pub use addr::{PAGE_SIZE, UserAddr, UserRef, UserSlice};
pub use errno::{Errno, Restart, SysError};
pub use ids::{Fd, FromArg, Gid, Pid, Uid};
pub use residency::Residency;
