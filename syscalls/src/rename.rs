//! `rename`, `renameat`, `renameat2`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;
use sentry::task::Caps;
use sentry::vfs::change;
use sentry_fs::RenameFlags;

use crate::at;

/// Serves `rename(2)`.
pub fn rename(cur: &mut Current, oldpath: UserAddr, newpath: UserAddr) -> Result<(), Errno> {
    renameat2(cur, Fd::CWD, oldpath, Fd::CWD, newpath, 0)
}

/// Serves `renameat(2)`.
pub fn renameat(
    cur: &mut Current,
    olddirfd: Fd,
    oldpath: UserAddr,
    newdirfd: Fd,
    newpath: UserAddr,
) -> Result<(), Errno> {
    renameat2(cur, olddirfd, oldpath, newdirfd, newpath, 0)
}

/// Serves `renameat2(2)`.
pub fn renameat2(
    cur: &mut Current,
    olddirfd: Fd,
    oldpath: UserAddr,
    newdirfd: Fd,
    newpath: UserAddr,
    flags: u32,
) -> Result<(), Errno> {
    let old = cur.mem.read_path(oldpath)?;
    let new = cur.mem.read_path(newpath)?;
    let flags = RenameFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    if flags.contains(RenameFlags::EXCHANGE) && flags.intersects(RenameFlags::NOREPLACE | RenameFlags::WHITEOUT) {
        return Err(Errno::EINVAL);
    }
    if flags.contains(RenameFlags::WHITEOUT) && !cur.task.cred.load().has(Caps::MKNOD) {
        return Err(Errno::EPERM);
    }
    let (old_base, new_base) = (at::base(cur, olddirfd, &old)?, at::base(cur, newdirfd, &new)?);
    change::rename(&cur.start().walker(), (&old_base, &old), (&new_base, &new), flags)
}
