//! Changes of memory that the host performs on the guest's way back, in the crossing that carries the reply.
//!
//! Such a change is *under way* from the start of the guest until somebody learns that it is done: the thread itself by
//! its next event, others by asking the platform. Until then it holds the lock of all changes, and the books are as before.
//! Who looks at the books enters it first if it is done ([`Mm::books`]). Who wants to change them and meets one that
//! isn't done interrupts its thread, whose next event ends it.
//!
//! In the same way memory is *held* as it is while a stub writes to it on the guest's way back: a change of nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use abi::Errno;
use abi::addr::page_ceil;
use abi::flags::{MapFlags, Prot};
use async_lock::MutexGuardArc;
use sentry_platform::{Context, Interrupt, MemOp, Registers};

use super::books::{Books, Change, OnFailure, Plan};
use super::space::Mm;
use super::vma::{Backing, VmFlags, Vma};

/// How far [`Mm::begin`] has come.
pub enum Begin<F> {
    /// All is done.
    Over(Result<u64, Errno>),
    /// The host has to do its part.
    Planned(Begun),
    /// Others come first: the plan is for [`Mm::change`].
    Busy(F),
}

/// A change that is planned, with others kept out.
///
/// A plan is large, so it stays where it is.
pub struct Begun {
    mm: Arc<Mm>,
    plan: Box<Plan>,
    /// What the call returns, if the change may be performed on the way back.
    later: Option<u64>,
    structure: MutexGuardArc<()>,
}

/// A change that the host may be performing.
struct UnderWay {
    thread: Arc<dyn Interrupt>,
    run: u32,
    /// What is entered in the end. `None`: nothing.
    plan: Option<Box<Plan>>,
    structure: MutexGuardArc<()>,
}

/// Place for the one change under way. A copy of the books has none: whoever copies them keeps changes out.
#[derive(Default)]
pub(super) struct Slot(Option<UnderWay>);

impl Clone for Slot {
    fn clone(&self) -> Slot {
        Slot(None)
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Slot").field(&self.0.is_some()).finish()
    }
}

/// What is dropped once the books are unlocked, since that may take other locks.
struct Settled {
    _gone: Vec<Vma>,
    _structure: MutexGuardArc<()>,
}

/// How often somebody who wants to change the books looks whether what is under way is done.
const LOOKS: u32 = 64;

/// Counts those who wait for the lock of all changes.
#[derive(Default)]
pub(super) struct Contenders(AtomicU32);

/// One of them, while it lives.
struct Contender<'a>(&'a AtomicU32);

