//! Many sites patched at once, in memory that nobody runs meanwhile: that of a program not yet begun, or of one whose only
//! thread is in a system call, from which it comes back by a return from a signal (which serialises the processor).

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use abi::PAGE_SIZE;
use abi::addr::{page_ceil, page_floor};
use abi::flags::{MapFlags, Prot};
use sentry_platform::{MemOp, Patching};

use super::code::{self, BEFORE, Code, JUMP, What};
use super::learned::{Class, FileKey, Hint, Learned, Role};
use super::{Patches, REGION, Region, Site, TEXT};
use crate::mm::books::{Books, Change};
use crate::mm::vma::{Backing, MappedFile, VmFlags, Vma};

/// Traps that a process must save for its program or interpreter to be patched from the start: what that costs, measured.
const LEAST: u32 = 8;
/// Bytes between two pieces of code that are read as one.
const GAP: u64 = 256;
/// Most bytes of text that are made writable as a whole, which the host accounts for.
const WHOLE: u64 = 4 << 20;
const WRITABLE: Prot = Prot::READ.union(Prot::WRITE).union(Prot::EXEC);

/// A place in memory where a site is expected.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Where the program goes on.
    pub(super) resume: u64,
    pub(super) what: What,
    /// The code that ends there.
    pub(super) before: [u8; BEFORE],
}

/// Finds the pieces of code that are needed for sites in this mapping; `places` are in order.
pub(super) fn pieces(places: &[Place], inside: &Range<u64>) -> Vec<Range<u64>> {
    let mut pieces: Vec<Range<u64>> = Vec::new();
    for place in places {
        let window = code::window(place.resume, &place.before);
        let window = window.start.max(inside.start)..window.end.min(inside.end);
        match pieces.last_mut() {
            Some(last) if window.start <= last.end.saturating_add(GAP) => last.end = last.end.max(window.end),
            _ => pieces.push(window),
        }
    }
    pieces.retain(|piece| piece.start < piece.end);
    pieces
}

