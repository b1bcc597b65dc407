//! `mremap`.

use std::ops::Range;

use abi::addr::page_ceil;
use abi::{Errno, PAGE_SIZE};
use bitflags::bitflags;
use sentry_platform::MemOp;

use super::books::{Books, Change, Limits, Plan};
use super::layout::{MAX_MAP_COUNT, TASK_SIZE, start_gap};
use super::lock::lock_step;
use super::vma::{VmFlags, Vma};

bitflags! {
    /// Flags of `mremap(2)`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RemapFlags: u32 {
        /// The mapping may move.
        const MAYMOVE = 1;
        /// It moves to the address given.
        const FIXED = 2;
        /// The old range stays mapped, empty.
        const DONTUNMAP = 4;
    }
}

/// Arguments of `mremap(2)`, lengths rounded to pages.
#[derive(Clone, Copy, Debug)]
struct Request {
    addr: u64,
    old_len: u64,
    new_len: u64,
    flags: RemapFlags,
    new_addr: u64,
}

impl Request {
    /// Tells whether the caller names a new place.
    fn names_place(&self) -> bool {
        self.flags.intersects(RemapFlags::FIXED | RemapFlags::DONTUNMAP)
    }

    /// Range that is given up.
    fn old(&self) -> Range<u64> {
        self.addr..self.addr.saturating_add(self.old_len)
    }
}

impl Books {
    /// Plans `mremap(2)`; the order of checks is that of Linux 6.18 (`check_mremap_params`, `check_prep_vma`).
    pub fn plan_remap(
        &mut self,
        addr: u64,
        old_len: u64,
        new_len: u64,
        flags: u32,
        new_addr: u64,
        limits: &Limits,
    ) -> Result<Plan, Errno> {
        let flags = RemapFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
        let old_len = page_ceil(old_len).unwrap_or(0);
        let new_len = page_ceil(new_len).unwrap_or(0);
        let request = Request { addr, old_len, new_len, flags, new_addr };
        self.check_remap(&request)?;
        self.touch(&request.old());
        let vma = self.tree.get(addr).cloned().ok_or(Errno::EFAULT)?;
        if request.names_place() {
            return self.remap_to_place(&request, &vma, limits);
        }
        if new_len == old_len {
            return if old_len > vma.end - addr { Err(Errno::EFAULT) } else { Ok(Plan::done(addr)) };
        }
        if new_len < old_len {
            return self.shrink(&request);
        }
        self.grow(&request, &vma, limits)
    }

    fn check_remap(&self, request: &Request) -> Result<(), Errno> {
        let Request { addr, old_len, new_len, flags, new_addr } = *request;
        if !addr.is_multiple_of(PAGE_SIZE) || new_len == 0 || new_len > TASK_SIZE {
            return Err(Errno::EINVAL);
        }
        if !request.names_place() {
            return Ok(());
        }
        if new_addr > TASK_SIZE - new_len || !new_addr.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        if !flags.contains(RemapFlags::MAYMOVE) {
            return Err(Errno::EINVAL);
        }
        if flags.contains(RemapFlags::DONTUNMAP) && old_len != new_len {
            return Err(Errno::EINVAL);
        }
        let overlaps = addr.saturating_add(old_len) > new_addr && new_addr + new_len > addr;
        if overlaps {
            return Err(Errno::EINVAL);
        }
        if self.tree.count() + 2 >= MAX_MAP_COUNT - 3 {
            return Err(Errno::ENOMEM);
        }
        Ok(())
    }

    fn remap_to_place(&mut self, request: &Request, vma: &Vma, limits: &Limits) -> Result<Plan, Errno> {
        let Request { addr, old_len, new_len, flags, .. } = *request;
        let moves_only = old_len == new_len;
        let spans = old_len > vma.end - addr;
        self.check_source(request, vma, limits, moves_only)?;
        let place = if flags.contains(RemapFlags::FIXED) {
            let user = self.layout.user;
            if request.new_addr < user.start {
                return Err(Errno::EPERM);
            }
            if request.new_addr + new_len > user.end {
                return Err(Errno::ENOMEM);
            }
            request.new_addr
        } else {
            let hint = if request.new_addr == 0 { 0 } else { request.new_addr.max(self.layout.user.start) };
            self.find_free(new_len, hint).ok_or(Errno::ENOMEM)?
        };
        let keep = flags.contains(RemapFlags::DONTUNMAP);
        if keep && !self.may_expand(vma, new_len, limits) {
            return Err(Errno::ENOMEM);
        }
        if spans {
            return self.move_many(request, place, keep);
        }
        let mut plan = Plan::done(place);
        if flags.contains(RemapFlags::FIXED) && self.tree.overlapping(place..place + new_len).next().is_some() {
            let op = MemOp::Unmap { addr: place, len: new_len };
            plan.push(op, Some(Change::Remove(place..place + new_len)));
        }
        let mut old_len = old_len;
        if old_len > new_len {
            let tail = addr + new_len..addr + old_len;
            plan.push(MemOp::Unmap { addr: tail.start, len: old_len - new_len }, Some(Change::Remove(tail)));
            old_len = new_len;
        }
        self.move_step(&mut plan, addr, old_len, place, new_len, keep);
        Ok(plan)
    }

