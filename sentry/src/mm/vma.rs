//! [`Vma`]: one mapping of a guest address space.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use abi::flags::Prot;
use abi::time::Timespec;
use bitflags::bitflags;
use sentry_fs::DeviceId;

bitflags! {
    /// Properties of a mapping besides its protection (`VM_*` in Linux). Two mappings merge only if all are equal.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct VmFlags: u32 {
        /// Mapped `MAP_SHARED`.
        const SHARED = 1;
        /// Grows downward on a fault below it (stacks).
        const GROWSDOWN = 1 << 1;
        /// Locked in memory (`mlock`).
        const LOCKED = 1 << 2;
        /// Locked as pages are touched (`MLOCK_ONFAULT`); goes with `LOCKED`.
        const LOCKONFAULT = 1 << 3;
        /// Mapped `MAP_NORESERVE`.
        const NORESERVE = 1 << 4;
        /// Not copied by fork (`MADV_DONTFORK`).
        const DONTFORK = 1 << 5;
        /// Zeroed in the child of a fork (`MADV_WIPEONFORK`).
        const WIPEONFORK = 1 << 6;
        /// Left out of core dumps (`MADV_DONTDUMP`).
        const DONTDUMP = 1 << 7;
        /// `MADV_MERGEABLE`.
        const MERGEABLE = 1 << 8;
        /// `MADV_HUGEPAGE`.
        const HUGEPAGE = 1 << 9;
        /// `MADV_NOHUGEPAGE`.
        const NOHUGEPAGE = 1 << 10;
        /// `MADV_RANDOM`.
        const RAND_READ = 1 << 11;
        /// `MADV_SEQUENTIAL`.
        const SEQ_READ = 1 << 12;
        /// Host memory held ready below a stack, which the guest has not grown into as far as we know. Neither shown
        /// nor accounted; becomes stack as soon as somebody refers to it.
        const RESERVE = 1 << 13;
        /// A System V shared memory segment: `shmdt` looks for these.
        const SYSV = 1 << 14;
        /// Code of ours between the guest's mappings; goes with `RESERVE`, and never becomes stack.
        const HIDDEN = 1 << 15;
        /// A private file mapping that is or was writable, for which memory stays promised (`VM_ACCOUNT`).
        const ACCOUNT = 1 << 16;
    }
}

/// An open file as a mapping sees it. What the host maps is decided once, when the mapping is made.
pub trait MappedFile: Send + Sync {
    /// Returns a number that is the same for two mappings exactly if they came from the same open file description.
    fn description(&self) -> u64;

    /// Returns the device, as `/proc/PID/maps` shows it.
    fn device(&self) -> DeviceId;

    /// Returns the inode number.
    fn inode(&self) -> u64;

    /// Returns the path as it is now, with `" (deleted)"` where it has been removed.
    fn path(&self) -> Vec<u8>;

    /// Reads from the file; fewer bytes than asked for at its end. `None`: not from this one.
    fn read_at(&self, _offset: u64, _buf: &mut [u8]) -> Option<usize> {
        None
    }

    /// Tells whether the file had not been written to for a while when it was mapped.
    fn is_settled(&self) -> bool {
        false
    }

    /// Returns what is the same for two mappings of a settled file only if it was not changed between them.
    fn version(&self) -> Option<[Timespec; 2]> {
        None
    }

    /// Returns how many bytes the file has, where it can't have fewer for as long as it is mapped.
    fn lasting(&self) -> Option<u64> {
        None
    }

    /// Returns the file as `Any`, for whoever made the mapping to find its own type again.
    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync);
}

/// What gives a mapping its content.
#[derive(Clone)]
pub enum Backing {
    /// Private zero pages.
    Anonymous,
    /// `MAP_SHARED|MAP_ANONYMOUS`: an object of its own, shared with the children of forks.
    SharedAnonymous {
        /// Unique in the sandbox; shown as the inode number.
        object: u64,
        /// Bytes into the object.
        offset: u64,
    },
    /// A file.
    File {
        /// Which.
        file: Arc<dyn MappedFile>,
        /// Guest's offset in bytes.
        offset: u64,
    },
}

impl Backing {
    /// Returns the backing of an address `by` bytes further on.
    pub fn advance(&self, by: u64) -> Backing {
        match self {
            Backing::Anonymous => Backing::Anonymous,
            Backing::SharedAnonymous { object, offset } => {
                Backing::SharedAnonymous { object: *object, offset: offset.wrapping_add(by) }
            }
            Backing::File { file, offset } => Backing::File { file: Arc::clone(file), offset: offset.wrapping_add(by) },
        }
    }

