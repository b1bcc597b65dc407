//! Patched system-call sites: which there are in an address space, and how they come and go.
//!
//! A site is patched when its call has trapped for the eighth time (to patch one costs as much as about ten traps, which
//! a short-lived program would never earn back), or with all others that earlier processes have used of the same file
//! ([`learned`]), where the code around it is one of a few exact sequences ([`code`]). The
//! instruction before `syscall` gives way to a jump to a thunk ([`Patching`]); one instruction takes the place of one
//! instruction, so that no thread can stand between, and a jump to the `syscall` itself still works. Where that instruction
//! is too short for a long jump (`xor eax, eax` in `read`), a short one leads to padding behind a function close by, and
//! from there a long one to the thunk. Thunks stand in *regions*, mappings that the guest doesn't see.
//!
//! What the guest does to the memory of a site or region comes first: before it maps, unmaps, moves or reprotects a
//! range, the sites in it get their code back, and so do the sites of a region in it, which then goes.
//!
//! Where other threads may run the code while it changes, first a breakpoint is put there, then the rest of the jump, then its
//! first byte, with every core serialised in between. A thread that meets the breakpoint tries again
//! ([`Mm::resume_address`]).

mod code;
mod learned;
mod lessons;
mod many;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use abi::PAGE_SIZE;
use abi::addr::page_floor;
use abi::flags::{MapFlags, Prot};
use code::{BEFORE, Code, Found, JUMP, What};
use learned::FileKey;
pub use learned::{Class, Learned};
pub use lessons::Lessons;
pub use many::Prepared;
use sentry_platform::{Context, ContextExt, MemOp, Patching, Registers};

use super::books::{Books, Change};
use super::space::Mm;
use super::vma::Backing;

/// What a call is about to do to a range of memory.
#[derive(Clone, Debug)]
pub enum Touch {
    /// It finds its own place.
    Nothing,
    /// Look at the pages, or advise on them.
    Look(Range<u64>),
    /// Replace, remove, move or reprotect.
    Change(Range<u64>),
    /// As above, two ranges.
    ChangeBoth(Range<u64>, Range<u64>),
}

impl Touch {
    fn ranges(&self) -> [Range<u64>; 2] {
        match self {
            Touch::Nothing => [0..0, 0..0],
            Touch::Look(range) | Touch::Change(range) => [range.clone(), 0..0],
            Touch::ChangeBoth(one, two) => [one.clone(), two.clone()],
        }
    }
}

/// Bytes of a region.
const REGION: u64 = 2 * PAGE_SIZE;
/// How far a region may be from its sites: less than a 32-bit displacement reaches.
const REACH: u64 = 1 << 30;
/// Traps at which a site is patched.
const WORTH: u8 = 8;
/// Traps that a process must save for all the known sites of a file to be patched at its first: about what that costs.
const LEAST: u32 = 16;
/// Most addresses whose traps are counted.
const COUNTED: usize = 4096;
/// Most files that an address space has a role for.
const ROLES: usize = 256;
const BREAKPOINT: u8 = 0xcc;
const MEMBARRIER_SYNC_CORE: i32 = 1 << 5;
/// Protection of text.
const TEXT: Prot = Prot::READ.union(Prot::EXEC);

/// One patched site.
#[derive(Clone, Debug)]
struct Site {
    /// The code before, as far as it has changed.
    original: Vec<u8>,
    /// Where its call returns to.
    resume: u64,
    /// Start of the region with its thunk.
    region: u64,
    /// The padding that it uses, and the bytes that were there.
    pad: Option<(u64, [u8; JUMP])>,
}

impl Site {
    /// Describes a site before it is patched: `code` is what is around it.
    fn of(found: &Found, code: &Code, region: u64) -> Option<Site> {
        let original = code.at(found.start, found.len())?.to_vec();
        let pad = match found.pad {
            Some(pad) => Some((pad, code.at(pad, JUMP)?.try_into().ok()?)),
            None => None,
        };
        Some(Site { original, resume: found.resume, region, pad })
    }
}

/// Where thunks are.
#[derive(Clone, Debug, Default)]
struct Region {
    /// Address of the site of each thunk.
    thunks: Vec<u64>,
}

