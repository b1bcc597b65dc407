//! [`GoferFile`]: an open regular file; data go straight to the descriptor that the gofer donated.

use std::any::Any;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use abi::Errno;
use abi::time::Timespec;
use abi::types::MAX_RW_COUNT;
use gofer_proto::{Access, WireAttr};
use rustix::fs::{AtFlags, FallocateFlags, SeekFrom, StatxFlags};
use rustix::io::ReadWriteFlags;
use sentry_sync::blocking;

use super::Shared;
use super::node::GoferInode;
use crate::host::errno;
use crate::{Attr, FileOps, IoDst, IoFlags, IoSrc, MapSource};

/// An open regular file.
#[derive(Debug)]
pub(super) struct GoferFile {
    inode: Arc<GoferInode>,
    fd: Arc<OwnedFd>,
    access: Access,
    /// The host's file system can't tell what it has in memory.
    blind: AtomicBool,
    /// The state, as by [`mark`], in which the file was read for the sake of its access time.
    read_at: AtomicU64,
}

/// Returns what differs where somebody has written since, or the access time has moved.
fn mark(attr: &Attr) -> u64 {
    let times = [attr.atime, attr.mtime, attr.ctime];
    let words = times.iter().flat_map(|time| [time.sec.cast_unsigned(), time.nsec.cast_unsigned()]);
    words.fold(1, |all: u64, word| all.rotate_left(11).wrapping_mul(31) ^ word)
}

/// Bytes that pass through one copy of a write.
const CHUNK: usize = 64 * 1024;

/// Writes up to this size need no memory of their own.
const SMALL: usize = 4096;

/// Reads attributes through a descriptor of our own.
pub(super) fn host_attr(fs: &Shared, fd: BorrowedFd<'_>) -> Result<Attr, Errno> {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let found = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, mask).map_err(errno)?;
    let time = |time: rustix::fs::StatxTimestamp| Timespec { sec: time.tv_sec, nsec: i64::from(time.tv_nsec) };
    fs.attr(&WireAttr {
        dev: u64::from(found.stx_dev_major) << 32 | u64::from(found.stx_dev_minor),
        ino: found.stx_ino,
        nlink: u64::from(found.stx_nlink),
        size: found.stx_size,
        blocks: found.stx_blocks,
        rdev: u64::from(found.stx_rdev_major) << 32 | u64::from(found.stx_rdev_minor),
        mode: u32::from(found.stx_mode),
        uid: found.stx_uid,
        gid: found.stx_gid,
        blksize: found.stx_blksize,
        atime: time(found.stx_atime),
        mtime: time(found.stx_mtime),
        ctime: time(found.stx_ctime),
        btime: time(found.stx_btime),
        has_btime: u64::from(found.stx_mask & StatxFlags::BTIME.bits() != 0),
    })
}

fn host_flags(flags: IoFlags) -> ReadWriteFlags {
    let pairs = [
        (IoFlags::APPEND, ReadWriteFlags::APPEND),
        (IoFlags::DSYNC, ReadWriteFlags::DSYNC),
        (IoFlags::SYNC, ReadWriteFlags::SYNC),
        (IoFlags::NOWAIT, ReadWriteFlags::NOWAIT),
    ];
    pairs.into_iter().filter(|(ours, _)| flags.contains(*ours)).map(|(_, host)| host).collect()
}

impl GoferFile {
    pub(super) fn new(inode: Arc<GoferInode>, fd: Arc<OwnedFd>, access: Access) -> GoferFile {
        GoferFile { inode, fd, access, blind: AtomicBool::new(false), read_at: AtomicU64::new(0) }
    }

    /// Reads what is in the host's page cache: `EAGAIN` where nothing is, `EOPNOTSUPP` where the file system can't tell.
    fn read_cached(&self, buf: &mut [u8], at: u64) -> Result<usize, Errno> {
        rustix::io::preadv2(&*self.fd, &mut [IoSliceMut::new(buf)], at, ReadWriteFlags::NOWAIT).map_err(errno)
    }

    /// Reads until the buffer is full or the file ends. Where that takes a disk others do this worker's work meanwhile.
    fn read_at(&self, buf: &mut [u8], at: u64) -> Result<usize, Errno> {
        let mut done = 0;
        while !self.blind.load(Ordering::Relaxed) {
            let part = &mut buf[done..];
            let wanted = part.len();
            match self.read_cached(part, at.saturating_add(done as u64)) {
                Ok(0) => return Ok(done),
                Ok(got) if got == wanted => return Ok(done + got),
                // Here ends the file, or what is cached.
                Ok(got) => done += got,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return self.read_rest(buf, at, done, true),
                Err(Errno::EOPNOTSUPP) => self.blind.store(true, Ordering::Relaxed),
                Err(errno) => return if done > 0 { Ok(done) } else { Err(errno) },
            }
        }
        self.read_rest(buf, at, done, false)
    }

    /// Reads what follows the first `done` bytes, however long it takes.
    fn read_rest(&self, buf: &mut [u8], at: u64, done: usize, slow: bool) -> Result<usize, Errno> {
        let part = &mut buf[done..];
        let mut read =
            || rustix::io::retry_on_intr(|| rustix::io::pread(&*self.fd, &mut *part, at.saturating_add(done as u64)));
        match if slow { blocking(read) } else { read() } {
            Ok(got) => Ok(done + got),
            Err(_) if done > 0 => Ok(done),
            Err(error) => Err(errno(error)),
        }
    }

