//! `memfd_create`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;
use sentry::ipc::MEMFD_NAME_MAX;
use sentry::vfs::FdFlags;

/// `MFD_CLOEXEC`.
const CLOEXEC: u32 = 1;

/// Serves `memfd_create(2)`.
pub fn memfd_create(cur: &mut Current, name: UserAddr, flags: u32) -> Result<Fd, Errno> {
    let name = cur.mem.read_cstr(name, MEMFD_NAME_MAX + 1, Errno::EINVAL)?;
    let cred = cur.task.cred.load();
    let file = cur.kernel().ipc.memfds.create(&name, flags, cred.fsuid, cred.fsgid)?;
    let fd_flags = if flags & CLOEXEC != 0 { FdFlags::CLOEXEC } else { FdFlags::empty() };
    cur.task.files.load().install(file, fd_flags, 0, cur.process().fd_limit())
}
