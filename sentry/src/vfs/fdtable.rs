//! Descriptor tables.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::flags::OpenFlags;
use abi::{Errno, Fd};
use bitflags::bitflags;
use sentry_sync::{Level, Mutex};

use super::File;
use super::locks::LockOwner;

bitflags! {
    /// `FD_*` flags of a descriptor.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct FdFlags: u32 {
        /// Closed by exec.
        const CLOEXEC = 1;
    }
}

#[derive(Clone)]
struct Entry {
    file: Arc<File>,
    flags: FdFlags,
}

#[derive(Clone, Default)]
struct Slots {
    list: Vec<Option<Entry>>,
    /// No free slot lies below.
    lowest_free: usize,
}

/// Descriptors of a task, shared by `CLONE_FILES`.
pub struct FdTable {
    slots: Mutex<Slots>,
    /// Counts descriptors that have lost their file, under the lock.
    generation: AtomicU64,
}

impl Default for FdTable {
    fn default() -> FdTable {
        FdTable::with(Slots::default())
    }
}

fn index(fd: Fd) -> Result<usize, Errno> {
    usize::try_from(fd.0).map_err(|_| Errno::EBADF)
}

impl FdTable {
    fn with(slots: Slots) -> FdTable {
        FdTable { slots: Mutex::new(Level::Files, slots), generation: AtomicU64::new(0) }
    }

