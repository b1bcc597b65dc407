//! [`Mm`]: one guest address space, shared by the threads that live in it.
//!
//! Calls that change it hold an asynchronous lock from plan to confirmation, so that the host sees changes in the order
//! of the books; readers take the books' own lock only. The futures here wait for the host, never for a guest: they are
//! to be polled to their end, not dropped on a signal.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};

use abi::Errno;
use abi::flags::Prot;
use sentry_platform::{AddressSpace, Context, ContextExt, MemOp, Platform, PlatformError, Vdso};
use sentry_sync::{Level, Mutex, MutexGuard};
use smallvec::SmallVec;

use super::begun::{Begin, Begun, Contenders};
use super::books::{Books, Limits, OnFailure, Plan, Step};
use super::layout::Layout;
use super::map::MapRequest;
use super::own::OwnMappings;
use super::patch::{Patches, Prepared, Touch};
use super::vma::MappedFile;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// One guest address space.
pub struct Mm {
    id: u64,
    space: Arc<dyn AddressSpace>,
    vdso: Vdso,
    /// Held over every change, host operations included.
    pub(super) structure: Arc<async_lock::Mutex<()>>,
    pub(super) contenders: Contenders,
    /// Without a look at what is under way; see [`Mm::books`].
    pub(super) books: Mutex<Books>,
    exe: Mutex<Option<Arc<dyn MappedFile>>>,
    /// What `membarrier(2)` has been asked to register, as its commands. The host knows more: the platform registers, too.
    pub barriers: AtomicI32,
    pub(super) patches: Mutex<Patches>,
    pub(crate) own: OwnMappings,
    /// Living threads that have this memory.
    users: AtomicUsize,
}

impl std::fmt::Debug for Mm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mm({})", self.id)
    }
}

impl Mm {
    /// Wraps an empty address space.
    pub fn new(space: Arc<dyn AddressSpace>, layout: Layout, vdso: Vdso) -> Mm {
        Mm::with_books(space, vdso, Books::new(layout), None)
    }

    /// Wraps the address space of a process that has no program yet.
    pub(crate) fn empty(space: Arc<dyn AddressSpace>, platform: &dyn Platform) -> Mm {
        Mm::new(space, Layout::new(platform.user_range(), 0, None), platform.vdso())
    }

    /// Wraps an address space in which everything that the books say has been mapped.
    pub fn with_books(space: Arc<dyn AddressSpace>, vdso: Vdso, books: Books, exe: Option<Arc<dyn MappedFile>>) -> Mm {
        Mm {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            own: OwnMappings::new(space.own_range()),
            space,
            vdso,
            structure: Arc::default(),
            contenders: Contenders::default(),
            books: Mutex::new(Level::Mm, books),
            exe: Mutex::new(Level::Mm, exe),
            barriers: AtomicI32::new(0),
            patches: Mutex::new(Level::Leaf, Patches::default()),
            users: AtomicUsize::new(1),
        }
    }

    /// Takes over what was patched before the program has begun.
    pub(crate) fn with_patches(self, prepared: Prepared) -> Mm {
        Mm { patches: Mutex::new(Level::Leaf, prepared.patches), ..self }
    }

    /// Counts one more thread that has this memory; the first is counted from the start.
    pub(crate) fn add_user(&self) {
        self.users.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes back a count: a thread has ended or gone on with another program.
    pub(crate) fn remove_user(&self) {
        if self.users.fetch_sub(1, Ordering::SeqCst) == 1 {
            let totals = self.books().tree().totals();
            self.space().note_end(totals.data.saturating_add(totals.stack));
        }
    }

    /// Tells whether more than one thread has this memory.
    pub fn is_shared(&self) -> bool {
        self.users.load(Ordering::SeqCst) > 1
    }

    /// Tells whether living threads have this memory.
    pub(crate) fn is_used(&self) -> bool {
        self.users.load(Ordering::SeqCst) > 0
    }

    /// Returns a number that no other address space of the sandbox has or had.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Returns the platform's side.
    pub fn space(&self) -> &Arc<dyn AddressSpace> {
        &self.space
    }

    /// Returns where the vDSO is.
    pub fn vdso(&self) -> &Vdso {
        &self.vdso
    }

    /// Locks the books for a look at them.
    pub fn books(&self) -> MutexGuard<'_, Books> {
        let books = self.books.lock();
        if !books.under_way.is_done() {
            return books;
        }
        drop(books);
        self.enter_done();
        self.books.lock()
    }

