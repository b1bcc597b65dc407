//! Code that can be patched: exact sequences before a `syscall` or `cpuid`, and what they give way to.

/// Length of `jmp rel8`.
const SHORT: usize = 2;
/// Length of `jmp rel32`.
pub(super) const JUMP: usize = 5;
/// Bytes looked at before the `syscall`'s end.
pub(super) const BEFORE: usize = 15;
/// Length of `lea` with a displacement of 32 bits, and of the opcode, prefix and register before that.
const LEA: usize = 7;
const LEA_HEAD: usize = 3;
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

/// A piece of a program's text.
#[derive(Clone, Debug)]
pub(super) struct Code {
    /// Address of the first byte.
    pub(super) base: u64,
    pub(super) bytes: Vec<u8>,
}

impl Code {
    /// Returns a part that is inside.
    pub(super) fn at(&self, addr: u64, len: usize) -> Option<&[u8]> {
        let from = usize::try_from(addr.checked_sub(self.base)?).ok()?;
        self.bytes.get(from..from.checked_add(len)?)
    }

    /// Changes a part that is inside.
    pub(super) fn put(&mut self, addr: u64, bytes: &[u8]) -> Option<()> {
        let from = usize::try_from(addr.checked_sub(self.base)?).ok()?;
        self.bytes.get_mut(from..from.checked_add(bytes.len())?)?.copy_from_slice(bytes);
        Some(())
    }
}

/// What is done at a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A system call with this number.
    Call(u64),
    /// The processor is asked about itself: `cpuid` with this leaf.
    Cpuid(u32),
}

/// A site that can be patched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Where the instruction before the `syscall` or `cpuid` starts.
    pub(super) start: u64,
    /// Where the program goes on.
    pub(super) resume: u64,
    /// That instruction, as it stands there.
    displaced: Vec<u8>,
    /// Padding for the long jump, where the instruction has no room for it.
    pub(super) pad: Option<u64>,
}

/// Returns the length of the instruction before the `syscall` that the code ends with, where that was made with this number
/// and the two can be patched.
pub(super) fn recognise(code: &[u8], number: u64) -> Option<usize> {
    let number = u32::try_from(number).ok()?.to_le_bytes();
    match code.strip_suffix(&[0x0f, 0x05])? {
        // xor eax, eax; with a prefix another instruction
        [.., prefix, 0x31, 0xc0] if number == [0; 4] && !(0x40..=0x4f).contains(prefix) => Some(2),
        // mov rax, imm32
        [.., 0x48, 0xc7, 0xc0, a, b, c, d] if [*a, *b, *c, *d] == number && number[3] < 0x80 => Some(7),
        // With a prefix this would be another instruction.
        [.., 0x40..=0x4f, 0xb8, _, _, _, _] => None,
        // mov eax, imm32
        [.., 0xb8, a, b, c, d] if [*a, *b, *c, *d] == number => Some(5),
        // mov r9, [rsp + 8]: the last argument of the C library's syscall()
        [.., 0x4c, 0x8b, 0x4c, 0x24, 0x08] => Some(5),
        // With a prefix this would be another instruction.
        [.., 0x40..=0x4f | 0x66, 0xbf, 0x9c, 0xff, 0xff, 0xff] => None,
        // mov edi, AT_FDCWD: the loader's `open`, whose number stands further up
        [.., 0xbf, 0x9c, 0xff, 0xff, 0xff] => Some(5),
        // With a prefix this would be another instruction.
        [.., 0x40..=0x4f | 0x66, 0xb8, _, _, _, _, 0x48, 0x8d, _, _, _, _, _] => None,
        // mov eax, imm32; lea rsi or rdx, [… + disp32]: signal masks while a thread starts
        [.., 0xb8, a, b, c, d, 0x48, 0x8d, operands, _, _, _, _]
            if [*a, *b, *c, *d] == number && is_plain_lea(*operands) =>
        {
            Some(LEA)
        }
        _ => None,
    }
}

