//! Sets of pages as ranges.

use std::collections::BTreeMap;
use std::ops::Range;

/// Disjoint ranges, none touching the next.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    /// End by start.
    map: BTreeMap<u64, u64>,
}

impl Ranges {
    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Adds a range.
    pub(super) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        while let Some((near, far)) = self.map.range(..=end).next_back().map(|(near, far)| (*near, *far)) {
            if far < start {
                break;
            }
            (start, end) = (start.min(near), end.max(far));
            self.map.remove(&near);
        }
        self.map.insert(start, end);
    }

    /// Takes a range out.
    pub(super) fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        while let Some((near, far)) = self.map.range(..range.end).next_back().map(|(near, far)| (*near, *far)) {
            if far <= range.start {
                break;
            }
            self.map.remove(&near);
            if near < range.start {
                self.map.insert(near, range.start);
            }
            if far > range.end {
                self.map.insert(range.end, far);
            }
        }
    }

    /// Counts what a range has in common with the set.
    pub(super) fn common(&self, range: &Range<u64>) -> u64 {
        let before = self.map.range(..range.start).next_back();
        let within = self.map.range(range.start..range.end.max(range.start));
        before
            .into_iter()
            .chain(within)
            .map(|(near, far)| far.min(&range.end).saturating_sub(*near.max(&range.start)))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined_split_and_counted() {
        let mut set = Ranges::default();
        for range in [10..20, 30..40, 20..25, 5..6] {
            set.insert(range);
        }
        assert_eq!((set.map.len(), set.common(&(0..100)), set.common(&(12..33))), (3, 26, 16));
        set.insert(0..50);
        assert_eq!(set.map.len(), 1);
        set.remove(10..20);
        set.remove(45..60);
        assert_eq!((set.map.len(), set.common(&(0..100)), set.common(&(15..21))), (2, 35, 1));
    }
}
