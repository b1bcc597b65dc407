//! `execve`, `execveat`.

use abi::{Errno, Fd, UserAddr};
use sentry::loader::Args;
use sentry::task::Resource;
use sentry::task::exec::{ExecRequest, exec};
use sentry::vfs::{FdFlags, open_exec};
use sentry::{Current, Outcome};

const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
const AT_EMPTY_PATH: u32 = 0x1000;
/// Only asks whether the file may be executed (since Linux 6.14).
const AT_EXECVE_CHECK: u32 = 0x1_0000;

/// Serves `execve(2)`.
pub fn execve(cur: &mut Current, path: UserAddr, argv: UserAddr, envp: UserAddr) -> Outcome<'_> {
    execveat(cur, Fd::CWD, path, argv, envp, 0)
}

/// Serves `execveat(2)`.
pub fn execveat(
    cur: &mut Current,
    dirfd: Fd,
    path: UserAddr,
    argv: UserAddr,
    envp: UserAddr,
    flags: u32,
) -> Outcome<'_> {
    Outcome::block(async move {
        let request = request(cur, dirfd, path, argv, envp, flags)?;
        if flags & AT_EXECVE_CHECK == 0 {
            exec(cur, request).await?;
        }
        Ok(0)
    })
}

fn request(
    cur: &Current,
    dirfd: Fd,
    path: UserAddr,
    argv: UserAddr,
    envp: UserAddr,
    flags: u32,
) -> Result<ExecRequest, Errno> {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_EXECVE_CHECK) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = cur.mem.read_path(path)?;
    if path.is_empty() && flags & AT_EMPTY_PATH == 0 {
        return Err(Errno::ENOENT);
    }
    let file = open_exec(&cur.task, dirfd, &path, flags & AT_SYMLINK_NOFOLLOW == 0)?;
    let args = Args::read(&cur.mem, argv, envp, cur.process().limit(Resource::Stack))?;
    let (name, name_vanishes) = name(cur, dirfd, &path)?;
    Ok(ExecRequest { file, name, name_vanishes, args })
}

/// Returns the name that the program and scripts are told: as given, or one through the descriptor, which vanishes if
/// exec closes it.
fn name(cur: &Current, dirfd: Fd, path: &[u8]) -> Result<(Vec<u8>, bool), Errno> {
    if path.first() == Some(&b'/') || dirfd == Fd::CWD {
        return Ok((path.to_vec(), false));
    }
    let (_, flags) = cur.task.files.load().get_with_flags(dirfd)?;
    let mut name = format!("/dev/fd/{}", dirfd.0).into_bytes();
    if !path.is_empty() {
        name.push(b'/');
        name.extend_from_slice(path);
    }
    Ok((name, flags.contains(FdFlags::CLOEXEC)))
}