    /// Checks what moving or growing `vma` needs (Linux: `check_prep_vma`).
    fn check_source(&self, request: &Request, vma: &Vma, limits: &Limits, moves_only: bool) -> Result<(), Errno> {
        let Request { addr, old_len, new_len, .. } = *request;
        if old_len == 0 && !vma.shared() {
            return Err(Errno::EINVAL);
        }
        if old_len > vma.end - addr && !moves_only {
            return Err(Errno::EFAULT);
        }
        if new_len <= old_len {
            return Ok(());
        }
        let grow = new_len - old_len;
        if !matches!(vma.backing, super::vma::Backing::Anonymous) {
            let offset = vma.backing.advance(addr - vma.start).offset();
            offset.checked_add(new_len).ok_or(Errno::EINVAL)?;
        }
        if vma.flags.contains(VmFlags::LOCKED) && !self.may_lock(grow, limits) {
            return Err(Errno::EAGAIN);
        }
        if !self.may_expand(vma, grow, limits) {
            return Err(Errno::ENOMEM);
        }
        Ok(())
    }

    /// Moves every mapping of a range and the gaps between them (Linux 6.17).
    fn move_many(&mut self, request: &Request, place: u64, keep: bool) -> Result<Plan, Errno> {
        let old = request.old();
        let target = place..place + request.new_len;
        let mut plan = Plan::done(place);
        let pieces: Vec<Range<u64>> = self.tree.overlapping(old.clone()).map(|vma| vma.slice(&old).range()).collect();
        for piece in pieces {
            let to = place + (piece.start - old.start);
            let len = piece.end - piece.start;
            let occupied = self.tree.overlapping(to..to + len).next().is_some();
            if occupied && target.contains(&to) {
                plan.push(MemOp::Unmap { addr: to, len }, Some(Change::Remove(to..to + len)));
            }
            self.move_step(&mut plan, piece.start, len, to, len, keep);
        }
        Ok(plan)
    }

    fn move_step(&self, plan: &mut Plan, addr: u64, old_len: u64, to: u64, new_len: u64, keep: bool) {
        let flags = if keep { RemapFlags::DONTUNMAP.bits() } else { 0 };
        let op = MemOp::Remap { old: addr, old_len, new: to, new_len, flags };
        let from = addr..addr + old_len;
        // A duplicate of shared memory (old length 0) leaves the original as it is.
        let change = if old_len == 0 {
            let copy = self.tree.get(addr).map(|vma| {
                let part = Vma { backing: vma.backing.advance(addr - vma.start), ..vma.clone() };
                part.moved(to, new_len)
            });
            copy.map(Change::Insert)
        } else {
            Some(Change::Move { from, to: to..to + new_len, keep })
        };
        plan.push(op, change);
        let source = self.tree.get(addr).map_or(VmFlags::empty(), |vma| vma.flags);
        if source.contains(VmFlags::LOCKED) && new_len > old_len {
            plan.steps.push(lock_step(to..to + new_len, source.contains(VmFlags::LOCKONFAULT), true));
        }
    }

    fn shrink(&mut self, request: &Request) -> Result<Plan, Errno> {
        let Request { addr, old_len, new_len, .. } = *request;
        let mut plan = self.plan_unmap(addr + new_len, old_len - new_len)?;
        plan.result = Ok(addr);
        Ok(plan)
    }

    fn grow(&mut self, request: &Request, vma: &Vma, limits: &Limits) -> Result<Plan, Errno> {
        let Request { addr, old_len, new_len, flags, .. } = *request;
        self.check_source(request, vma, limits, false)?;
        let end = addr + new_len;
        let delta = new_len - old_len;
        if old_len != 0 && addr + old_len == vma.end && self.room_behind(vma, delta) {
            let op = MemOp::Remap { old: addr, old_len, new: addr, new_len, flags: 0 };
            let mut plan = Plan::one(op, Change::Extend { from: vma.end, to: end }, addr);
            if vma.flags.contains(VmFlags::LOCKED) {
                plan.steps.push(lock_step(vma.end..end, vma.flags.contains(VmFlags::LOCKONFAULT), true));
            }
            return Ok(plan);
        }
        if !flags.contains(RemapFlags::MAYMOVE) {
            return Err(Errno::ENOMEM);
        }
        if self.tree.count() + 2 >= MAX_MAP_COUNT - 3 {
            return Err(Errno::ENOMEM);
        }
        let place = self.find_free(new_len, 0).ok_or(Errno::ENOMEM)?;
        let mut plan = Plan::done(place);
        self.move_step(&mut plan, addr, old_len, place, new_len, false);
        Ok(plan)
    }

    /// Tells whether `delta` bytes behind the mapping are free (Linux: `vma_expandable`).
    fn room_behind(&self, vma: &Vma, delta: u64) -> bool {
        let Some(end) = vma.end.checked_add(delta).filter(|end| *end <= self.layout.user.end) else { return false };
        self.tree.find(vma.end).is_none_or(|next| end <= next.start.min(start_gap(next).max(vma.end)))
    }
}
