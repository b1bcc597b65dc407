//! `close`, `close_range`.

use abi::{Errno, Fd};
use sentry::Current;
use sentry::vfs::FdFlags;
use std::sync::Arc;

const CLOSE_RANGE_UNSHARE: u32 = 2;
const CLOSE_RANGE_CLOEXEC: u32 = 4;

/// Serves `close(2)`. The descriptor is gone whatever the file says.
pub fn close(cur: &mut Current, fd: Fd) -> Result<(), Errno> {
    let file = cur.files().remove(fd)?;
    cur.has_closed(&file);
    file.closed(cur.files().lock_owner())
}

/// Serves `close_range(2)`.
pub fn close_range(cur: &mut Current, first: u32, last: u32, flags: u32) -> Result<(), Errno> {
    if flags & !(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) != 0 || first > last {
        return Err(Errno::EINVAL);
    }
    // The task and the thread itself have one reference each.
    if flags & CLOSE_RANGE_UNSHARE != 0 && Arc::strong_count(cur.files()) > 2 {
        let copy = cur.files().duplicate();
        cur.set_files(Arc::new(copy));
    }
    let files = cur.files();
    let within = |fd: Fd| u32::try_from(fd.0).is_ok_and(|fd| (first..=last).contains(&fd));
    if flags & CLOSE_RANGE_CLOEXEC != 0 {
        for (fd, _, own) in files.list() {
            if within(fd) {
                // Another thread may have closed it meanwhile.
                let _ = files.set_flags(fd, own | FdFlags::CLOEXEC);
            }
        }
        return Ok(());
    }
    let owner = files.lock_owner();
    for file in files.remove_where(|fd, _| within(fd)) {
        cur.has_closed(&file);
        // As on Linux the errors of closing are lost here.
        let _ = file.closed(owner);
    }
    Ok(())
}
