//! [`Books`]: what the kernel knows of an address space, and the plans by which it changes.
//!
//! A call is *planned* against the books (all checks of Linux, in Linux's order), the host performs the plan's memory
//! operations, and each step that the host has performed is entered in the books. A step that the host refuses is not
//! entered, so that the books never claim what the host doesn't have.

use std::ops::Range;
use std::sync::Arc;

use abi::flags::Prot;
use abi::{Errno, PAGE_SIZE};
use sentry_platform::MemOp;
use smallvec::SmallVec;

use super::begun::Slot;
use super::layout::{GapHint, Layout, MAX_MAP_COUNT};
use super::tree::{Removed, VmaTree};
use super::vma::{Backing, VmFlags, Vma};

/// Resource limits of the caller, in bytes, and the rights that lift them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `RLIMIT_AS`.
    pub address_space: u64,
    /// `RLIMIT_DATA`.
    pub data: u64,
    /// `RLIMIT_STACK`.
    pub stack: u64,
    /// `RLIMIT_MEMLOCK`.
    pub memlock: u64,
    /// `CAP_IPC_LOCK`: memory may be locked without limit.
    pub ipc_lock: bool,
    /// `CAP_SYS_RAWIO`: mappings below `vm.mmap_min_addr` are not refused with EPERM.
    pub rawio: bool,
    /// `READ_IMPLIES_EXEC` personality.
    pub read_implies_exec: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            address_space: u64::MAX,
            data: u64::MAX,
            stack: 8 << 20,
            memlock: 8 << 20,
            ipc_lock: false,
            rawio: false,
            read_implies_exec: false,
        }
    }
}

/// What becomes of a step whose host operation fails.
#[derive(Clone, Debug, Default)]
pub enum OnFailure {
    /// The call fails with the host's error.
    #[default]
    Fail,
    /// The call goes on: the step was a favour.
    Ignore,
    /// This is tried instead; if that fails too, the call fails with this error.
    Try(Box<(MemOp, Errno)>),
}

/// One step of a plan.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// What the host does.
    pub op: Option<MemOp>,
    /// What is entered in the books once it has.
    pub change: Option<Change>,
    /// What becomes of failure.
    pub on_failure: OnFailure,
}

/// A change of the books.
#[derive(Clone, Debug)]
pub enum Change {
    /// A new mapping in place of whatever was there.
    Insert(Vma),
    /// Nothing is mapped there any more.
    Remove(Range<u64>),
    /// Another protection.
    Protect(Range<u64>, Prot),
    /// Flags set and cleared.
    Flags {
        /// Where.
        range: Range<u64>,
        /// First these are cleared.
        clear: VmFlags,
        /// Then these are set.
        set: VmFlags,
    },
    /// Part of a mapping moves to `to` and becomes `to_len` long; `keep` leaves (emptied) memory behind.
    Move {
        /// Old place.
        from: Range<u64>,
        /// New place.
        to: Range<u64>,
        /// `MREMAP_DONTUNMAP`, or a duplicate of shared memory.
        keep: bool,
    },
    /// The mapping that ends at `from` now ends at `to`.
    Extend {
        /// Old end.
        from: u64,
        /// New end.
        to: u64,
    },
    /// The program break.
    Break(u64),
    /// A name for anonymous memory.
    Name(Range<u64>, Option<Arc<[u8]>>),
    /// Flags of all later mappings (`MCL_FUTURE`).
    DefaultFlags(VmFlags),
}

/// Steps to take, and what the call returns once all are taken.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In order.
    pub steps: SmallVec<[Step; 1]>,
    /// Result of the call.
    pub result: Result<u64, Errno>,
}

impl Plan {
    /// Nothing to do.
    pub fn done(result: u64) -> Plan {
        Plan { steps: SmallVec::new(), result: Ok(result) }
    }

    /// One step that the host performs.
    pub fn one(op: MemOp, change: Change, result: u64) -> Plan {
        let mut plan = Plan::done(result);
        plan.push(op, Some(change));
        plan
    }

