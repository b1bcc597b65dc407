//! Open file descriptions as backing of mappings.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use abi::time::Timespec;
use sentry_fs::{BytesDst, DeviceId, IoFlags};

use super::map::FileMap;
use super::vma::MappedFile;
use crate::vfs::{File, MountFlags};

/// A mapped open file description. It stays open for as long as it is mapped.
pub struct MappedDescription {
    file: Arc<File>,
    device: DeviceId,
    inode: u64,
    settled: bool,
    /// Bytes, of a program that nobody can write to while it is executed.
    lasting: Option<u64>,
    /// Times of the last changes of content and of attributes.
    changed: Option<[Timespec; 2]>,
}

/// How long nobody must have written to a file before it counts as settled.
const SETTLED: Duration = Duration::from_secs(10);

impl MappedDescription {
    /// Wraps a description; device and inode number are those of now (they never change).
    pub fn new(file: Arc<File>) -> Arc<MappedDescription> {
        let attr = file.inode.as_ref().and_then(|inode| inode.attr().ok());
        let (device, inode) = attr.as_ref().map_or((DeviceId::default(), 0), |attr| (attr.dev, attr.ino));
        let age = |time: Timespec| {
            let since = UNIX_EPOCH + Duration::from_secs(u64::try_from(time.sec).ok()?);
            SystemTime::now().duration_since(since).ok()
        };
        let is_old = |time: Timespec| age(time).is_some_and(|age| age > SETTLED);
        let settled = attr.as_ref().is_some_and(|attr| is_old(attr.mtime));
        let lasting = attr.as_ref().filter(|_| file.is_program()).map(|attr| attr.size);
        // Anybody may set the first of the two; and changes that follow each other closely have the same times.
        let changed = attr.filter(|attr| is_old(attr.ctime)).map(|attr| [attr.mtime, attr.ctime]);
        Arc::new(MappedDescription { file, device, inode, settled, lasting, changed })
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

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Option<usize> {
        let (mut pos, mut done) = (offset, 0);
        while done < buf.len() {
            match self.file.ops.read(&mut pos, IoFlags::POSITIONED, &mut BytesDst::new(&mut buf[done..])) {
                Ok(0) => break,
                Ok(got) => done += got.min(buf.len() - done),
                Err(_) => return None,
            }
        }
        Some(done)
    }

    fn is_settled(&self) -> bool {
        self.settled
    }

    fn version(&self) -> Option<[Timespec; 2]> {
        self.changed.filter(|_| self.settled)
    }

    fn lasting(&self) -> Option<u64> {
        self.lasting
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
