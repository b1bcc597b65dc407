//! What unix sockets ask of the VFS, for the calling thread.

use std::sync::Arc;

use abi::Errno;
use sentry::Current;
use sentry::vfs::change::{self, NewFile};
use sentry::vfs::perm::{self, Access};
use sentry::vfs::{Path, WalkFlags, walk};
use sentry_fs::{DeviceId, FileKind};
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
}

fn key(path: &Path) -> Result<PathKey, Errno> {
    let attr = path.attr()?;
    Ok(PathKey { dev: attr.dev.encode(), ino: attr.ino })
}

impl UnixPaths for Paths<'_> {
    fn create(&self, path: &[u8]) -> Result<PathBinding, Errno> {
        let start = self.cur.start();
        let perm = 0o777 & !self.cur.fs().umask();
        let new = NewFile { kind: FileKind::Socket, perm, rdev: DeviceId::default(), target: None };
        let made = change::make(&start.walker(), start.cwd(), path, &new).map_err(|errno| match errno {
            Errno::EEXIST => Errno::EADDRINUSE,
            errno => errno,
        })?;
        Ok(PathBinding { key: key(&made)?, pin: Arc::clone(made.inode()).as_any() })
    }

    fn remove(&self, path: &[u8]) {
        let start = self.cur.start();
        // Whoever has removed or renamed it meanwhile has done what was to be done.
        let _ = change::unlink(&start.walker(), start.cwd(), path);
    }

    fn resolve(&self, path: &[u8]) -> Result<PathKey, Errno> {
        let start = self.cur.start();
        let found = walk::resolve(&start.walker(), start.cwd(), path, WalkFlags::FOLLOW)?;
        perm::check(start.walker().cred, &found, Access::WRITE)?;
        if found.attr()?.kind == FileKind::Socket { key(&found) } else { Err(Errno::ECONNREFUSED) }
    }
}