/// What is patched in an address space, and what may come to be.
#[derive(Clone, Debug, Default)]
pub(super) struct Patches {
    /// By the address of the instruction replaced.
    sites: BTreeMap<u64, Site>,
    /// By their first address.
    regions: BTreeMap<u64, Region>,
    /// Sites by the padding that they use.
    pads: BTreeMap<u64, u64>,
    /// Where breakpoints have stood, and the site of each: a thread may have met one and be heard only after it has gone.
    former: HashMap<u64, u64>,
    /// Traps seen, by the address behind the `syscall`; `u8::MAX`: can't be patched.
    traps: HashMap<u64, u8>,
    /// Files that have led to a trap, and whether their traps are counted for others.
    roles: Vec<(FileKey, bool)>,
}

/// How far a site has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    /// It can't be patched.
    Hopeless,
    /// It may come to be worth it.
    Some,
    /// It has trapped often.
    Many,
}

impl Patches {
    fn region_of(&self, addr: u64) -> Option<(u64, &Region)> {
        let (start, region) = self.regions.range(..=addr).next_back()?;
        (addr < start + REGION).then_some((*start, region))
    }

    /// Finds the site of the call that returns to `resume`.
    fn site_of(&self, resume: u64) -> Option<u64> {
        let mut near = self.sites.range(resume.saturating_sub(BEFORE as u64)..resume);
        near.find(|(_, site)| site.resume == resume).map(|(start, _)| *start)
    }

    /// Remembers a place where no breakpoint stands any more.
    fn left(&mut self, place: u64, site: u64) {
        if self.former.len() >= COUNTED {
            self.former.clear();
        }
        self.former.insert(place, site);
    }

    /// Counts a trap.
    fn count(&mut self, resume: u64) -> Count {
        if self.traps.len() >= COUNTED && !self.traps.contains_key(&resume) {
            self.traps.clear();
        }
        let count = self.traps.entry(resume).or_insert(0);
        if *count == u8::MAX {
            return Count::Hopeless;
        }
        *count = (*count + 1).min(WORTH);
        if *count < WORTH { Count::Some } else { Count::Many }
    }

    /// Tells whether this address space teaches others about a file, where that is decided.
    fn role(&self, key: FileKey) -> Option<bool> {
        self.roles.iter().find(|(known, _)| *known == key).map(|(_, teaches)| *teaches)
    }

    fn set_role(&mut self, key: FileKey, teaches: bool) {
        if self.roles.len() >= ROLES {
            self.roles.remove(0);
        }
        self.roles.push((key, teaches));
    }

    /// Returns the sites and regions that a touch concerns.
    fn touched(&self, touch: &Touch) -> (Vec<u64>, Vec<u64>) {
        let (mut sites, mut regions) = (Vec::new(), Vec::new());
        for range in touch.ranges().iter().filter(|range| range.start < range.end) {
            if !matches!(touch, Touch::Look(_)) {
                let from = range.start.saturating_sub(JUMP as u64 - 1);
                sites.extend(self.sites.range(from..range.end).map(|(at, _)| *at));
                sites.extend(self.pads.range(from..range.end).map(|(_, site)| *site));
            }
            let from = range.start.saturating_sub(REGION - 1);
            regions.extend(self.regions.range(from..range.end).map(|(at, _)| *at));
        }
        if !regions.is_empty() {
            let of_regions = self.sites.iter().filter(|(_, site)| regions.contains(&site.region));
            sites.extend(of_regions.map(|(at, _)| *at));
        }
        sites.sort_unstable();
        sites.dedup();
        (sites, regions)
    }
}

/// Appends what changes the code at `addr`; `runs`: threads may execute it meanwhile.
fn rewrite(ops: &mut Vec<MemOp>, addr: u64, to: &[u8], runs: bool) {
    let pages = page_floor(addr)..page_floor(addr + to.len() as u64 - 1) + PAGE_SIZE;
    let serialise = MemOp::Membarrier { cmd: MEMBARRIER_SYNC_CORE, flags: 0, cpu: 0 };
    let rest = to.iter().zip(addr..).skip(1).map(|(byte, addr)| MemOp::StoreByte { addr, byte: *byte });
    let first = MemOp::StoreByte { addr, byte: to[0] };
    ops.push(many::open(&pages));
    if runs {
        ops.extend([MemOp::StoreByte { addr, byte: BREAKPOINT }, serialise.clone()]);
        ops.extend(rest);
        ops.extend([serialise.clone(), first, serialise]);
    } else {
        ops.extend(rest);
        ops.push(first);
    }
    ops.push(many::close(&pages));
}

