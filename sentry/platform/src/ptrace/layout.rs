//! Where things stand in a stub's address space: the guest's range below, the code page and the vDSO above it.

use std::ops::Range;

use abi::{Errno, PAGE_SIZE as PAGE};

use super::host;
use crate::{PlatformError, Vdso};

/// End of user addresses with four-level page tables (the host leaves the last page out).
pub(super) const TOP: u64 = 0x7fff_ffff_f000;
/// What is above this belongs to the platform.
const RESERVED: u64 = 0x7fff_ff00_0000;
/// `mmap_min_addr` of nearly every host.
const LOWEST: u64 = 0x1_0000;
const PAGE_BYTES: usize = 4096;

/// The instructions on the code page: `syscall; int3`, and from [`CMPXCHG`] on `lock cmpxchg [rdi],esi; int3`.
const CODE: [u8; 15] = [0x0f, 0x05, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xf0, 0x0f, 0xb1, 0x37, 0xcc, 0xcc, 0xcc];
/// Length of `syscall`, `sysenter` and `int 0x80`.
pub(super) const SYSCALL_LEN: u64 = 2;
/// Offset behind the `int3` that follows `syscall`: where an injected call ends.
pub(super) const SYSCALL_END: u64 = 3;
/// Offset of the compare-and-exchange.
pub(super) const CMPXCHG: u64 = 8;
/// Offset behind the `int3` that follows it.
pub(super) const CMPXCHG_END: u64 = 13;

/// One mapping of the host's vDSO group, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) from: Range<u64>,
    pub(super) to: u64,
}

/// The address-space layout shared by all stubs.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Address of the code page.
    pub(super) code: u64,
    /// The mappings of the vDSO group, lowest first.
    pub(super) vdso: Vec<Range<u64>>,
    /// How many of them, counted from the start, hold data; the rest is the image.
    data: usize,
}

impl Layout {
    /// Finds the caller's vDSO and maps the code page, which the zygote is to inherit, into the caller.
    pub(super) fn prepare() -> Result<Layout, PlatformError> {
        let maps = std::fs::read_to_string("/proc/self/maps").map_err(|error| PlatformError::Host {
            what: "reading /proc/self/maps",
            errno: Errno::from(error),
            hint: "mount /proc where the sentry starts",
        })?;
        let (vdso, data) = parse_maps(&maps);
        Ok(Layout { code: map_code_page()?, vdso, data })
    }

    /// Removes the code page from the caller, whom it served for the time of the fork only.
    pub(super) fn forget_code_page(&self) {
        // SAFETY: the page was mapped by `prepare`, and nothing in this process refers to it.
        unsafe { libc::munmap(std::ptr::without_provenance_mut(self.code as usize), PAGE_BYTES) };
    }

    /// Returns the moves that bring the vDSO group into the reserved area, keeping its inner distances.
    pub(super) fn moves(&self) -> Vec<Move> {
        let (Some(first), Some(last)) = (self.vdso.first(), self.vdso.last()) else { return Vec::new() };
        if first.start >= RESERVED {
            return Vec::new();
        }
        let len = last.end - first.start;
        let target = (1..8)
            .map(|megabytes| RESERVED + (megabytes << 20))
            .find(|start| last.end <= *start && (self.code + PAGE <= *start || start + len <= self.code));
        let Some(target) = target else { return Vec::new() };
        self.vdso.iter().map(|range| Move { from: range.clone(), to: target + (range.start - first.start) }).collect()
    }

    /// Takes note that `moved` was done.
    pub(super) fn apply(&mut self, moved: &[Move]) {
        for (range, done) in self.vdso.iter_mut().zip(moved) {
            *range = done.to..done.to + (range.end - range.start);
        }
    }

    /// Returns everything between 0 and [`TOP`] that is neither the code page nor the vDSO.
    pub(super) fn gaps(&self) -> Vec<Range<u64>> {
        let mut keep = self.vdso.clone();
        keep.push(self.code..self.code + PAGE);
        keep.sort_by_key(|range| range.start);
        let mut gaps = Vec::new();
        let mut at = 0;
        for range in keep {
            if range.start > at {
                gaps.push(at..range.start);
            }
            at = range.end;
        }
        if at < TOP {
            gaps.push(at..TOP);
        }
        gaps
    }

