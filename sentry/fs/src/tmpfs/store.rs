//! Where the bytes of one file lie: in private memory while it is small, in a host memfd of its own from then on.

use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use abi::{Errno, PAGE_SIZE};
use rustix::fs::{FallocateFlags, SeekFrom};

use super::Backing;
use super::ranges::Ranges;
use crate::host;

/// Content beyond this goes to the host.
pub(super) const SMALL_MAX: u64 = 64 * 1024;

/// Pages of holes that a small file may have in memory.
const HOLES_MAX: u64 = 4;

/// Counts the pages that a byte range touches.
pub(super) fn page_range(start: u64, end: u64) -> Range<u64> {
    start / PAGE_SIZE..end.div_ceil(PAGE_SIZE)
}

/// Up to [`SMALL_MAX`] bytes. `data` may end before the file does (the rest is a hole) or after (preallocated zeros).
#[derive(Debug, Default)]
pub(super) struct Small {
    pub(super) data: Vec<u8>,
    /// Bit *n*: page *n* is allocated.
    pub(super) pages: u16,
    /// Bit *n*: page *n* has been written to. One that is only allocated is a hole to `SEEK_HOLE`, as on Linux.
    written: u16,
}

impl Small {
    fn bit(page: u64) -> u16 {
        u32::try_from(page).ok().and_then(|page| 1_u16.checked_shl(page)).unwrap_or(0)
    }

    pub(super) fn has(&self, page: u64) -> bool {
        self.pages & Small::bit(page) != 0
    }

    pub(super) fn missing(&self, start: u64, end: u64) -> u64 {
        page_range(start, end).filter(|page| !self.has(*page)).count() as u64
    }

    /// Marks pages as allocated. Allocating a page a second time counts as writing to it, as on Linux.
    pub(super) fn allocate(&mut self, start: u64, end: u64) {
        for page in page_range(start, end) {
            if self.has(page) {
                self.written |= Small::bit(page);
            }
            self.pages |= Small::bit(page);
        }
    }

    /// Marks pages as allocated and written; returns how many were not allocated before.
    pub(super) fn mark(&mut self, start: u64, end: u64) -> u64 {
        let missing = self.missing(start, end);
        for page in page_range(start, end) {
            self.written |= Small::bit(page);
            self.pages |= Small::bit(page);
        }
        missing
    }

    fn release(&mut self, page: u64) {
        self.pages &= !Small::bit(page);
        self.written &= !Small::bit(page);
    }

    pub(super) fn allocated(&self) -> u64 {
        u64::from(self.pages.count_ones())
    }

    /// Makes `data` reach to `end`, which is at most [`SMALL_MAX`].
    pub(super) fn reach(&mut self, end: usize) {
        if self.data.len() < end {
            self.data.resize(end, 0);
        }
    }

    /// Tells whether so much of `start` bytes is hole that keeping them here would use far more memory than is charged.
    pub(super) fn is_wasteful(&self, start: u64) -> bool {
        start.max(self.data.len() as u64) / PAGE_SIZE > self.allocated() + HOLES_MAX
    }

    /// Gives back memory that the buffer has grown to and no longer needs.
    fn shrink(&mut self) {
        if self.data.capacity() > 2 * self.data.len() + 4096 {
            self.data.shrink_to_fit();
        }
    }

    pub(super) fn truncate(&mut self, size: u64) {
        self.data.truncate(index(size));
        for page in size.div_ceil(PAGE_SIZE)..SMALL_MAX / PAGE_SIZE {
            self.release(page);
        }
        self.shrink();
    }

    pub(super) fn zero(&mut self, start: u64, end: u64) {
        let len = self.data.len();
        self.data[index(start).min(len)..index(end).min(len)].fill(0);
    }

    /// Zeroes a range and gives back the pages that lie in it as a whole.
    pub(super) fn punch(&mut self, start: u64, end: u64) {
        self.zero(start, end);
        for page in start.div_ceil(PAGE_SIZE)..(end / PAGE_SIZE).min(SMALL_MAX / PAGE_SIZE) {
            self.release(page);
        }
        let last = u64::from(u16::BITS - self.pages.leading_zeros());
        self.data.truncate(index(last * PAGE_SIZE));
        self.shrink();
    }

    pub(super) fn seek(&self, pos: u64, size: u64, data: bool) -> Result<u64, Errno> {
        let first = pos / PAGE_SIZE;
        let last = (SMALL_MAX / PAGE_SIZE).max(first);
        let found = (first..=last)
            .find(|page| (self.written & Small::bit(*page) != 0) == data)
            .map(|page| pos.max(page * PAGE_SIZE));
        match found {
            Some(at) if at < size => Ok(at),
            _ if data => Err(Errno::ENXIO),
            _ => Ok(size),
        }
    }
}

/// Clamps a file position to what an index of a small buffer can be.
pub(super) fn index(pos: u64) -> usize {
    usize::try_from(pos.min(SMALL_MAX)).unwrap_or(usize::MAX)
}

