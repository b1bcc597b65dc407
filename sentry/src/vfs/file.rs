//! Open file descriptions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use abi::Errno;
use abi::flags::OpenFlags;
use sentry_fs::{FileOps, InodeRef, IoDst, IoFlags, IoSrc};
use sentry_sync::{Level, Mutex};

/// An open file description: what `open`, `pipe`, `socket` and the like make and descriptors refer to (`man 2 open`).
pub struct File {
    /// What the file can do.
    pub ops: Arc<dyn FileOps>,
    /// The inode, where the file has one.
    pub inode: Option<InodeRef>,
    flags: AtomicU32,
    pos: Mutex<u64>,
}

impl File {
    /// Creates a description at position 0.
    pub fn new(ops: Arc<dyn FileOps>, inode: Option<InodeRef>, flags: OpenFlags) -> Arc<File> {
        Arc::new(File { ops, inode, flags: AtomicU32::new(flags.bits()), pos: Mutex::new(Level::File, 0) })
    }

    /// Returns access mode and status flags.
    pub fn flags(&self) -> OpenFlags {
        OpenFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    /// Tells whether operations answer `EAGAIN` instead of waiting.
    pub fn nonblocking(&self) -> bool {
        self.flags().contains(OpenFlags::NONBLOCK)
    }

    /// Reads at the description's position: `EBADF` where it isn't open for reading, `EAGAIN` where it would block.
    pub fn read(&self, flags: IoFlags, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        if !self.flags().readable() {
            return Err(Errno::EBADF);
        }
        if !self.ops.seekable() {
            return self.ops.read(&mut 0, flags, dst);
        }
        self.ops.read(&mut self.pos.lock(), flags, dst)
    }

    /// Writes at the description's position (or at the end with `O_APPEND`): `EBADF` where it isn't open for writing.
    pub fn write(&self, flags: IoFlags, src: &mut dyn IoSrc) -> Result<usize, Errno> {
        let own = self.flags();
        if !own.writable() {
            return Err(Errno::EBADF);
        }
        let flags = if own.contains(OpenFlags::APPEND) { flags | IoFlags::APPEND } else { flags };
        if !self.ops.seekable() {
            return self.ops.write(&mut 0, flags, src);
        }
        self.ops.write(&mut self.pos.lock(), flags, src)
    }
}
