//! Open files and directories of a tmpfs.

use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use abi::flags::OpenFlags;
use abi::{Errno, time::Timespec};

use super::content::Seals;
use super::inode::TmpInode;
use super::tree::FIRST_ENTRY;
use crate::{DirEntry, DirSink, FileKind, FileOps, IoDst, IoFlags, IoSrc, MapSource, host};

/// An access time older than this is renewed at the next access (`relatime`), in seconds.
const RELATIME: i64 = 24 * 60 * 60;

/// Renews the access time as `relatime` has it. Mounts with `noatime` open their files with `O_NOATIME`.
fn accessed(inode: &TmpInode, flags: OpenFlags) {
    if flags.contains(OpenFlags::NOATIME) {
        return;
    }
    let mut meta = inode.meta.lock();
    let stale = |now: Timespec| now.sec.saturating_sub(meta.atime.sec) >= RELATIME;
    let now = host::now();
    if meta.atime <= meta.mtime || meta.atime <= meta.ctime || stale(now) {
        meta.atime = now;
    }
}

/// An open regular file.
#[derive(Debug)]
pub(super) struct TmpFile {
    inode: Arc<TmpInode>,
    flags: OpenFlags,
}

impl TmpFile {
    pub(super) fn new(inode: Arc<TmpInode>, flags: OpenFlags) -> TmpFile {
        TmpFile { inode, flags }
    }
}

impl FileOps for TmpFile {
    fn read(&self, pos: &mut u64, _flags: IoFlags, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        let done = self.inode.content()?.read(pos, dst)?;
        accessed(&self.inode, self.flags);
        Ok(done)
    }

    fn write(&self, pos: &mut u64, flags: IoFlags, src: &mut dyn IoSrc) -> Result<usize, Errno> {
        let done = self.inode.content()?.write(pos, flags.contains(IoFlags::APPEND), src)?;
        if done > 0 {
            self.inode.modified();
        }
        Ok(done)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek_data_hole(&self, pos: u64, data: bool) -> Result<u64, Errno> {
        self.inode.content()?.seek(pos, data)
    }

    fn map(&self, shared: bool) -> Result<MapSource, Errno> {
        // A private mapping never writes to the file, whatever the guest makes of its protection: only a shared one
        // needs a descriptor without the right to.
        let file = self.inode.content()?.map(self.flags.writable() || !shared)?;
        accessed(&self.inode, self.flags);
        Ok(MapSource::Host { file, offset: 0 })
    }

    fn stored(&self, pos: u64, most: u64) -> Option<(Arc<OwnedFd>, u64)> {
        let stored = self.inode.content().ok()?.stored(pos, most)?;
        accessed(&self.inode, self.flags);
        Some(stored)
    }

    fn show(&self) {
        if let Ok(content) = self.inode.content() {
            content.show();
        }
    }

    fn replaceable(&self, pos: u64, most: u64) -> Option<(Arc<OwnedFd>, u64)> {
        let content = self.inode.content().ok()?;
        // Whoever adds a seal finds a mapping of ours in his way.
        content.seals().contains(Seals::SEAL).then(|| content.stored(pos, most))?
    }

    fn replaced(&self) {
        self.inode.modified();
    }

    fn write_sealed(&self) -> bool {
        self.inode.content().is_ok_and(|content| content.seals().forbid_write())
    }

    fn sync(&self, _data_only: bool) -> Result<(), Errno> {
        Ok(())
    }

    fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<(), Errno> {
        self.inode.content()?.allocate(mode, offset, len)?;
        self.inode.modified();
        Ok(())
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// An open directory.
#[derive(Debug)]
pub(super) struct TmpDir {
    inode: Arc<TmpInode>,
}

impl TmpDir {
    pub(super) fn new(inode: Arc<TmpInode>) -> TmpDir {
        TmpDir { inode }
    }
}

impl FileOps for TmpDir {
    fn read(&self, _pos: &mut u64, _flags: IoFlags, _dst: &mut dyn IoDst) -> Result<usize, Errno> {
        Err(Errno::EISDIR)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read_dir(&self, pos: u64, sink: &mut dyn DirSink) -> Result<(), Errno> {
        {
            let tree = self.inode.fs.tree.read();
            let dir = tree.dir(self.inode.ino())?;
            let directory = Some(FileKind::Directory);
            let dots = [(0, self.inode.ino(), b".".as_slice()), (1, dir.parent, b"..")];
            for (at, ino, name) in dots.into_iter().filter(|(at, ..)| *at >= pos) {
                if !sink.entry(&DirEntry { ino, kind: directory, name, next: at + 1 }) {
                    return Ok(());
                }
            }
            for (at, name, inode) in dir.from(pos.max(FIRST_ENTRY)) {
                if !sink.entry(&DirEntry { ino: inode.ino(), kind: Some(inode.kind()), name, next: at + 1 }) {
                    break;
                }
            }
        }
        accessed(&self.inode, OpenFlags::empty());
        Ok(())
    }

    fn sync(&self, _data_only: bool) -> Result<(), Errno> {
        Ok(())
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