    /// Adds a step whose failure fails the call.
    pub fn push(&mut self, op: MemOp, change: Option<Change>) {
        self.steps.push(Step { op: Some(op), change, on_failure: OnFailure::Fail });
    }

    /// Adds a change of the books alone.
    pub fn note(&mut self, change: Change) {
        self.steps.push(Step { op: None, change: Some(change), on_failure: OnFailure::Fail });
    }
}

/// What the kernel knows of one address space.
#[derive(Clone, Debug)]
pub struct Books {
    pub(super) tree: VmaTree,
    pub(super) layout: Layout,
    pub(super) gaps: GapHint,
    /// Where the heap starts.
    pub(super) start_brk: u64,
    /// Where it ends, to the byte.
    pub(super) brk: u64,
    /// Flags that each new mapping gets.
    pub(super) default_flags: VmFlags,
    /// The program's own areas.
    pub(super) image: ImageInfo,
    /// Mappings of files that are gone from the tree. They are dropped after the books' lock is released: the last
    /// reference to a file may take any lock.
    pub(super) gone: Vec<Vma>,
    /// A change that the host may be performing.
    pub(super) under_way: Slot,
    /// Private memory that can surely be written, as found last; empty once anything has changed.
    pub(super) writable: Range<u64>,
}

/// Where the parts of the program are, for `/proc` and `prctl(PR_SET_MM)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // named as in `struct mm_struct`
pub struct ImageInfo {
    pub start_code: u64,
    pub end_code: u64,
    pub start_data: u64,
    pub end_data: u64,
    pub start_stack: u64,
    pub arg_start: u64,
    pub arg_end: u64,
    pub env_start: u64,
    pub env_end: u64,
    /// Contents of `/proc/PID/auxv`.
    pub auxv: Vec<u8>,
}

impl Books {
    /// Tells whether anything is mapped that other address spaces may have as well.
    pub(crate) fn has_shared(&self) -> bool {
        self.tree.iter().any(Vma::shared)
    }

    /// Starts the books of an empty address space.
    pub fn new(layout: Layout) -> Books {
        Books {
            tree: VmaTree::new(),
            layout,
            gaps: GapHint::default(),
            start_brk: 0,
            brk: 0,
            default_flags: VmFlags::empty(),
            image: ImageInfo::default(),
            gone: Vec::new(),
            under_way: Slot::default(),
            writable: 0..0,
        }
    }

    /// Returns the mappings.
    pub fn tree(&self) -> &VmaTree {
        &self.tree
    }

    /// Returns the layout.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns the program's areas.
    pub fn image(&self) -> &ImageInfo {
        &self.image
    }

    /// Returns the program's areas to be changed (`PR_SET_MM`).
    pub fn image_mut(&mut self) -> &mut ImageInfo {
        &mut self.image
    }

    /// Returns start and end of the heap.
    pub fn heap(&self) -> Range<u64> {
        self.start_brk..self.brk
    }

    /// Sets where the heap starts; it is empty.
    pub fn set_heap(&mut self, start: u64) {
        self.start_brk = start;
        self.brk = start;
    }

    /// Enters a change.
    pub fn apply(&mut self, change: Change) {
        self.writable = 0..0;
        match change {
            Change::Insert(vma) => {
                let replaced = self.tree.insert(vma);
                self.bury(replaced);
            }
            Change::Remove(range) => self.forget(range),
            Change::Protect(range, prot) => self.tree.update(range, |vma| vma.prot = prot),
            Change::Flags { range, clear, set } => self.tree.update(range, |vma| {
                vma.flags.remove(clear);
                vma.flags.insert(set);
            }),
            Change::Move { from, to, keep } => self.shift(from, to, keep),
            Change::Extend { from, to } => {
                if let Some(vma) = self.tree.get(from.saturating_sub(1)) {
                    let grown = Vma { end: to, ..vma.clone() };
                    let replaced = self.tree.insert(grown);
                    self.bury(replaced);
                }
            }
            Change::Break(brk) => self.brk = brk,
            Change::Name(range, name) => self.tree.update(range, |vma| vma.name.clone_from(&name)),
            Change::DefaultFlags(flags) => self.default_flags = flags,
        }
    }