/// Tells whether a `lea` with these operands loads rsi or rdx from another register, or from the place that it stands at, and a
/// displacement of 32 bits.
fn is_plain_lea(operands: u8) -> bool {
    let (mode, target, base) = (operands >> 6, operands >> 3 & 7, operands & 7);
    matches!(target, 2 | 6) && matches!((mode, base), (2, 0..=3 | 5..=7) | (0, 5))
}

/// Rewrites an instruction that is to stand `distance` bytes further up, so that it does the same there.
fn moved(instruction: &[u8], distance: i64) -> Option<Vec<u8>> {
    let mut moved = instruction.to_vec();
    if let [0x48, 0x8d, operands, displacement @ ..] = moved.as_mut_slice()
        && *operands & 0xc7 == 5
    {
        let bytes: [u8; LEA - LEA_HEAD] = (*displacement).try_into().ok()?;
        let from_there = i64::from(i32::from_le_bytes(bytes)).checked_sub(distance)?;
        displacement.copy_from_slice(&i32::try_from(from_there).ok()?.to_le_bytes());
    }
    Some(moved)
}

/// Finds padding that nobody executes, between a return and an aligned function. `from` is the end of the short jump.
fn find_padding(code: &Code, from: u64) -> Option<u64> {
    let reach = from.saturating_sub(NEAR)..from + NEAR;
    let returns = code.bytes.iter().zip(1..).filter(|(byte, _)| **byte == RET);
    returns.map(|(_, at)| at).find_map(|at: usize| {
        let addr = code.base + at as u64;
        let padding = PADDING.iter().find(|padding| code.bytes[at..].starts_with(padding))?;
        let ends_aligned = (addr + padding.len() as u64).is_multiple_of(16);
        (ends_aligned && reach.contains(&addr)).then_some(addr)
    })
}

/// Returns the addresses to look at for the site whose call returns to `resume`; `before` is the code that ends there.
pub(super) fn window(resume: u64, before: &[u8]) -> std::ops::Range<u64> {
    let from = resume.saturating_sub(BEFORE as u64);
    if before.ends_with(&[0x31, 0xc0, 0x0f, 0x05]) {
        return from.saturating_sub(NEAR)..resume.saturating_add(NEAR + 16);
    }
    from..resume
}

/// Length of `cpuid`, and of `syscall`.
const LAST: usize = 2;
/// What a program asks of the processor that is the same on all its cores and at any time: sizes of caches, and what there is of
/// extensions.
const CONSTANT: std::ops::RangeInclusive<u32> = 0x8000_0000..=0x8000_0008;

/// Returns the leaf that the `cpuid` at the end of this code asks for, where that is loaded right before and the answer is always
/// the same.
pub(super) fn leaf(code: &[u8]) -> Option<u32> {
    match code.strip_suffix(&[0x0f, 0xa2])? {
        // With a prefix this would be another instruction.
        [.., 0x40..=0x4f | 0x66, 0xb8, _, _, _, _] => None,
        // mov eax, imm32
        [.., _, 0xb8, a, b, c, d] => Some(u32::from_le_bytes([*a, *b, *c, *d])).filter(|leaf| CONSTANT.contains(leaf)),
        _ => None,
    }
}

/// Finds the places where a text asks the processor so: where the program goes on, with the code before. Seven bytes of which four
/// are the same everywhere, and the others one of nine values, are no part of other instructions.
pub(super) fn cpuids(code: &Code) -> Vec<(u64, [u8; BEFORE], u32)> {
    let ends = code.bytes.windows(LAST).zip(LAST..).filter(|(bytes, _)| *bytes == [0x0f, 0xa2]).map(|(_, end)| end);
    let site = |end: usize| {
        let before: [u8; BEFORE] = code.bytes.get(end.checked_sub(BEFORE)?..end)?.try_into().ok()?;
        Some((code.base + end as u64, before, leaf(&before)?))
    };
    ends.filter_map(site).collect()
}

/// Finds out how a site can be patched that goes on at `resume`. `now` is the same piece of code, with what others have done to
/// paddings.
pub(super) fn find(code: &Code, now: &Code, resume: u64, what: What) -> Option<Found> {
    let before = code.at(resume.checked_sub(BEFORE as u64)?, BEFORE)?;
    let len = match what {
        What::Call(number) => recognise(before, number)?,
        What::Cpuid(known) => leaf(before).filter(|leaf| *leaf == known).map(|_| JUMP)?,
    };
    let displaced = before[BEFORE - 2 - len..BEFORE - 2].to_vec();
    let start = resume - 2 - len as u64;
    let pad = if len < JUMP { Some(find_padding(now, start + SHORT as u64)?) } else { None };
    Some(Found { start, resume, displaced, pad })
}