/// Patched code before it is written.
pub(super) struct Draft<'a> {
    patching: &'a dyn Patching,
    region: u64,
    /// All thunks of the region.
    thunks: Vec<u64>,
    /// How many of them were there before.
    known: usize,
    code: Vec<u8>,
    pub(super) sites: BTreeMap<u64, Site>,
    /// Code that has changed.
    writes: Vec<(u64, Vec<u8>)>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(patching: &'a dyn Patching, region: u64, thunks: Vec<u64>) -> Draft<'a> {
        let known = thunks.len();
        Draft { patching, region, known, thunks, code: Vec::new(), sites: BTreeMap::new(), writes: Vec::new() }
    }

    fn place_of(&self, thunk: usize) -> u64 {
        self.region + self.patching.common().len() as u64 + thunk as u64 * self.patching.thunk_len()
    }

    /// Patches the sites of one piece of code that are as they are said to be; returns those whose code is another.
    pub(super) fn add(&mut self, piece: &Code, places: &[Place]) -> Vec<u64> {
        let mut others = Vec::new();
        // Neighbours are told by the code as it was.
        let mut changed = piece.clone();
        let mut range: Option<Range<u64>> = None;
        for place in places {
            let Some(before) = piece.at(place.resume.saturating_sub(BEFORE as u64), BEFORE) else { continue };
            if before != place.before {
                others.push(place.resume);
                continue;
            }
            for part in self.add_site(piece, &mut changed, place).into_iter().flatten() {
                let whole = range.get_or_insert_with(|| part.clone());
                *whole = whole.start.min(part.start)..whole.end.max(part.end);
            }
        }
        let write = range.and_then(|range| {
            let len = usize::try_from(range.end - range.start).ok()?;
            Some((range.start, changed.at(range.start, len)?.to_vec()))
        });
        self.writes.extend(write);
        others
    }

    /// Changes the code of one site; returns where.
    fn add_site(&mut self, piece: &Code, changed: &mut Code, place: &Place) -> Option<[Range<u64>; 2]> {
        let found = code::find(piece, changed, place.resume, place.what)?;
        let at = self.place_of(self.thunks.len());
        if at + self.patching.thunk_len() > self.region + REGION {
            return None;
        }
        let thunk = match place.what {
            What::Call(_) => self.patching.thunk(self.region, at, &found.displaced(at)?, found.resume)?,
            What::Cpuid(leaf) => self.patching.cpuid(at, leaf, found.resume)?,
        };
        let (jump, pad_jump) = found.jumps(at)?;
        let site = Site::of(&found, piece, self.region)?;
        changed.put(found.start, &jump)?;
        let range = found.start..found.start + jump.len() as u64;
        let mut pad_range = range.clone();
        if let (Some((pad, _)), Some(jump)) = (site.pad, pad_jump) {
            changed.put(pad, &jump)?;
            pad_range = pad..pad + JUMP as u64;
        }
        self.thunks.push(found.start);
        self.code.extend(thunk);
        self.sites.insert(found.start, site);
        Some([range, pad_range])
    }

    /// Returns what is to be written: the code and the thunks.
    pub(super) fn writes(&self) -> Vec<(u64, Vec<u8>)> {
        let mut writes = self.writes.clone();
        if self.known == 0 {
            let mut start = self.patching.common().to_vec();
            start.extend(&self.code);
            writes.push((self.region, start));
        } else {
            writes.push((self.place_of(self.known), self.code.clone()));
        }
        writes
    }

    /// Returns the pages of a mapping that are to be writable meanwhile.
    pub(super) fn pages(&self, of: &Range<u64>) -> Option<Range<u64>> {
        let inside = self.writes.iter().filter(|(addr, _)| of.contains(addr));
        let ends = inside.map(|(addr, bytes)| (*addr, addr + bytes.len() as u64));
        let (start, end) = ends.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)))?;
        if of.end - of.start <= WHOLE {
            return Some(of.clone());
        }
        Some(page_floor(start)..page_ceil(end).unwrap_or(of.end).min(of.end))
    }

    /// Enters all of it among what is patched.
    pub(super) fn enter(&self, patches: &mut Patches) {
        patches.regions.insert(self.region, Region { thunks: self.thunks.clone() });
        let pads = self.sites.iter().filter_map(|(start, site)| Some((site.pad?.0, *start)));
        patches.pads.extend(pads);
        patches.sites.extend(self.sites.iter().map(|(start, site)| (*start, site.clone())));
    }
}

/// A file's text in memory.
pub(super) struct Text {
    pub(super) key: FileKey,
    pub(super) range: Range<u64>,
    /// Offset in the file of the first byte.
    offset: u64,
    file: Arc<dyn MappedFile>,
}

impl Text {
    /// Looks whether this is the text of a file as it is there, for processes of a class.
    pub(super) fn of(vma: &Vma, class: Class) -> Option<Text> {
        let Backing::File { file, offset } = &vma.backing else { return None };
        let plain = vma.prot == TEXT && !vma.shared() && !vma.flags.contains(VmFlags::ACCOUNT);
        let key = FileKey { class, device: file.device(), inode: file.inode() };
        (plain && key.inode != 0 && file.is_settled()).then(|| Text {
            key,
            range: vma.range(),
            offset: *offset,
            file: Arc::clone(file),
        })
    }

    /// Returns the offset in the file.
    pub(super) fn offset_of(&self, addr: u64) -> u64 {
        self.offset.wrapping_add(addr.wrapping_sub(self.range.start))
    }

    /// Returns where the hints are in this mapping.
    pub(super) fn places(&self, hints: &[Hint]) -> Vec<Place> {
        let addr = |hint: &Hint| {
            let addr = self.range.start.checked_add(hint.offset.checked_sub(self.offset)?)?;
            (self.range.start + BEFORE as u64..=self.range.end).contains(&addr).then_some(addr)
        };
        let place = |hint: &Hint| Some(Place { resume: addr(hint)?, what: hint.what, before: hint.before });
        hints.iter().filter_map(place).collect()
    }

