//! [`LowerFile`]: a file opened for reading below, which follows its content once that is copied.

use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};

use abi::Errno;
use abi::flags::{OpenFlags, Ready};

use super::node::Node;
use crate::{FileOps, IoDst, IoFlags, IoSrc, MapSource, UserMemory};

/// An open lower file. Files whose content is above are opened there and need none of this.
pub(super) struct LowerFile {
    node: Arc<Node>,
    flags: OpenFlags,
    lower: Arc<dyn FileOps>,
    upper: OnceLock<Arc<dyn FileOps>>,
}

impl LowerFile {
    pub(super) fn new(node: Arc<Node>, flags: OpenFlags, lower: Arc<dyn FileOps>) -> LowerFile {
        LowerFile { node, flags, lower, upper: OnceLock::new() }
    }

    /// Returns the file as it is now. Memory mapped earlier goes on showing the lower one, as on Linux.
    fn now(&self) -> Result<&dyn FileOps, Errno> {
        if let Some(upper) = self.upper.get() {
            return Ok(&**upper);
        }
        match self.node.above() {
            _ if self.node.content_below() => Ok(&*self.lower),
            None => Ok(&*self.lower),
            Some(inode) => {
                let opened = Arc::clone(inode).open(self.flags)?;
                Ok(&**self.upper.get_or_init(|| opened))
            }
        }
    }
}

impl FileOps for LowerFile {
    fn read(&self, pos: &mut u64, flags: IoFlags, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        self.now()?.read(pos, flags, dst)
    }

    fn write(&self, _pos: &mut u64, _flags: IoFlags, _src: &mut dyn IoSrc) -> Result<usize, Errno> {
        Err(Errno::EBADF)
    }

    fn seekable(&self) -> bool {
        self.lower.seekable()
    }

    fn seek_data_hole(&self, pos: u64, data: bool) -> Result<u64, Errno> {
        self.now()?.seek_data_hole(pos, data)
    }

    fn ready(&self) -> Ready {
        self.lower.ready()
    }

    fn ioctl(&self, memory: &dyn UserMemory, op: u32, arg: u64) -> Result<u64, Errno> {
        self.now()?.ioctl(memory, op, arg)
    }

    fn map(&self, shared: bool) -> Result<MapSource, Errno> {
        self.now()?.map(shared)
    }

    fn stored(&self, pos: u64, most: u64) -> Option<(Arc<OwnedFd>, u64)> {
        self.now().ok()?.stored(pos, most)
    }

    fn show(&self) {
        if let Ok(file) = self.now() {
            file.show();
        }
    }

    fn write_sealed(&self) -> bool {
        self.now().is_ok_and(|file| file.write_sealed())
    }

    fn sync(&self, data_only: bool) -> Result<(), Errno> {
        // What lies below is never dirty.
        if self.node.content_below() { Ok(()) } else { self.now()?.sync(data_only) }
    }

    fn allocate(&self, _mode: u32, _offset: u64, _len: u64) -> Result<(), Errno> {
        Err(Errno::EBADF)
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
