//! `mmap` and `munmap`.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::addr::{page_ceil, page_floor};
use abi::flags::{MapFlags, Prot};
use abi::{Errno, PAGE_SIZE};
use sentry_fs::MapSource;
use sentry_platform::MemOp;

use super::books::{Books, Change, Limits, Plan};
use super::layout::{HUGE_PAGE, MAX_MAP_COUNT, MMAP_MIN_ADDR, Search, TASK_SIZE, find_free};
use super::lock::lock_step;
use super::patch::Touch;
use super::vma::{Backing, MappedFile, PROT_ALL, VmFlags, Vma};

/// Flags known to Linux, those that `MAP_SHARED_VALIDATE` accepts (`LEGACY_MAP_MASK`).
const LEGACY_MAP_MASK: u32 = MapFlags::SHARED.bits()
    | MapFlags::PRIVATE.bits()
    | MapFlags::FIXED.bits()
    | MapFlags::ANONYMOUS.bits()
    | MapFlags::DENYWRITE.bits()
    | MapFlags::EXECUTABLE.bits()
    | MapFlags::GROWSDOWN.bits()
    | MapFlags::LOCKED.bits()
    | MapFlags::NORESERVE.bits()
    | MapFlags::POPULATE.bits()
    | MapFlags::NONBLOCK.bits()
    | MapFlags::STACK.bits()
    | MapFlags::HUGETLB.bits()
    | MapFlags::MAP_32BIT.bits()
    | 0x0400_0000  // MAP_UNINITIALIZED
    | 0x80         // MAP_ABOVE4G
    | 0xfc00_0000; // size of huge pages
/// `MAP_TYPE`.
const MAP_TYPE: u32 = 0xf;
/// `MAP_DROPPABLE`, a type since Linux 6.11.
const MAP_DROPPABLE: u32 = 0x8;

/// Numbers the shared anonymous objects of the sandbox.
static NEXT_OBJECT: AtomicU64 = AtomicU64::new(1);

/// Returns a number for a new shared anonymous object.
pub fn new_object() -> u64 {
    NEXT_OBJECT.fetch_add(1, Ordering::Relaxed)
}

/// The file of a `mmap` call, with what its description and mount allow.
pub struct FileMap {
    /// Identity.
    pub file: Arc<dyn MappedFile>,
    /// Open for reading.
    pub readable: bool,
    /// Open for writing.
    pub writable: bool,
    /// Mounted `noexec`.
    pub noexec: bool,
    /// Marked append-only (`FS_APPEND_FL`).
    pub append_only: bool,
    /// A seal forbids shared mappings that write.
    pub write_sealed: bool,
    /// What the host is to map; asked for only once everything else is right. The argument tells whether it will be
    /// shared.
    pub source: Box<dyn FnOnce(bool) -> Result<MapSource, Errno> + Send>,
}

/// Arguments of `mmap(2)`.
pub struct MapRequest {
    /// Hint or place.
    pub addr: u64,
    /// Bytes, not yet rounded.
    pub len: u64,
    /// Protection as the guest gave it.
    pub prot: Prot,
    /// Flags as the guest gave them.
    pub flags: MapFlags,
    /// Byte offset, page-aligned.
    pub offset: u64,
    /// The file, unless anonymous.
    pub file: Option<FileMap>,
    /// Flags that only the kernel can ask for.
    pub extra: VmFlags,
}

impl MapRequest {
    /// Asks for private anonymous memory anywhere.
    pub fn anonymous(len: u64, prot: Prot) -> MapRequest {
        MapRequest {
            addr: 0,
            len,
            prot,
            flags: MapFlags::PRIVATE | MapFlags::ANONYMOUS,
            offset: 0,
            file: None,
            extra: VmFlags::empty(),
        }
    }
}

impl MapRequest {
    /// Returns the range that the guest names.
    pub fn touch(&self) -> Touch {
        if self.flags.intersects(MapFlags::FIXED | MapFlags::FIXED_NOREPLACE) {
            Touch::Change(self.addr..self.addr.saturating_add(self.len))
        } else {
            Touch::Nothing
        }
    }
}