    /// Finds what can be known of the text before anybody has run it: where it asks the processor about itself.
    fn look(&self) -> Vec<Hint> {
        let whole = Some(&self.range).filter(|range| range.end - range.start <= WHOLE);
        let Some(code) = whole.and_then(|range| self.read(range)) else { return Vec::new() };
        let hint = |(resume, before, leaf)| Hint { offset: self.offset_of(resume), what: What::Cpuid(leaf), before };
        code::cpuids(&code).into_iter().map(hint).collect()
    }

    fn read(&self, range: &Range<u64>) -> Option<Code> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).ok()?];
        let got = self.file.read_at(self.offset_of(range.start), &mut bytes)?;
        bytes.truncate(got);
        Some(Code { base: range.start, bytes })
    }
}

/// What makes the program of an exec patched from its start.
#[derive(Default)]
pub struct Prepared {
    /// Behind the operations that map it.
    pub(crate) before: Vec<MemOp>,
    /// Then to be written.
    pub(crate) writes: Vec<(u64, Vec<u8>)>,
    /// At last.
    pub(crate) after: Vec<MemOp>,
    pub(in crate::mm) patches: Patches,
}

impl Prepared {
    /// Prepares what the files in the books of a new program have taught, and takes the thunks into them.
    pub(crate) fn new(books: &mut Books, patching: &dyn Patching, learned: &Learned, class: Class) -> Prepared {
        let mut prepared = Prepared::default();
        let texts: Vec<Text> = books.tree.iter().filter_map(|vma| Text::of(vma, class)).collect();
        for text in texts.iter().filter(|_| learned.works()) {
            // A file of two texts has one role.
            if prepared.patches.role(text.key).is_some() {
                continue;
            }
            let look = || if patching.knows_cpuid() { text.look() } else { Vec::new() };
            let Some(role) = learned.role(text.key, LEAST, look) else { continue };
            prepared.patches.roles.push((text.key, role == Role::Teacher));
            if let Role::Pupil(hints) = role {
                prepared.add(books, patching, learned, text, &hints);
            }
        }
        prepared
    }

    fn add(
        &mut self,
        books: &mut Books,
        patching: &dyn Patching,
        learned: &Learned,
        text: &Text,
        hints: &[Hint],
    ) -> Option<()> {
        let places = text.places(hints);
        let region = books.place_region(places.first()?.resume)?;
        let mut draft = Draft::new(patching, region, Vec::new());
        for piece in pieces(&places, &text.range) {
            let Some(code) = text.read(&piece) else { continue };
            draft.add(&code, &places).iter().for_each(|other| learned.forget(text.key, text.offset_of(*other)));
        }
        let pages = draft.pages(&text.range)?;
        let flags = MapFlags::PRIVATE.bits();
        self.before.push(MemOp::MapAnonymous { addr: region, len: REGION, prot: Prot::READ | Prot::WRITE, flags });
        self.before.push(open(&pages));
        self.writes.extend(draft.writes());
        self.after.extend([close(&pages), close(&(region..region + REGION))]);
        draft.enter(&mut self.patches);
        books.apply(Change::Insert(hidden(region)));
        Some(())
    }
}

/// The mapping of a region.
pub(super) fn hidden(region: u64) -> Vma {
    Vma::anonymous(region..region + REGION, TEXT, VmFlags::RESERVE | VmFlags::HIDDEN)
}

/// Returns the operation that makes pages writable while nobody runs them.
pub(super) fn open(pages: &Range<u64>) -> MemOp {
    MemOp::Protect { addr: pages.start, len: pages.end - pages.start, prot: WRITABLE }
}

/// Returns the operation that takes it back.
pub(super) fn close(pages: &Range<u64>) -> MemOp {
    MemOp::Protect { addr: pages.start, len: pages.end - pages.start, prot: TEXT }
}

