//! The content of one regular file or memfd: reading, writing, holes, sizes, seals, and what to map.
//!
//! Pages are charged to the file system's [`Quota`] when they are allocated. Pages that a guest's mapping faults in are
//! counted when next looked at ([`Content::pages`]), so a mapping may exceed the limit; a write may not.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::addr::page_floor;
use abi::{Errno, PAGE_SIZE};
use bitflags::bitflags;
use rustix::fs::{FallocateFlags, SealFlags};
use sentry_sync::{Level, RwLock};

use super::quota::Quota;
use super::store::{HostFile, SMALL_MAX, Small, index, page_range, write_all};
use crate::{IoDst, IoSrc, host};

/// Longest file.
pub(super) const MAX_SIZE: u64 = i64::MAX.unsigned_abs();

const ZEROS: [u8; 4096] = [0; 4096];
const CHUNK: usize = 128 * 1024;

bitflags! {
    /// `F_SEAL_*` of `fcntl(2)`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Seals: u32 {
        /// No further seals.
        const SEAL = 0x1;
        /// The file may not become shorter.
        const SHRINK = 0x2;
        /// The file may not become longer.
        const GROW = 0x4;
        /// The content may not change.
        const WRITE = 0x8;
        /// No new writes, while existing mappings may go on.
        const FUTURE_WRITE = 0x10;
        /// The execute bits may not change.
        const EXEC = 0x20;
    }
}

impl Seals {
    pub(crate) fn forbid_write(self) -> bool {
        self.intersects(Seals::WRITE | Seals::FUTURE_WRITE)
    }
}

bitflags! {
    /// Mode bits of `fallocate(2)`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Mode: u32 {
        const KEEP_SIZE = 1;
        const PUNCH_HOLE = 2;
        const ZERO_RANGE = 0x10;
    }
}

#[derive(Debug)]
enum Store {
    Small(Small),
    Host(HostFile),
}

#[derive(Debug)]
struct State {
    size: u64,
    seals: Seals,
    store: Store,
    /// What dropping the content gives back to.
    quota: Arc<Quota>,
}

/// The bytes of a file.
#[derive(Debug)]
pub(crate) struct Content {
    quota: Arc<Quota>,
    state: RwLock<State>,
}

impl Content {
    pub(crate) fn new(quota: Arc<Quota>, seals: Seals) -> Content {
        let state = State { size: 0, seals, store: Store::Small(Small::default()), quota: Arc::clone(&quota) };
        Content { quota, state: RwLock::new(Level::Inode, state) }
    }

    pub(crate) fn size(&self) -> u64 {
        self.state.read().size
    }

    /// Returns the allocated pages.
    pub(crate) fn pages(&self) -> u64 {
        {
            let state = self.state.read();
            match &state.store {
                Store::Small(small) => return small.allocated(),
                Store::Host(host) if !host.mapped && (host.dense || !host.shown) => return host.charged,
                Store::Host(_) => {}
            }
        }
        let mut state = self.state.write();
        state.recount(&self.quota);
        match &state.store {
            Store::Small(small) => small.allocated(),
            Store::Host(host) => host.charged,
        }
    }

    pub(crate) fn read(&self, pos: &mut u64, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        let state = self.state.read();
        let left = state.size.saturating_sub(*pos);
        let want = dst.remaining().min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut at = *pos;
        let done = match &state.store {
            Store::Small(small) => read_small(small, at, want, dst)?,
            Store::Host(host) => dst.fill_with(want, &mut |buf| {
                let got = rustix::io::pread(&host.file, buf, at).map_err(host::errno)?;
                at += got as u64;
                Ok(got)
            })?,
        };
        *pos += done as u64;
        Ok(done)
    }

    pub(crate) fn write(&self, pos: &mut u64, append: bool, src: &mut dyn IoSrc) -> Result<usize, Errno> {
        let mut state = self.state.write();
        let start = if append { state.size } else { *pos };
        if src.remaining() == 0 {
            return Ok(0);
        }
        if start >= MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        let end = start.saturating_add(src.remaining() as u64).min(MAX_SIZE);
        let end = state.sealed_end(start, end)?;
        if end > SMALL_MAX || state.is_wasteful(start) {
            state.promote()?;
        }
        let end = state.reserve(&self.quota, start, end)?;
        let done = state.write_reserved(&self.quota, start, end, src)?;
        let reached = start + done as u64;
        state.size = state.size.max(reached);
        *pos = reached;
        Ok(done)
    }