/// How a type of mapping came out of the checks.
struct Kind {
    shared: bool,
    max_prot: Prot,
    backing: Backing,
    /// `None` for anonymous memory.
    source: Option<(Arc<std::os::fd::OwnedFd>, u64)>,
}

impl Books {
    /// Plans `mmap(2)`; the order of checks is that of Linux's `do_mmap`.
    pub fn plan_map(&mut self, request: MapRequest, limits: &Limits) -> Result<Plan, Errno> {
        let flags = request.flags;
        if request.len == 0 {
            return Err(Errno::EINVAL);
        }
        let mut prot = request.prot & PROT_ALL;
        let noexec = request.file.as_ref().is_some_and(|file| file.noexec);
        if limits.read_implies_exec && prot.contains(Prot::READ) && !noexec {
            prot |= Prot::EXEC;
        }
        let fixed = flags.intersects(MapFlags::FIXED | MapFlags::FIXED_NOREPLACE);
        let len = page_ceil(request.len).ok_or(Errno::ENOMEM)?;
        request.offset.checked_add(len).ok_or(Errno::EOVERFLOW)?;
        if self.tree.count() > MAX_MAP_COUNT {
            return Err(Errno::ENOMEM);
        }
        let addr = self.choose(&request, len, prot, fixed, limits)?;
        let range = addr..addr + len;
        if flags.contains(MapFlags::FIXED_NOREPLACE) && self.guest_overlaps(&range) {
            return Err(Errno::EEXIST);
        }
        let locked = flags.contains(MapFlags::LOCKED);
        if locked && limits.memlock == 0 && !limits.ipc_lock {
            return Err(Errno::EPERM);
        }
        let mut vm_flags = self.default_flags | request.extra;
        vm_flags.set(VmFlags::LOCKED, locked || vm_flags.contains(VmFlags::LOCKED));
        if vm_flags.contains(VmFlags::LOCKED) && !self.may_lock(len, limits) {
            return Err(Errno::EAGAIN);
        }
        let kind = classify(request.file, flags, prot, request.offset)?;
        vm_flags.set(VmFlags::SHARED, kind.shared);
        vm_flags.set(VmFlags::GROWSDOWN, flags.contains(MapFlags::GROWSDOWN));
        vm_flags.set(VmFlags::NORESERVE, flags.contains(MapFlags::NORESERVE));
        let Kind { max_prot, backing, source, .. } = kind;
        let vma = Vma { start: addr, end: range.end, prot, max_prot, flags: vm_flags, backing, name: None };
        let replaced: u64 = self.counted_bytes(&range);
        if !self.may_expand(&vma, len, limits) && !self.may_expand(&vma, len - replaced.min(len), limits) {
            return Err(Errno::ENOMEM);
        }
        self.check_split(&range)?;
        let lock = vma.flags.contains(VmFlags::LOCKED);
        let mut host = if vma.shared() { MapFlags::SHARED } else { MapFlags::PRIVATE };
        host |= flags & (MapFlags::NORESERVE | MapFlags::STACK);
        if flags.contains(MapFlags::POPULATE) && !flags.contains(MapFlags::NONBLOCK) {
            host |= MapFlags::POPULATE;
        }
        let (flags, prot) = (host.bits(), vma.prot);
        let on_fault = vma.flags.contains(VmFlags::LOCKONFAULT);
        let op = match source {
            Some(_) if !lock && host == MapFlags::PRIVATE && self.shows_the_same(&vma) => {
                MemOp::Protect { addr, len, prot }
            }
            Some((file, offset)) => MemOp::MapFile { addr, len, prot, flags, file, offset },
            None => MemOp::MapAnonymous { addr, len, prot, flags },
        };
        let mut plan = Plan::one(op, Change::Insert(vma), addr);
        if lock {
            plan.steps.push(lock_step(range, on_fault, true));
        }
        Ok(plan)
    }