const _: () = assert!(REGION.is_multiple_of(PAGE_SIZE));

#[cfg(test)]
mod tests {
    use sentry_platform::Registers;

    use super::*;

    /// Thunks that hold what they stand for.
    struct Marks;

    impl Patching for Marks {
        fn common(&self) -> &[u8] {
            &[0xcc; 64]
        }

        fn thunk_len(&self) -> u64 {
            32
        }

        fn thunk(&self, _region: u64, at: u64, displaced: &[u8], resume: u64) -> Option<Vec<u8>> {
            let mut thunk = [&at.to_le_bytes()[..], &resume.to_le_bytes(), displaced].concat();
            thunk.resize(32, 0xcc);
            Some(thunk)
        }

        fn return_address(&self, _offset: u64, _regs: &Registers) -> u64 {
            0
        }

        fn knows_cpuid(&self) -> bool {
            true
        }

        fn cpuid(&self, at: u64, leaf: u32, resume: u64) -> Option<Vec<u8>> {
            Some([&at.to_le_bytes()[..], &resume.to_le_bytes(), &[0xcc; 12], &leaf.to_le_bytes()].concat())
        }
    }

    const BASE: u64 = 0x10_0000;
    const THUNKS: u64 = 0x20_0000;

    /// Two calls, one directly behind the other, after some bytes that don't matter.
    fn neighbours() -> Code {
        let mut bytes = vec![0x90; 16];
        for number in [39, 110] {
            bytes.extend([0xb8, number, 0, 0, 0, 0x0f, 0x05]);
        }
        bytes.push(0xc3);
        Code { base: BASE, bytes }
    }

    fn place(code: &Code, resume: u64, number: u64) -> Place {
        let before = code.at(resume - BEFORE as u64, BEFORE).expect("inside").try_into().expect("as long");
        Place { resume, what: What::Call(number), before }
    }

    #[test]
    fn neighbours_are_patched_and_told_apart() {
        let code = neighbours();
        let places = [place(&code, BASE + 23, 39), place(&code, BASE + 30, 110)];
        let mut draft = Draft::new(&Marks, THUNKS, Vec::new());
        assert!(draft.add(&code, &places).is_empty());
        let writes = draft.writes();
        let [(at, text), (region, thunks)] = writes.as_slice() else { panic!("{writes:?}") };
        assert_eq!((*at, *region), (BASE + 16, THUNKS));
        // A jump to each thunk, and the `syscall` left where it was.
        let jump = |from: u64, thunk: u64| [&[0xe9][..], &((thunk - from - 5) as u32).to_le_bytes()].concat();
        let first = jump(BASE + 16, THUNKS + 64);
        let second = jump(BASE + 23, THUNKS + 96);
        assert_eq!(text[..], [&first[..], &[0x0f, 0x05], &second].concat());
        assert_eq!(thunks.len(), 64 + 2 * 32);
        assert_eq!(thunks[64 + 8..64 + 16], (BASE + 23).to_le_bytes());
        let mut patches = Patches::default();
        draft.enter(&mut patches);
        assert_eq!(patches.site_of(BASE + 30), Some(BASE + 23));
        assert_eq!(patches.sites[&(BASE + 16)].original, [0xb8, 39, 0, 0, 0]);
        assert_eq!(patches.sites[&(BASE + 23)].original, [0xb8, 110, 0, 0, 0]);
    }

