//! The caches of this processor, which tells whoever asks: nothing of the host's sysfs is read for them.

use std::arch::x86_64::{__cpuid, __cpuid_count, CpuidResult};

/// The leaf that lists caches (Intel SDM volume 2A, "CPUID").
const INTEL: u32 = 4;
/// The same on AMD's processors (APM volume 3, appendix E).
const AMD: u32 = 0x8000_001d;
/// More than any processor lists.
const MOST: u32 = 16;

/// One cache, as `/sys/devices/system/cpu/cpuN/cache/indexN` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cache {
    pub(super) level: u32,
    pub(super) kind: &'static str,
    pub(super) line: u32,
    pub(super) partitions: u32,
    pub(super) ways: u32,
    pub(super) sets: u32,
}

impl Cache {
    /// Bytes that it holds.
    pub(super) fn size(&self) -> u64 {
        [self.line, self.partitions, self.ways, self.sets].into_iter().map(u64::from).product()
    }

    fn decode(leaf: CpuidResult) -> Option<Cache> {
        let kind = match leaf.eax & 0x1f {
            1 => "Data",
            2 => "Instruction",
            3 => "Unified",
            _ => return None,
        };
        Some(Cache {
            level: leaf.eax >> 5 & 7,
            kind,
            line: (leaf.ebx & 0xfff) + 1,
            partitions: (leaf.ebx >> 12 & 0x3ff) + 1,
            ways: (leaf.ebx >> 22) + 1,
            sets: leaf.ecx.saturating_add(1),
        })
    }
}

/// Lists the caches, nearest first; none where the processor doesn't say.
pub(super) fn caches() -> Vec<Cache> {
    let list = |leaf: u32| -> Vec<Cache> {
        let known = __cpuid(leaf & 0x8000_0000).eax >= leaf;
        let found = (0..MOST).map_while(|index| Cache::decode(__cpuid_count(leaf, index)));
        if known { found.collect() } else { Vec::new() }
    };
    let intel = list(INTEL);
    if intel.is_empty() { list(AMD) } else { intel }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_is_decoded_as_the_manual_says() {
        // A data cache of 48 KiB: 64 bytes a line, 12 ways, 64 sets.
        let leaf = CpuidResult { eax: 0x1c00_4121, ebx: 0x02c0_003f, ecx: 0x3f, edx: 0 };
        let cache = Cache { level: 1, kind: "Data", line: 64, partitions: 1, ways: 12, sets: 64 };
        assert_eq!(Cache::decode(leaf), Some(cache));
        assert_eq!(cache.size(), 48 << 10);
        assert_eq!(Cache::decode(CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 }), None);
    }
}
