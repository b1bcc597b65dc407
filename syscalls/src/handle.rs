//! `name_to_handle_at`, `open_by_handle_at`: no file system here gives out handles, as many of Linux's don't.

use abi::{Errno, Fd, UserAddr, UserRef};
use sentry::Current;
use sentry::task::Caps;

use crate::at::{self, Target};

const AT_HANDLE_FID: u32 = 0x200;
const AT_HANDLE_CONNECTABLE: u32 = 0x2;
const AT_HANDLE_MNT_ID_UNIQUE: u32 = 0x1;
const AT_SYMLINK_FOLLOW: u32 = 0x400;
const AT_EMPTY_PATH: u32 = 0x1000;
const FLAGS: u32 = AT_HANDLE_FID | AT_HANDLE_CONNECTABLE | AT_HANDLE_MNT_ID_UNIQUE | AT_SYMLINK_FOLLOW | AT_EMPTY_PATH;
/// `MAX_HANDLE_SZ`.
const MAX_HANDLE: u32 = 128;

/// Serves `name_to_handle_at(2)`.
pub fn name_to_handle_at(
    cur: &mut Current,
    dirfd: Fd,
    path: UserAddr,
    _handle: UserAddr,
    _mount_id: UserAddr,
    flags: u32,
) -> Result<(), Errno> {
    let contradiction = AT_HANDLE_FID | AT_HANDLE_CONNECTABLE;
    if flags & !FLAGS != 0 || flags & contradiction == contradiction {
        return Err(Errno::EINVAL);
    }
    let follow = if flags & AT_SYMLINK_FOLLOW == 0 { at::NOFOLLOW } else { 0 };
    Target::at(cur, dirfd, path, (flags & AT_EMPTY_PATH) | follow, false)?;
    Err(Errno::EOPNOTSUPP)
}

/// Serves `open_by_handle_at(2)`.
pub fn open_by_handle_at(cur: &mut Current, mount: Fd, handle: UserRef<[u32; 2]>, _flags: u32) -> Result<(), Errno> {
    let [bytes, _kind] = cur.mem.read(handle)?;
    if bytes == 0 || bytes > MAX_HANDLE {
        return Err(Errno::EINVAL);
    }
    if mount != Fd::CWD {
        cur.task.files.load().get(mount)?;
    }
    if !cur.task.cred.load().has(Caps::DAC_READ_SEARCH) {
        return Err(Errno::EPERM);
    }
    cur.mem.read_bytes(handle.addr().wrapping_add(8), &mut vec![0; bytes as usize])?;
    Err(Errno::ESTALE)
}