    /// Finds or checks the place (Linux: `__get_unmapped_area`).
    fn choose(
        &mut self,
        request: &MapRequest,
        len: u64,
        prot: Prot,
        fixed: bool,
        limits: &Limits,
    ) -> Result<u64, Errno> {
        let user = self.layout.user;
        if len > TASK_SIZE - MMAP_MIN_ADDR {
            return Err(Errno::ENOMEM);
        }
        if fixed {
            let addr = request.addr;
            if addr > TASK_SIZE - len {
                return Err(Errno::ENOMEM);
            }
            if !addr.is_multiple_of(PAGE_SIZE) {
                return Err(Errno::EINVAL);
            }
            if addr < MMAP_MIN_ADDR && !limits.rawio {
                return Err(Errno::EPERM);
            }
            // What the platform needs for itself looks like memory that ran out.
            if addr < user.start || addr + len > user.end {
                return Err(Errno::ENOMEM);
            }
            return Ok(addr);
        }
        let hint = match page_floor(request.addr) {
            0 => 0,
            hint => hint.max(user.start),
        };
        let anonymous = request.file.is_none();
        let search = Search {
            len,
            hint,
            low: request.flags.contains(MapFlags::MAP_32BIT),
            huge: anonymous && prot != Prot::empty() && len.is_multiple_of(HUGE_PAGE),
        };
        find_free(&self.tree, &self.layout, &mut self.gaps, search).ok_or(Errno::ENOMEM)
    }

    /// Finds free addresses for something other than `mmap` (`shmat`, `mremap`).
    pub(super) fn find_free(&mut self, len: u64, hint: u64) -> Option<u64> {
        let search = Search { len, hint: page_floor(hint), low: false, huge: false };
        find_free(&self.tree, &self.layout, &mut self.gaps, search)
    }

    /// Finds a free place for the image of a program.
    pub(crate) fn free_place(&mut self, len: u64) -> Option<u64> {
        self.find_free(len, 0)
    }

    /// Tells whether this private mapping of a file would show what is there already, but for the protection: the loader maps a
    /// library as a whole, then its segments over that, and the host asks for leave for each mapping of a file. What was once
    /// writable may have changed.
    fn shows_the_same(&self, new: &Vma) -> bool {
        let (Some(old), Backing::File { file, offset }) = (self.tree.get(new.start), &new.backing) else {
            return false;
        };
        let Backing::File { file: known, offset: from } = &old.backing else { return false };
        let same_file = known.description() == file.description()
            && file.version().is_some_and(|version| known.version() == Some(version));
        let same_place = new.end <= old.end && from.checked_add(new.start - old.start) == Some(*offset);
        let read_only = !old.prot.contains(Prot::WRITE) && !old.flags.contains(VmFlags::ACCOUNT);
        same_file && same_place && read_only && !new.prot.contains(Prot::WRITE) && old.flags == new.flags
    }

    /// Tells whether the guest has something mapped in the range; stack reserve doesn't count.
    pub(super) fn guest_overlaps(&self, range: &Range<u64>) -> bool {
        self.tree.overlapping(range.clone()).any(|vma| !vma.flags.contains(VmFlags::RESERVE))
    }

    /// Returns how many bytes of the range are mapped and accounted.
    fn counted_bytes(&self, range: &Range<u64>) -> u64 {
        let counted = self.tree.overlapping(range.clone()).filter(|vma| !vma.flags.contains(VmFlags::RESERVE));
        counted.map(|vma| vma.end.min(range.end) - vma.start.max(range.start)).sum()
    }

