//! Where things go in an address space: the constants of x86-64, randomization, and the search for free addresses.

use std::ops::Range;

use abi::PAGE_SIZE;
use abi::addr::page_floor;

use super::tree::VmaTree;
use super::vma::{VmFlags, Vma};

/// One past the last user address (`TASK_SIZE` with 4-level page tables).
pub const TASK_SIZE: u64 = 0x7fff_ffff_f000;
/// `vm.mmap_min_addr`.
pub const MMAP_MIN_ADDR: u64 = 0x1_0000;
/// Kept free below a growing stack (`stack_guard_gap`, 256 pages).
pub const STACK_GUARD_GAP: u64 = 256 * PAGE_SIZE;
/// Most mappings in one address space (`vm.max_map_count`).
pub const MAX_MAP_COUNT: usize = 65530;
/// Size of a huge page; large anonymous mappings are aligned to it.
pub(super) const HUGE_PAGE: u64 = 2 << 20;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Where a position-independent program with an interpreter goes (`ELF_ET_DYN_BASE`: two thirds up).
const PIE_BASE: u64 = TASK_SIZE / 3 * 2;

/// Random bits for one new program image; zero without randomization.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entropy {
    /// For the stack's top.
    pub stack: u64,
    /// For the base of mappings.
    pub mmap: u64,
    /// For the start of the heap.
    pub brk: u64,
    /// For the load address of a position-independent program.
    pub pie: u64,
    /// For the sub-page place of the stack pointer.
    pub stack_align: u64,
}

/// The places chosen for one program image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The part of the user range that the platform lets a guest use.
    pub user: Range2,
    /// Top of the area that is searched downward.
    pub mmap_base: u64,
    /// Bottom of the area that is searched upward when the other is full.
    pub bottom: u64,
    /// One past the highest stack address.
    pub stack_top: u64,
    /// Bytes by which the heap starts behind the end of the program.
    pub brk_gap: u64,
    /// Load address of position-independent programs with an interpreter.
    pub pie_base: u64,
    /// Whether the areas are randomized (no `ADDR_NO_RANDOMIZE`).
    pub randomized: bool,
}

/// A copyable half-open range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range2 {
    /// First.
    pub start: u64,
    /// One past the last.
    pub end: u64,
}

impl Range2 {
    /// Returns it as a standard range.
    pub fn range(self) -> Range<u64> {
        self.start..self.end
    }
}

impl Layout {
    /// Lays out an image. `stack_limit` is `RLIMIT_STACK`; entropy bits above what Linux uses are ignored.
    pub fn new(user: Range<u64>, stack_limit: u64, entropy: Option<Entropy>) -> Layout {
        let randomized = entropy.is_some();
        let entropy = entropy.unwrap_or_default();
        let user = Range2 { start: user.start.max(MMAP_MIN_ADDR), end: user.end.min(TASK_SIZE) };
        // Linux: 22 bits of pages for the stack, 28 for mappings and programs, 0x02000000 bytes for the heap.
        let stack_top = page_floor(user.end).saturating_sub((entropy.stack & 0x3f_ffff) * PAGE_SIZE);
        let stack_maximum_random = if randomized { 0x3f_ffff * PAGE_SIZE } else { 0 };
        let pad = stack_maximum_random + STACK_GUARD_GAP;
        let gap = stack_limit.saturating_add(pad).clamp(128 * MIB, user.end / 6 * 5);
        let mmap_base = page_floor(user.end - gap).saturating_sub((entropy.mmap & 0xfff_ffff) * PAGE_SIZE);
        let pie_base = page_floor(PIE_BASE) + (entropy.pie & 0xfff_ffff) * PAGE_SIZE;
        // A user range smaller than Linux's keeps programs inside its middle.
        let pie_base = if pie_base + 64 * GIB < mmap_base { pie_base } else { page_floor(user.end / 3) };
        let brk_gap = (entropy.brk % (0x200_0000 / PAGE_SIZE)) * PAGE_SIZE;
        Layout { user, mmap_base, bottom: page_floor(user.end / 3), stack_top, brk_gap, pie_base, randomized }
    }
}

/// What sort of place is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Search {
    /// Page-aligned length, not 0.
    pub len: u64,
    /// Place that the caller would like, 0 for none; page-aligned.
    pub hint: u64,
    /// Below 2 GiB (`MAP_32BIT`).
    pub low: bool,
    /// Prefer the alignment of huge pages.
    pub huge: bool,
}