impl Books {
    /// Returns the addresses of the mapping around code that can be patched: private memory of a file, readable and
    /// executable, not writable.
    fn text_at(&self, addr: u64) -> Option<Range<u64>> {
        let vma = self.tree.get(addr)?;
        (vma.prot == TEXT && !vma.shared() && matches!(vma.backing, Backing::File { .. })).then(|| vma.range())
    }

    /// Finds a place for a region in reach of `near`: far from everything, where the guest's own mappings and heap will
    /// rarely come, else wherever there is room.
    fn place_region(&self, near: u64) -> Option<u64> {
        const DISTANT: [i64; 5] = [-(512 << 20), -(64 << 20), 768 << 20, 512 << 20, 64 << 20];
        const MARGIN: u64 = 16 * PAGE_SIZE;
        let user = self.layout.user;
        let (lowest, highest) = (user.start.max(near.saturating_sub(REACH)), user.end.min(near.saturating_add(REACH)));
        let is_free = |start: u64| {
            let around = start.saturating_sub(MARGIN)..start + REGION + MARGIN;
            lowest <= around.start && around.end <= highest && self.tree.overlapping(around).next().is_none()
        };
        let page = near & !(PAGE_SIZE - 1);
        let distant = DISTANT.iter().filter_map(|distance| page.checked_add_signed(*distance));
        let below = self.tree.descending(near).map(|vma| vma.start.saturating_sub(REGION + MARGIN));
        let above = self.tree.overlapping(near..highest).map(|vma| vma.end + MARGIN);
        distant.chain(below).chain(above).find(|start| is_free(*start))
    }
}

impl Mm {
    /// Hears that a call with this number trapped, to return to `resume`, and patches its site if that is worth it.
    pub async fn trapped(&self, context: &mut dyn Context, lessons: &Lessons<'_>, resume: u64, number: u64) {
        let count = self.patches.lock().count(resume);
        if count == Count::Hopeless || self.patch_by_lessons(context, lessons, resume, number).await {
            return;
        }
        if count != Count::Many {
            return;
        }
        let _structure = self.lock_structure().await;
        let done = self.patch(context, lessons.patching, resume, number).await;
        tracing::debug!(resume, number, patched = done.is_some(), "a system call trapped often");
        let mut patches = self.patches.lock();
        if done.is_none() {
            patches.traps.insert(resume, u8::MAX);
        } else {
            patches.traps.remove(&resume);
            lessons.learned.note_works();
        }
    }

    /// Reads the code around a site, as far as it is in the same mapping.
    fn code_around(&self, resume: u64) -> Option<Code> {
        let first = resume.checked_sub(BEFORE as u64)?;
        let inside = self.books().text_at(first)?;
        let mut before = [0; BEFORE];
        if resume > inside.end || self.space().read(first, &mut before) != BEFORE {
            return None;
        }
        let window = code::window(resume, &before);
        self.read_code(&(window.start.max(inside.start)..window.end.min(inside.end)))
    }

    fn read_code(&self, range: &Range<u64>) -> Option<Code> {
        let mut bytes = vec![0; usize::try_from(range.end.checked_sub(range.start)?).ok()?];
        let got = self.space().read(range.start, &mut bytes);
        bytes.truncate(got);
        Some(Code { base: range.start, bytes })
    }

    async fn patch(&self, context: &mut dyn Context, patching: &dyn Patching, resume: u64, number: u64) -> Option<()> {
        let code = self.code_around(resume)?;
        let found = code::find(&code, &code, resume, What::Call(number))?;
        let start = found.start;
        let region = match self.region_with_room(patching, start, 1) {
            Some(region) => region,
            None => self.make_region(context, patching, start).await?,
        };
        let site = Site::of(&found, &code, region)?;
        let pad = site.pad.map(|(pad, _)| pad);
        let at = {
            let mut patches = self.patches.lock();
            let thunks = &mut patches.regions.get_mut(&region)?.thunks;
            thunks.push(start);
            region + patching.common().len() as u64 + (thunks.len() as u64 - 1) * patching.thunk_len()
        };
        let thunk = patching.thunk(region, at, &found.displaced(at)?, resume)?;
        let (jump, pad_jump) = found.jumps(at)?;
        let mut ops = vec![MemOp::Protect { addr: region, len: REGION, prot: Prot::READ | Prot::WRITE | Prot::EXEC }];
        ops.push(MemOp::Write { addr: at, bytes: thunk.into() });
        ops.push(MemOp::Protect { addr: region, len: REGION, prot: TEXT });
        let runs = self.is_shared();
        if let (Some(pad), Some(to)) = (pad, pad_jump) {
            rewrite(&mut ops, pad, &to, runs);
        }
        rewrite(&mut ops, start, &jump, runs);
        // Before the code changes: a thread that meets the breakpoint is to be understood.
        {
            let mut patches = self.patches.lock();
            patches.sites.insert(start, site);
            patches.pads.extend(pad.map(|pad| (pad, start)));
        }
        if let Err(failure) = context.memory(&ops).await {
            tracing::debug!(site = start, errno = %failure.errno, "a system call could not be patched");
            self.restore(context, &[start]).await;
            return None;
        }
        Some(())
    }