    /// Returns the program file (`/proc/PID/exe`).
    pub fn exe(&self) -> Option<Arc<dyn MappedFile>> {
        self.exe.lock().clone()
    }

    /// Sets the program file.
    pub fn set_exe(&self, exe: Option<Arc<dyn MappedFile>>) {
        let old = std::mem::replace(&mut *self.exe.lock(), exe);
        drop(old);
    }

    /// Plans under the books' lock and carries the plan out. `touch` is what the guest names itself.
    pub async fn change(
        &self,
        context: &mut dyn Context,
        touch: Touch,
        plan: impl FnOnce(&mut Books) -> Result<Plan, Errno> + Send,
    ) -> Result<u64, Errno> {
        let _structure = self.lock_structure().await;
        self.make_way(context, &touch).await;
        let mut plan = plan(&mut self.books.lock())?;
        self.carry_out(context, &mut plan).await
    }

    /// Plans as [`Mm::change`] does, at once if nobody else is changing the address space: a call that needs nothing of
    /// the host is over then.
    pub fn begin<F>(self: &Arc<Mm>, touch: &Touch, plan: F) -> Begin<F>
    where
        F: FnOnce(&mut Books) -> Result<Plan, Errno>,
    {
        let Some(structure) = self.try_structure() else { return Begin::Busy(plan) };
        if !self.way_is_clear(touch) {
            return Begin::Busy(plan);
        }
        let mut books = self.books.lock();
        match plan(&mut books) {
            Err(errno) => Begin::Over(Err(errno)),
            Ok(plan) if plan.steps.is_empty() => Begin::Over(plan.result),
            Ok(plan) => {
                if let Some(range) = books.advisable(&plan) {
                    self.space.let_advise(range);
                }
                Begin::Planned(Begun::new(self, Box::new(plan), &books, structure))
            }
        }
    }

    /// Lets the host perform the steps of a plan and enters in the books what it has performed.
    pub(super) async fn carry_out(&self, context: &mut dyn Context, plan: &mut Plan) -> Result<u64, Errno> {
        if let [Step { op, change, on_failure: OnFailure::Fail }] = plan.steps.as_mut_slice() {
            if let Some(op) = op {
                context.memory(std::slice::from_ref(op)).await.map_err(|failure| failure.errno)?;
            }
            if let Some(change) = change.take() {
                let mut books = self.books.lock();
                books.apply(change);
                let gone = std::mem::take(&mut books.gone);
                drop(books);
                drop(gone);
            }
            return plan.result;
        }
        self.carry_out_many(context, plan).await
    }

    /// The same for several steps, or one that may fail.
    async fn carry_out_many(&self, context: &mut dyn Context, plan: &mut Plan) -> Result<u64, Errno> {
        let mut steps = std::mem::take(&mut plan.steps).into_iter().peekable();
        while steps.peek().is_some() {
            let rest: SmallVec<[_; 1]> = steps.collect();
            let ops: SmallVec<[MemOp; 2]> = rest.iter().filter_map(|step| step.op.clone()).collect();
            let failure = if ops.is_empty() { None } else { context.memory(&ops).await.err() };
            let done = failure.map_or(usize::MAX, |failure| failure.index);
            steps = rest.into_iter().peekable();
            self.confirm(&mut steps, done);
            let (Some(failure), Some(failed)) = (failure, steps.next()) else { continue };
            match failed.on_failure {
                OnFailure::Fail => return Err(failure.errno),
                OnFailure::Ignore => {}
                OnFailure::Try(other) => {
                    let (op, errno) = *other;
                    context.memory(&[op]).await.map_err(|_| errno)?;
                }
            }
            if let Some(change) = failed.change {
                let gone = {
                    let mut books = self.books.lock();
                    books.apply(change);
                    std::mem::take(&mut books.gone)
                };
                drop(gone);
            }
        }
        plan.result
    }

