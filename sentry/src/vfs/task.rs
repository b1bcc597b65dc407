//! What the life of a task asks of the VFS: programs and the first working directory.

use std::sync::Arc;

use abi::flags::OpenFlags;
use abi::{Errno, Fd};
use sentry_fs::FileKind;

use super::perm::{Access, check, check_bits, check_exec};
use super::{File, FileUse, MountFlags, Path, WalkFlags, walk};
use crate::Task;

/// Returns where a path relative to `dirfd` starts.
fn base(task: &Task, dirfd: Fd) -> Result<Path, Errno> {
    if dirfd == Fd::CWD {
        return Ok(task.fs.load().cwd());
    }
    task.files.load().get(dirfd)?.path.clone().ok_or(Errno::ENOTDIR)
}

/// Opens a program: a regular file that the task may execute (`EACCES` otherwise). An empty path means the descriptor
/// itself.
pub fn open_exec(task: &Task, dirfd: Fd, path: &[u8], follow: bool) -> Result<Arc<File>, Errno> {
    let (cred, fs) = (task.cred.load(), task.fs.load());
    let places = fs.places();
    let walker = places.walker(&cred);
    let start = if path.first() == Some(&b'/') { walker.root.clone() } else { base(task, dirfd)? };
    let mut flags = WalkFlags::EMPTY;
    flags.set(WalkFlags::FOLLOW, follow);
    let found = walk::resolve(&walker, &start, path, flags)?;
    if found.dentry.kind == FileKind::Symlink {
        return Err(Errno::ELOOP);
    }
    let attr = check_exec(&cred, &found)?;
    let usage = FileUse::begin(&found.dentry.sb, &attr, false)?;
    let ops = Arc::clone(found.inode()).open(OpenFlags::empty())?;
    Ok(File::in_use(ops, found, OpenFlags::LARGEFILE, Some(usage)))
}

/// Checks that a task may execute a file that it has been given open: `EACCES`.
pub fn may_exec(task: &Task, file: &File) -> Result<(), Errno> {
    let attr = file.inode.as_ref().ok_or(Errno::EACCES)?.attr()?;
    if attr.kind != FileKind::Regular || !file.flags().readable() {
        return Err(Errno::EACCES);
    }
    check_bits(&task.cred.load(), &attr, Access::EXEC)
}

/// Tells whether set-id bits of a program count where it is mounted.
pub fn honours_set_ids(file: &File) -> bool {
    file.path.as_ref().is_some_and(|path| !path.mount.flags().contains(MountFlags::NOSUID))
}

/// Enters a directory by name.
pub fn change_dir(task: &Task, path: &[u8]) -> Result<(), Errno> {
    let (cred, fs) = (task.cred.load(), task.fs.load());
    let places = fs.places();
    let found = walk::resolve(&places.walker(&cred), &places.cwd, path, WalkFlags::FOLLOW | WalkFlags::DIRECTORY)?;
    check(&cred, &found, Access::EXEC)?;
    fs.set_cwd(found);
    Ok(())
}