    /// Returns a count that rises whenever a descriptor loses its file: until then it goes on meaning that file.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Notes, with the slots locked, that a descriptor has lost its file.
    fn lost(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Returns the file behind a descriptor: `EBADF` where there is none.
    pub fn get(&self, fd: Fd) -> Result<Arc<File>, Errno> {
        self.get_with_flags(fd).map(|(file, _)| file)
    }

    /// Returns the file behind a descriptor unless it was opened with `O_PATH`: `EBADF` for both.
    pub fn get_io(&self, fd: Fd) -> Result<Arc<File>, Errno> {
        let file = self.get(fd)?;
        if file.flags().contains(OpenFlags::PATH) { Err(Errno::EBADF) } else { Ok(file) }
    }

    /// Returns the file and the descriptor's own flags.
    pub fn get_with_flags(&self, fd: Fd) -> Result<(Arc<File>, FdFlags), Errno> {
        let at = index(fd)?;
        let slots = self.slots.lock();
        let entry = slots.list.get(at).and_then(Option::as_ref).ok_or(Errno::EBADF)?;
        Ok((Arc::clone(&entry.file), entry.flags))
    }

    /// Sets the descriptor's own flags.
    pub fn set_flags(&self, fd: Fd, flags: FdFlags) -> Result<(), Errno> {
        let at = index(fd)?;
        let mut slots = self.slots.lock();
        slots.list.get_mut(at).and_then(Option::as_mut).ok_or(Errno::EBADF)?.flags = flags;
        Ok(())
    }

    /// Installs a file at the lowest free descriptor not below `min`: `EMFILE` at `limit` (`RLIMIT_NOFILE`).
    pub fn install(&self, file: Arc<File>, flags: FdFlags, min: usize, limit: usize) -> Result<Fd, Errno> {
        let mut slots = self.slots.lock();
        let from = min.max(slots.lowest_free);
        let free = slots.list.iter().skip(from).position(Option::is_none).map(|at| at + from);
        let at = free.unwrap_or_else(|| slots.list.len().max(min));
        if at >= limit {
            return Err(Errno::EMFILE);
        }
        if min <= slots.lowest_free {
            slots.lowest_free = at + 1;
        }
        slots.put(at, Entry { file, flags })
    }

    /// Tells whether a descriptor below `limit` is free.
    pub fn has_room(&self, limit: usize) -> bool {
        let slots = self.slots.lock();
        slots.list.len() < limit || slots.list.iter().take(limit).skip(slots.lowest_free).any(Option::is_none)
    }

    /// Fails with `EMFILE` where no descriptor is free, so that a call can say so before it changes anything.
    pub fn check_room(&self, limit: usize) -> Result<(), Errno> {
        let slots = self.slots.lock();
        let free = slots.list.iter().skip(slots.lowest_free).position(Option::is_none);
        let at = free.map_or(slots.list.len(), |at| at + slots.lowest_free);
        if at >= limit { Err(Errno::EMFILE) } else { Ok(()) }
    }

    /// Installs a file at exactly this descriptor and returns what was there (`dup2`). `EBADF` at `limit`.
    pub fn replace(&self, fd: Fd, file: Arc<File>, flags: FdFlags, limit: usize) -> Result<Option<Arc<File>>, Errno> {
        let at = index(fd)?;
        if at >= limit {
            return Err(Errno::EBADF);
        }
        let mut slots = self.slots.lock();
        let old = slots.list.get_mut(at).and_then(Option::take);
        if old.is_some() {
            self.lost();
        }
        slots.put(at, Entry { file, flags })?;
        Ok(old.map(|entry| entry.file))
    }

    /// Takes a descriptor out; the caller flushes the file.
    pub fn remove(&self, fd: Fd) -> Result<Arc<File>, Errno> {
        let at = index(fd)?;
        let mut slots = self.slots.lock();
        let entry = slots.list.get_mut(at).and_then(Option::take).ok_or(Errno::EBADF)?;
        slots.lowest_free = slots.lowest_free.min(at);
        self.lost();
        Ok(entry.file)
    }

    /// Takes out every descriptor that `which` names, in ascending order.
    pub fn remove_where(&self, mut which: impl FnMut(Fd, FdFlags) -> bool) -> Vec<Arc<File>> {
        let mut slots = self.slots.lock();
        let mut removed = Vec::new();
        for at in 0..slots.list.len() {
            let Ok(number) = i32::try_from(at) else { break };
            if slots.list[at].as_ref().is_some_and(|entry| which(Fd(number), entry.flags)) {
                removed.extend(slots.list[at].take().map(|entry| entry.file));
                slots.lowest_free = slots.lowest_free.min(at);
            }
        }
        if !removed.is_empty() {
            self.lost();
        }
        removed
    }

    /// Lists the open descriptors in ascending order.
    pub fn list(&self) -> Vec<(Fd, Arc<File>, FdFlags)> {
        let slots = self.slots.lock();
        let open = slots.list.iter().enumerate().filter_map(|(at, entry)| Some((at, entry.as_ref()?)));
        open.filter_map(|(at, entry)| Some((Fd(i32::try_from(at).ok()?), Arc::clone(&entry.file), entry.flags)))
            .collect()
    }

    /// Returns for how many descriptors Linux would have made room: `select` looks at no others.
    pub fn capacity(&self) -> usize {
        const FIRST: usize = 64;
        const STEP: usize = 128;
        let highest = self.slots.lock().list.len();
        if highest <= FIRST { FIRST } else { ((highest - 1) / STEP + 1).next_power_of_two() * STEP }
    }

    /// Copies the table (fork, `unshare`).
    #[must_use]
    pub fn duplicate(&self) -> FdTable {
        FdTable::with(self.slots.lock().clone())
    }
}

impl FdTable {
    /// Returns who holds the record locks that are made through this table.
    pub fn lock_owner(&self) -> LockOwner {
        LockOwner::Table(std::ptr::from_ref(self).addr())
    }
}

impl Drop for FdTable {
    fn drop(&mut self) {
        let owner = self.lock_owner();
        let slots = std::mem::take(&mut *self.slots.lock());
        for entry in slots.list.into_iter().flatten() {
            // Nobody is left to be told of a failure.
            let _ = entry.file.closed(owner);
        }
    }
}

impl Slots {
    fn put(&mut self, at: usize, entry: Entry) -> Result<Fd, Errno> {
        if at >= self.list.len() {
            self.list.resize(at + 1, None);
        }
        self.list[at] = Some(entry);
        i32::try_from(at).map(Fd).map_err(|_| Errno::EMFILE)
    }
}
