//! Patched system-call sites: which there are in an address space, and how they come and go.
//!
//! A site is patched when its call has trapped for the eighth time (to patch one costs as much as about ten traps, which
//! a short-lived program would never earn back), where the code around it is one of a few exact sequences. The
//! instruction before `syscall` gives way to a jump to a thunk ([`Patching`]); one instruction takes the place of one
//! instruction, so that no thread can stand between, and a jump to the `syscall` itself still works. Where that instruction
//! is too short for a long jump (`xor eax, eax` in `read`), a short one leads to padding behind a function close by, and
//! from there a long one to the thunk. Thunks stand in *regions*, mappings that the guest doesn't see.
//!
//! What the guest does to the memory of a site or region comes first: before it maps, unmaps, moves or reprotects a
//! range, the sites in it get their code back, and so do the sites of a region in it, which then goes.
//!
//! Other threads may run the code while it changes: first a breakpoint is put there, then the rest of the jump, then its
//! first byte, with every core serialised in between. A thread that meets the breakpoint tries again
//! ([`Mm::resume_address`]).

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use abi::PAGE_SIZE;
use abi::flags::{MapFlags, Prot};
use sentry_platform::{Context, ContextExt, MemOp, Patching, Registers};

use super::books::{Books, Change};
use super::space::Mm;
use super::vma::{Backing, VmFlags, Vma};

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

/// Length of `jmp rel8`.
const SHORT: u64 = 2;
/// Length of `jmp rel32`.
const JUMP: u64 = 5;
/// What a site's change is stored with.
const WORD: u64 = 8;
/// Bytes of a region.
const REGION: u64 = 2 * PAGE_SIZE;
/// How far a region may be from its sites: less than a 32-bit displacement reaches.
const REACH: u64 = 1 << 30;
/// Traps at which a site is patched.
const WORTH: u8 = 8;
/// Most addresses whose traps are counted.
const COUNTED: usize = 4096;
const BREAKPOINT: u8 = 0xcc;
const MEMBARRIER_SYNC_CORE: i32 = 1 << 5;

/// One patched site.
#[derive(Clone, Debug)]
struct Site {
    /// The code before.
    original: [u8; WORD as usize],
    /// Start of the region with its thunk.
    region: u64,
    /// The padding that it uses, and the bytes that were there.
    pad: Option<(u64, [u8; WORD as usize])>,
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
}

impl Patches {
    fn region_of(&self, addr: u64) -> Option<(u64, &Region)> {
        let (start, region) = self.regions.range(..=addr).next_back()?;
        (addr < start + REGION).then_some((*start, region))
    }

    /// Remembers a place where no breakpoint stands any more.
    fn left(&mut self, place: u64, site: u64) {
        if self.former.len() >= COUNTED {
            self.former.clear();
        }
        self.former.insert(place, site);
    }

    /// Counts a trap; tells whether the site is worth a try.
    fn count(&mut self, resume: u64) -> bool {
        if self.traps.len() >= COUNTED && !self.traps.contains_key(&resume) {
            self.traps.clear();
        }
        let count = self.traps.entry(resume).or_insert(0);
        if *count == u8::MAX {
            return false;
        }
        *count = (*count + 1).min(WORTH);
        *count >= WORTH
    }

    /// Returns the sites and regions that a touch concerns.
    fn touched(&self, touch: &Touch) -> (Vec<u64>, Vec<u64>) {
        let (mut sites, mut regions) = (Vec::new(), Vec::new());
        for range in touch.ranges().iter().filter(|range| range.start < range.end) {
            if !matches!(touch, Touch::Look(_)) {
                let from = range.start.saturating_sub(WORD - 1);
                sites.extend(self.sites.range(from..range.end).map(|(at, _)| *at));
                sites.extend(self.pads.range(from..range.end).map(|(_, site)| *site));
            }
            let from = range.start.saturating_sub(REGION - 1);
            regions.extend(self.regions.range(from..range.end).map(|(at, _)| *at));
        }
        let of_regions = self.sites.iter().filter(|(_, site)| regions.contains(&site.region));
        sites.extend(of_regions.map(|(at, _)| *at));
        sites.sort_unstable();
        sites.dedup();
        (sites, regions)
    }
}

/// A sequence that can be patched.
struct Sequence {
    /// Where the instruction before the `syscall` starts.
    start: u64,
    /// That instruction.
    displaced: Vec<u8>,
}

/// Bytes looked at before the `syscall`'s end.
const BEFORE: u64 = 10;