    /// Finds a region for so many more thunks.
    fn region_with_room(&self, patching: &dyn Patching, near: u64, thunks: u64) -> Option<u64> {
        let most = (REGION - patching.common().len() as u64) / patching.thunk_len();
        let patches = self.patches.lock();
        let reachable = patches.regions.range(near.saturating_sub(REACH)..near.saturating_add(REACH));
        let mut free = reachable.filter(|(_, region)| region.thunks.len() as u64 + thunks <= most);
        free.next().map(|(start, _)| *start)
    }

    async fn make_region(&self, context: &mut dyn Context, patching: &dyn Patching, near: u64) -> Option<u64> {
        let region = self.books().place_region(near)?;
        let prot = Prot::READ | Prot::WRITE;
        let flags = MapFlags::PRIVATE.bits();
        context.memory(&[MemOp::MapAnonymous { addr: region, len: REGION, prot, flags }]).await.ok()?;
        self.books().apply(Change::Insert(many::hidden(region)));
        if self.space().write(region, patching.common()) != patching.common().len() {
            return None;
        }
        self.patches.lock().regions.insert(region, Region::default());
        Some(region)
    }

    /// Makes way for a call that touches memory: nothing that it concerns is patched afterwards, and no region is there.
    pub(super) async fn make_way(&self, context: &mut dyn Context, touch: &Touch) {
        let (sites, regions) = {
            let patches = self.patches.lock();
            if patches.sites.is_empty() && patches.regions.is_empty() {
                return;
            }
            patches.touched(touch)
        };
        if !sites.is_empty() {
            self.restore(context, &sites).await;
        }
        for region in regions {
            // The host refuses this only for want of memory, and then the region stays what the guest overwrites.
            let _ = context.memory(&[MemOp::Unmap { addr: region, len: REGION }]).await;
            self.books().apply(Change::Remove(region..region + REGION));
            self.patches.lock().regions.remove(&region);
        }
    }

    /// Tells whether [`Mm::make_way`] has nothing to do.
    pub(super) fn way_is_clear(&self, touch: &Touch) -> bool {
        let patches = self.patches.lock();
        if patches.sites.is_empty() && patches.regions.is_empty() {
            return true;
        }
        let (sites, regions) = patches.touched(touch);
        sites.is_empty() && regions.is_empty()
    }

    /// Gives sites their code back.
    async fn restore(&self, context: &mut dyn Context, sites: &[u64]) {
        for site in sites {
            let Some(Site { original, pad, .. }) = self.patches.lock().sites.get(site).cloned() else { continue };
            let (mut ops, runs) = (Vec::with_capacity(16), self.is_shared());
            rewrite(&mut ops, *site, &original, runs);
            if let Some((pad, was)) = pad {
                rewrite(&mut ops, pad, &was, runs);
            }
            if let Err(failure) = context.memory(&ops).await {
                // The memory is not what it was: unmapped by the guest's own doing, say.
                tracing::debug!(site, errno = %failure.errno, "a patched system call could not be restored");
            }
            let mut patches = self.patches.lock();
            patches.sites.remove(site);
            patches.left(*site, *site);
            if let Some((pad, _)) = pad {
                patches.pads.remove(&pad);
                patches.left(pad, *site);
            }
            patches.traps.clear();
        }
    }

