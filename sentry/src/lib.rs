//! The guest kernel: tasks, memory maps, signals, files by name, time.
//!
//! Key types: [`Kernel`](kernel::Kernel) (one per sandbox), [`Process`](task::Process) and [`Task`](task::Task) (thread
//! group and thread), [`Current`](current::Current) (the running thread as its own handlers see it),
//! [`Outcome`](syscall::Outcome) (what a handler answers). System-call handlers live *above* this crate and reach it
//! through a table given at boot; file systems, sockets and the platform live below.
//!
//! Tasks are futures: each guest thread is one future ([`task::run`]) that a few workers ([`worker`]) poll. Blocking is
//! `.await` on [`wait`]; interruption by a signal makes the wait return [`wait::WaitError::Interrupted`], and the call
//! decides what that means (partial count, restart kind).

#![forbid(unsafe_code)]

pub mod control;
pub mod current;
pub mod futex;
pub mod host_view;
pub mod init;
pub mod ipc;
pub mod kernel;
pub mod loader;
pub mod mm;
pub mod ns;
pub mod proc_view;
pub mod reactor;
pub mod signal;
pub mod syscall;
pub mod task;
pub mod time;
pub mod trace;
pub mod tty_host;
pub mod usermem;
pub mod vfs;
pub mod wait;
pub mod worker;

pub use current::Current;
pub use kernel::Kernel;
pub use syscall::{Outcome, SysResult};
pub use task::{Process, Task};
