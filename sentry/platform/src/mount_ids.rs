//! Mounts whose files have other ids than in their file system (`MOUNT_ATTR_IDMAP`, `man 2 mount_setattr`).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Has the host translate the ids of a mount that lies nowhere yet: those that a user namespace has inside are those of the file
/// system, its outer ones are shown in their place. Below it too, if `recursive`.
///
/// # Errors
/// `EINVAL` where the file system can't do that, or the mount has ids already; `EPERM` without rights over the file system.
pub fn map(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>, recursive: bool) -> io::Result<()> {
    let namespace = u64::try_from(user_namespace.as_raw_fd()).map_err(io::Error::other)?;
    let attr = libc::mount_attr { attr_set: libc::MOUNT_ATTR_IDMAP, attr_clr: 0, propagation: 0, userns_fd: namespace };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a literal, and the structure is live, of the size that is told, and only read. The call changes
    // nothing but a mount.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