    /// Returns where a thread that stopped at `regs.rip` is as far as its program knows: in a thunk, or behind the
    /// breakpoint of a site that is being patched, it is at the site.
    pub fn resume_address(&self, patching: &dyn Patching, regs: &Registers, breakpoint: bool) -> Option<u64> {
        let patches = self.patches.lock();
        if breakpoint {
            let site = regs.rip.wrapping_sub(1);
            if let Some(of_pad) = patches.pads.get(&site) {
                return Some(*of_pad);
            }
            return if patches.sites.contains_key(&site) { Some(site) } else { self.gone_from(&patches, site) };
        }
        if let Some(site) = patches.pads.get(&regs.rip) {
            return Some(*site);
        }
        let (start, region) = patches.region_of(regs.rip)?;
        let offset = regs.rip - start;
        match offset.checked_sub(patching.common().len() as u64) {
            Some(offset) => region.thunks.get(usize::try_from(offset / patching.thunk_len()).ok()?).copied(),
            None => patches.site_of(patching.return_address(offset, regs)),
        }
    }

    /// Returns the site of a breakpoint of ours that has stood here and is no longer there: whoever met it tries again.
    fn gone_from(&self, patches: &Patches, place: u64) -> Option<u64> {
        let site = patches.former.get(&place)?;
        let mut byte = [BREAKPOINT];
        (self.space().read(place, &mut byte) == 1 && byte[0] != BREAKPOINT).then_some(*site)
    }

    /// Copies what a child has of its parent's code.
    pub(super) fn patches_of_child(&self) -> Patches {
        self.patches.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touches_find_sites_and_regions() {
        let mut patches = Patches::default();
        let original = vec![0; JUMP];
        patches.sites.insert(0x1ffc, Site { original: original.clone(), resume: 0x2003, region: 0x8000, pad: None });
        patches.sites.insert(0x3000, Site { original, resume: 0x3004, region: 0xc000, pad: Some((0x2f80, [0; JUMP])) });
        patches.pads.insert(0x2f80, 0x3000);
        patches.regions.insert(0x8000, Region::default());
        patches.regions.insert(0xc000, Region::default());
        let none = (Vec::new(), Vec::new());
        assert_eq!(patches.touched(&Touch::Nothing), none);
        assert_eq!(patches.touched(&Touch::Look(0x1000..0x4000)), none);
        assert_eq!(patches.touched(&Touch::Change(0x2000..0x2f00)), (vec![0x1ffc], vec![]));
        assert_eq!(patches.touched(&Touch::Change(0x2000..0x3000)), (vec![0x1ffc, 0x3000], vec![]));
        assert_eq!(patches.touched(&Touch::Look(0x9000..0xa000)), (vec![0x1ffc], vec![0x8000]));
        let both = Touch::ChangeBoth(0x3000..0x4000, 0xd000..0xe000);
        assert_eq!(patches.touched(&both), (vec![0x3000], vec![0xc000]));
        assert_eq!(patches.site_of(0x2003), Some(0x1ffc));
        assert_eq!(patches.site_of(0x3004), Some(0x3000));
        assert_eq!(patches.site_of(0x3003), None);
    }

    #[test]
    fn a_site_is_tried_when_it_has_trapped_often() {
        let mut patches = Patches::default();
        assert!((1..WORTH).all(|_| patches.count(7) == Count::Some));
        assert_eq!(patches.count(7), Count::Many);
        patches.traps.insert(7, u8::MAX);
        assert_eq!(patches.count(7), Count::Hopeless);
        assert!((0..10 * COUNTED as u64).all(|at| patches.count(100 + at) == Count::Some));
        assert!(patches.traps.len() <= COUNTED);
    }

    #[test]
    fn code_that_runs_is_changed_behind_a_breakpoint() {
        let mut ops = Vec::new();
        rewrite(&mut ops, 0x1ffe, &[1, 2, 3, 4, 5], true);
        let stores: Vec<(u64, u8)> = ops
            .iter()
            .filter_map(|op| match op {
                MemOp::StoreByte { addr, byte } => Some((*addr, *byte)),
                _ => None,
            })
            .collect();
        let rest = [(0x1fff, 2), (0x2000, 3), (0x2001, 4), (0x2002, 5)];
        let all = [&[(0x1ffe, BREAKPOINT)][..], &rest, &[(0x1ffe, 1)]].concat();
        assert_eq!(stores, all);
        let barriers = ops.iter().filter(|op| matches!(op, MemOp::Membarrier { .. })).count();
        assert_eq!(barriers, 3);
        let whole = |op: &MemOp| matches!(op, MemOp::Protect { addr: 0x1000, len: 0x2000, .. });
        assert!(ops.first().is_some_and(whole) && ops.last().is_some_and(whole));
    }
}
