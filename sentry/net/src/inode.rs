//! [`SocketInode`]: what `fstat(2)` sees of a socket.

use std::any::Any;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use abi::Errno;
use abi::flags::OpenFlags;
use abi::time::Timespec;
use sentry_fs::{Attr, DeviceId, FileKind, FileOps, Inode, SetAttr, SetTime};
use sentry_sync::{Level, Mutex};

use crate::socket::Core;

/// Device number of Linux's `sockfs`.
const SOCKFS: DeviceId = DeviceId { major: 0, minor: 8 };

/// The inode of a socket that has no path.
pub struct SocketInode(Mutex<Attr>);

fn now() -> Timespec {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timespec { sec: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nsec: i64::from(since.subsec_nanos()) }
}

impl SocketInode {
    /// Makes the inode of a socket.
    pub fn new(core: &Core) -> Arc<SocketInode> {
        let now = now();
        let attr = Attr {
            uid: core.creator.uid,
            gid: core.creator.gid,
            ..Attr::nameless(SOCKFS, core.id, FileKind::Socket, 0o777, now)
        };
        Arc::new(SocketInode(Mutex::new(Level::Inode, attr)))
    }
}

impl Inode for SocketInode {
    fn attr(&self) -> Result<Attr, Errno> {
        Ok(*self.0.lock())
    }

    fn set_attr(&self, set: &SetAttr) -> Result<(), Errno> {
        if set.size.is_some() {
            return Err(Errno::EINVAL);
        }
        let time = |set: SetTime| match set {
            SetTime::Now => now(),
            SetTime::At(time) => time,
        };
        let mut attr = self.0.lock();
        attr.perm = set.perm.unwrap_or(attr.perm);
        attr.uid = set.uid.unwrap_or(attr.uid);
        attr.gid = set.gid.unwrap_or(attr.gid);
        attr.atime = set.atime.map_or(attr.atime, time);
        attr.mtime = set.mtime.map_or(attr.mtime, time);
        attr.ctime = now();
        Ok(())
    }

    fn open(self: Arc<Self>, _flags: OpenFlags) -> Result<Arc<dyn FileOps>, Errno> {
        Err(Errno::ENXIO)
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