    /// Returns the offset into the object or file, 0 for anonymous memory.
    pub fn offset(&self) -> u64 {
        match self {
            Backing::Anonymous => 0,
            Backing::SharedAnonymous { offset, .. } | Backing::File { offset, .. } => *offset,
        }
    }

    /// Tells whether `next` is what follows after `len` bytes of `self`.
    fn continues(&self, len: u64, next: &Backing) -> bool {
        match (self, next) {
            (Backing::Anonymous, Backing::Anonymous) => true,
            (Backing::SharedAnonymous { object: a, offset }, Backing::SharedAnonymous { object: b, offset: next }) => {
                a == b && offset.checked_add(len) == Some(*next)
            }
            (Backing::File { file: a, offset }, Backing::File { file: b, offset: next }) => {
                a.description() == b.description() && offset.checked_add(len) == Some(*next)
            }
            _ => false,
        }
    }
}

impl fmt::Debug for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Backing::Anonymous => f.write_str("anon"),
            Backing::SharedAnonymous { object, offset } => write!(f, "shared {object}+{offset:#x}"),
            Backing::File { file, offset } => write!(f, "file {}+{offset:#x}", file.inode()),
        }
    }
}

/// One mapping: a page-aligned range with one protection, one set of flags and one backing.
#[derive(Clone, Debug)]
pub struct Vma {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// Protection: READ, WRITE, EXEC only.
    pub prot: Prot,
    /// The most that `mprotect` may allow (`VM_MAY*`).
    pub max_prot: Prot,
    /// Everything else that must be equal for two mappings to merge.
    pub flags: VmFlags,
    /// Content.
    pub backing: Backing,
    /// Name given by `prctl(PR_SET_VMA_ANON_NAME)`.
    pub name: Option<Arc<[u8]>>,
}

/// Read, write and execute: what a protection may hold in the books.
pub const PROT_ALL: Prot = Prot::READ.union(Prot::WRITE).union(Prot::EXEC);

impl Vma {
    /// Describes private anonymous memory.
    pub fn anonymous(range: Range<u64>, prot: Prot, flags: VmFlags) -> Vma {
        Vma {
            start: range.start,
            end: range.end,
            prot,
            max_prot: PROT_ALL,
            flags,
            backing: Backing::Anonymous,
            name: None,
        }
    }

    /// Returns the addresses covered.
    pub fn range(&self) -> Range<u64> {
        self.start..self.end
    }

    /// Returns the length in bytes.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Tells whether the mapping is empty, which none in a tree is.
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// Tells whether writes are seen by others.
    pub fn shared(&self) -> bool {
        self.flags.contains(VmFlags::SHARED)
    }

    /// Tells whether a stack may grow into this without a call.
    pub(super) fn is_stack_reserve(&self) -> bool {
        self.flags.contains(VmFlags::RESERVE) && !self.flags.contains(VmFlags::HIDDEN)
    }

    /// Notes that memory has been promised for a private file mapping, which stays so when it can be written no more. (Of
    /// anonymous ones that depends on whether they have been touched, kernel: `mprotect_fixup`.)
    pub(super) fn account(&mut self) {
        let unpromised = VmFlags::SHARED | VmFlags::NORESERVE;
        let file = matches!(self.backing, Backing::File { .. });
        if file && self.prot.contains(Prot::WRITE) && !self.flags.intersects(unpromised) {
            self.flags.insert(VmFlags::ACCOUNT);
        }
    }

    /// Tells whether the pages count against `RLIMIT_DATA` (Linux: `is_data_mapping`).
    pub fn is_data(&self) -> bool {
        self.prot.contains(Prot::WRITE) && !self.flags.intersects(VmFlags::SHARED | VmFlags::GROWSDOWN)
    }

    /// Tells whether this is program text (Linux: `is_exec_mapping`).
    pub fn is_exec(&self) -> bool {
        self.prot.contains(Prot::EXEC) && !self.prot.contains(Prot::WRITE) && !self.flags.contains(VmFlags::GROWSDOWN)
    }

    /// Returns the part of this mapping inside `range`, which must overlap it.
    pub fn slice(&self, range: &Range<u64>) -> Vma {
        let (start, end) = (self.start.max(range.start), self.end.min(range.end));
        Vma { start, end, backing: self.backing.advance(start - self.start), ..self.clone() }
    }

    /// Returns the same mapping at another address.
    pub fn moved(&self, start: u64, len: u64) -> Vma {
        Vma { start, end: start + len, ..self.clone() }
    }

    /// Tells whether `next`, which starts where this ends, can be joined to it.
    pub fn joins(&self, next: &Vma) -> bool {
        self.end == next.start
            && self.prot == next.prot
            && self.max_prot == next.max_prot
            && self.flags == next.flags
            && self.name == next.name
            && self.backing.continues(self.len(), &next.backing)
    }
}
