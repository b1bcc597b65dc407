//! `inotify_init`, `inotify_init1`, `inotify_add_watch`, `inotify_rm_watch`.

use std::sync::Arc;

use abi::flags::OpenFlags;
use abi::{Errno, Fd, UserAddr};
use sentry::Current;
use sentry::vfs::perm::{self, Access};
use sentry::vfs::{File, WalkFlags};
use sentry_fs::FileOps;
use sentry_fs::inotify::{InMask, Inotify};

use crate::{at, io};

/// Serves `inotify_init(2)`.
pub fn inotify_init(cur: &mut Current) -> Result<Fd, Errno> {
    inotify_init1(cur, 0)
}

/// Serves `inotify_init1(2)`.
pub fn inotify_init1(cur: &mut Current, flags: u32) -> Result<Fd, Errno> {
    let flags = OpenFlags::from_bits_retain(flags);
    if !(OpenFlags::CLOEXEC | OpenFlags::NONBLOCK).contains(flags) {
        return Err(Errno::EINVAL);
    }
    at::install(cur, File::new(Inotify::new(), None, flags), flags)
}

fn inotify_of(cur: &Current, fd: Fd) -> Result<Arc<Inotify>, Errno> {
    let ops: Arc<dyn FileOps> = Arc::clone(&io::file_of(cur, fd)?.ops);
    ops.as_any().downcast().map_err(|_| Errno::EINVAL)
}

/// Serves `inotify_add_watch(2)`.
pub fn inotify_add_watch(cur: &mut Current, fd: Fd, pathname: UserAddr, mask: u32) -> Result<u64, Errno> {
    let checked = Inotify::check_mask(mask)?;
    let inotify = inotify_of(cur, fd)?;
    let mut flags = WalkFlags::empty();
    flags.set(WalkFlags::FOLLOW, !checked.contains(InMask::DONT_FOLLOW));
    flags.set(WalkFlags::DIRECTORY, checked.contains(InMask::ONLYDIR));
    let path = at::lookup(cur, Fd::CWD, pathname, flags)?;
    perm::check(&cur.task.cred.load(), &path, Access::READ)?;
    let watches = path.dentry.sb.watches_for(path.inode())?;
    let pin = Arc::clone(path.inode()).as_any();
    inotify.add_watch(&watches, pin, mask).map(|wd| u64::from(wd.unsigned_abs()))
}

/// Serves `inotify_rm_watch(2)`.
pub fn inotify_rm_watch(cur: &mut Current, fd: Fd, wd: i32) -> Result<(), Errno> {
    inotify_of(cur, fd)?.remove_watch(wd)
}
