//! `mprotect` and `pkey_mprotect`.

use abi::addr::page_ceil;
use abi::flags::Prot;
use abi::{Errno, PAGE_SIZE};
use sentry_platform::MemOp;

use super::books::{Books, Change, Limits, Plan};
use super::vma::{PROT_ALL, VmFlags, Vma};

/// `PROT_SEM`: accepted and without effect on x86.
const PROT_SEM: u32 = 8;

impl Books {
    /// Plans `mprotect(2)`. `pkey` is -1 for plain `mprotect`; there are no keys to give.
    ///
    /// As on Linux the mappings in front of one that can't be changed stay changed.
    pub fn plan_protect(&mut self, addr: u64, len: u64, prot: Prot, pkey: i32, limits: &Limits) -> Result<Plan, Errno> {
        let grows = Prot::GROWSDOWN | Prot::GROWSUP;
        if prot.contains(grows) || !addr.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        if len == 0 {
            return Ok(Plan::done(0));
        }
        let len = page_ceil(len).ok_or(Errno::ENOMEM)?;
        let end = addr.checked_add(len).filter(|end| *end > addr).ok_or(Errno::ENOMEM)?;
        if prot.bits() & !(PROT_ALL | grows).bits() & !PROT_SEM != 0 || pkey != -1 {
            return Err(Errno::EINVAL);
        }
        let mut start = addr;
        self.touch(&(start..end));
        if prot.contains(Prot::GROWSDOWN) {
            let vma = self.tree.find(start).filter(|vma| vma.start < end).ok_or(Errno::ENOMEM)?;
            start = vma.start;
            if !vma.flags.contains(VmFlags::GROWSDOWN) {
                return Err(Errno::EINVAL);
            }
            // What the stack grows into later gets the same protection.
            start = self.reserve_below(start).unwrap_or(start);
        } else {
            self.tree.get(start).ok_or(Errno::ENOMEM)?;
            if prot.contains(Prot::GROWSUP) {
                return Err(Errno::EINVAL);
            }
        }
        Ok(self.protect_steps(start, end, prot & PROT_ALL, limits))
    }

    fn reserve_below(&self, start: u64) -> Option<u64> {
        let below = self.tree.get(start.checked_sub(1)?)?;
        below.is_stack_reserve().then_some(below.start)
    }

    fn protect_steps(&mut self, start: u64, end: u64, wanted: Prot, limits: &Limits) -> Plan {
        let mut plan = Plan::done(0);
        let mut at = start;
        let mut extra_data = 0;
        let mut pieces: Vec<(u64, u64, Prot)> = Vec::new();
        for vma in self.tree.overlapping(start..end) {
            if vma.start > at {
                plan.result = Err(Errno::ENOMEM);
                break;
            }
            let mut prot = wanted;
            if limits.read_implies_exec && prot.contains(Prot::READ) && vma.max_prot.contains(Prot::EXEC) {
                prot |= Prot::EXEC;
            }
            let piece_end = vma.end.min(end);
            if let Err(errno) = self.may_protect(vma, prot, piece_end - at, &mut extra_data, limits) {
                plan.result = Err(errno);
                break;
            }
            match pieces.last_mut() {
                Some(last) if last.2 == prot => last.1 = piece_end,
                _ => pieces.push((at, piece_end, prot)),
            }
            at = piece_end;
        }
        if at < end && plan.result.is_ok() {
            plan.result = Err(Errno::ENOMEM);
        }
        for (from, to, prot) in pieces {
            let op = MemOp::Protect { addr: from, len: to - from, prot };
            plan.push(op, Some(Change::Protect(from..to, prot)));
        }
        plan
    }

    fn may_protect(
        &self,
        vma: &Vma,
        prot: Prot,
        bytes: u64,
        extra_data: &mut u64,
        limits: &Limits,
    ) -> Result<(), Errno> {
        if !vma.max_prot.contains(prot) {
            return Err(Errno::EACCES);
        }
        if vma.prot != prot && bytes < vma.len() && !self.may_split() {
            return Err(Errno::ENOMEM);
        }
        let mut after = vma.clone();
        after.prot = prot;
        if after.is_data() && !vma.is_data() && !vma.flags.contains(VmFlags::RESERVE) {
            let total = self.tree.totals().data.saturating_add(*extra_data).saturating_add(bytes);
            if total / PAGE_SIZE > limits.data / PAGE_SIZE {
                return Err(Errno::ENOMEM);
            }
            *extra_data += bytes;
        }
        Ok(())
    }
}
