//! The lock of a container's directory.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};

/// Held until dropped; the host lets go of it when the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock. Fails where the directory has gone meanwhile.
    pub(super) fn take(dir: &Path) -> Result<Lock> {
        let path = dir.join("lock");
        let what = || format!("locking {}", path.display());
        let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.with_context(what)?;
        rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive)).with_context(what)?;
        let (ours, now) = (file.metadata().with_context(what)?, std::fs::metadata(&path).with_context(what)?);
        anyhow::ensure!((ours.dev(), ours.ino()) == (now.dev(), now.ino()), "locking {}: replaced", path.display());
        Ok(Lock { _file: file })
    }

    /// Tells whether somebody holds it.
    pub(super) fn is_taken(dir: &Path) -> bool {
        let Ok(file) = File::options().read(true).open(dir.join("lock")) else { return false };
        flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(rustix::io::Errno::WOULDBLOCK)
    }
}
