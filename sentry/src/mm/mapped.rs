//! Open file descriptions as backing of mappings.

use std::any::Any;
use std::sync::Arc;

use sentry_fs::DeviceId;

use super::map::FileMap;
use super::vma::MappedFile;
use crate::vfs::{File, MountFlags};

/// A mapped open file description. It stays open for as long as it is mapped.
pub struct MappedDescription {
    file: Arc<File>,
    device: DeviceId,
    inode: u64,
}

impl MappedDescription {
    /// Wraps a description; device and inode number are those of now (they never change).
    pub fn new(file: Arc<File>) -> Arc<MappedDescription> {
        let attr = file.inode.as_ref().and_then(|inode| inode.attr().ok());
        let (device, inode) = attr.map_or((DeviceId::default(), 0), |attr| (attr.dev, attr.ino));
        Arc::new(MappedDescription { file, device, inode })
    }

    /// Returns the description.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }
}

impl MappedFile for MappedDescription {
    fn description(&self) -> u64 {
        self.file.id
    }

    fn device(&self) -> DeviceId {
        self.device
    }

    fn inode(&self) -> u64 {
        self.inode
    }

    fn path(&self) -> Vec<u8> {
        self.file.shown_path(None)
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }
}

impl FileMap {
    /// Prepares a description for `mmap`.
    pub fn of(file: &Arc<File>) -> FileMap {
        let flags = file.flags();
        let noexec = file.path.as_ref().is_some_and(|path| path.mount.flags().contains(MountFlags::NOEXEC));
        let ops = Arc::clone(&file.ops);
        FileMap {
            file: MappedDescription::new(Arc::clone(file)),
            readable: flags.readable(),
            writable: flags.writable(),
            noexec,
            append_only: false,
            write_sealed: file.ops.write_sealed(),
            source: Box::new(move |shared| ops.map(shared)),
        }
    }
}
