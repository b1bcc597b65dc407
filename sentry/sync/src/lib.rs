//! Locks that know their order, and wait queues.
//!
//! Key types: [`Mutex`] and [`RwLock`], each of which names its [`Level`] (debug builds panic when a thread takes locks
//! out of order; `docs/locking.md` lists the levels), and [`WaitQueue`], on which whoever waits for a file, a child or a
//! futex is registered. Knows nothing of tasks or files.

#![forbid(unsafe_code)]

mod lock;
mod wait;

pub use lock::{Level, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use wait::{Notify, Registration, WaitQueue};