impl Contenders {
    fn enter(&self) -> Contender<'_> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Contender(&self.0)
    }

    fn is_empty(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

impl Drop for Contender<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Tells whether a plan is one operation, whose failure is the call's, and that nobody waits for but its own thread.
/// Where a mapping of a file ends others may wait for that (seals, the last reference to a file), so the books are not to be
/// late with it, unless it gives way to one of the same file.
fn is_simple(plan: &Plan, books: &Books) -> bool {
    let Some((first, rest)) = plan.steps.split_first() else { return false };
    let new = match &first.change {
        Some(Change::Insert(Vma { backing: Backing::File { file, .. }, .. })) => Some(file.description()),
        _ => None,
    };
    let gives_way = |vma: &Vma| match &vma.backing {
        Backing::File { file, .. } => !vma.shared() && new == Some(file.description()),
        _ => true,
    };
    let is_private = |vma: &Vma| !vma.shared() || !matches!(vma.backing, Backing::File { .. });
    let in_range = |addr: u64, len: u64| books.tree.overlapping(addr..addr.saturating_add(len));
    let simple = match first.op {
        Some(MemOp::MapFile { flags, .. }) if flags & MapFlags::SHARED.bits() != 0 => false,
        Some(
            MemOp::MapFile { addr, len, .. }
            | MemOp::MapAnonymous { addr, len, .. }
            | MemOp::Unmap { addr, len }
            | MemOp::Advise { addr, len, .. },
        ) => in_range(addr, len).all(gives_way),
        Some(MemOp::Protect { addr, len, .. }) => in_range(addr, len).all(is_private),
        _ => false,
    };
    simple && matches!(first.on_failure, OnFailure::Fail) && rest.iter().all(|step| step.op.is_none())
}

impl Begun {
    pub(super) fn new(mm: &Arc<Mm>, plan: Box<Plan>, books: &Books, structure: MutexGuardArc<()>) -> Begun {
        let later = plan.result.ok().filter(|_| is_simple(&plan, books));
        Begun { mm: Arc::clone(mm), plan, later, structure }
    }

    /// Returns what the call returns if the change succeeds, where it may be performed on the way back to the guest.
    pub fn later(&self) -> Option<u64> {
        self.later
    }

    /// Lets the host perform it.
    pub async fn finish(mut self, context: &mut dyn Context) -> Result<u64, Errno> {
        let mm = Arc::clone(&self.mm);
        mm.carry_out(context, &mut self.plan).await
    }

    /// Starts guest code behind the change; gives it back where that can't be. [`Mm::end_under_way`] is to follow.
    pub(crate) fn start(
        mut self,
        context: &mut dyn Context,
        regs: &Registers,
        thread: &Arc<dyn Interrupt>,
    ) -> Option<Begun> {
        let Some(op) = self.plan.steps.first_mut().and_then(|step| step.op.take()) else { return Some(self) };
        let Begun { mm, plan, later, structure } = self;
        let under_way = UnderWay { thread: Arc::clone(thread), run: context.next_run(), plan: Some(plan), structure };
        mm.books.lock().under_way = Slot(Some(under_way));
        // Before this look: whoever counts itself among the contenders looks at the slot after that.
        if mm.contenders.is_empty() && context.start_after(std::slice::from_ref(&op), regs) {
            return None;
        }
        // It isn't done, so nobody has taken it.
        let UnderWay { plan, structure, .. } = mm.books.lock().under_way.take_of(thread)?;
        let mut plan = plan?;
        plan.steps.first_mut()?.op = Some(op);
        Some(Begun { mm, plan, later, structure })
    }
}

impl Slot {
    fn take_of(&mut self, thread: &Arc<dyn Interrupt>) -> Option<UnderWay> {
        self.0.take_if(|under_way| Arc::ptr_eq(&under_way.thread, thread))
    }

    /// Tells whether there is a change that is done.
    pub(super) fn is_done(&self) -> bool {
        self.0.as_ref().is_some_and(|under_way| under_way.thread.has_performed(under_way.run))
    }
}

impl Books {
    /// Tells whether a range is private memory that may be written, and has no file behind it that could become shorter.
    pub(crate) fn is_plainly_writable(&mut self, addr: u64, len: u64) -> bool {
        let Some(end) = addr.checked_add(len) else { return false };
        if self.writable.contains(&addr) {
            return end <= self.writable.end;
        }
        let Some(vma) = self.tree.get(addr) else { return false };
        if vma.shared() || !vma.prot.contains(Prot::WRITE) || vma.flags.contains(VmFlags::HIDDEN) {
            return false;
        }
        let there = match &vma.backing {
            Backing::Anonymous => vma.end,
            Backing::SharedAnonymous { .. } => return false,
            Backing::File { file, offset } => {
                let Some(size) = file.lasting() else { return false };
                vma.start.saturating_add(page_ceil(size.saturating_sub(*offset)).unwrap_or(0)).min(vma.end)
            }
        };
        self.writable = vma.start..there;
        end <= there
    }

    fn settle(&mut self, done: UnderWay) -> Settled {
        for step in done.plan.into_iter().flat_map(|plan| plan.steps) {
            if let Some(change) = step.change {
                self.apply(change);
            }
        }
        Settled { _gone: std::mem::take(&mut self.gone), _structure: done.structure }
    }
}

impl Mm {
    /// Has nobody change this memory until the run with this number has begun with what is to be written there, or
    /// [`Mm::end_under_way`]; `false`: not now, or bytes there can't surely be written. The run begins soon, and its end is
    /// told of as that of a change.
    pub(crate) fn hold(&self, thread: &Arc<dyn Interrupt>, run: u32, addr: u64, len: u64) -> bool {
        let Some(structure) = self.try_structure() else { return false };
        let mut books = self.books.lock();
        if !books.is_plainly_writable(addr, len) {
            return false;
        }
        books.under_way = Slot(Some(UnderWay { thread: Arc::clone(thread), run, plan: None, structure }));
        drop(books);
        // As with a change: who waits looks at the slot after it has counted itself.
        if !self.contenders.is_empty() {
            self.end_under_way(thread, true);
            return false;
        }
        true
    }

    /// Takes the lock of all changes if nobody has it.
    pub(super) fn try_structure(&self) -> Option<MutexGuardArc<()>> {
        self.structure.try_lock_arc().or_else(|| {
            self.enter_done();
            self.structure.try_lock_arc()
        })
    }

    /// Hears that the run which began behind a change has ended, and whether the host has performed the change.
    pub(crate) fn end_under_way(&self, thread: &Arc<dyn Interrupt>, performed: bool) {
        let mut books = self.books.lock();
        // Somebody else may have entered it.
        let Some(under_way) = books.under_way.take_of(thread) else { return };
        let settled = if performed { Ok(books.settle(under_way)) } else { Err(under_way) };
        drop(books);
        drop(settled);
    }

    /// Enters what is under way, if it is done.
    pub(super) fn enter_done(&self) {
        let mut books = self.books.lock();
        if books.under_way.is_done()
            && let Some(done) = books.under_way.0.take()
        {
            let settled = books.settle(done);
            drop(books);
            drop(settled);
        }
    }

    /// Waits for the lock of all changes.
    pub(super) async fn lock_structure(&self) -> async_lock::MutexGuard<'_, ()> {
        if let Some(guard) = self.structure.try_lock() {
            return guard;
        }
        let _contender = self.contenders.enter();
        self.hasten();
        self.structure.lock().await
    }

    /// Makes what is under way end soon.
    fn hasten(&self) {
        for _ in 0..LOOKS {
            match &self.books.lock().under_way.0 {
                None => return,
                Some(it) if it.thread.has_performed(it.run) => break,
                Some(_) => std::hint::spin_loop(),
            }
        }
        self.enter_done();
        let late = self.books.lock().under_way.0.as_ref().map(|under_way| Arc::clone(&under_way.thread));
        if let Some(thread) = late {
            thread.interrupt();
        }
    }
}

