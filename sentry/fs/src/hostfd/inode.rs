//! What `fstat(2)` shows of a file of the host, and what little may be changed.

use std::any::Any;
use std::sync::Arc;

use abi::Errno;
use abi::flags::OpenFlags;
use abi::time::Timespec;

use super::HostFd;
use crate::devpts::Adopted;
use crate::{Attr, DeviceId, FileKind, FileOps, Inode, SetAttr, dev, host};

/// The inode of a descriptor that was passed in.
#[derive(Debug)]
pub struct HostInode {
    file: Arc<HostFd>,
}

impl HostInode {
    pub(super) fn new(file: Arc<HostFd>) -> HostInode {
        HostInode { file }
    }
}

impl HostInode {
    /// The place of a terminal in `/dev/pts`.
    fn place(&self) -> Option<&Adopted> {
        self.file.terminal.as_ref()?.place()
    }
}

/// Splits `st_dev` and `st_rdev`.
fn device(raw: u64) -> DeviceId {
    DeviceId::new(rustix::fs::major(raw), rustix::fs::minor(raw))
}

impl Inode for HostInode {
    fn attr(&self) -> Result<Attr, Errno> {
        if let Some(place) = self.place() {
            return place.inode().attr();
        }
        let stat = rustix::fs::fstat(&self.file.fd).map_err(host::errno)?;
        let kind = FileKind::from_mode(stat.st_mode).ok_or(Errno::EIO)?;
        let time = |sec: i64, nsec: u64| Timespec { sec, nsec: i64::try_from(nsec).unwrap_or(0) };
        Ok(Attr {
            dev: device(stat.st_dev),
            ino: stat.st_ino,
            kind,
            perm: stat.st_mode & 0o7777,
            nlink: stat.st_nlink,
            uid: stat.st_uid,
            gid: stat.st_gid,
            rdev: if self.file.is_terminal() { dev::CONSOLE } else { device(stat.st_rdev) },
            size: stat.st_size.unsigned_abs(),
            blksize: u32::try_from(stat.st_blksize).unwrap_or(4096),
            blocks: stat.st_blocks.unsigned_abs(),
            atime: time(stat.st_atime, stat.st_atime_nsec),
            mtime: time(stat.st_mtime, stat.st_mtime_nsec),
            ctime: time(stat.st_ctime, stat.st_ctime_nsec),
            btime: None,
        })
    }

    /// Only the length may be changed: the rest is the caller's business.
    fn set_attr(&self, set: &SetAttr) -> Result<(), Errno> {
        if let Some(place) = self.place() {
            return place.inode().set_attr(set);
        }
        if (SetAttr { size: None, ..*set }) != SetAttr::default() {
            return Err(Errno::EPERM);
        }
        set.size.map_or(Ok(()), |size| rustix::fs::ftruncate(&self.file.fd, size).map_err(host::errno))
    }

    /// Opens the same description again: it can't have other rights.
    fn open(self: Arc<Self>, _flags: OpenFlags) -> Result<Arc<dyn FileOps>, Errno> {
        Ok(Arc::clone(&self.file) as Arc<dyn FileOps>)
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