/// A file of the host with the content of one file: a memfd, or what the file system's [`Backing`] makes.
#[derive(Debug)]
pub(super) struct HostFile {
    pub(super) file: Arc<OwnedFd>,
    /// The same file through a descriptor that can't write, made when first wanted.
    pub(super) readonly: Option<Arc<OwnedFd>>,
    /// Pages charged to the file system.
    pub(super) charged: u64,
    /// Every page below the end of the file is allocated.
    pub(super) dense: bool,
    /// How often it mattered that it isn't.
    pub(super) looks: AtomicU32,
    /// Pages allocated by `fallocate`, which the host shows as holes until they are written to.
    pub(super) preallocated: Ranges,
    /// Somebody may have it mapped: pages come by faults, and the descriptor must stay.
    pub(super) mapped: bool,
    /// The kernel may have it mapped for itself, which makes pages only where there are holes, for a guest that wants that.
    pub(super) shown: bool,
}

impl HostFile {
    pub(super) fn create(small: &Small, size: u64, backing: Option<&dyn Backing>) -> Result<HostFile, Errno> {
        let file = backing.map_or_else(|| host::memfd("tmpfs"), Backing::make)?;
        let mut preallocated = Ranges::default();
        rustix::fs::ftruncate(&file, size).map_err(host::errno)?;
        for page in (0..SMALL_MAX / PAGE_SIZE).filter(|page| small.has(*page)) {
            let start = index(page * PAGE_SIZE);
            let end = index(((page + 1) * PAGE_SIZE).min(size)).max(start);
            let data = &small.data[start.min(small.data.len())..end.min(small.data.len())];
            let written = small.written & Small::bit(page) != 0;
            if written && !data.is_empty() {
                write_all(&file, data, page * PAGE_SIZE)?;
                continue;
            }
            preallocated.insert(page..page + 1);
            // Beyond the end nothing can be written: the second allocation counts as that.
            for _ in 0..if written { 2 } else { 1 } {
                rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, page * PAGE_SIZE, PAGE_SIZE)
                    .map_err(host::errno)?;
            }
        }
        let charged = small.allocated();
        let dense = (0..size.div_ceil(PAGE_SIZE)).all(|page| small.has(page)) && charged == size.div_ceil(PAGE_SIZE);
        Ok(HostFile {
            file: Arc::new(file),
            readonly: None,
            charged,
            dense,
            looks: AtomicU32::new(0),
            preallocated,
            mapped: false,
            shown: false,
        })
    }

    /// Returns the pages that the host holds for this file.
    pub(super) fn allocated(&self) -> Result<u64, Errno> {
        let stat = rustix::fs::fstat(&self.file).map_err(host::errno)?;
        Ok(stat.st_blocks.unsigned_abs().div_ceil(PAGE_SIZE / 512))
    }

    /// Counts the pages of a range that a write would have to allocate.
    pub(super) fn missing(&self, size: u64, start: u64, end: u64) -> Result<u64, Errno> {
        let range = page_range(start, end);
        if self.dense {
            return Ok(range.end.saturating_sub(range.start.max(size.div_ceil(PAGE_SIZE))));
        }
        let hole = |pages: Range<u64>| pages.end.saturating_sub(pages.start) - self.preallocated.common(&pages);
        let mut missing = 0;
        let mut at = range.start;
        while at < range.end {
            let data = match rustix::fs::seek(&self.file, SeekFrom::Data(at * PAGE_SIZE)) {
                Ok(data) => (data / PAGE_SIZE).min(range.end),
                Err(rustix::io::Errno::NXIO) => range.end,
                Err(error) => return Err(host::errno(error)),
            };
            missing += hole(at..data);
            if data == range.end {
                break;
            }
            let next = rustix::fs::seek(&self.file, SeekFrom::Hole(data * PAGE_SIZE)).map_err(host::errno)?;
            at = next.div_ceil(PAGE_SIZE).max(data + 1);
        }
        Ok(missing)
    }

    pub(super) fn seek(&self, pos: u64, data: bool) -> Result<u64, Errno> {
        let what = if data { SeekFrom::Data(pos) } else { SeekFrom::Hole(pos) };
        rustix::fs::seek(&self.file, what).map_err(host::errno)
    }

    /// Returns a descriptor to map shared for reading: `EACCES` where none without the right to write can be made.
    pub(super) fn readonly(&mut self) -> Result<Arc<OwnedFd>, Errno> {
        if let Some(file) = &self.readonly {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(host::reopen_readonly(self.file.as_fd())?);
        self.readonly = Some(Arc::clone(&file));
        Ok(file)
    }
}

/// Writes everything or says how the host failed.
pub(super) fn write_all(file: &OwnedFd, mut data: &[u8], mut at: u64) -> Result<(), Errno> {
    while !data.is_empty() {
        let count = rustix::io::pwrite(file, data, at).map_err(host::errno)?;
        if count == 0 {
            return Err(Errno::EIO);
        }
        data = &data[count..];
        at += count as u64;
    }
    Ok(())
}
