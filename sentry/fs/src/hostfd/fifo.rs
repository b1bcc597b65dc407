//! [`HostFifo`]: how `open(2)` of a FIFO of the host waits for the other side (`man 7 fifo`).
//!
//! The gofer opens it without waiting, so this is asked from time to time: the host tells nobody that a side has been opened.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use abi::Errno;
use abi::flags::OpenFlags;

use super::{HostFd, HostReactor};
use crate::InodeRef;

/// A FIFO of the host that is being opened. Dropping it before it is [`HostFifo::ready`] undoes the opening (a signal came).
pub struct HostFifo {
    inode: InodeRef,
    flags: OpenFlags,
    reactor: Arc<dyn HostReactor>,
    /// Open, although the other side may be missing.
    file: Option<Arc<HostFd>>,
}

impl HostFifo {
    /// How long to wait before it is asked again, for the first time.
    pub const PAUSE: Duration = Duration::from_millis(10);

    /// Starts to open a FIFO; `None` where its pipe is not the host's. `ENXIO` for a writer that would not wait for the reader
    /// that is missing.
    pub fn open(inode: &InodeRef, flags: OpenFlags, reactor: &Arc<dyn HostReactor>) -> Option<Result<HostFifo, Errno>> {
        let first = inode.open_host_fifo(flags)?;
        let mut fifo = HostFifo { inode: Arc::clone(inode), flags, reactor: Arc::clone(reactor), file: None };
        Some(fifo.take(first).map(|()| fifo))
    }

    fn waits(&self) -> bool {
        !self.flags.contains(OpenFlags::NONBLOCK)
    }

    /// Takes what an attempt has brought; that there is no reader is no error for who waits for one.
    fn take(&mut self, opened: Result<OwnedFd, Errno>) -> Result<(), Errno> {
        match opened {
            Err(Errno::ENXIO) if self.waits() => Ok(()),
            opened => {
                self.file = Some(Arc::new(HostFd::own_fifo(opened?, &*self.reactor)?));
                Ok(())
            }
        }
    }

    /// Tells whether the other side has come (it may have gone again): `open` returns.
    pub fn ready(&mut self) -> Result<bool, Errno> {
        if self.file.is_none() {
            let again = self.inode.open_host_fifo(self.flags).ok_or(Errno::EIO)?;
            self.take(again)?;
        }
        let alone = self.waits() && !self.flags.writable();
        Ok(self.file.as_ref().is_some_and(|file| !alone || file.writer_has_come()))
    }

    /// Returns the open file: `EIO` where it isn't ready.
    pub fn into_file(self) -> Result<Arc<HostFd>, Errno> {
        self.file.ok_or(Errno::EIO)
    }
}
