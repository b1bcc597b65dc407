//! Locks that know their order, and wait queues.
//!
//! Key types: [`Mutex`] and [`RwLock`], each of which names its [`Level`] (debug builds panic when a thread takes locks
//! out of order; `docs/locking.md` lists the levels), and [`WaitQueue`], on which whoever waits for a file, a child or a
//! futex is registered. [`blocking`] tells that the host is about to hold a thread up. Knows nothing of tasks or files.

#![forbid(unsafe_code)]

mod blocking;
mod lock;
mod wait;

pub use blocking::{Duty, blocking, set_duty};
pub use lock::{Level, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use wait::{Notify, Registration, WaitQueue};