#[cfg(test)]
mod tests {
    use abi::flags::Prot;

    use super::super::map::MapRequest;
    use super::super::tests::{books, file, request};
    use super::*;
    use crate::mm::Limits;

    const AT: u64 = 0x1000_0000;

    /// Plans a mapping of a file at a fixed place, enters it where that is asked for, and tells whether it was simple.
    fn maps(books: &mut Books, id: u64, flags: MapFlags, enter: bool) -> bool {
        let fixed = request(AT, 0x2000, Prot::READ, flags | MapFlags::FIXED);
        let plan = books.plan_map(MapRequest { file: Some(file(id, true, true)), ..fixed }, &Limits::default());
        let mut plan = plan.expect("a place that is free");
        let simple = is_simple(&plan, books);
        if enter {
            plan.steps.drain(..).filter_map(|step| step.change).for_each(|change| books.apply(change));
        }
        simple
    }

    #[test]
    fn private_files_are_mapped_with_the_reply_where_nobody_waits() {
        let mut books = books();
        assert!(!maps(&mut books, 1, MapFlags::SHARED, false), "seals look for it");
        assert!(maps(&mut books, 1, MapFlags::PRIVATE, true));
        assert!(maps(&mut books, 1, MapFlags::PRIVATE, false), "the same file stays");
        assert!(!maps(&mut books, 2, MapFlags::PRIVATE, false), "another may go");
        let plan = books.plan_protect(AT, 0x1000, Prot::READ, -1, &Limits::default()).expect("it is mapped");
        assert!(is_simple(&plan, &books));
        let plan = books.plan_unmap(AT, 0x1000).expect("it is mapped");
        assert!(!is_simple(&plan, &books), "the file may go");
    }

    #[test]
    fn shared_files_wait() {
        let mut books = books();
        maps(&mut books, 1, MapFlags::SHARED, true);
        let plan = books.plan_protect(AT, 0x1000, Prot::READ, -1, &Limits::default()).expect("it is mapped");
        assert!(!is_simple(&plan, &books));
        assert!(!maps(&mut books, 1, MapFlags::PRIVATE, false), "a seal may wait for the end of the other");
    }
}
