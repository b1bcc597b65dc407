//! Files of `memfd_create(2)`: unnamed inodes of a tmpfs that is mounted nowhere.

use std::sync::{Arc, OnceLock};

use abi::Errno;
use abi::flags::OpenFlags;
use sentry_fs::tmpfs::{TmpFs, TmpfsOptions, memfd};
use sentry_fs::{FileSystem, Inode};

use crate::vfs::{Dentry, File, Mount, MountFlags, Path};

/// Longest name that a memfd may be given.
pub const MEMFD_NAME_MAX: usize = memfd::NAME_MAX;

/// Makes memfds.
#[derive(Default)]
pub struct Memfds(OnceLock<(Arc<TmpFs>, Arc<Mount>)>);

impl Memfds {
    fn home(&self) -> Result<&(Arc<TmpFs>, Arc<Mount>), Errno> {
        if let Some(home) = self.0.get() {
            return Ok(home);
        }
        let fs = Arc::new(TmpFs::new(TmpfsOptions::unlimited())?);
        let mount = Mount::of(Arc::clone(&fs) as Arc<dyn FileSystem>, b"tmpfs", MountFlags::empty())?;
        // Somebody else may have been faster; theirs counts.
        Ok(self.0.get_or_init(|| (fs, mount)))
    }

    /// Makes one and opens it for reading and writing. `flags` are those of `memfd_create(2)`: `EINVAL`.
    pub fn create(&self, name: &[u8], flags: u32, uid: u32, gid: u32) -> Result<Arc<File>, Errno> {
        let (fs, mount) = self.home()?;
        let inode = memfd::create(fs, flags, uid, gid)?;
        let root = mount.root_path().dentry;
        let shown = [b"memfd:", name].concat();
        let dentry = Dentry::unnamed(&root.sb, Arc::clone(&inode), &shown, Some(Arc::clone(&root)), false)?;
        let open = OpenFlags::RDWR | OpenFlags::LARGEFILE;
        let ops = Inode::open(inode, open)?;
        Ok(File::with_path(ops, Path { mount: Arc::clone(mount), dentry }, open))
    }
}
