//! `getcwd`, `chdir`, `fchdir`, `chroot`.

use abi::types::PATH_MAX;
use abi::{Errno, Fd, UserAddr};
use sentry::Current;
use sentry::task::Caps;
use sentry::vfs::perm::{self, Access};
use sentry::vfs::{Path, WalkFlags};

use crate::at;

/// Serves `getcwd(2)`; the result is the length with the NUL.
pub fn getcwd(cur: &mut Current, buf: UserAddr, size: usize) -> Result<u64, Errno> {
    let fs = cur.task.fs.load();
    let text = fs.cwd().text(Some(&fs.root()));
    if text.deleted {
        return Err(Errno::ENOENT);
    }
    let mut bytes = if text.reachable { Vec::new() } else { b"(unreachable)".to_vec() };
    bytes.extend_from_slice(&text.bytes);
    bytes.push(0);
    if bytes.len() > PATH_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    if bytes.len() > size {
        return Err(Errno::ERANGE);
    }
    cur.mem.write_bytes(buf, &bytes)?;
    Ok(bytes.len() as u64)
}

fn check_search(cur: &Current, path: &Path) -> Result<(), Errno> {
    perm::check(&cur.task.cred.load(), path, Access::EXEC)
}

/// Serves `chdir(2)`.
pub fn chdir(cur: &mut Current, path: UserAddr) -> Result<(), Errno> {
    let path = at::lookup(cur, Fd::CWD, path, WalkFlags::FOLLOW | WalkFlags::DIRECTORY)?;
    check_search(cur, &path)?;
    cur.task.fs.load().set_cwd(path);
    Ok(())
}

/// Serves `fchdir(2)`.
pub fn fchdir(cur: &mut Current, fd: Fd) -> Result<(), Errno> {
    let file = cur.task.files.load().get(fd)?;
    let path = file.path.clone().filter(|path| path.dentry.is_dir()).ok_or(Errno::ENOTDIR)?;
    check_search(cur, &path)?;
    cur.task.fs.load().set_cwd(path);
    Ok(())
}

/// Serves `chroot(2)`.
pub fn chroot(cur: &mut Current, path: UserAddr) -> Result<(), Errno> {
    let path = at::lookup(cur, Fd::CWD, path, WalkFlags::FOLLOW | WalkFlags::DIRECTORY)?;
    check_search(cur, &path)?;
    if !cur.task.cred.load().has(Caps::SYS_CHROOT) {
        return Err(Errno::EPERM);
    }
    cur.task.fs.load().set_root(path);
    Ok(())
}