    /// Returns the addresses left to the guest.
    pub(super) fn user_range(&self) -> Range<u64> {
        let lowest = std::fs::read_to_string("/proc/sys/vm/mmap_min_addr")
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok())
            .map_or(LOWEST, |value| value.next_multiple_of(PAGE).clamp(PAGE, 1 << 30));
        let end = self.vdso.first().map_or(RESERVED, |range| range.start.min(RESERVED));
        lowest..end
    }

    /// Returns the vDSO as the kernel above wants it.
    pub(super) fn public_vdso(&self) -> Vdso {
        let span = |ranges: &[Range<u64>]| match (ranges.first(), ranges.last()) {
            (Some(first), Some(last)) => first.start..last.end,
            _ => 0..0,
        };
        let (data, image) = self.vdso.split_at(self.data.min(self.vdso.len()));
        Vdso { image: span(image), data: span(data) }
    }
}

/// Finds the vDSO group in the text of a maps file: its ranges, and how many of them come before the image.
fn parse_maps(maps: &str) -> (Vec<Range<u64>>, usize) {
    let mut ranges = Vec::new();
    let mut data = 0;
    for line in maps.lines() {
        let image = line.ends_with("[vdso]");
        if !image && !line.contains("[vvar") {
            continue;
        }
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let Some((start, end)) = range else { continue };
        if let (Ok(start), Ok(end)) = (u64::from_str_radix(start, 16), u64::from_str_radix(end, 16)) {
            ranges.push(start..end);
            data += usize::from(!image);
        }
    }
    (ranges, data)
}

fn map_code_page() -> Result<u64, PlatformError> {
    let refused = |errno| PlatformError::Host {
        what: "mapping the stub's code page",
        errno,
        hint: "the platform needs the topmost user addresses of a 47-bit address space",
    };
    let mut address = TOP;
    let place = loop {
        address -= PAGE;
        if address < TOP - (4 << 20) {
            return Err(refused(Errno::ENOMEM));
        }
        let wish = std::ptr::without_provenance_mut(address as usize);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: a fresh private mapping that replaces nothing.
        let place = unsafe { libc::mmap(wish, PAGE_BYTES, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if place == wish {
            break place;
        }
        if place == libc::MAP_FAILED {
            match host::last_errno() {
                Errno::EEXIST | Errno::ENOMEM => continue,
                errno => return Err(refused(errno)),
            }
        }
        // SAFETY: an old host took the address for a hint; nobody knows of the mapping it made instead.
        unsafe { libc::munmap(place, PAGE_BYTES) };
        return Err(refused(Errno::EOPNOTSUPP));
    };
    // The rest is int3, so that a guest that jumps here gets what it would get from its own breakpoints.
    // SAFETY: the page was mapped writable just now and is nobody else's.
    unsafe { std::ptr::write_bytes(place.cast::<u8>(), 0xcc, PAGE_BYTES) };
    // SAFETY: as above; the code is shorter than a page.
    unsafe { std::ptr::copy_nonoverlapping(CODE.as_ptr(), place.cast::<u8>(), CODE.len()) };
    // SAFETY: changes the protection of that page only, which no reference points to.
    if unsafe { libc::mprotect(place, PAGE_BYTES, libc::PROT_READ | libc::PROT_EXEC) } != 0 {
        return Err(refused(host::last_errno()));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "7fc0b13ae000-7fc0b13b2000 r--p 00000000 00:00 0                          [vvar]\n\
                        7fc0b13b2000-7fc0b13b4000 r--p 00000000 00:00 0                          [vvar_vclock]\n\
                        7fc0b13b4000-7fc0b13b6000 r-xp 00000000 00:00 0                          [vdso]\n\
                        7ffd01f2d000-7ffd01f4e000 rw-p 00000000 00:00 0                          [stack]\n";

    #[test]
    fn the_vdso_group_moves_as_one() {
        let (vdso, data) = parse_maps(MAPS);
        let mut layout = Layout { code: TOP - PAGE, vdso, data };
        let moves = layout.moves();
        assert_eq!(moves.len(), 3);
        layout.apply(&moves);
        let vdso = layout.public_vdso();
        assert_eq!(vdso.data.end, vdso.image.start);
        assert_eq!(vdso.image.end - vdso.image.start, 0x2000);
        assert!(vdso.data.start >= layout.user_range().end);
        assert_eq!(layout.moves(), Vec::new());
    }

    #[test]
    fn gaps_cover_all_but_what_is_kept() {
        let (vdso, data) = parse_maps(MAPS);
        let layout = Layout { code: TOP - PAGE, vdso, data };
        let total: u64 = layout.gaps().iter().map(|gap| gap.end - gap.start).sum();
        assert_eq!(total, TOP - PAGE - 0x8000);
    }
}