    #[test]
    fn questions_to_the_processor_are_patched_in_the_same_way() {
        let mut bytes = vec![0x90; 16];
        // mov eax, 0x80000006; cpuid; the same for the extended set of registers, and for a leaf that may change
        for code in [&[0xb8, 6, 0, 0, 0x80][..], &[0x41, 0xb8, 6, 0, 0, 0x80], &[0xb8, 1, 0, 0, 0]] {
            bytes.extend(code);
            bytes.extend([0x0f, 0xa2]);
        }
        let code = Code { base: BASE, bytes };
        let found = code::cpuids(&code);
        let places: Vec<Place> = found
            .iter()
            .map(|(resume, before, leaf)| Place { resume: *resume, what: What::Cpuid(*leaf), before: *before })
            .collect();
        assert_eq!(places.iter().map(|place| place.resume).collect::<Vec<_>>(), [BASE + 23]);
        let mut draft = Draft::new(&Marks, THUNKS, Vec::new());
        assert!(draft.add(&code, &places).is_empty());
        assert_eq!(draft.sites[&(BASE + 16)].original, [0xb8, 6, 0, 0, 0x80]);
        let writes = draft.writes();
        assert_eq!(writes[1].1[64 + 8..64 + 16], (BASE + 23).to_le_bytes());
        assert_eq!(writes[1].1[64 + 28..64 + 32], 0x8000_0006_u32.to_le_bytes());
    }

    #[test]
    fn other_code_is_left_alone_and_reported() {
        let mut code = neighbours();
        let places = [place(&code, BASE + 23, 39), place(&code, BASE + 30, 110)];
        code.bytes[17] = 40;
        let mut draft = Draft::new(&Marks, THUNKS, Vec::new());
        // The second one's lesson holds the end of the first one's `mov`.
        assert_eq!(draft.add(&code, &places[..1]), [BASE + 23]);
        assert!(draft.sites.is_empty() && draft.pages(&(BASE..BASE + PAGE_SIZE)).is_none());
    }

    #[test]
    fn a_full_region_takes_no_more() {
        let code = neighbours();
        let places = [place(&code, BASE + 23, 39), place(&code, BASE + 30, 110)];
        let most = (REGION - 64) / 32;
        let mut draft = Draft::new(&Marks, THUNKS, vec![1; most as usize - 1]);
        draft.add(&code, &places);
        assert_eq!(draft.sites.keys().copied().collect::<Vec<_>>(), [BASE + 16]);
        let last = THUNKS + REGION - 32;
        assert!(draft.writes().iter().any(|(at, bytes)| *at == last && bytes.len() == 32));
    }

    #[test]
    fn a_pad_serves_one_site() {
        // Two reads in reach of the same two paddings.
        let mut bytes = vec![0x90; 8];
        for _ in 0..2 {
            bytes.extend([0x90, 0x90, 0x90, 0x31, 0xc0, 0x0f, 0x05]);
        }
        bytes.resize(27, 0x90);
        for _ in 0..2 {
            bytes.extend([0xc3, 0x0f, 0x1f, 0x44, 0x00, 0x00]);
            bytes.resize(bytes.len().next_multiple_of(16) - 5, 0x90);
            let end = bytes.len();
            bytes[end - 1] = 0xc3;
            bytes.extend([0x0f, 0x1f, 0x44, 0x00, 0x00]);
        }
        let code = Code { base: BASE, bytes };
        let places = [place(&code, BASE + 15, 0), place(&code, BASE + 22, 0)];
        let mut draft = Draft::new(&Marks, THUNKS, Vec::new());
        assert!(draft.add(&code, &places).is_empty());
        let pads: Vec<u64> = draft.sites.values().filter_map(|site| Some(site.pad?.0)).collect();
        assert_eq!(pads.len(), 2);
        assert_ne!(pads[0], pads[1]);
    }

    #[test]
    fn pieces_join_where_they_are_close() {
        let at = |resume: u64| Place { resume, what: What::Call(39), before: [0; BEFORE] };
        let places = [at(0x1100), at(0x1180), at(0x1400)];
        assert_eq!(pieces(&places, &(0x1000..0x2000)), [0x10f1..0x1180, 0x13f1..0x1400]);
        let cut = pieces(&places, &(0x1100..0x1178));
        assert_eq!((cut.len(), cut.first()), (1, Some(&(0x1100..0x1178))));
    }
}
