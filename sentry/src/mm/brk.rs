//! `brk`, and the growth of stacks.

use abi::PAGE_SIZE;
use abi::addr::{page_ceil, page_floor};
use abi::flags::{MapFlags, Prot};
use sentry_platform::MemOp;

use super::books::{Books, Change, Limits, Plan};
use super::layout::{MAX_MAP_COUNT, STACK_GUARD_GAP, start_gap};
use super::lock::lock_step;
use super::vma::{VmFlags, Vma};

const READ_WRITE: Prot = Prot::READ.union(Prot::WRITE);

impl Books {
    /// Plans `brk(2)`, which never fails: it returns the break, moved or not. The plan's result is the new break; on
    /// any failure the old one is the answer.
    pub fn plan_break(&mut self, wanted: u64, limits: &Limits) -> Plan {
        let old = self.brk;
        self.try_break(wanted, limits).unwrap_or_else(|| Plan::done(old))
    }

    fn try_break(&mut self, wanted: u64, limits: &Limits) -> Option<Plan> {
        if wanted < self.start_brk || self.start_brk == 0 {
            return None;
        }
        let data = self.image.end_data.saturating_sub(self.image.start_data);
        if limits.data != u64::MAX && (wanted - self.start_brk).saturating_add(data) > limits.data {
            return None;
        }
        let (from, to) = (page_ceil(self.brk)?, page_ceil(wanted)?);
        if to <= from {
            let mut plan = if to < from { self.plan_unmap(to, from - to).ok()? } else { Plan::done(wanted) };
            plan.note(Change::Break(wanted));
            plan.result = Ok(wanted);
            return Some(plan);
        }
        if to > self.layout.user.end {
            return None;
        }
        let next = self.tree.find(from);
        if next.is_some_and(|next| to + PAGE_SIZE > start_gap(next)) {
            return None;
        }
        let prot = if limits.read_implies_exec { READ_WRITE | Prot::EXEC } else { READ_WRITE };
        let vma = Vma::anonymous(from..to, prot, self.default_flags);
        let locked = vma.flags.contains(VmFlags::LOCKED);
        if locked && !self.may_lock(to - from, limits)
            || !self.may_expand(&vma, to - from, limits)
            || self.tree.count() > MAX_MAP_COUNT
        {
            return None;
        }
        let flags = MapFlags::PRIVATE.bits();
        let op = MemOp::MapAnonymous { addr: from, len: to - from, prot, flags };
        let on_fault = vma.flags.contains(VmFlags::LOCKONFAULT);
        let mut plan = Plan::one(op, Change::Insert(vma), wanted);
        plan.note(Change::Break(wanted));
        if locked {
            plan.steps.push(lock_step(from..to, on_fault, true));
        }
        Some(plan)
    }

    /// Plans the growth of a stack down to a fault at `addr`; `None` if the fault is a plain one. Rules: Linux's
    /// `expand_downwards` and `acct_stack_growth`.
    pub fn plan_growth(&mut self, addr: u64, limits: &Limits) -> Option<Plan> {
        let page = page_floor(addr);
        if page < self.layout.user.start || self.tree.get(page).is_some() {
            return None;
        }
        let vma = self.tree.find(page).filter(|vma| vma.flags.contains(VmFlags::GROWSDOWN))?.clone();
        let below = self.tree.before(page).map(|prev| (prev.end, prev.prot, prev.flags));
        if let Some((end, prot, flags)) = below {
            let open = prot != Prot::empty() && !flags.contains(VmFlags::GROWSDOWN);
            if open && page - end < STACK_GUARD_GAP {
                return None;
            }
        }
        let grow = vma.start - page;
        // Reserve that is in use by now counts as part of the stack.
        self.touch(&vma.range());
        let vma = self.tree.get(vma.start)?.clone();
        let locked = vma.flags.contains(VmFlags::LOCKED);
        if vma.end - page > limits.stack
            || !self.may_expand(&vma, grow, limits)
            || locked && !self.may_lock(grow, limits)
        {
            return None;
        }
        let grown = Vma { start: page, end: vma.start, ..vma.clone() };
        let flags = (MapFlags::PRIVATE | MapFlags::NORESERVE).bits();
        let op = MemOp::MapAnonymous { addr: page, len: grow, prot: vma.prot, flags };
        Some(Plan::one(op, Change::Insert(grown), 0))
    }
}