/// Recognises the code that ends with the `syscall` before `resume`, made with this number. `code` starts [`BEFORE`] bytes
/// before.
fn recognise(code: &[u8], resume: u64, number: u64) -> Option<Sequence> {
    let end = code.len().checked_sub(WORD as usize).filter(|end| *end == BEFORE as usize)?;
    let before = code.get(..end)?.strip_suffix(&[0x0f, 0x05])?;
    let sequence = |len: usize| {
        let displaced = before[before.len() - len..].to_vec();
        Some(Sequence { start: resume - 2 - len as u64, displaced })
    };
    let number = u32::try_from(number).ok()?.to_le_bytes();
    match before {
        // xor eax, eax; with a prefix another instruction
        [.., prefix, 0x31, 0xc0] if number == [0; 4] && !(0x40..=0x4f).contains(prefix) => sequence(2),
        // mov rax, imm32
        [.., 0x48, 0xc7, 0xc0, a, b, c, d] if [*a, *b, *c, *d] == number && number[3] < 0x80 => sequence(7),
        // With a prefix this would be another instruction.
        [.., 0x40..=0x4f, 0xb8, _, _, _, _] => None,
        // mov eax, imm32
        [.., 0xb8, a, b, c, d] if [*a, *b, *c, *d] == number => sequence(5),
        // mov r9, [rsp + 8]: the last argument of the C library's syscall()
        [.., 0x4c, 0x8b, 0x4c, 0x24, 0x08] => sequence(5),
        _ => None,
    }
}