    /// Fails where unmapping the range would cut a hole into a mapping while there are too many.
    fn check_split(&self, range: &Range<u64>) -> Result<(), Errno> {
        let hole = self.tree.get(range.start).is_some_and(|vma| vma.start < range.start && range.end < vma.end);
        if hole && !self.may_split() { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// Plans `munmap(2)`.
    pub fn plan_unmap(&mut self, addr: u64, len: u64) -> Result<Plan, Errno> {
        if !addr.is_multiple_of(PAGE_SIZE) || addr > TASK_SIZE || len > TASK_SIZE - addr {
            return Err(Errno::EINVAL);
        }
        let len = page_ceil(len).filter(|len| *len != 0).ok_or(Errno::EINVAL)?;
        let Some(range) = self.clamp(addr..addr.saturating_add(len)) else { return Ok(Plan::done(0)) };
        self.touch(&range);
        self.check_split(&range)?;
        if self.tree.overlapping(range.clone()).next().is_none() {
            return Ok(Plan::done(0));
        }
        let op = MemOp::Unmap { addr: range.start, len: range.end - range.start };
        Ok(Plan::one(op, Change::Remove(range), 0))
    }
}

/// Checks type, file and access (the second half of Linux's `do_mmap`).
fn classify(file: Option<FileMap>, flags: MapFlags, prot: Prot, offset: u64) -> Result<Kind, Errno> {
    let kind = flags.bits() & MAP_TYPE;
    let (shared, private) = (MapFlags::SHARED.bits(), MapFlags::PRIVATE.bits());
    let Some(file) = file else {
        return match kind {
            _ if kind == shared && flags.contains(MapFlags::GROWSDOWN) => Err(Errno::EINVAL),
            _ if kind == shared => {
                let backing = Backing::SharedAnonymous { object: new_object(), offset: 0 };
                Ok(Kind { shared: true, max_prot: PROT_ALL, backing, source: None })
            }
            _ if kind == private => {
                Ok(Kind { shared: false, max_prot: PROT_ALL, backing: Backing::Anonymous, source: None })
            }
            // Droppable memory may be dropped at will; never dropping it is allowed, but growth and locks are refused.
            MAP_DROPPABLE if flags.intersects(MapFlags::LOCKED | MapFlags::GROWSDOWN) => Err(Errno::EINVAL),
            MAP_DROPPABLE => Ok(Kind { shared: false, max_prot: PROT_ALL, backing: Backing::Anonymous, source: None }),
            _ => Err(Errno::EINVAL),
        };
    };
    let validate = MapFlags::SHARED_VALIDATE.bits();
    let mut max_prot = PROT_ALL;
    if kind == validate && flags.bits() & !(LEGACY_MAP_MASK | validate) != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let is_shared = kind == shared || kind == validate;
    if !is_shared && kind != private {
        return Err(Errno::EINVAL);
    }
    if is_shared {
        if prot.contains(Prot::WRITE) && (!file.writable || file.append_only) {
            return Err(Errno::EACCES);
        }
        if !file.writable {
            max_prot.remove(Prot::WRITE);
        }
    }
    if !file.readable {
        return Err(Errno::EACCES);
    }
    if file.noexec {
        if prot.contains(Prot::EXEC) {
            return Err(Errno::EPERM);
        }
        max_prot.remove(Prot::EXEC);
    }
    if is_shared && file.write_sealed {
        if prot.contains(Prot::WRITE) {
            return Err(Errno::EPERM);
        }
        max_prot.remove(Prot::WRITE);
    }
    let source = (file.source)(is_shared);
    if flags.contains(MapFlags::GROWSDOWN) {
        return Err(source.err().unwrap_or(Errno::EINVAL));
    }
    Ok(match source? {
        MapSource::Host { file: host, offset: base } => {
            let at = base.checked_add(offset).ok_or(Errno::EOVERFLOW)?;
            let backing = Backing::File { file: file.file, offset };
            Kind { shared: is_shared, max_prot, backing, source: Some((host, at)) }
        }
        MapSource::Anonymous if is_shared => {
            let backing = Backing::SharedAnonymous { object: new_object(), offset: 0 };
            Kind { shared: true, max_prot, backing, source: None }
        }
        MapSource::Anonymous => {
            Kind { shared: false, max_prot, backing: Backing::File { file: file.file, offset }, source: None }
        }
    })
}
