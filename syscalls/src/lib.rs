//! Handlers of the system calls, one file per family, named as Linux names the call.
//!
//! Thin: decoded arguments in, one call into the kernel, result out. [`TABLE`] is what the kernel is given at boot; it is
//! made from the declaration in [`abi::table`].

#![forbid(unsafe_code)]
#![allow(missing_docs)] // a handler is its manual page

pub mod access;
pub mod arch_prctl;
mod at;
pub mod chmod;
pub mod clock;
pub mod clone;
pub mod close;
pub mod cred;
pub mod cwd;
pub mod dup;
pub mod epoll;
pub mod eventfd;
pub mod exec;
pub mod exit;
mod ext;
pub mod fadvise;
pub mod fcntl;
#[cfg(test)]
mod file_tests;
pub mod futex;
pub mod getdents;
pub mod handle;
pub mod ids;
pub mod inotify;
mod io;
pub mod ioctl;
pub mod kill;
pub mod link;
pub mod membarrier;
pub mod memfd;
pub mod mempolicy;
pub mod mknod;
pub mod mlock;
pub mod mmap;
pub mod mount;
pub mod mqueue;
pub mod namespace;
pub mod open;
pub mod personality;
pub mod pidfd;
pub mod pipe;
pub mod poll;
pub mod prctl;
#[cfg(test)]
mod proc_tests;
pub mod process_vm;
pub mod random;
pub mod read_write;
pub mod rename;
pub mod rlimit;
pub mod rseq;
pub mod sched;
pub mod seccomp;
pub mod session;
pub mod signal;
pub mod signalfd;
pub mod socket;
pub mod sockopt;
pub mod splice;
pub mod stat;
pub mod swap;
pub mod sync;
pub mod sysinfo;
pub mod sysv_msg;
pub mod sysv_sem;
pub mod sysv_shm;
mod table;
#[cfg(test)]
mod testing;
pub mod time;
pub mod timer;
pub mod timerfd;
pub mod truncate;
pub mod unlink;
pub mod utimens;
pub mod uts;
pub mod wait;
pub mod xattr;

pub use table::TABLE;
