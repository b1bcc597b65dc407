//! `madvise`, `msync` and `mincore`: questions and hints that mostly go to the host as they are.

use std::ops::Range;

use abi::addr::page_ceil;
use abi::flags::Prot;
use abi::{Errno, PAGE_SIZE};
use sentry_platform::MemOp;
use smallvec::SmallVec;

use super::books::{Books, Change, Plan, Step};
use super::layout::TASK_SIZE;
use super::vma::{Backing, VmFlags, Vma};

/// Advice numbers (`man 2 madvise`, `asm-generic/mman-common.h`).
#[allow(missing_docs)]
pub mod advice {
    pub const NORMAL: i32 = 0;
    pub const RANDOM: i32 = 1;
    pub const SEQUENTIAL: i32 = 2;
    pub const WILLNEED: i32 = 3;
    pub const DONTNEED: i32 = 4;
    pub const FREE: i32 = 8;
    pub const REMOVE: i32 = 9;
    pub const DONTFORK: i32 = 10;
    pub const DOFORK: i32 = 11;
    pub const MERGEABLE: i32 = 12;
    pub const UNMERGEABLE: i32 = 13;
    pub const HUGEPAGE: i32 = 14;
    pub const NOHUGEPAGE: i32 = 15;
    pub const DONTDUMP: i32 = 16;
    pub const DODUMP: i32 = 17;
    pub const WIPEONFORK: i32 = 18;
    pub const KEEPONFORK: i32 = 19;
    pub const COLD: i32 = 20;
    pub const PAGEOUT: i32 = 21;
    pub const POPULATE_READ: i32 = 22;
    pub const POPULATE_WRITE: i32 = 23;
    pub const DONTNEED_LOCKED: i32 = 24;
    pub const COLLAPSE: i32 = 25;
    pub const GUARD_INSTALL: i32 = 102;
    pub const GUARD_REMOVE: i32 = 103;
}

/// `MS_ASYNC`.
const MS_ASYNC: i32 = 1;
/// `MS_INVALIDATE`.
const MS_INVALIDATE: i32 = 2;
/// `MS_SYNC`.
const MS_SYNC: i32 = 4;

/// What an advice does to the books.
fn flag_change(advice: i32) -> Option<(VmFlags, VmFlags)> {
    let none = VmFlags::empty();
    let reads = VmFlags::RAND_READ | VmFlags::SEQ_READ;
    let huge = VmFlags::HUGEPAGE | VmFlags::NOHUGEPAGE;
    Some(match advice {
        advice::NORMAL => (reads, none),
        advice::RANDOM => (reads, VmFlags::RAND_READ),
        advice::SEQUENTIAL => (reads, VmFlags::SEQ_READ),
        advice::DONTFORK => (none, VmFlags::DONTFORK),
        advice::DOFORK => (VmFlags::DONTFORK, none),
        advice::MERGEABLE => (none, VmFlags::MERGEABLE),
        advice::UNMERGEABLE => (VmFlags::MERGEABLE, none),
        advice::HUGEPAGE => (huge, VmFlags::HUGEPAGE),
        advice::NOHUGEPAGE => (huge, VmFlags::NOHUGEPAGE),
        advice::DONTDUMP => (none, VmFlags::DONTDUMP),
        advice::DODUMP => (VmFlags::DONTDUMP, none),
        advice::WIPEONFORK => (none, VmFlags::WIPEONFORK),
        advice::KEEPONFORK => (VmFlags::WIPEONFORK, none),
        _ => return None,
    })
}

fn known(advice: i32) -> bool {
    (advice::NORMAL..=advice::DONTNEED).contains(&advice)
        || (advice::FREE..=advice::COLLAPSE).contains(&advice)
        || matches!(advice, advice::GUARD_INSTALL | advice::GUARD_REMOVE)
}

/// Tells what Linux refuses about one mapping.
fn refuse(advice: i32, vma: &Vma) -> Option<Errno> {
    let anonymous = matches!(vma.backing, Backing::Anonymous);
    let locked = vma.flags.contains(VmFlags::LOCKED);
    let refused = match advice {
        advice::DONTNEED => locked,
        advice::FREE => !anonymous || locked,
        advice::COLD | advice::PAGEOUT => locked,
        advice::WIPEONFORK => !anonymous || vma.shared(),
        advice::GUARD_INSTALL => locked,
        advice::REMOVE if locked || anonymous => true,
        advice::REMOVE if !vma.shared() || !vma.max_prot.contains(Prot::WRITE) => {
            return Some(Errno::EACCES);
        }
        _ => false,
    };
    refused.then_some(Errno::EINVAL)
}

impl Books {
    /// Plans `madvise(2)`. Unmapped parts are skipped and make it end with ENOMEM, as on Linux.
    pub fn plan_advise(&mut self, addr: u64, len: u64, advice: i32) -> Result<Plan, Errno> {
        if !known(advice) || !addr.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        let rounded = page_ceil(len).ok_or(Errno::EINVAL)?;
        let end = addr.checked_add(rounded).ok_or(Errno::EINVAL)?;
        if rounded == 0 {
            return Ok(Plan::done(0));
        }
        let range = addr..end;
        self.touch(&range);
        let mut plan = Plan::done(0);
        let mut at = addr;
        for vma in self.tree.overlapping(range.clone()) {
            if vma.start > at {
                plan.result = Err(Errno::ENOMEM);
            }
            if let Some(errno) = refuse(advice, vma) {
                plan.result = Err(errno);
                return Ok(join_advice(plan));
            }
            at = vma.end;
            let flags = flag_change(advice);
            if flags.is_some_and(|(clear, set)| vma.flags.difference(clear).union(set) == vma.flags) {
                // It is so already.
                continue;
            }
            let part = vma.slice(&range).range();
            let cuts = part != vma.range();
            if cuts && flags.is_some() && !self.may_split() {
                plan.result = Err(Errno::EAGAIN);
                return Ok(join_advice(plan));
            }
            let change = flags.map(|(clear, set)| Change::Flags { range: part.clone(), clear, set });
            // Merging equal pages across sandboxes would be a channel between them: the wish is noted, no more.
            let merge = matches!(advice, advice::MERGEABLE | advice::UNMERGEABLE);
            let op = MemOp::Advise { addr: part.start, len: part.end - part.start, advice };
            plan.steps.push(Step { op: (!merge).then_some(op), change, ..Step::default() });
        }
        if at < end {
            plan.result = Err(Errno::ENOMEM);
        }
        Ok(join_advice(plan))
    }