    /// Sets the length. Returns whether it changed.
    pub(crate) fn truncate(&self, size: u64) -> Result<bool, Errno> {
        if size > MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        let mut state = self.state.write();
        let grows = size > state.size;
        if size < state.size && state.seals.contains(Seals::SHRINK) || grows && state.seals.contains(Seals::GROW) {
            return Err(Errno::EPERM);
        }
        let changed = size != state.size;
        let old = state.size;
        match &mut state.store {
            // What was preallocated beyond the end goes too where the end doesn't move up.
            Store::Small(small) if !grows => {
                let before = small.allocated();
                small.truncate(size);
                self.quota.pages.release(before - small.allocated());
            }
            Store::Small(_) => {}
            Store::Host(host) => {
                rustix::fs::ftruncate(&host.file, size).map_err(host::errno)?;
                if !grows {
                    host.preallocated.remove(size.div_ceil(PAGE_SIZE)..u64::MAX);
                }
                if grows && size.div_ceil(PAGE_SIZE) > old.div_ceil(PAGE_SIZE) {
                    host.dense = false;
                }
            }
        }
        state.size = size;
        if !grows {
            state.recount(&self.quota);
        }
        if size == 0 && matches!(&state.store, Store::Host(host) if !host.mapped) && state.seals.is_empty() {
            state.store = Store::Small(Small::default());
        }
        Ok(changed)
    }

    /// `fallocate(2)`.
    pub(crate) fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<(), Errno> {
        let mode = Mode::from_bits(mode).ok_or(Errno::EOPNOTSUPP)?;
        let end = offset.checked_add(len).filter(|end| *end <= MAX_SIZE).ok_or(Errno::EFBIG)?;
        let mut state = self.state.write();
        if mode.contains(Mode::PUNCH_HOLE) {
            return state.punch(&self.quota, offset, end);
        }
        let grows = end > state.size && !mode.contains(Mode::KEEP_SIZE);
        let zeroes = mode.contains(Mode::ZERO_RANGE);
        if grows && state.seals.contains(Seals::GROW) || zeroes && state.seals.forbid_write() {
            return Err(Errno::EPERM);
        }
        if end > SMALL_MAX {
            state.promote()?;
        }
        if state.reserve(&self.quota, offset, end)? < end {
            state.recount(&self.quota);
            return Err(Errno::ENOSPC);
        }
        if zeroes {
            state.punch(&self.quota, offset, end)?;
        }
        let allocated = match &mut state.store {
            Store::Small(small) => {
                // Charged by `reserve`, except for what `punch` has just given back.
                let fresh = small.missing(offset, end);
                small.allocate(offset, end);
                if zeroes {
                    self.quota.pages.charge_forced(fresh);
                }
                Ok(())
            }
            Store::Host(host) => {
                let done = rustix::fs::fallocate(&host.file, FallocateFlags::KEEP_SIZE, offset, len);
                if done.is_ok() {
                    host.preallocated.insert(page_range(offset, end));
                }
                done.map_err(host::errno)
            }
        };
        let grown = if grows && allocated.is_ok() { end } else { state.size };
        let resized = state.resize_host(grown);
        state.recount(&self.quota);
        allocated.and(resized)
    }

    pub(crate) fn seek(&self, pos: u64, data: bool) -> Result<u64, Errno> {
        let state = self.state.read();
        if pos >= state.size {
            return Err(Errno::ENXIO);
        }
        match &state.store {
            Store::Small(small) => small.seek(pos, state.size, data),
            Store::Host(host) => host.seek(pos, data),
        }
    }

    /// Returns a descriptor to map, which can write only if `writable`.
    pub(crate) fn map(&self, writable: bool) -> Result<Arc<OwnedFd>, Errno> {
        let mut state = self.state.write();
        state.promote()?;
        let writable = writable && !state.seals.forbid_write();
        match &mut state.store {
            Store::Small(_) => Err(Errno::EIO),
            Store::Host(host) => {
                let file = if writable { Arc::clone(&host.file) } else { host.readonly()? };
                host.mapped = true;
                Ok(file)
            }
        }
    }

