//! [`VmaTree`]: the mappings of an address space, kept split and merged as Linux would, with running totals.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};

use smallvec::SmallVec;

use super::vma::{VmFlags, Vma};

/// Totals in bytes over all mappings that count (not [`VmFlags::RESERVE`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Everything, against `RLIMIT_AS`.
    pub total: u64,
    /// Private writable, against `RLIMIT_DATA`.
    pub data: u64,
    /// Stacks.
    pub stack: u64,
    /// Text.
    pub exec: u64,
    /// Locked, against `RLIMIT_MEMLOCK`.
    pub locked: u64,
}

/// Pieces taken out, mostly one.
pub(super) type Removed = SmallVec<[Vma; 1]>;

/// Non-overlapping mappings in order of address. Neighbours that can be joined are joined.
#[derive(Clone, Debug, Default)]
pub struct VmaTree {
    map: BTreeMap<u64, Vma>,
    totals: Totals,
    reserves: usize,
}

impl VmaTree {
    /// Makes an empty tree.
    pub fn new() -> VmaTree {
        VmaTree::default()
    }

    /// Returns the number of mappings that a guest knows of.
    pub fn count(&self) -> usize {
        self.map.len() - self.reserves
    }

    /// Returns the totals.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Iterates over all mappings in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Vma> {
        self.map.values()
    }

    /// Returns the mapping that contains `addr`.
    pub fn get(&self, addr: u64) -> Option<&Vma> {
        self.map.range(..=addr).next_back().map(|(_, vma)| vma).filter(|vma| addr < vma.end)
    }

    /// Returns the first mapping that ends above `addr` (Linux: `find_vma`).
    pub fn find(&self, addr: u64) -> Option<&Vma> {
        self.overlapping(addr..u64::MAX).next()
    }

    /// Returns the last mapping that ends at or below `addr`.
    pub fn before(&self, addr: u64) -> Option<&Vma> {
        let below = self.map.range(..addr).rev().map(|(_, vma)| vma);
        below.take(2).find(|vma| vma.end <= addr)
    }

    /// Iterates over the mappings that overlap `range`, whole.
    pub fn overlapping(&self, range: Range<u64>) -> impl Iterator<Item = &Vma> {
        let first = self.get(range.start).map_or(range.start, |vma| vma.start);
        let bounds = (Bound::Included(first), Bound::Excluded(range.end.max(first)));
        self.map.range(bounds).map(|(_, vma)| vma).filter(move |vma| vma.start < range.end && range.start < vma.end)
    }

    /// Iterates from `below` downward over the mappings that start below it.
    pub fn descending(&self, below: u64) -> impl Iterator<Item = &Vma> {
        self.map.range(..below).rev().map(|(_, vma)| vma)
    }

    /// Tells whether every page of `range` is mapped.
    pub fn covers(&self, range: Range<u64>) -> bool {
        let mut at = range.start;
        for vma in self.overlapping(range.clone()) {
            if vma.start > at {
                return false;
            }
            at = vma.end;
        }
        at >= range.end
    }

    /// Replaces whatever is in the range of `vma` by it, and joins it to its neighbours; returns what was replaced.
    pub(super) fn insert(&mut self, vma: Vma) -> Removed {
        let range = vma.range();
        let replaced =
            if self.overlapping(range.clone()).next().is_some() { self.remove(range) } else { Removed::new() };
        self.put_joined(vma);
        replaced
    }

    /// Enters a mapping where there is none, joined to its neighbours.
    fn put_joined(&mut self, mut vma: Vma) {
        vma.account();
        let right = self.map.range(vma.end..).next().map(|(_, right)| right);
        if let Some((start, end)) = right.filter(|right| vma.joins(right)).map(|right| (right.start, right.end)) {
            self.take(start);
            vma.end = end;
        }
        let left = self.map.range(..vma.start).next_back().map(|(_, left)| left);
        if let Some(start) = left.filter(|left| left.joins(&vma)).map(|left| left.start)
            && let Some(mut left) = self.take(start)
        {
            left.end = vma.end;
            vma = left;
        }
        self.put(vma);
    }

    /// Removes everything in `range`, cutting mappings at its ends; returns the pieces removed.
    pub(super) fn remove(&mut self, range: Range<u64>) -> Removed {
        // Mostly one mapping, and all of it.
        if let Some((start, end)) = self.get(range.start).map(|vma| (vma.start, vma.end))
            && start == range.start
            && end == range.end
        {
            return self.take(start).into_iter().collect();
        }
        self.cut(range.start);
        self.cut(range.end);
        let starts: Vec<u64> = self.overlapping(range).map(|vma| vma.start).collect();
        starts.into_iter().filter_map(|start| self.take(start)).collect()
    }

    /// Changes every mapping in `range`, cutting at its ends and joining what has become alike.
    pub fn update(&mut self, range: Range<u64>, mut change: impl FnMut(&mut Vma)) {
        for mut vma in self.remove(range.clone()) {
            change(&mut vma);
            vma.account();
            self.put(vma);
        }
        self.join(range);
    }

    fn account(&mut self, vma: &Vma, add: bool) {
        let len = vma.len();
        let apply = |total: &mut u64, counts: bool| {
            if counts {
                *total = if add { total.saturating_add(len) } else { total.saturating_sub(len) };
            }
        };
        if vma.flags.contains(VmFlags::RESERVE) {
            self.reserves = if add { self.reserves + 1 } else { self.reserves - 1 };
            return;
        }
        apply(&mut self.totals.total, true);
        apply(&mut self.totals.data, vma.is_data());
        apply(&mut self.totals.stack, vma.flags.contains(VmFlags::GROWSDOWN));
        apply(&mut self.totals.exec, vma.is_exec());
        apply(&mut self.totals.locked, vma.flags.contains(VmFlags::LOCKED));
    }

    fn put(&mut self, vma: Vma) {
        if !vma.is_empty() {
            self.account(&vma, true);
            self.map.insert(vma.start, vma);
        }
    }

    fn take(&mut self, start: u64) -> Option<Vma> {
        let vma = self.map.remove(&start)?;
        self.account(&vma, false);
        Some(vma)
    }

    /// Makes `at` a boundary between mappings.
    fn cut(&mut self, at: u64) {
        let Some(start) = self.get(at).map(|vma| vma.start).filter(|start| *start < at) else {
            return;
        };
        if let Some(vma) = self.take(start) {
            self.put(vma.slice(&(start..at)));
            self.put(vma.slice(&(at..vma.end)));
        }
    }

    /// Joins neighbours in and at the ends of `range`.
    fn join(&mut self, range: Range<u64>) {
        let first = self.before(range.start).map_or(range.start, |vma| vma.start);
        let mut starts: Vec<u64> =
            self.map.range((Bound::Included(first), Bound::Included(range.end))).map(|(start, _)| *start).collect();
        starts.dedup();
        let mut last: Option<u64> = None;
        for start in starts {
            let joined = match (last.and_then(|last| self.map.get(&last)), self.map.get(&start)) {
                (Some(left), Some(right)) if left.joins(right) => Some(right.end),
                _ => None,
            };
            match (last, joined) {
                (Some(left), Some(end)) => {
                    self.take(start);
                    if let Some(mut vma) = self.take(left) {
                        vma.end = end;
                        self.put(vma);
                    }
                }
                _ => last = Some(start),
            }
        }
    }
}