    /// Writes all of `data` at `at`, or as much as the host takes. An error counts only where nothing was written.
    fn write_chunk(&self, data: &[u8], at: u64, flags: ReadWriteFlags) -> (usize, Option<Errno>) {
        let mut done = 0;
        while done < data.len() {
            let Some(offset) = u64::try_from(done).ok().and_then(|done| at.checked_add(done)) else {
                return (done, Some(Errno::EFBIG));
            };
            let part = &data[done..];
            let result = if flags.is_empty() {
                rustix::io::pwrite(&*self.fd, part, offset)
            } else {
                rustix::io::pwritev2(&*self.fd, &[IoSlice::new(part)], offset, flags)
            };
            match result {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return (done, Some(errno(error))),
            }
        }
        (done, None)
    }

    fn write_all(&self, pos: u64, flags: IoFlags, src: &mut dyn IoSrc) -> Result<usize, Errno> {
        let flags = host_flags(flags);
        let mut small = [0; SMALL];
        let mut large = Vec::new();
        let mut total = 0;
        loop {
            let want = src.remaining().min(CHUNK).min(MAX_RW_COUNT - total);
            if want == 0 {
                return Ok(total);
            }
            let buf = match small.get_mut(..want) {
                Some(buf) => buf,
                None => {
                    large.resize(CHUNK, 0);
                    &mut large[..want]
                }
            };
            let taken = match src.take(buf) {
                Ok(taken) => taken,
                Err(_) if total > 0 => return Ok(total),
                Err(errno) => return Err(errno),
            };
            let at = u64::try_from(total).ok().and_then(|total| pos.checked_add(total)).ok_or(Errno::EFBIG)?;
            let (done, error) = self.write_chunk(&buf[..taken], at, flags);
            total += done;
            if done < taken {
                src.untake(taken - done);
                return match error {
                    Some(errno) if total == 0 => Err(errno),
                    _ => Ok(total),
                };
            }
            if taken < want {
                return Ok(total);
            }
        }
    }
}

impl FileOps for GoferFile {
    fn read(&self, pos: &mut u64, flags: IoFlags, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        let start = *pos;
        let mut at = start;
        let want = dst.remaining().min(MAX_RW_COUNT);
        let nowait = flags.contains(IoFlags::NOWAIT);
        let done = dst.fill_with(want, &mut |buf| {
            let got = if nowait { self.read_cached(buf, at)? } else { self.read_at(buf, at)? };
            at = at.saturating_add(got as u64);
            Ok(got)
        })?;
        *pos = start.saturating_add(done as u64);
        self.inode.accessed();
        Ok(done)
    }

    fn write(&self, pos: &mut u64, flags: IoFlags, src: &mut dyn IoSrc) -> Result<usize, Errno> {
        let _writing = self.inode.writing.lock();
        let result = if flags.intersects(IoFlags::SYNC | IoFlags::DSYNC) {
            blocking(|| self.write_all(*pos, flags, src))
        } else {
            self.write_all(*pos, flags, src)
        };
        self.inode.stale();
        let done = result?;
        *pos = if flags.contains(IoFlags::APPEND) && done > 0 {
            GoferInode::host_size(&self.fd)?
        } else {
            pos.saturating_add(done as u64)
        };
        Ok(done)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek_data_hole(&self, pos: u64, data: bool) -> Result<u64, Errno> {
        // Moves the descriptor's own offset, which nothing uses.
        let to = if data { SeekFrom::Data(pos) } else { SeekFrom::Hole(pos) };
        rustix::fs::seek(&*self.fd, to).map_err(errno)
    }

    fn map(&self, shared: bool) -> Result<MapSource, Errno> {
        if !self.access.contains(Access::READ) {
            return Err(Errno::EACCES);
        }
        if shared && self.access.contains(Access::WRITE) {
            self.inode.mapped();
        } else {
            self.inode.accessed();
        }
        Ok(MapSource::Host { file: Arc::clone(&self.fd), offset: 0 })
    }

    fn stored(&self, pos: u64, most: u64) -> Option<(Arc<OwnedFd>, u64)> {
        // Of what others change, a mapping may show less than a read: on a network's file system only that asks for news.
        if !self.access.contains(Access::READ) || !self.inode.fs.exclusive() {
            return None;
        }
        let attr = self.inode.attr_by(&self.fd)?;
        let len = attr.size.saturating_sub(pos).min(most);
        // In a hole a look through a mapping could make pages. The access time is moved by reads only, if at all.
        let dense = attr.blocks.saturating_mul(512) >= attr.size;
        let still = self.inode.keeps_atime(&attr) || self.read_at.swap(mark(&attr), Ordering::Relaxed) == mark(&attr);
        (len > 0 && dense && still).then(|| (Arc::clone(&self.fd), len))
    }

    fn show(&self) {
        self.inode.accessed();
    }

    fn sync(&self, data_only: bool) -> Result<(), Errno> {
        let sync = || if data_only { rustix::fs::fdatasync(&*self.fd) } else { rustix::fs::fsync(&*self.fd) };
        blocking(sync).map_err(errno)
    }

    fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<(), Errno> {
        let _writing = self.inode.writing.lock();
        let result = rustix::fs::fallocate(&*self.fd, FallocateFlags::from_bits_retain(mode), offset, len);
        self.inode.stale();
        result.map_err(errno)
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