    /// Returns the host file and how many bytes a read from `pos` on returns, where there are some and none of them is a
    /// hole, in which a look through a mapping would make pages.
    pub(crate) fn stored(&self, pos: u64, most: u64) -> Option<(Arc<OwnedFd>, u64)> {
        let state = self.state.read();
        let len = state.size.saturating_sub(pos).min(most);
        let Store::Host(host) = &state.store else { return None };
        if host.dense {
            return (len > 0).then(|| (Arc::clone(&host.file), len));
        }
        // What was a hole when the file was made may have been filled since.
        if host.looks.fetch_add(1, Ordering::Relaxed).is_power_of_two() {
            drop(state);
            self.state.write().look_for_holes(&self.quota);
        }
        None
    }

    /// Hears that what [`Content::stored`] has returned is going to be mapped.
    pub(crate) fn show(&self) {
        if let Store::Host(host) = &mut self.state.write().store {
            host.shown = true;
        }
    }

    pub(crate) fn seals(&self) -> Seals {
        self.state.read().seals
    }

    /// Adds seals: `EPERM` where that is sealed, `EBUSY` while a shared writable mapping exists.
    pub(crate) fn add_seals(&self, seals: Seals) -> Result<(), Errno> {
        let mut state = self.state.write();
        if state.seals.contains(Seals::SEAL) {
            return Err(Errno::EPERM);
        }
        if let Store::Host(host) = &state.store {
            seal_host(host, seals)?;
        }
        state.seals |= seals;
        Ok(())
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let charged = match &self.store {
            Store::Small(small) => small.allocated(),
            Store::Host(host) => host.charged,
        };
        self.quota.pages.release(charged);
    }
}

impl State {
    /// Applies the seals to a write: it ends early, at a page, or is refused.
    fn sealed_end(&self, start: u64, end: u64) -> Result<u64, Errno> {
        if self.seals.forbid_write() {
            return Err(Errno::EPERM);
        }
        if !self.seals.contains(Seals::GROW) || end <= self.size {
            return Ok(end);
        }
        // Linux checks page by page.
        let whole = page_floor(self.size);
        if start < whole { Ok(whole) } else { Err(Errno::EPERM) }
    }

    fn is_wasteful(&self, start: u64) -> bool {
        matches!(&self.store, Store::Small(small) if small.is_wasteful(start))
    }

    /// Moves the content to the host, where it isn't yet.
    fn promote(&mut self) -> Result<(), Errno> {
        let Store::Small(small) = &self.store else { return Ok(()) };
        let host = HostFile::create(small, self.size, self.quota.backing.as_deref())?;
        seal_host(&host, self.seals)?;
        self.store = Store::Host(host);
        Ok(())
    }

    /// Charges the pages that `start..end` needs; returns the end that the limit allows, `ENOSPC` if that is `start`.
    fn reserve(&mut self, quota: &Quota, start: u64, end: u64) -> Result<u64, Errno> {
        let missing = match &self.store {
            Store::Small(small) => small.missing(start, end),
            Store::Host(host) => host.missing(self.size, start, end)?,
        };
        let mut allowed = end;
        let mut charged = missing;
        if quota.pages.charge(missing).is_err() {
            // Rare: find how far the pages that are left reach.
            charged = quota.pages.charge_up_to(missing);
            let mut need = 0;
            allowed = start;
            while allowed < end {
                let next = (page_floor(allowed) + PAGE_SIZE).min(end);
                need += match &self.store {
                    Store::Small(small) => small.missing(allowed, next),
                    Store::Host(host) => host.missing(self.size, allowed, next)?,
                };
                if need > charged {
                    quota.pages.release(charged - (need - 1));
                    charged = need - 1;
                    break;
                }
                allowed = next;
            }
        }
        if let Store::Host(host) = &mut self.store {
            host.charged += charged;
        }
        if allowed == start { Err(Errno::ENOSPC) } else { Ok(allowed) }
    }