    fn forget(&mut self, range: Range<u64>) {
        let removed = self.tree.remove(range.clone());
        self.bury(removed);
        self.gaps.freed(&self.tree, range);
    }

    fn bury(&mut self, removed: Removed) {
        self.gone.extend(removed.into_iter().filter(|vma| matches!(vma.backing, Backing::File { .. })));
    }

    fn shift(&mut self, from: Range<u64>, to: Range<u64>, keep: bool) {
        let Some(old) = self.tree.get(from.start) else { return };
        let mut new =
            Vma { backing: old.backing.advance(from.start - old.start), ..old.moved(to.start, to.end - to.start) };
        if keep {
            // What stays behind is not locked any more (man 2 mremap).
            self.tree.update(from, |vma| vma.flags.remove(VmFlags::LOCKED | VmFlags::LOCKONFAULT));
        } else {
            new.flags.remove(VmFlags::RESERVE);
            self.forget(from);
        }
        let replaced = self.tree.insert(new);
        self.bury(replaced);
    }

    /// Copies the books for the child of a fork.
    pub fn forked(&self) -> Books {
        let mut child = self.clone();
        child.writable = 0..0;
        let all = 0..u64::MAX;
        let gone: Vec<Range<u64>> =
            child.tree.iter().filter(|vma| vma.flags.contains(VmFlags::DONTFORK)).map(Vma::range).collect();
        for range in gone {
            child.forget(range);
        }
        child.tree.update(all, |vma| vma.flags.remove(VmFlags::LOCKED | VmFlags::LOCKONFAULT));
        child.default_flags = VmFlags::empty();
        child
    }

    /// Turns stack reserve in or above `range` into stack: somebody refers to it, so the guest has grown into it.
    pub(super) fn touch(&mut self, range: &Range<u64>) {
        let reserve = self.tree.overlapping(range.clone()).find(|vma| vma.is_stack_reserve());
        if let Some(reserve) = reserve {
            let grown = reserve.start.max(range.start)..reserve.end;
            self.tree.update(grown, |vma| vma.flags.remove(VmFlags::RESERVE));
        }
    }

    /// Hears of a stack pointer: everything above it is stack in use.
    pub fn note_stack_pointer(&mut self, rsp: u64) {
        let page = rsp & !(PAGE_SIZE - 1);
        if self.tree.get(page).is_some_and(Vma::is_stack_reserve) {
            self.touch(&(page..page + PAGE_SIZE));
        }
    }

    /// Tells whether `bytes` more may be mapped with these properties (Linux: `may_expand_vm`).
    pub(super) fn may_expand(&self, like: &Vma, bytes: u64, limits: &Limits) -> bool {
        let totals = self.tree.totals();
        let fits =
            |used: u64, limit: u64| used.checked_add(bytes).is_some_and(|sum| sum / PAGE_SIZE <= limit / PAGE_SIZE);
        fits(totals.total, limits.address_space) && (!like.is_data() || fits(totals.data, limits.data))
    }

    /// Tells whether `bytes` more may be locked (Linux: `mlock_future_ok`).
    pub(super) fn may_lock(&self, bytes: u64, limits: &Limits) -> bool {
        limits.ipc_lock || (self.tree.totals().locked.saturating_add(bytes)) / PAGE_SIZE <= limits.memlock / PAGE_SIZE
    }

    /// Tells whether a mapping can be split, which makes one more.
    pub(super) fn may_split(&self) -> bool {
        self.tree.count() < MAX_MAP_COUNT
    }

    /// Cuts a range to the part that the platform lets a guest use; `None` where nothing is left.
    pub(super) fn clamp(&self, range: Range<u64>) -> Option<Range<u64>> {
        let user = self.layout.user;
        let cut = range.start.max(user.start)..range.end.min(user.end);
        (cut.start < cut.end).then_some(cut)
    }
}