/// Bytes around a site in which padding is in reach of a short jump.
const NEAR: u64 = 128;
/// What assemblers fill up with between functions, at least as long as a long jump.
const PADDING: [&[u8]; 7] = [
    &[0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
    &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
    &[0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
    &[0x66, 0x2e, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
    &[0x66, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
];
const RET: u8 = 0xc3;

/// Finds padding that nobody executes, between a return and an aligned function, in the code that starts at `base`.
/// `from` is the end of the short jump.
fn find_padding(code: &[u8], base: u64, from: u64) -> Option<u64> {
    let reach = from.saturating_sub(NEAR)..from + NEAR;
    (1..code.len()).find_map(|at| {
        let addr = base + at as u64;
        let padding = PADDING.iter().find(|padding| code[at..].starts_with(padding))?;
        let ends_aligned = (addr + padding.len() as u64).is_multiple_of(16);
        (code[at - 1] == RET && ends_aligned && reach.contains(&addr)).then_some(addr)
    })
}

/// Pages that a change of code at `site` concerns.
fn pages(site: u64) -> Range<u64> {
    let floor = |addr: u64| addr & !(PAGE_SIZE - 1);
    floor(site)..floor(site + WORD - 1) + PAGE_SIZE
}

/// Appends what changes the eight bytes at `site`, of which the first `JUMP` differ, under running threads.
fn rewrite(ops: &mut Vec<MemOp>, site: u64, to: [u8; WORD as usize]) {
    let pages = pages(site);
    let (addr, len) = (pages.start, pages.end - pages.start);
    let serialise = MemOp::Membarrier { cmd: MEMBARRIER_SYNC_CORE, flags: 0, cpu: 0 };
    let mut guarded = to;
    guarded[0] = BREAKPOINT;
    ops.extend([
        MemOp::Protect { addr, len, prot: Prot::READ | Prot::WRITE | Prot::EXEC },
        MemOp::StoreByte { addr: site, byte: BREAKPOINT },
        serialise.clone(),
        MemOp::Store { addr: site, bytes: guarded },
        serialise.clone(),
        MemOp::StoreByte { addr: site, byte: to[0] },
        serialise,
        MemOp::Protect { addr, len, prot: Prot::READ | Prot::EXEC },
    ]);
}

impl Books {
    /// Tells whether code here can be patched: private memory of a file, readable and executable, not writable.
    fn is_text(&self, range: &Range<u64>) -> bool {
        let Some(vma) = self.tree.get(range.start) else { return false };
        range.end <= vma.end
            && vma.prot == Prot::READ | Prot::EXEC
            && !vma.shared()
            && matches!(vma.backing, Backing::File { .. })
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
    pub async fn trapped(&self, context: &mut dyn Context, patching: &dyn Patching, resume: u64, number: u64) {
        if !self.patches.lock().count(resume) {
            return;
        }
        let _structure = self.lock_structure().await;
        let done = self.patch(context, patching, resume, number).await;
        tracing::debug!(resume, number, patched = done.is_some(), "a system call trapped often");
        let mut patches = self.patches.lock();
        if done.is_none() {
            patches.traps.insert(resume, u8::MAX);
        } else {
            patches.traps.remove(&resume);
        }
    }

    async fn patch(&self, context: &mut dyn Context, patching: &dyn Patching, resume: u64, number: u64) -> Option<()> {
        let first = resume.checked_sub(BEFORE)?;
        let mut code = [0; (BEFORE + WORD) as usize];
        if self.space().read(first, &mut code) != code.len() {
            return None;
        }
        let Sequence { start, displaced } = recognise(&code, resume, number)?;
        if !self.books().is_text(&(start..start + WORD)) {
            return None;
        }
        let offset = usize::try_from(start - first).ok()?;
        let original: [u8; WORD as usize] = code.get(offset..offset + WORD as usize)?.try_into().ok()?;
        let pad = if (displaced.len() as u64) < JUMP { Some(self.padding_near(start)?) } else { None };
        let region = match self.region_with_room(patching, start) {
            Some(region) => region,
            None => self.make_region(context, patching, start).await?,
        };
        let at = {
            let mut patches = self.patches.lock();
            let thunks = &mut patches.regions.get_mut(&region)?.thunks;
            thunks.push(start);
            region + patching.common().len() as u64 + (thunks.len() as u64 - 1) * patching.thunk_len()
        };
        let thunk = patching.thunk(region, at, &displaced, resume)?;
        let long = |from: u64, mut word: [u8; WORD as usize]| {
            let distance = i32::try_from(at.cast_signed() - (from + JUMP).cast_signed()).ok()?;
            word[0] = 0xe9;
            word[1..JUMP as usize].copy_from_slice(&distance.to_le_bytes());
            Some(word)
        };
        let (jump, pad) = match pad {
            None => (long(start, original)?, None),
            Some((pad, was)) => {
                let distance = i8::try_from(pad.cast_signed() - (start + SHORT).cast_signed()).ok()?;
                let mut jump = original;
                (jump[0], jump[1]) = (0xeb, distance.cast_unsigned());
                (jump, Some((pad, was, long(pad, was)?)))
            }
        };
        let mut ops = vec![MemOp::Protect { addr: region, len: REGION, prot: Prot::READ | Prot::WRITE | Prot::EXEC }];
        for (index, bytes) in thunk.as_chunks::<8>().0.iter().enumerate() {
            ops.push(MemOp::Store { addr: at + 8 * index as u64, bytes: *bytes });
        }
        ops.push(MemOp::Protect { addr: region, len: REGION, prot: Prot::READ | Prot::EXEC });
        if let Some((pad, _, to)) = pad {
            rewrite(&mut ops, pad, to);
        }
        rewrite(&mut ops, start, jump);
        // Before the code changes: a thread that meets the breakpoint is to be understood.
        {
            let mut patches = self.patches.lock();
            patches.sites.insert(start, Site { original, region, pad: pad.map(|(pad, was, _)| (pad, was)) });
            patches.pads.extend(pad.map(|(pad, ..)| (pad, start)));
        }
        if let Err(failure) = context.memory(&ops).await {
            tracing::debug!(site = start, errno = %failure.errno, "a system call could not be patched");
            self.restore(context, &[start]).await;
            return None;
        }
        Some(())
    }

    /// Finds padding for a site, and reads what is there.
    fn padding_near(&self, site: u64) -> Option<(u64, [u8; WORD as usize])> {
        let base = site.saturating_sub(NEAR);
        let mut code = [0; (2 * NEAR + 2 * WORD) as usize];
        if self.space().read(base, &mut code) != code.len() {
            return None;
        }
        let pad = find_padding(&code, base, site + SHORT)?;
        let offset = usize::try_from(pad - base).ok()?;
        let was = code.get(offset..offset + WORD as usize)?.try_into().ok()?;
        self.books().is_text(&(pad..pad + WORD)).then_some((pad, was))
    }

    fn region_with_room(&self, patching: &dyn Patching, near: u64) -> Option<u64> {
        let most = (REGION - patching.common().len() as u64) / patching.thunk_len();
        let patches = self.patches.lock();
        let reachable = patches.regions.range(near.saturating_sub(REACH)..near.saturating_add(REACH));
        let mut free = reachable.filter(|(_, region)| (region.thunks.len() as u64) < most);
        free.next().map(|(start, _)| *start)
    }

    async fn make_region(&self, context: &mut dyn Context, patching: &dyn Patching, near: u64) -> Option<u64> {
        let region = self.books().place_region(near)?;
        let prot = Prot::READ | Prot::WRITE;
        let flags = MapFlags::PRIVATE.bits();
        context.memory(&[MemOp::MapAnonymous { addr: region, len: REGION, prot, flags }]).await.ok()?;
        let hidden = VmFlags::RESERVE | VmFlags::HIDDEN;
        let vma = Vma::anonymous(region..region + REGION, Prot::READ | Prot::EXEC, hidden);
        self.books().apply(Change::Insert(vma));
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
            let mut ops = Vec::with_capacity(16);
            rewrite(&mut ops, *site, original);
            if let Some((pad, was)) = pad {
                rewrite(&mut ops, pad, was);
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
            None => {
                let resume = patching.return_address(offset, regs);
                let (site, _) = patches.sites.range(..resume).next_back()?;
                (resume - site <= BEFORE).then_some(*site)
            }
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

    /// Code that ends with a call; what follows doesn't matter.
    fn code(before: &[u8]) -> Vec<u8> {
        let mut code = vec![0x90; BEFORE as usize - 2 - before.len()];
        code.extend(before);
        code.extend([0x0f, 0x05]);
        code.extend([0x90; WORD as usize]);
        code
    }

    fn recognised(before: &[u8], number: u64) -> Option<(u64, Vec<u8>)> {
        recognise(&code(before), 0x1000, number).map(|found| (found.start, found.displaced))
    }

    #[test]
    fn exact_sequences_are_recognised() {
        let mov = [0xb8, 39, 0, 0, 0];
        assert_eq!(recognised(&mov, 39), Some((0xff9, mov.to_vec())));
        let mov = [0x48, 0xc7, 0xc0, 39, 0, 0, 0];
        assert_eq!(recognised(&mov, 39), Some((0xff7, mov.to_vec())));
        assert_eq!(recognised(&[0x31, 0xc0], 0), Some((0xffc, vec![0x31, 0xc0])));
        let load = [0x4c, 0x8b, 0x4c, 0x24, 0x08];
        assert_eq!(recognised(&load, 1), Some((0xff9, load.to_vec())));
    }

    #[test]
    fn what_is_not_certain_is_left_alone() {
        // Another number than the call had, a register of the extended set, an immediate of 64 bits, nothing known.
        assert_eq!(recognised(&[0xb8, 39, 0, 0, 0], 40), None);
        assert_eq!(recognised(&[0x41, 0xb8, 39, 0, 0, 0], 39), None);
        assert_eq!(recognised(&[0x48, 0xb8, 39, 0, 0, 0], 39), None);
        assert_eq!(recognised(&[0x31, 0xc0], 1), None);
        assert_eq!(recognised(&[0x45, 0x31, 0xc0], 0), None);
        assert!(recognise(&[0x0f, 0x05], 0x1000, 1).is_none());
    }

    #[test]
    fn touches_find_sites_and_regions() {
        let mut patches = Patches::default();
        let original = [0; 8];
        patches.sites.insert(0x1ffc, Site { original, region: 0x8000, pad: None });
        patches.sites.insert(0x3000, Site { original, region: 0xc000, pad: Some((0x2f80, original)) });
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
    }

    #[test]
    fn padding_is_used_where_nobody_executes_it() {
        let nop = [0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00];
        let base = 0x1000;
        let with = |before: u8, end: usize| {
            let mut code = vec![0x90; 256];
            code[end - nop.len()..end].copy_from_slice(&nop);
            code[end - nop.len() - 1] = before;
            code
        };
        let at = |end: u64| Some(base + end - nop.len() as u64);
        assert_eq!(find_padding(&with(RET, 160), base, base + 130), at(160));
        assert_eq!(find_padding(&with(RET, 80), base, base + 130), at(80));
        // Behind no return; before no function; out of reach.
        assert_eq!(find_padding(&with(0x90, 160), base, base + 130), None);
        assert_eq!(find_padding(&with(RET, 164), base, base + 130), None);
        assert_eq!(find_padding(&with(RET, 240), base, base + 100), None);
    }

    #[test]
    fn a_site_is_tried_when_it_has_trapped_often() {
        let mut patches = Patches::default();
        assert!((1..WORTH).all(|_| !patches.count(7)));
        assert!(patches.count(7));
        patches.traps.insert(7, u8::MAX);
        assert!(!patches.count(7));
        assert!((0..10 * COUNTED as u64).all(|at| !patches.count(100 + at)));
        assert!(patches.traps.len() <= COUNTED);
    }
}