    /// Copies into `start..end`, for which the pages have been charged.
    fn write_reserved(&mut self, quota: &Quota, start: u64, end: u64, src: &mut dyn IoSrc) -> Result<usize, Errno> {
        let want = usize::try_from(end - start).map_err(|_| Errno::EFBIG)?;
        match &mut self.store {
            Store::Small(small) => {
                let before = small.data.len();
                let missing = small.missing(start, end);
                small.reach(index(end));
                let taken = src.take(&mut small.data[index(start)..index(end)]);
                let done = taken.as_ref().copied().unwrap_or(0).min(want);
                small.data.truncate(before.max(if done > 0 { index(start) + done } else { 0 }));
                let used = if done > 0 { small.mark(start, start + done as u64) } else { 0 };
                quota.pages.release(missing - used);
                taken.map(|_| done)
            }
            Store::Host(host) => {
                if page_floor(start) > self.size.div_ceil(PAGE_SIZE) * PAGE_SIZE {
                    host.dense = false;
                }
                let result = copy_in(&host.file, start, want, src);
                if !matches!(&result, Ok(done) if *done == want) {
                    self.recount(quota);
                }
                result
            }
        }
    }

    fn punch(&mut self, quota: &Quota, start: u64, end: u64) -> Result<(), Errno> {
        if self.seals.forbid_write() {
            return Err(Errno::EPERM);
        }
        match &mut self.store {
            Store::Small(small) => {
                let before = small.allocated();
                small.punch(start, end);
                quota.pages.release(before - small.allocated());
                if small.is_wasteful(0) {
                    self.promote()?;
                }
            }
            Store::Host(host) => {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                rustix::fs::fallocate(&host.file, flags, start, end - start).map_err(host::errno)?;
                host.preallocated.remove(start.div_ceil(PAGE_SIZE)..end / PAGE_SIZE);
                host.dense = false;
            }
        }
        self.recount(quota);
        Ok(())
    }

    /// Makes the host's length and ours equal to `size`, keeping pages beyond.
    fn resize_host(&mut self, size: u64) -> Result<(), Errno> {
        if let Store::Host(host) = &mut self.store {
            if size > self.size {
                rustix::fs::ftruncate(&host.file, size).map_err(host::errno)?;
            }
            host.dense = false;
        }
        self.size = size;
        Ok(())
    }

    /// Corrects what is charged for a host file to what the host says.
    fn recount(&mut self, quota: &Quota) {
        if let Store::Host(host) = &mut self.store
            && let Ok(pages) = host.allocated()
        {
            quota.pages.release(host.charged);
            quota.pages.charge_forced(pages);
            host.charged = pages;
        }
    }

    /// Finds out whether all holes have been filled.
    fn look_for_holes(&mut self, quota: &Quota) {
        self.recount(quota);
        if let Store::Host(host) = &mut self.store {
            host.dense = host.charged == self.size.div_ceil(PAGE_SIZE) && host.preallocated.is_empty();
        }
    }
}

fn read_small(small: &Small, at: u64, want: usize, dst: &mut dyn IoDst) -> Result<usize, Errno> {
    let mut done = 0;
    while done < want {
        let from = index(at.saturating_add(done as u64));
        let data = small.data.get(from..).unwrap_or_default();
        let data = if data.is_empty() { &ZEROS } else { data };
        let piece = &data[..data.len().min(want - done)];
        match dst.put(piece) {
            Ok(put) => {
                done += put;
                if put < piece.len() {
                    break;
                }
            }
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

fn copy_in(file: &OwnedFd, start: u64, want: usize, src: &mut dyn IoSrc) -> Result<usize, Errno> {
    let mut buf = vec![0; want.min(CHUNK)];
    let mut done = 0;
    while done < want {
        let piece = buf.len().min(want - done);
        let taken = match src.take(&mut buf[..piece]) {
            Ok(taken) => taken,
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno),
        };
        if let Err(errno) = write_all(file, &buf[..taken], start + done as u64) {
            src.untake(taken);
            return if done > 0 { Ok(done) } else { Err(errno) };
        }
        done += taken;
        if taken < piece {
            break;
        }
    }
    Ok(done)
}

/// The host enforces on mappings what we enforce on calls.
fn seal_host(host: &HostFile, seals: Seals) -> Result<(), Errno> {
    let mut wanted = SealFlags::empty();
    if seals.contains(Seals::WRITE) {
        wanted |= SealFlags::WRITE;
    }
    if seals.contains(Seals::FUTURE_WRITE) {
        wanted |= SealFlags::FUTURE_WRITE;
    }
    if wanted.is_empty() {
        return Ok(());
    }
    rustix::fs::fcntl_add_seals(&host.file, wanted).map_err(host::errno)
}
