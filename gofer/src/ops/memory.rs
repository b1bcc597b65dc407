//! Files in memory (`man 2 memfd_create`) that the sentry has made and can't open anew by itself.
//!
//! The one request that comes with a descriptor. Opening it again must give the sentry nothing but a second way to read
//! what it could write already, so only what lies in the host's internal tmpfs is opened: no path leads there, on any
//! host, and only memory files, System V segments and shared anonymous memory are in it. A sentry that keeps files in a
//! [store](crate::TreeFlags::STORE) may also have opened again what has no name and what its descriptor lets it read.

use std::os::fd::{AsFd, OwnedFd};

use abi::Errno;
use gofer_proto::WireAttr;
use rustix::fs::{MemfdFlags, OFlags, memfd_create};

use super::{Answer, Outcome};
use crate::server::Server;
use crate::{host, policy};

/// `TMPFS_MAGIC` of `statfs(2)`.
const TMPFS: i64 = 0x0102_1994;

/// Tells memory files from all others.
#[derive(Debug)]
pub(crate) struct MemoryFiles {
    /// Device number of the internal tmpfs.
    dev: u64,
}

impl MemoryFiles {
    /// Looks where the host puts memory files.
    pub(crate) fn find() -> Result<MemoryFiles, Errno> {
        let probe = memfd_create("gofer", MemfdFlags::CLOEXEC).map_err(host::errno)?;
        Ok(MemoryFiles { dev: host::stat(probe.as_fd())?.dev })
    }

    /// Checks that an open file is one, or is of a store: `EACCES`.
    fn check(&self, file: &OwnedFd, stores: bool) -> Result<(), Errno> {
        let WireAttr { dev, mode, nlink, .. } = host::stat(file.as_fd())?;
        let tmpfs = dev == self.dev && rustix::fs::fstatfs(file).is_ok_and(|figures| figures.f_type == TMPFS);
        let stored = || {
            let rights = rustix::fs::fcntl_getfl(file).map(|flags| flags & OFlags::RWMODE);
            stores && rights == Ok(OFlags::RDWR)
        };
        if policy::is_regular(mode) && nlink == 0 && (tmpfs || stored()) { Ok(()) } else { Err(Errno::EACCES) }
    }
}

impl Server {
    /// Opens a memory file for reading only and gives the descriptor away.
    pub(super) fn memory_file(&self, given: &OwnedFd) -> Outcome {
        self.memory.check(given, self.has_store())?;
        self.proc_fds.reopen(given.as_fd(), OFlags::RDONLY | OFlags::LARGEFILE).map(Answer::Fd)
    }
}
