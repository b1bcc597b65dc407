//! `sync`, `syncfs`, `fsync`, `fdatasync`, `sync_file_range`.

use abi::{Errno, Fd};
use sentry::Current;
use sentry_fs::FileKind;

use crate::io;

/// `SYNC_FILE_RANGE_*`.
const RANGE_FLAGS: u32 = 7;

/// Serves `sync(2)`: never fails.
pub fn sync(cur: &mut Current) -> Result<(), Errno> {
    for mount in cur.task.fs.load().namespace().mounts() {
        // Errors show up at the next fsync.
        let _ = mount.sb.fs.sync();
    }
    Ok(())
}

/// Serves `syncfs(2)`.
pub fn syncfs(cur: &mut Current, fd: Fd) -> Result<(), Errno> {
    let file = io::file_of(cur, fd)?;
    file.path.as_ref().map_or(Ok(()), |path| path.dentry.sb.fs.sync())
}

/// Serves `fsync(2)`.
pub fn fsync(cur: &mut Current, fd: Fd) -> Result<(), Errno> {
    io::file_of(cur, fd)?.ops.sync(false)
}

/// Serves `fdatasync(2)`.
pub fn fdatasync(cur: &mut Current, fd: Fd) -> Result<(), Errno> {
    io::file_of(cur, fd)?.ops.sync(true)
}

/// Serves `sync_file_range(2)`: writes all data where part was asked for.
pub fn sync_file_range(cur: &mut Current, fd: Fd, offset: i64, nbytes: i64, flags: u32) -> Result<(), Errno> {
    let file = io::file_of(cur, fd)?;
    let end = offset.checked_add(nbytes).ok_or(Errno::EINVAL)?;
    if flags & !RANGE_FLAGS != 0 || offset < 0 || nbytes < 0 || end < offset {
        return Err(Errno::EINVAL);
    }
    let kind = file.path.as_ref().map(|path| path.dentry.kind);
    if !matches!(kind, Some(FileKind::Regular | FileKind::Directory | FileKind::BlockDevice)) {
        return Err(Errno::ESPIPE);
    }
    if flags == 0 { Ok(()) } else { file.ops.sync(true) }
}