    /// Returns the mapping in which advice like this one needs no books, if there is one.
    pub(super) fn advisable(&self, plan: &Plan) -> Option<Range<u64>> {
        let [Step { op: Some(MemOp::Advise { addr, len, advice }), change: None, .. }] = plan.steps.as_slice() else {
            return None;
        };
        let often = [advice::DONTNEED, advice::FREE, advice::COLD, advice::PAGEOUT, advice::WILLNEED];
        let vma = self.tree.get(*addr).filter(|_| often.contains(advice) && plan.result.is_ok())?;
        let private = matches!(vma.backing, Backing::Anonymous) && !vma.shared();
        let other = VmFlags::LOCKED | VmFlags::RESERVE | VmFlags::HIDDEN | VmFlags::GROWSDOWN;
        let plain = private && !vma.flags.intersects(other) && !vma.prot.contains(Prot::EXEC);
        (plain && addr.checked_add(*len)? <= vma.end).then(|| vma.range())
    }

    /// Plans `msync(2)`.
    pub fn plan_sync(&mut self, addr: u64, len: u64, flags: i32) -> Result<Plan, Errno> {
        let both = MS_ASYNC | MS_SYNC;
        if flags & !(both | MS_INVALIDATE) != 0 || !addr.is_multiple_of(PAGE_SIZE) || flags & both == both {
            return Err(Errno::EINVAL);
        }
        let len = page_ceil(len).unwrap_or(0);
        let end = addr.checked_add(len).ok_or(Errno::ENOMEM)?;
        if len == 0 {
            return Ok(Plan::done(0));
        }
        let range = addr..end;
        self.touch(&range);
        let mut plan = Plan::done(0);
        let mut at = addr;
        for vma in self.tree.overlapping(range.clone()) {
            if vma.start > at {
                plan.result = Err(Errno::ENOMEM);
            }
            if flags & MS_INVALIDATE != 0 && vma.flags.contains(VmFlags::LOCKED) {
                plan.result = Err(Errno::EBUSY);
                return Ok(plan);
            }
            if flags & MS_SYNC != 0 && vma.shared() && matches!(vma.backing, Backing::File { .. }) {
                let part = vma.slice(&range).range();
                plan.push(MemOp::Sync { addr: part.start, len: part.end - part.start, flags }, None);
            }
            at = vma.end;
        }
        if at < end {
            plan.result = Err(Errno::ENOMEM);
        }
        Ok(plan)
    }

    /// Plans `mincore(2)`; the host writes the vector.
    pub fn plan_incore(&mut self, addr: u64, len: u64, vec: u64) -> Result<Plan, Errno> {
        if !addr.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        let end = addr.checked_add(len).filter(|end| *end <= TASK_SIZE).ok_or(Errno::ENOMEM)?;
        let pages = len.div_ceil(PAGE_SIZE);
        vec.checked_add(pages).filter(|end| *end <= TASK_SIZE).ok_or(Errno::EFAULT)?;
        if len == 0 {
            return Ok(Plan::done(0));
        }
        let range = addr..page_ceil(end).ok_or(Errno::ENOMEM)?;
        self.touch(&range);
        let mapped = self.leading(range.clone()).ok_or(Errno::ENOMEM)?;
        let mut plan = Plan::done(0);
        let op = MemOp::Mincore { addr: mapped.start, len: mapped.end - mapped.start, vec };
        plan.push(op, None);
        if mapped.end < range.end {
            plan.result = Err(Errno::ENOMEM);
        }
        Ok(plan)
    }

    /// Plans `prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME)`; the name has been checked.
    pub fn plan_name(&mut self, range: Range<u64>, name: Option<std::sync::Arc<[u8]>>) -> Result<Plan, Errno> {
        let mut plan = Plan::done(0);
        let mut at = range.start;
        for vma in self.tree.overlapping(range.clone()) {
            if vma.start > at {
                plan.result = Err(Errno::ENOMEM);
            }
            if matches!(vma.backing, Backing::File { .. }) {
                plan.result = Err(Errno::EBADF);
                break;
            }
            plan.note(Change::Name(vma.slice(&range).range(), name.clone()));
            at = vma.end;
        }
        if at < range.end && plan.result.is_ok() {
            plan.result = Err(Errno::ENOMEM);
        }
        Ok(plan)
    }
}

/// Joins the host operations of adjacent pieces into one; the books still change piece by piece.
fn join_advice(mut plan: Plan) -> Plan {
    let mut steps: SmallVec<[Step; 1]> = SmallVec::new();
    for step in plan.steps.drain(..) {
        let joined = match (steps.last_mut().and_then(|last| last.op.as_mut()), &step.op) {
            (Some(MemOp::Advise { addr, len, .. }), Some(MemOp::Advise { addr: next, len: more, .. }))
                if step.change.is_none() && *addr + *len == *next =>
            {
                *len += *more;
                true
            }
            _ => false,
        };
        if !joined {
            steps.push(step);
        }
    }
    plan.steps = steps;
    plan
}