/// Remembers how far down the searched area is known to be full, so that address spaces with thousands of mappings
/// aren't walked each time. Every gap that ends above `top` is at most `skipped` bytes long.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct GapHint {
    top: u64,
    skipped: u64,
}

impl GapHint {
    /// Forgets everything.
    pub(super) fn reset(&mut self) {
        *self = GapHint::default();
    }

    /// Hears that the mappings in `range` are gone.
    pub(super) fn freed(&mut self, tree: &VmaTree, range: Range<u64>) {
        // What ends just at the top may join a free part above it.
        if range.end >= self.top {
            let above = tree.find(range.end).map_or(TASK_SIZE, |vma| vma.start);
            let below = tree.before(range.start).map_or(0, |vma| vma.end);
            self.skipped = self.skipped.max(above.saturating_sub(below));
        }
    }
}

/// Returns the lowest address that a mapping in front of `vma` may not reach (Linux: `vm_start_gap`).
pub(super) fn start_gap(vma: &Vma) -> u64 {
    if vma.flags.contains(VmFlags::GROWSDOWN) { vma.start.saturating_sub(STACK_GUARD_GAP) } else { vma.start }
}

/// Finds free addresses as Linux does: the hint if it is free, else top-down from the mmap base, else bottom-up.
pub(super) fn find_free(tree: &VmaTree, layout: &Layout, hint: &mut GapHint, search: Search) -> Option<u64> {
    let Search { len, .. } = search;
    let area = if search.low { 0x4000_0000..0x8000_0000u64 } else { layout.user.range() };
    if len > area.end.saturating_sub(layout.user.start) {
        return None;
    }
    if search.hint != 0 && hint_is_free(tree, layout, area.end, search.hint, len) {
        return Some(search.hint);
    }
    if search.low {
        return bottom_up(tree, area, len);
    }
    if search.huge
        && search.hint == 0
        && let Some(addr) = top_down(tree, layout, hint, len.checked_add(HUGE_PAGE)?)
    {
        return Some(addr.checked_add(HUGE_PAGE)? & !(HUGE_PAGE - 1));
    }
    top_down(tree, layout, hint, len).or_else(|| bottom_up(tree, layout.bottom..layout.user.end, len))
}

fn hint_is_free(tree: &VmaTree, layout: &Layout, end: u64, addr: u64, len: u64) -> bool {
    let Some(stop) = addr.checked_add(len) else { return false };
    addr >= layout.user.start && stop <= end && tree.find(addr).is_none_or(|vma| stop <= start_gap(vma))
}

fn top_down(tree: &VmaTree, layout: &Layout, hint: &mut GapHint, len: u64) -> Option<u64> {
    if hint.top == 0 || len <= hint.skipped {
        *hint = GapHint { top: layout.mmap_base, skipped: 0 };
    }
    let mut ceiling = hint.top.min(layout.mmap_base);
    // A mapping may straddle the ceiling.
    if let Some(vma) = tree.find(ceiling).filter(|vma| start_gap(vma) < ceiling) {
        ceiling = start_gap(vma);
    }
    for vma in tree.descending(ceiling) {
        let floor = vma.end.max(layout.user.start);
        let gap = ceiling.saturating_sub(floor);
        if gap >= len {
            hint.top = ceiling;
            return Some(ceiling - len);
        }
        hint.skipped = hint.skipped.max(gap);
        ceiling = ceiling.min(start_gap(vma));
    }
    if ceiling.saturating_sub(layout.user.start) >= len {
        hint.top = ceiling;
        return Some(ceiling - len);
    }
    hint.reset();
    None
}

fn bottom_up(tree: &VmaTree, area: Range<u64>, len: u64) -> Option<u64> {
    let mut floor = area.start;
    for vma in tree.overlapping(area.clone()) {
        if start_gap(vma).saturating_sub(floor) >= len {
            return Some(floor);
        }
        floor = floor.max(vma.end);
    }
    // The first mapping above the area may need its guard gap.
    let ceiling = tree.find(area.end).map_or(area.end, |vma| area.end.min(start_gap(vma)));
    (ceiling.saturating_sub(floor) >= len).then_some(floor)
}