impl Found {
    /// Returns the instruction as it is to stand in a thunk.
    pub(super) fn displaced(&self, thunk: u64) -> Option<Vec<u8>> {
        moved(&self.displaced, thunk.cast_signed().checked_sub(self.start.cast_signed())?)
    }

    /// Returns the bytes of the site that change.
    pub(super) fn len(&self) -> usize {
        if self.pad.is_some() { SHORT } else { JUMP }
    }

    /// Returns the jump that takes the place of the site's first bytes, and the one in the padding.
    pub(super) fn jumps(&self, thunk: u64) -> Option<(Vec<u8>, Option<[u8; JUMP]>)> {
        let long = |from: u64| {
            let end = from.checked_add(JUMP as u64)?;
            let distance = i32::try_from(thunk.cast_signed().checked_sub(end.cast_signed())?).ok()?;
            let mut jump = [0xe9; JUMP];
            jump[1..].copy_from_slice(&distance.to_le_bytes());
            Some(jump)
        };
        let Some(pad) = self.pad else { return Some((long(self.start)?.to_vec(), None)) };
        let distance = i8::try_from(pad.cast_signed() - (self.start + SHORT as u64).cast_signed()).ok()?;
        Some((vec![0xeb, distance.cast_unsigned()], Some(long(pad)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Code that ends with a call.
    fn code(before: &[u8]) -> Code {
        let mut bytes = vec![0x90; BEFORE - 2 - before.len()];
        bytes.extend(before);
        bytes.extend([0x0f, 0x05]);
        Code { base: 0x1000 - BEFORE as u64, bytes }
    }

    fn recognised(before: &[u8], number: u64) -> Option<(u64, Vec<u8>)> {
        let code = code(before);
        find(&code, &code, 0x1000, What::Call(number)).map(|found| (found.start, found.displaced))
    }

    #[test]
    fn exact_sequences_are_recognised() {
        let mov = [0xb8, 39, 0, 0, 0];
        assert_eq!(recognised(&mov, 39), Some((0xff9, mov.to_vec())));
        let mov = [0x48, 0xc7, 0xc0, 39, 0, 0, 0];
        assert_eq!(recognised(&mov, 39), Some((0xff7, mov.to_vec())));
        let load = [0x4c, 0x8b, 0x4c, 0x24, 0x08];
        assert_eq!(recognised(&load, 1), Some((0xff9, load.to_vec())));
        let at = [0xbf, 0x9c, 0xff, 0xff, 0xff];
        assert_eq!(recognised(&at, 257), Some((0xff9, at.to_vec())));
        assert_eq!(recognise(&[0x90, 0x31, 0xc0, 0x0f, 0x05], 0), Some(2));
        // lea rsi, [rbx + …]; lea rdx, [rdi + …]; lea rsi, [rip + …]
        for operands in [0xb3, 0x97, 0x35] {
            let lea = [0x48, 0x8d, operands, 0xf0, 0x08, 0, 0];
            assert_eq!(recognised(&[&[0xb8, 14, 0, 0, 0], &lea[..]].concat(), 14), Some((0xff7, lea.to_vec())));
        }
    }

    #[test]
    fn what_depends_on_its_place_is_rewritten() {
        let lea = |displacement: i32| [&[0x48, 0x8d, 0x35], &displacement.to_le_bytes()[..]].concat();
        let found = |displacement| Found { start: 0x5000, resume: 0x5009, displaced: lea(displacement), pad: None };
        assert_eq!(found(0x100).displaced(0x4000), Some(lea(0x1100)));
        assert_eq!(found(-0x100).displaced(0x7000), Some(lea(-0x2100)));
        assert_eq!(found(i32::MAX).displaced(0x4fff), None);
        let plain = [0x48, 0x8d, 0xb3, 0xf0, 0x08, 0, 0];
        let found = Found { displaced: plain.to_vec(), ..found(0) };
        assert_eq!(found.displaced(0x4000), Some(plain.to_vec()));
    }

    #[test]
    fn what_is_not_certain_is_left_alone() {
        // Another number than the call had, a register of the extended set, an immediate of 64 bits, nothing known.
        assert_eq!(recognised(&[0xb8, 39, 0, 0, 0], 40), None);
        assert_eq!(recognised(&[0x41, 0xb8, 39, 0, 0, 0], 39), None);
        assert_eq!(recognised(&[0x48, 0xb8, 39, 0, 0, 0], 39), None);
        assert_eq!(recognised(&[0x45, 0x31, 0xc0], 0), None);
        assert_eq!(recognised(&[0x41, 0xbf, 0x9c, 0xff, 0xff, 0xff], 257), None);
        assert_eq!(recognised(&[0xbf, 0x9b, 0xff, 0xff, 0xff], 257), None);
        assert_eq!(recognise(&[0x90, 0x31, 0xc0, 0x0f, 0x05], 1), None);
        assert_eq!(recognise(&[0x0f, 0x05], 1), None);
        // Other registers, a scaled index, a short displacement, another number, none right before, a prefix.
        let lea = |mov: [u8; 6], operands: u8| [&mov[..], &[0x48, 0x8d, operands, 0, 0, 0, 0]].concat();
        let mov = [0x90, 0xb8, 14, 0, 0, 0];
        for operands in [0x83, 0x8b, 0xbb, 0xb4, 0x73, 0x33, 0xf3] {
            assert_eq!(recognised(&lea(mov, operands), 14), None, "{operands:x}");
        }
        assert_eq!(recognised(&lea(mov, 0xb3), 13), None);
        assert_eq!(recognised(&lea([0x90, 0xbf, 14, 0, 0, 0], 0xb3), 14), None);
        assert_eq!(recognised(&lea([0x41, 0xb8, 14, 0, 0, 0], 0xb3), 14), None);
        // Not all of it is there.
        let whole = code(&[0xb8, 39, 0, 0, 0]);
        assert_eq!(find(&whole, &whole, 0x1001, What::Call(39)), None);
        assert_eq!(find(&whole, &whole, 0xfff, What::Call(39)), None);
    }

    #[test]
    fn padding_is_used_where_nobody_executes_it() {
        let nop = [0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00];
        let base = 0x1000;
        let with = |before: u8, end: usize| {
            let mut bytes = vec![0x90; 256];
            bytes[end - nop.len()..end].copy_from_slice(&nop);
            bytes[end - nop.len() - 1] = before;
            Code { base, bytes }
        };
        let at = |end: u64| Some(base + end - nop.len() as u64);
        assert_eq!(find_padding(&with(RET, 160), base + 130), at(160));
        assert_eq!(find_padding(&with(RET, 80), base + 130), at(80));
        // Behind no return; before no function; out of reach.
        assert_eq!(find_padding(&with(0x90, 160), base + 130), None);
        assert_eq!(find_padding(&with(RET, 164), base + 130), None);
        assert_eq!(find_padding(&with(RET, 240), base + 100), None);
    }

    #[test]
    fn jumps_lead_to_the_thunk() {
        let found = Found { start: 0x1000, resume: 0x1007, displaced: vec![0; 5], pad: None };
        assert_eq!(found.jumps(0x1105), Some((vec![0xe9, 0x00, 0x01, 0, 0], None)));
        assert_eq!(found.jumps(0x1_0000_0000), None);
        let short = Found { start: 0x1000, resume: 0x1004, displaced: vec![0; 2], pad: Some(0xff0) };
        assert_eq!(short.jumps(0x10f5), Some((vec![0xeb, 0xee], Some([0xe9, 0x00, 0x01, 0, 0]))));
        assert_eq!((found.len(), short.len()), (5, 2));
        // What is read before is what is found in.
        let window = window(0x1004, &[0x31, 0xc0, 0x0f, 0x05]);
        assert!(window.start <= 0x1002 - NEAR && window.end >= 0x1002 + NEAR + JUMP as u64);
    }
}