    /// Enters the leading steps in the books, up to (not including) the host operation with index `done`.
    fn confirm(&self, steps: &mut std::iter::Peekable<smallvec::IntoIter<[Step; 1]>>, mut done: usize) {
        let mut books = self.books.lock();
        while let Some(step) = steps.next_if(|step| step.op.is_none() || done > 0) {
            if step.op.is_some() {
                done -= 1;
            }
            if let Some(change) = step.change {
                books.apply(change);
            }
        }
        let gone = std::mem::take(&mut books.gone);
        drop(books);
        drop(gone);
    }

    /// `mmap(2)`.
    pub async fn map(&self, context: &mut dyn Context, request: MapRequest, limits: &Limits) -> Result<u64, Errno> {
        self.change(context, request.touch(), |books| books.plan_map(request, limits)).await
    }

    /// `munmap(2)`.
    pub async fn unmap(&self, context: &mut dyn Context, addr: u64, len: u64) -> Result<u64, Errno> {
        let touch = Touch::Change(addr..addr.saturating_add(len));
        self.change(context, touch, |books| books.plan_unmap(addr, len)).await
    }

    /// `mprotect(2)`, `pkey_mprotect(2)`.
    pub async fn protect(
        &self,
        context: &mut dyn Context,
        addr: u64,
        len: u64,
        prot: Prot,
        pkey: i32,
        limits: &Limits,
    ) -> Result<u64, Errno> {
        let touch = Touch::Change(addr..addr.saturating_add(len));
        self.change(context, touch, |books| books.plan_protect(addr, len, prot, pkey, limits)).await
    }

    /// `brk(2)`: returns the break, which stays where it was on any failure.
    pub async fn set_break(&self, context: &mut dyn Context, wanted: u64, limits: &Limits) -> u64 {
        let touch = Touch::Change(self.books().heap().end..wanted);
        let moved = self.change(context, touch, |books| Ok(books.plan_break(wanted, limits))).await;
        moved.unwrap_or_else(|_| self.books().heap().end)
    }

    /// Grows a stack down to a faulting address. Returns whether the access is worth trying again.
    pub async fn grow_stack(&self, context: &mut dyn Context, addr: u64, limits: &Limits) -> bool {
        let planned =
            self.change(context, Touch::Nothing, |books| books.plan_growth(addr, limits).ok_or(Errno::EFAULT));
        planned.await.is_ok()
    }

    /// Tells whether every page of a range is mapped.
    pub fn is_mapped(&self, range: std::ops::Range<u64>) -> bool {
        self.books().tree.covers(range)
    }

    /// Performs operations that change nothing in the books (`membarrier`, compare-exchange), in order with changes.
    pub async fn host_op(&self, context: &mut dyn Context, op: MemOp) -> Result<u64, Errno> {
        context.memory(&[op]).await.map_err(|failure| failure.errno)
    }

    /// Copies the address space for a fork.
    pub async fn fork(&self, context: &mut dyn Context) -> Result<(Arc<Mm>, Box<dyn Context>), PlatformError> {
        let _structure = self.lock_structure().await;
        let (space, child) = context.fork().await?;
        let books = self.books.lock().forked();
        let patches = Mutex::new(Level::Leaf, self.patches_of_child());
        let barriers = AtomicI32::new(self.barriers.load(Ordering::SeqCst));
        let mm = Mm { patches, barriers, ..Mm::with_books(space, self.vdso.clone(), books, self.exe()) };
        Ok((Arc::new(mm), child))
    }
}
