//! What unix sockets ask of the VFS, for the calling thread.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use abi::Errno;
use sentry::Current;
use sentry::vfs::change::{self, NewFile};
use sentry::vfs::perm::{self, Access};
use sentry::vfs::{Path, WalkFlags, walk};
use sentry_fs::{DeviceId, FileKind, InodeRef};
use sentry_net::{PathBinding, PathKey, UnixPaths};

/// The caller's view of paths: this thread's root, directory and rights.
pub(super) struct Paths<'a> {
    cur: &'a Current,
}

impl<'a> Paths<'a> {
    /// Costs nothing until a path is used.
    pub(super) fn new(cur: &'a Current) -> Paths<'a> {
        Paths { cur }
    }

    fn find(&self, path: &[u8]) -> Result<Path, Errno> {
        let start = self.cur.start();
        let found = walk::resolve(&start.walker(), start.cwd(), path, WalkFlags::FOLLOW)?;
        perm::check(start.walker().cred, &found, Access::WRITE)?;
        if found.attr()?.kind == FileKind::Socket { Ok(found) } else { Err(Errno::ECONNREFUSED) }
    }
}

fn key(path: &Path) -> Result<PathKey, Errno> {
    let attr = path.attr()?;
    Ok(PathKey { dev: attr.dev.encode(), ino: attr.ino })
}

/// What `bind(2)` says of a name that is there.
fn in_use(errno: Errno) -> Errno {
    if errno == Errno::EEXIST { Errno::EADDRINUSE } else { errno }
}

impl UnixPaths for Paths<'_> {
    fn create(&self, path: &[u8]) -> Result<PathBinding, Errno> {
        let start = self.cur.start();
        let perm = 0o777 & !self.cur.fs().umask();
        let new = NewFile { kind: FileKind::Socket, perm, rdev: DeviceId::default(), target: None };
        let made = change::make(&start.walker(), start.cwd(), path, &new).map_err(in_use)?;
        Ok(PathBinding { key: key(&made)?, pin: Arc::clone(made.inode()).as_any() })
    }

    fn remove(&self, path: &[u8]) {
        let start = self.cur.start();
        // Whoever has removed or renamed it meanwhile has done what was to be done.
        let _ = change::unlink(&start.walker(), start.cwd(), path);
    }

    fn resolve(&self, path: &[u8]) -> Result<PathKey, Errno> {
        key(&self.find(path)?)
    }

    fn host_socket(&self, path: &[u8]) -> Result<(PathKey, InodeRef), Errno> {
        let found = self.find(path)?;
        Ok((key(&found)?, Arc::clone(found.inode())))
    }

    fn create_host(&self, path: &[u8], kind: u32) -> Result<(PathBinding, OwnedFd), Errno> {
        let start = self.cur.start();
        let perm = 0o777 & !self.cur.fs().umask();
        let made = change::make_host_socket(&start.walker(), start.cwd(), path, perm, kind);
        let (made, fd) = made.map_err(in_use)?;
        Ok((PathBinding { key: key(&made)?, pin: Arc::clone(made.inode()).as_any() }, fd))
    }
}
