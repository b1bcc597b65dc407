//! The `mlock` family.

use std::ops::Range;

use abi::addr::{page_ceil, page_floor};
use abi::{Errno, PAGE_SIZE};
use bitflags::bitflags;
use sentry_platform::MemOp;

use super::books::{Books, Change, Limits, OnFailure, Plan, Step};
use super::vma::{VmFlags, Vma};

/// `MLOCK_ONFAULT` of `mlock2(2)`.
pub const MLOCK_ONFAULT: u32 = 1;
/// `MADV_POPULATE_READ`.
const MADV_POPULATE_READ: i32 = 22;

bitflags! {
    /// Flags of `mlockall(2)`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LockAll: u32 {
        /// What is mapped now.
        const CURRENT = 1;
        /// What will be mapped.
        const FUTURE = 2;
        /// As it is touched.
        const ONFAULT = 4;
    }
}

/// Locks a range on the host. The host has its own limit, which may be lower than the guest's: where it refuses, the
/// pages are at least made present, which is all that a guest can see of a lock.
pub(super) fn lock_step(range: Range<u64>, on_fault: bool, favour: bool) -> Step {
    let (addr, len) = (range.start, range.end - range.start);
    let present = MemOp::Advise { addr, len, advice: MADV_POPULATE_READ };
    let on_failure = match (favour || on_fault, on_fault) {
        (_, true) => OnFailure::Ignore,
        // `mmap` and `mlockall` don't report that pages could not be made present.
        (true, false) => OnFailure::Ignore,
        (false, false) => OnFailure::Try(Box::new((present, Errno::ENOMEM))),
    };
    let flags = if on_fault { MLOCK_ONFAULT } else { 0 };
    Step { op: Some(MemOp::Lock { addr, len, flags }), change: None, on_failure }
}

fn lock_flags(on_fault: bool) -> VmFlags {
    if on_fault { VmFlags::LOCKED | VmFlags::LOCKONFAULT } else { VmFlags::LOCKED }
}

impl Books {
    /// Plans `mlock(2)` and `mlock2(2)`, whose flags have been checked.
    pub fn plan_lock(&mut self, addr: u64, len: u64, on_fault: bool, limits: &Limits) -> Result<Plan, Errno> {
        if limits.memlock == 0 && !limits.ipc_lock {
            return Err(Errno::EPERM);
        }
        let range = lock_range(addr, len)?;
        let bytes = range.end.wrapping_sub(range.start);
        let already: u64 = self
            .tree
            .overlapping(range.start..range.end.max(range.start))
            .filter(|vma| vma.flags.contains(VmFlags::LOCKED))
            .map(|vma| vma.slice(&range).len())
            .sum();
        if !self.may_lock(bytes.saturating_sub(already), limits) {
            return Err(Errno::ENOMEM);
        }
        self.plan_lock_flags(range, lock_flags(on_fault), on_fault)
    }

    /// Plans `munlock(2)`.
    pub fn plan_unlock(&mut self, addr: u64, len: u64) -> Result<Plan, Errno> {
        let range = lock_range(addr, len)?;
        self.plan_lock_flags(range, VmFlags::empty(), false)
    }

    fn plan_lock_flags(&mut self, range: Range<u64>, set: VmFlags, on_fault: bool) -> Result<Plan, Errno> {
        if range.end < range.start {
            return Err(Errno::EINVAL);
        }
        if range.is_empty() {
            return Ok(Plan::done(0));
        }
        self.touch(&range);
        let mapped = self.leading(range.clone()).ok_or(Errno::ENOMEM)?;
        let mut plan = Plan::done(0);
        let clear = VmFlags::LOCKED | VmFlags::LOCKONFAULT;
        let change = Change::Flags { range: mapped.clone(), clear, set };
        let mut step = if set.is_empty() {
            let op = MemOp::Unlock { addr: mapped.start, len: mapped.end - mapped.start };
            Step { op: Some(op), change: None, on_failure: OnFailure::Ignore }
        } else {
            lock_step(mapped.clone(), on_fault, false)
        };
        step.change = Some(change);
        plan.steps.push(step);
        if mapped.end < range.end {
            plan.result = Err(Errno::ENOMEM);
        }
        Ok(plan)
    }

    /// Returns the part of the range that is mapped without a gap from its start on; `None` where that is nothing.
    pub(super) fn leading(&self, range: Range<u64>) -> Option<Range<u64>> {
        let mut end = range.start;
        for vma in self.tree.overlapping(range.clone()) {
            if vma.start > end {
                break;
            }
            end = vma.end.min(range.end);
        }
        (end > range.start).then_some(range.start..end)
    }

    /// Plans `mlockall(2)`.
    pub fn plan_lock_all(&mut self, flags: u32, limits: &Limits) -> Result<Plan, Errno> {
        let known = LockAll::from_bits(flags).filter(|flags| !flags.is_empty()).ok_or(Errno::EINVAL)?;
        if known == LockAll::ONFAULT {
            return Err(Errno::EINVAL);
        }
        if limits.memlock == 0 && !limits.ipc_lock {
            return Err(Errno::EPERM);
        }
        let current = known.contains(LockAll::CURRENT);
        if current && !limits.ipc_lock && self.tree.totals().total > limits.memlock {
            return Err(Errno::ENOMEM);
        }
        let on_fault = known.contains(LockAll::ONFAULT);
        let mut plan = Plan::done(0);
        let future = if known.contains(LockAll::FUTURE) { lock_flags(on_fault) } else { VmFlags::empty() };
        plan.note(Change::DefaultFlags(future));
        if current {
            for range in self.shown_ranges() {
                let clear = VmFlags::LOCKED | VmFlags::LOCKONFAULT;
                let mut step = lock_step(range.clone(), on_fault, true);
                step.change = Some(Change::Flags { range, clear, set: lock_flags(on_fault) });
                plan.steps.push(step);
            }
        }
        Ok(plan)
    }

    /// Plans `munlockall(2)`.
    pub fn plan_unlock_all(&mut self) -> Plan {
        let mut plan = Plan::done(0);
        plan.note(Change::DefaultFlags(VmFlags::empty()));
        let locked: Vec<Range<u64>> =
            self.tree.iter().filter(|vma| vma.flags.contains(VmFlags::LOCKED)).map(Vma::range).collect();
        for range in locked {
            let op = MemOp::Unlock { addr: range.start, len: range.end - range.start };
            let clear = VmFlags::LOCKED | VmFlags::LOCKONFAULT;
            let change = Change::Flags { range, clear, set: VmFlags::empty() };
            plan.steps.push(Step { op: Some(op), change: Some(change), on_failure: OnFailure::Ignore });
        }
        plan
    }

    fn shown_ranges(&self) -> Vec<Range<u64>> {
        self.tree.iter().filter(|vma| !vma.flags.contains(VmFlags::RESERVE)).map(Vma::range).collect()
    }
}

/// Rounds the range of a lock outward. A range that wraps comes out backwards, as on Linux.
fn lock_range(addr: u64, len: u64) -> Result<Range<u64>, Errno> {
    let offset = addr % PAGE_SIZE;
    let len = page_ceil(len.wrapping_add(offset)).unwrap_or(0);
    let start = page_floor(addr);
    Ok(start..start.wrapping_add(len))
}
