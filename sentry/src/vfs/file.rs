//! Open file descriptions.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use abi::Errno;
use abi::flags::OpenFlags;
use sentry_fs::inotify::InMask;
use sentry_fs::{
    BytesDst, BytesSrc, CachePolicy, DeviceId, FileKind, FileOps, InodeRef, IoDst, IoFlags, IoSrc, SetAttr,
};
use sentry_platform::{Direction, MappedFile};
use sentry_sync::{Level, Mutex, Registration};

use super::locks::{InodeLocks, LockOwner};
use super::{FileUse, Path, notify, perm};

/// Who hears of a file's signals (`F_SETOWN`, `F_SETSIG`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Owner {
    /// What `id` names.
    pub kind: OwnerKind,
    /// Thread, process or group; 0 for nobody.
    pub id: i32,
    /// `F_SETSIG`; 0 means SIGIO.
    pub signal: i32,
}

/// What the id of an [`Owner`] names (`F_OWNER_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum OwnerKind {
    Thread,
    #[default]
    Process,
    Group,
}

/// An open file description: what `open`, `pipe`, `socket` and the like make and descriptors refer to (`man 2 open`).
pub struct File {
    /// What the file can do.
    pub ops: Arc<dyn FileOps>,
    /// The inode, where the file has one.
    pub inode: Option<InodeRef>,
    /// The name it was opened by, where it has one.
    pub path: Option<Path>,
    /// Unique number.
    pub id: u64,
    flags: AtomicU32,
    regular: bool,
    seekable: bool,
    locked: AtomicBool,
    /// Locks of a file without a name, which nobody else can open.
    own_locks: OnceLock<Arc<InodeLocks>>,
    /// Set while the file is written or executed.
    usage: Option<FileUse>,
    /// Set while `O_ASYNC` is.
    pub(super) signals: Mutex<Option<Registration>>,
    owner: Mutex<Owner>,
    /// `F_SET_RW_HINT` of the inode as this description knows it.
    pub rw_hint: AtomicU64,
    /// Set where opening it made the file (`F_CREATED_QUERY`).
    pub created: AtomicBool,
    /// What reads and writes have cost that a mapping would have saved.
    cost: AtomicU32,
    /// The end of what was read or written.
    reached: AtomicU64,
    pos: Mutex<u64>,
    /// Mirrors `pos`, for those who look while an operation holds it (`/proc/self/fdinfo` of itself).
    seen: AtomicU64,
}

/// Flags of `open` that a description keeps (the others act once).
const KEPT: OpenFlags =
    OpenFlags::CREAT.union(OpenFlags::EXCL).union(OpenFlags::NOCTTY).union(OpenFlags::TRUNC).complement();

/// Flags of descriptions whose writes aren't just copies.
const SPECIAL: OpenFlags = OpenFlags::DIRECT.union(OpenFlags::APPEND).union(OpenFlags::SYNC).union(OpenFlags::DSYNC);
/// What a mapping costs, in reads.
const WORTH: u32 = 5;
/// Bytes that cost as much again as a read.
const PER_COST: u64 = 16 * 1024;

impl File {
    /// Creates a description without a name at position 0.
    pub fn new(ops: Arc<dyn FileOps>, inode: Option<InodeRef>, flags: OpenFlags) -> Arc<File> {
        File::build(ops, inode, None, flags, None)
    }

    /// Creates a description of a named file at position 0.
    pub fn with_path(ops: Arc<dyn FileOps>, path: Path, flags: OpenFlags) -> Arc<File> {
        File::in_use(ops, path, flags, None)
    }

    /// Creates a description of a named file that is written or executed.
    pub fn in_use(ops: Arc<dyn FileOps>, path: Path, flags: OpenFlags, usage: Option<FileUse>) -> Arc<File> {
        File::build(ops, Some(Arc::clone(path.inode())), Some(path), flags, usage)
    }

