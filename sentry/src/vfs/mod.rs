//! Files by name and by descriptor: mounts, dentries, path walks, open file descriptions, descriptor tables.

mod fdtable;
mod file;

pub use fdtable::{FdFlags, FdTable};
pub use file::File;

use sentry_sync::{Level, Mutex};

/// Root directory, working directory and umask of a task; shared by `CLONE_FS`.
pub struct FsContext {
    /// Permission bits taken off new files.
    pub umask: Mutex<u32>,
}

impl FsContext {
    /// Copies the context (fork).
    #[must_use]
    pub fn duplicate(&self) -> FsContext {
        FsContext::new(*self.umask.lock())
    }

    /// The context of the first process.
    pub fn new(umask: u32) -> FsContext {
        FsContext { umask: Mutex::new(Level::Files, umask) }
    }
}
