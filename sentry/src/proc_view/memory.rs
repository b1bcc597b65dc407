//! The memory of a process, from the books.

use abi::{Errno, PAGE_SIZE};
use sentry_fs::proc::source::{MemoryUsage, Region};

use sentry_platform::{Resident, ResidentPart};

use crate::Task;
use crate::mm::{Mm, VmFlags};

/// Returns the sizes. What is resident only the host knows; where it can't be asked, shown is what the books say may be:
/// text and private writable memory.
pub(super) fn usage(mm: &Mm) -> MemoryUsage {
    let (totals, image, heap) = {
        let books = mm.books();
        (books.totals(), books.image().clone(), books.heap())
    };
    let text = image.end_code.saturating_sub(image.start_code);
    let resident = mm.space().resident().unwrap_or_else(|| {
        let anonymous = totals.data.saturating_add(totals.stack).min(totals.total);
        let file = text.min(totals.total.saturating_sub(anonymous));
        let now = anonymous + file;
        Resident { now, peak: now, anonymous, file, shared: 0 }
    });
    MemoryUsage {
        size: totals.total,
        peak: totals.total,
        locked: totals.locked,
        rss: resident.now,
        rss_peak: resident.peak,
        rss_anon: resident.anonymous,
        rss_file: resident.file,
        rss_shmem: resident.shared,
        data: totals.data,
        stack: totals.stack,
        text,
        lib: totals.exec.saturating_sub(text),
        page_tables: totals.total / 512 / PAGE_SIZE * PAGE_SIZE,
        swap: 0,
        start_code: image.start_code,
        end_code: image.end_code,
        start_stack: image.start_stack,
        start_data: image.start_data,
        end_data: image.end_data,
        start_brk: heap.start,
        arg_start: image.arg_start,
        arg_end: image.arg_end,
        env_start: image.env_start,
        env_end: image.env_end,
    }
}

/// Returns the mappings; with `usage`, also what of each is resident.
pub(super) fn regions(mm: &Mm, usage: bool) -> Vec<Region> {
    let entries = mm.snapshot().entries;
    let describe = |entry: &crate::mm::MapEntry| {
        let (mut line, mut flags) = (Vec::new(), Vec::new());
        entry.write_line(&mut line);
        entry.write_flags(&mut flags);
        Region { start: entry.start, end: entry.end, line, flags, ..Region::default() }
    };
    let mut regions: Vec<Region> = entries.iter().map(describe).collect();
    if usage {
        attribute(&mm.space().resident_parts(), &mut regions);
        for (region, entry) in regions.iter_mut().zip(&entries) {
            region.locked = if entry.flags.contains(VmFlags::LOCKED) { region.resident.pss } else { 0 };
        }
    }
    regions
}

/// Adds the host's figures, mapping by mapping, to the guest's mappings; both are in order of address. The host merges
/// mappings that differ only for the guest: of such a one each gets by its size. What the host has mapped beyond them, below
/// a stack, holds nothing.
fn attribute(parts: &[ResidentPart], regions: &mut [Region]) {
    let mut from = 0;
    for part in parts {
        while regions.get(from).is_some_and(|region| region.end <= part.start) {
            from += 1;
        }
        let common = |region: &Region| part.end.min(region.end).saturating_sub(part.start.max(region.start));
        let count = regions[from..].iter().take_while(|region| region.start < part.end).count();
        let covered = &mut regions[from..from + count];
        let all = covered.iter().map(common).sum();
        for region in covered {
            region.resident.add_share(part.resident, common(region), all);
        }
    }
}

/// Returns what `pagemap` shows of pages: the host's word on those that the guest has mapped, without frames.
pub(super) fn page_entries(mm: &Mm, first: u64, count: u64) -> Vec<u64> {
    /// Present, swapped, of a file or shared; guard region, write-protected, mapped once, soft-dirty.
    const SHOWN: u64 = 0b111 << 61 | 0b1111 << 55;
    let mut entries = vec![0; usize::try_from(count).unwrap_or(0)];
    for (entry, host) in entries.iter_mut().zip(mm.space().page_entries(first, count)) {
        *entry = host & SHOWN;
    }
    let mapped = mm.snapshot().entries;
    let mut from = 0;
    for (page, entry) in (first..).zip(&mut entries) {
        let addr = page.saturating_mul(PAGE_SIZE);
        while mapped.get(from).is_some_and(|region| region.end <= addr) {
            from += 1;
        }
        if mapped.get(from).is_none_or(|region| addr < region.start) {
            *entry = 0;
        }
    }
    entries
}

/// Reads a part of the memory whose bounds the process itself may have set, at most a megabyte.
pub(super) fn read(task: &Task, start: u64, end: u64) -> Vec<u8> {
    const MAX: u64 = 1 << 20;
    let len = end.saturating_sub(start).min(MAX);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    let got = task.mm.load().space().read(start, &mut bytes);
    bytes.truncate(got);
    bytes
}

/// Returns the arguments. A program that has overwritten the NUL behind them (a process title) shows more.
pub(super) fn cmdline(task: &Task) -> Vec<u8> {
    let image = task.mm.load().books().image().clone();
    let mut bytes = read(task, image.arg_start, image.arg_end);
    if bytes.last().is_some_and(|last| *last != 0) {
        bytes.extend(read(task, image.arg_end, image.env_end));
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        bytes.truncate(end);
    }
    bytes
}

pub(super) fn environ(task: &Task) -> Vec<u8> {
    let image = task.mm.load().books().image().clone();
    read(task, image.env_start, image.env_end)
}

/// Moves bytes for `/proc/PID/mem`: `EIO` where nothing is mapped.
pub(super) fn transferred(count: usize, wanted: usize) -> Result<usize, Errno> {
    if count == 0 && wanted > 0 { Err(Errno::EIO) } else { Ok(count) }
}

#[cfg(test)]
mod tests {
    use abi::Residency;

    use super::*;

    #[test]
    fn a_mapping_that_the_host_has_merged_counts_for_each_part() {
        let resident = |rss| Residency { rss, ..Residency::default() };
        let part = |start, end, rss| ResidentPart { start, end, resident: resident(rss) };
        let region = |start, end| Region { start, end, ..Region::default() };
        let mut regions = [region(0, 10), region(10, 30), region(40, 50), region(50, 60), region(95, 100)];
        let parts = [part(0, 30, 30), part(40, 45, 5), part(45, 50, 2), part(70, 80, 9), part(80, 100, 4)];
        attribute(&parts, &mut regions);
        assert_eq!(regions.map(|region| region.resident.rss), [10, 20, 7, 0, 4]);
    }
}