    fn build(
        ops: Arc<dyn FileOps>,
        inode: Option<InodeRef>,
        path: Option<Path>,
        flags: OpenFlags,
        usage: Option<FileUse>,
    ) -> Arc<File> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let kind = match (&path, &inode) {
            (Some(path), _) => Some(path.dentry.kind),
            (None, Some(inode)) => inode.attr().ok().map(|attr| attr.kind),
            (None, None) => None,
        };
        let seekable = ops.seekable();
        Arc::new(File {
            ops,
            inode,
            path,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            flags: AtomicU32::new((flags & KEPT & OpenFlags::CLOEXEC.complement()).bits()),
            regular: kind == Some(FileKind::Regular),
            seekable,
            locked: AtomicBool::new(false),
            own_locks: OnceLock::new(),
            usage,
            signals: Mutex::new(Level::Leaf, None),
            owner: Mutex::new(Level::Leaf, Owner::default()),
            rw_hint: AtomicU64::new(0),
            created: AtomicBool::new(false),
            cost: AtomicU32::new(0),
            reached: AtomicU64::new(0),
            pos: Mutex::new(Level::Offset, 0),
            seen: AtomicU64::new(0),
        })
    }

    /// Returns access mode and status flags.
    pub fn flags(&self) -> OpenFlags {
        OpenFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    /// Sets status flags (`F_SETFL`); those not in `mask` stay.
    pub fn set_flags(&self, flags: OpenFlags, mask: OpenFlags) {
        let change = |old: u32| Some((old & !mask.bits()) | (flags & mask).bits());
        let _ = self.flags.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }

    /// Tells whether operations answer `EAGAIN` instead of waiting.
    pub fn nonblocking(&self) -> bool {
        self.flags().contains(OpenFlags::NONBLOCK)
    }

    /// Tells whether the file counts as written or executed (`ETXTBSY` for the other).
    pub fn is_in_use(&self) -> bool {
        self.usage.is_some()
    }

    /// Tells whether this is a program that is executed, so that nobody can write to it, here or on the host.
    pub fn is_program(&self) -> bool {
        let exclusive =
            self.path.as_ref().is_some_and(|path| path.dentry.sb.fs.cache_policy() == CachePolicy::Exclusive);
        exclusive && self.usage.as_ref().is_some_and(FileUse::executes)
    }

    /// Tells whether this is a regular file.
    pub fn is_regular(&self) -> bool {
        self.regular
    }

    /// Tells whether the file has positions.
    pub fn is_seekable(&self) -> bool {
        self.seekable
    }

    /// Returns the name as `/proc/PID/fd/N` and `maps` show it, up to `root` if given.
    pub fn shown_path(&self, root: Option<&Path>) -> Vec<u8> {
        match (&self.path, self.ops.anon_name()) {
            (Some(path), None) => path.text(root).shown(),
            (_, Some(name)) => name.into_bytes(),
            (None, None) => Vec::new(),
        }
    }

    /// Returns who hears of the file's signals.
    pub fn owner(&self) -> Owner {
        *self.owner.lock()
    }

    /// Sets who hears of the file's signals.
    pub fn set_owner(&self, owner: Owner) {
        *self.owner.lock() = owner;
    }

    /// Returns the position.
    pub fn position(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Runs `work` with the position locked.
    pub fn with_position<R>(&self, work: impl FnOnce(&mut u64) -> R) -> R {
        let mut pos = self.pos.lock();
        let result = work(&mut pos);
        self.seen.store(*pos, Ordering::Relaxed);
        result
    }

    /// Adds what the description's own flags say to those of one call.
    fn io_flags(&self, flags: IoFlags) -> IoFlags {
        let own = self.flags();
        let appends = own.contains(OpenFlags::APPEND) && !flags.contains(IoFlags::NOAPPEND);
        let mut flags = flags - IoFlags::NOAPPEND;
        flags.set(IoFlags::APPEND, flags.contains(IoFlags::APPEND) || appends);
        flags.set(IoFlags::NONBLOCK, own.contains(OpenFlags::NONBLOCK));
        flags.set(IoFlags::DIRECT, own.contains(OpenFlags::DIRECT));
        if own.contains(OpenFlags::SYNC) {
            flags |= IoFlags::SYNC;
        } else if own.contains(OpenFlags::DSYNC) {
            flags |= IoFlags::DSYNC;
        }
        flags
    }

    /// Reads at the description's position: `EBADF` where it isn't open for reading, `EAGAIN` where it would block.
    pub fn read(&self, flags: IoFlags, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        self.read_from(None, flags, dst)
    }

    /// Reads at `pos` (which moves), or at the description's position.
    pub fn read_from(&self, pos: Option<&mut u64>, flags: IoFlags, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        if !self.flags().readable() {
            return Err(Errno::EBADF);
        }
        let flags = self.io_flags(flags);
        let got = match pos {
            Some(pos) => self.ops.read(pos, flags | IoFlags::POSITIONED, dst),
            None if self.seekable => self.with_position(|pos| self.ops.read(pos, flags, dst)),
            None => self.ops.read(&mut 0, flags, dst),
        }?;
        if got > 0 {
            notify::file_event(self, InMask::ACCESS);
        }
        Ok(got)
    }

    /// Reads as [`File::read_from`] or writes as [`File::write_to`] by telling `copy` where the bytes stand: host file, place
    /// there and number. `None`: the file can't tell, there is nothing, or `copy` doesn't take it.
    pub(crate) fn move_elsewhere(
        &self,
        pos: Option<u64>,
        most: u64,
        direction: Direction,
        copy: impl FnOnce(&Arc<OwnedFd>, u64, u32) -> Option<()>,
    ) -> Option<u64> {
        let flags = self.flags();
        let (may, forbidden) = match direction {
            Direction::Read => (flags.readable(), OpenFlags::DIRECT),
            Direction::Write => (flags.writable() && flags.readable(), SPECIAL),
        };
        if !may || flags.intersects(forbidden) {
            return None;
        }
        let copy = |pos: u64| {
            let (host, len) = match direction {
                Direction::Read => self.ops.stored(pos, most)?,
                Direction::Write => self.ops.replaceable(pos, most).filter(|(_, len)| *len == most)?,
            };
            copy(&host, pos, u32::try_from(len).ok()?)?;
            if direction == Direction::Write {
                self.ops.replaced();
            }
            Some(len)
        };
        let count = match pos {
            Some(pos) => copy(pos)?,
            None => self.with_position(|pos| copy(*pos).inspect(|count| *pos += count))?,
        };
        notify::file_event(self, if direction == Direction::Read { InMask::ACCESS } else { InMask::MODIFY });
        Some(count)
    }

    /// Tells whether nobody writes to the file by another description.
    pub(crate) fn is_only_writer(&self) -> bool {
        self.usage.as_ref().is_some_and(FileUse::is_only)
    }

    /// Counts a read or write that ends at `end`; tells, once in a while, that there were enough of them to be worth a mapping.
    /// What is moved for the first time has the host make pages present there, which for many bytes costs more than it saves.
    pub(crate) fn is_used_often(&self, end: u64, count: u64) -> bool {
        let is_new = self.reached.fetch_max(end, Ordering::Relaxed) <= end.saturating_sub(count);
        let cost = match count / PER_COST {
            0 => 1,
            _ if is_new => return false,
            more => 1 + u32::try_from(more).unwrap_or(WORTH).min(WORTH),
        };
        let before = self.cost.fetch_add(cost, Ordering::Relaxed);
        let often = before + cost >= WORTH;
        if often {
            self.cost.store(0, Ordering::Relaxed);
        }
        often
    }

    /// Writes at the description's position (or at the end with `O_APPEND`): `EBADF` where it isn't open for writing.
    pub fn write(&self, flags: IoFlags, src: &mut dyn IoSrc) -> Result<usize, Errno> {
        self.write_to(None, flags, src)
    }

    /// Writes at `pos` (which moves), or at the description's position.
    pub fn write_to(&self, pos: Option<&mut u64>, flags: IoFlags, src: &mut dyn IoSrc) -> Result<usize, Errno> {
        if !self.flags().writable() {
            return Err(Errno::EBADF);
        }
        let flags = self.io_flags(flags);
        let done = match pos {
            Some(pos) => self.ops.write(pos, flags | IoFlags::POSITIONED, src),
            None if self.seekable => self.with_position(|pos| self.ops.write(pos, flags, src)),
            None => self.ops.write(&mut 0, flags, src),
        }?;
        if done > 0 {
            notify::file_event(self, InMask::MODIFY);
        }
        Ok(done)
    }

    /// Takes set-id bits off a regular file that is about to be written by somebody without `CAP_FSETID`.
    pub fn drop_setid(&self) -> Result<(), Errno> {
        let Some(inode) = self.inode.as_ref().filter(|_| self.regular) else { return Ok(()) };
        let perm = inode.owner()?.perm;
        match perm::setid_bits_of(perm) {
            0 => Ok(()),
            bits => inode.set_attr(&SetAttr { perm: Some(perm & !bits), ..SetAttr::default() }),
        }
    }

    /// Returns the locks of the inode, made if need be.
    pub fn locks(&self) -> Result<Arc<InodeLocks>, Errno> {
        let (Some(path), Some(inode)) = (&self.path, &self.inode) else {
            return Ok(Arc::clone(self.own_locks.get_or_init(Arc::default)));
        };
        self.locked.store(true, Ordering::Relaxed);
        path.dentry.sb.locks_for(inode)
    }

    /// Returns the locks of the inode and where it is, if any were ever asked for through this description.
    pub fn known_locks(&self) -> Option<(Arc<InodeLocks>, (DeviceId, u64))> {
        let attr = self.inode.as_ref().and_then(|inode| inode.attr().ok());
        let place = attr.map_or_else(Default::default, |attr| (attr.dev, attr.ino));
        if let Some(locks) = self.own_locks.get() {
            return Some((Arc::clone(locks), place));
        }
        let path = self.path.as_ref().filter(|_| self.locked.load(Ordering::Relaxed))?;
        Some((path.dentry.sb.locks_of(path.inode())?, place))
    }

    /// A descriptor of this file is being closed: releases the record locks that the table holds on the inode, and tells
    /// the file.
    pub fn closed(&self, table: LockOwner) -> Result<(), Errno> {
        if let (Some(path), Some(inode)) = (&self.path, &self.inode)
            && let Some(locks) = path.dentry.sb.locks_of(inode)
        {
            locks.release(table);
        }
        if let Some(locks) = self.own_locks.get() {
            locks.release(table);
        }
        if self.flags().contains(OpenFlags::PATH) {
            return Ok(());
        }
        self.ops.flush()
    }
}

impl MappedFile for File {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        self.ops.read(&mut { offset }, IoFlags::POSITIONED, &mut BytesDst::new(buf))
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<usize, Errno> {
        self.ops.write(&mut { offset }, IoFlags::POSITIONED, &mut BytesSrc::new(buf))
    }

    fn fell_short(&self, end: u64, missing: u64) {
        self.with_position(|pos| {
            // Unless somebody has read on.
            if *pos == end {
                *pos -= missing;
            }
        });
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let Some(path) = &self.path else { return };
        if self.locked.load(Ordering::Relaxed)
            && let Some(locks) = path.dentry.sb.locks_of(path.inode())
        {
            locks.release(LockOwner::Description(self.id));
            locks.funlock(self.id);
        }
        let flags = self.flags();
        if path.dentry.sb.is_watched() && !flags.contains(OpenFlags::PATH) {
            let event = if flags.writable() { InMask::CLOSE_WRITE } else { InMask::CLOSE_NOWRITE };
            notify::event(&path.dentry, event);
        }
    }
}
