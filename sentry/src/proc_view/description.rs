//! Open files without a name as places that a path walk can end at: `/proc/PID/fd/N` of a pipe or of a descriptor that the
//! caller of the sandbox passed in (`/dev/stdin`).

use std::any::Any;
use std::sync::{Arc, OnceLock};

use abi::Errno;
use abi::flags::OpenFlags;
use sentry_fs::pipe::{Fifo, PipeEnd};
use sentry_fs::tmpfs::{TmpFs, TmpfsOptions};
use sentry_fs::{Attr, DeviceId, FileKind, FileOps, FileSystem, Inode, InodeRef, SetAttr};

use crate::vfs::{Dentry, File, Mount, MountFlags, Path};

/// The inode of an open file, which opens that file again.
pub(crate) struct Description {
    file: Arc<File>,
    inode: Option<InodeRef>,
}

impl Description {
    fn pipe(&self) -> Option<Arc<PipeEnd>> {
        Arc::clone(&self.file.ops).as_any().downcast().ok()
    }
}

/// What `stat` shows of a pipe without a name.
fn pipe_attr(end: &PipeEnd) -> Attr {
    let now = crate::time::realtime();
    Attr::nameless(DeviceId::default(), end.pipe().ino(), FileKind::Fifo, 0o600, now)
}

impl Inode for Description {
    fn attr(&self) -> Result<Attr, Errno> {
        match (&self.inode, self.pipe()) {
            (Some(inode), _) => inode.attr(),
            (None, Some(end)) => Ok(pipe_attr(&end)),
            (None, None) => Err(Errno::ENXIO),
        }
    }

    fn set_attr(&self, set: &SetAttr) -> Result<(), Errno> {
        self.inode.as_ref().ok_or(Errno::EPERM)?.set_attr(set)
    }

    /// A pipe gets another end; anything else is the same description, which has the rights that it has.
    fn open(self: Arc<Self>, flags: OpenFlags) -> Result<Arc<dyn FileOps>, Errno> {
        if let Some(end) = self.pipe() {
            return Ok(Fifo::open(end.pipe(), flags | OpenFlags::NONBLOCK)?.into_end());
        }
        let own = self.file.flags();
        let lacks = flags.readable() && !own.readable() || flags.writable() && !own.writable();
        if lacks { Err(Errno::EACCES) } else { Ok(Arc::clone(&self.file.ops)) }
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// Returns the place of an open file without a name; `None` for one that has no inode and is no pipe.
pub(super) fn place(file: &Arc<File>) -> Option<Path> {
    static HOME: OnceLock<Arc<Mount>> = OnceLock::new();
    let inode = file.inode.clone();
    let mount = match HOME.get() {
        Some(mount) => mount,
        None => {
            let fs: Arc<dyn FileSystem> = Arc::new(TmpFs::new(TmpfsOptions::unlimited()).ok()?);
            let mount = Mount::of(fs, b"none", MountFlags::empty()).ok()?;
            HOME.get_or_init(|| mount)
        }
    };
    let own: InodeRef = Arc::new(Description { file: Arc::clone(file), inode });
    let dentry = Dentry::unnamed(&mount.sb, own, b"description", Some(Arc::clone(&mount.root)), false).ok()?;
    Some(Path { mount: Arc::clone(mount), dentry })
}
