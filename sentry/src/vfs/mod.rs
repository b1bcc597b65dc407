//! Files by name and by descriptor: mounts, dentries, path walks, open file descriptions, descriptor tables.
//!
//! Key types: [`Path`] (a [`Dentry`] seen through a [`Mount`]), [`walk`] (from text to a path), [`open()`](open::open) (from
//! a path to a [`File`]), [`change`] (making, removing and renaming names, changing attributes), [`FsContext`] (root,
//! working directory and umask of a task), [`FdTable`]. What file systems do is below, in `sentry_fs`; permission,
//! read-only mounts, names and their caching are dealt with here.

mod async_io;
pub mod change;
mod dentry;
mod fdtable;
mod file;
mod fs_context;
mod known_files;
pub mod locks;
mod mount;
pub mod notify;
pub mod open;
mod path;
pub mod perm;
mod registry;
mod task;
#[cfg(test)]
mod tests;
pub mod walk;

pub use dentry::{Dentry, FileUse, Super};
pub use fdtable::{FdFlags, FdTable};
pub use file::{File, Owner, OwnerKind};
pub use fs_context::{FsContext, Places, Start};
pub use known_files::KnownFiles;
pub use mount::{Mount, MountFlags, MountNamespace, Propagation};
pub use path::{Path, PathText};
pub use registry::{FsRegistry, MountRequest, Vfs};
pub use task::{change_dir, honours_set_ids, may_exec, open_exec};
pub use walk::{WalkFlags, Walker};
