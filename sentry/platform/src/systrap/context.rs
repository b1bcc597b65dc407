//! One guest thread, as the kernel holds it.

mod interrupter;
mod look;
mod put_frame;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll};

use abi::Errno;
use interrupter::Interrupter;

use super::Copies;
use super::answers;
use super::birth::{self, Kind};
use super::copier;
use super::frame::{self, Cause};
use super::hub::{self, Hub};
use super::input;
use super::later::Reply;
use super::layout::{command, field, load, outcome};
use super::ops::{self, RawOp};
use super::patched;
use super::process::Process;
use super::reuse::{self, Life};
use super::shared::Shared;
use super::thread::{BUSY, Found, IDLE, RUNNING, Thread};
use crate::counters::{Counter, count};
use crate::{BoxFuture, Context, Death, Event, Interrupt, MemOp, MemOpError, NewProcess, PlatformError, Registers};

/// A guest thread on this platform.
pub(super) struct SystrapContext {
    pub(super) hub: Arc<Hub>,
    pub(super) process: Arc<Process>,
    pub(super) thread: Arc<Thread>,
    /// Registers of the current or last run.
    regs: Registers,
    /// Bases that the stub is known to have; `None` where it isn't known.
    bases: Option<(u64, u64)>,
    /// The run was not begun, since an interrupt was there before.
    interrupted: bool,
    /// A run to be begun when the stub has finished what it was asked for before.
    deferred: bool,
    batch: Batch,
    pub(super) entry: Entry,
    /// Registers at the last event: what the stub has. Of those only what the call passes, while `brief`.
    seen: Registers,
    /// Of the registers only those that the call passes have been read.
    brief: bool,
    /// The last event was a system call that came by a trap.
    trapped: bool,
    /// Operations that the current run began with.
    leading: u32,
    /// Times that we look for an answer before we leave that to all workers.
    patience: u32,
    /// Answers since that was given up.
    cold: u32,
    /// The worker has other things to do than to look.
    hurried: bool,
    /// What the stub copies before guest code runs.
    replying: Option<Reply>,
    /// What the last request has found the stub doing.
    found: Found,
    /// Times that the next long look is left out, and how often that will be after one more in vain.
    long_looks: (u32, u32),
    rseq: Area,
    pub(super) life: Arc<Life>,
}

/// Whether the host has an `rseq` area of the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Area {
    None,
    /// It may have one.
    Some,
    /// It has been asked to forget it.
    Leaving,
}

/// Where the guest's state is while the stub waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// In the signal frame.
    Frame,
    /// After a patched call: general registers in the context.
    Call(Fpu),
    /// As above, and the stub was asked to trap, upon which it is in a frame.
    Trapping(Fpu),
}

/// Where the floating-point state is after a patched call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fpu {
    /// In the processor.
    Live,
    /// In the processor, with a copy in the context.
    Saved,
    /// In the context, to be loaded.
    Replaced,
}

/// Progress of a batch of operations.
#[derive(Default)]
struct Batch {
    queue: VecDeque<RawOp>,
    /// Operations under way.
    sent: u32,
    /// Operations done.
    done: usize,
    /// What the batch ends with, where the queue alone doesn't tell.
    refused: Option<Errno>,
    value: u64,
}

/// Dead for a reason that no host tells.
fn death_of(thread: &Thread) -> Death {
    thread.proc.get().and_then(|proc| proc.death()).unwrap_or(Death::Protocol("it ended by itself"))
}

/// Returns the error of the operation that failed.
fn refusal(shared: &Shared) -> Errno {
    let value = shared.get(field::OP_RESULT);
    let number = i32::try_from(value.cast_signed().wrapping_neg()).unwrap_or(libc::EIO);
    if (1..4096).contains(&number) { Errno::from_raw(number) } else { Errno::EIO }
}

/// What a user base may be: below the kernel's half.
fn is_user_base(base: u64) -> bool {
    base < super::layout::TASK_END
}

impl SystrapContext {
    pub(super) fn new(hub: Arc<Hub>, process: Arc<Process>, thread: Arc<Thread>) -> SystrapContext {
        SystrapContext {
            patience: hub.setup.rounds,
            hub,
            process,
            thread,
            regs: Registers::default(),
            bases: None,
            interrupted: false,
            deferred: false,
            batch: Batch::default(),
            entry: Entry::Frame,
            seen: Registers::default(),
            brief: false,
            trapped: false,
            leading: 0,
            cold: 0,
            hurried: false,
            replying: None,
            found: Found::Awake,
            long_looks: (0, 1),
            rseq: Area::None,
            life: Arc::default(),
        }
    }

    /// Tells whether nothing is under way and the host knows nothing of the guest thread that another one would notice.
    pub(super) fn is_plain(&self) -> bool {
        !self.deferred
            && self.replying.is_none()
            && self.rseq == Area::None
            && !matches!(self.entry, Entry::Trapping(_))
    }

    fn is_dead(&self) -> bool {
        self.thread.dead.load(Ordering::SeqCst)
    }

    /// Lets the guest run with `self.regs`, unless there is an interrupt.
    fn go(&mut self) {
        if self.is_dead() {
            return;
        }
        // An interrupter sets the flag, then looks whether the guest runs.
        self.thread.set_state(RUNNING);
        if self.thread.interrupt.load(Ordering::SeqCst) {
            self.thread.set_state(IDLE);
            self.interrupted = true;
            return;
        }
        match self.entry {
            Entry::Frame => {
                frame::write(&self.hub, &self.thread.shared, self.thread.slot, &self.regs);
                let flags = self.set_bases();
                self.thread.shared.u32(field::FLAGS).store(flags, Ordering::Relaxed);
                let command = if self.leading > 0 { command::OPS_GO } else { command::GO };
                self.found = self.thread.publish(&self.hub, command);
            }
            Entry::Call(fpu) if self.brief => {
                let shared = &self.thread.shared;
                shared.set(field::RESULT, self.regs.rax);
                let flags = if fpu == Fpu::Replaced { load::FPU } else { 0 };
                shared.u32(field::FLAGS).store(flags, Ordering::Relaxed);
                let command = match &self.replying {
                    Some(reply) => reply.write(shared, copier::window(&self.thread)),
                    None if self.leading > 0 => command::OPS_RETURN,
                    None => command::RETURN,
                };
                self.found = self.thread.publish(&self.hub, command);
            }
            // The way back from a patched call needs gs.
            Entry::Call(fpu) if self.regs.gs_base != 0 => {
                self.entry = Entry::Trapping(fpu);
                self.deferred = true;
                self.thread.set_state(BUSY);
                self.found = self.thread.publish(&self.hub, command::TRAP);
            }
            Entry::Call(fpu) | Entry::Trapping(fpu) => {
                let mut flags = self.set_bases();
                let shared = &self.thread.shared;
                if fpu == Fpu::Replaced {
                    flags |= load::FPU;
                }
                if patched::only_result(&self.seen, &self.regs) {
                    shared.set(field::RESULT, self.regs.rax);
                } else {
                    patched::write(shared, &self.regs);
                    flags |= load::REGS;
                }
                shared.u32(field::FLAGS).store(flags, Ordering::Relaxed);
                self.found = self.thread.publish(&self.hub, command::RETURN);
            }
        }
    }

    /// Writes the bases that the stub has to load; returns which.
    fn set_bases(&mut self) -> u32 {
        let shared = &self.thread.shared;
        let (fs, mut gs) = (self.regs.fs_base, self.regs.gs_base);
        if gs == 0 && self.hub.setup.thunks.is_some() {
            gs = hub::address(self.thread.slot);
        }
        let mut flags = 0;
        if self.bases.is_none_or(|known| known.0 != fs) && is_user_base(fs) {
            shared.set(field::FS_BASE, fs);
            flags |= load::FS;
        }
        if self.bases.is_none_or(|known| known.1 != gs) && is_user_base(gs) {
            shared.set(field::GS_BASE, gs);
            flags |= load::GS;
        }
        flags
    }

    /// Makes an event of what the stub has published; `None`: nothing for the guest's kernel.
    fn event(&mut self) -> Option<Event> {
        let shared = &self.thread.shared;
        let told = shared.u32(field::KIND).load(Ordering::Relaxed);
        let (kind, input) = (told & 0xffff, told >> 16);
        let leading = std::mem::take(&mut self.leading);
        if leading > 0 {
            self.end_expecting();
        }
        let reply = self.replying.take();
        let all = self.hub.setup.copies == Copies::All;
        self.thread.later.allow(all && kind == outcome::CALL);
        if let (Some(reply), outcome::DONE) = (reply, kind) {
            // It has not gone back, so all registers are where they were, and it goes on with another result.
            if let Some(result) = reply.end(&self.hub, &self.process.proc, reply.left(shared)) {
                self.regs.rax = result;
            }
            self.go();
            return None;
        }
        if leading > 0 && kind == outcome::DONE {
            // It has not gone back, so all registers are where they were.
            let index = shared.u32(field::OP_DONE).load(Ordering::Relaxed).min(leading - 1);
            return Some(Event::Refused(MemOpError { index: index as usize, errno: refusal(shared) }));
        }
        if kind == outcome::CALL {
            count(Counter::Patched);
            patched::read_call(shared, &mut self.regs);
            let saved = input::saves(self.regs.orig_rax);
            self.entry = Entry::Call(if saved { Fpu::Saved } else { Fpu::Live });
            (self.brief, self.trapped) = (true, false);
            self.thread.see_interrupt();
            let input = if all { input::of_call(&self.regs, input) } else { None };
            if input.is_some() {
                shared.prefetch(field::INPUT);
            }
            copier::turn_to(&self.hub, &self.thread, input);
            return Some(Event::Syscall);
        }
        self.brief = false;
        let cause = match kind {
            outcome::INTERRUPTED | outcome::ATTENTION => {
                patched::read_stopped(shared, &mut self.regs);
                self.entry = Entry::Call(Fpu::Live);
                Cause::Interrupt
            }
            _ => {
                self.entry = Entry::Frame;
                frame::read(&self.hub, shared, &mut self.regs, kind)
            }
        };
        self.learn();
        self.trapped = self.entry == Entry::Frame && matches!(cause, Cause::Syscall(_));
        count(if self.trapped { Counter::Trapped } else { Counter::Stops });
        let interrupted = self.thread.see_interrupt();
        match cause {
            Cause::Syscall(_) => {
                copier::turn_to(&self.hub, &self.thread, None);
                Some(Event::Syscall)
            }
            Cause::Fault(fault) => Some(Event::Fault(fault)),
            Cause::Interrupt if interrupted || kind == outcome::ATTENTION => Some(Event::Interrupted),
            Cause::Interrupt => {
                // Of an interrupt that was seen otherwise.
                self.go();
                None
            }
            Cause::Nonsense => {
                self.process.proc.kill("it published an event that there is not");
                None
            }
        }
    }

    /// Hears that what the stub was let do with files is over.
    fn end_expecting(&self) {
        if self.thread.is_watched() {
            self.thread.watch(&self.hub, false);
        }
        self.thread.expected.lock().clear();
    }

    /// Makes the registers just read those that the stub has.
    fn learn(&mut self) {
        self.bases = Some((self.regs.fs_base, self.regs.gs_base));
        self.regs.gs_base = patched::gs_seen(self.thread.slot, self.regs.gs_base);
        self.seen = self.regs;
    }

    /// Reads the registers that have not been.
    fn read_rest(&mut self) {
        if self.brief {
            self.brief = false;
            patched::read_rest(&self.thread.shared, &mut self.regs);
            self.learn();
        }
    }

    /// Hears that the stub has trapped as it was asked to.
    fn end_trapping(&mut self) {
        let Entry::Trapping(fpu) = self.entry else { return };
        let shared = &self.thread.shared;
        if shared.u32(field::KIND).load(Ordering::Relaxed) != libc::SIGSYS.cast_unsigned() {
            self.process.proc.kill("it was asked to trap and did something else");
        }
        if fpu == Fpu::Replaced {
            let image = patched::read_fpstate(shared, self.hub.setup.fpu.size);
            frame::write_fpstate(&self.hub, shared, &image);
        }
        self.entry = Entry::Frame;
    }

    /// Reads the floating-point state.
    pub(super) async fn read_fpstate(&mut self) -> Result<Vec<u8>, PlatformError> {
        if self.entry == Entry::Call(Fpu::Live) {
            self.settle().await?;
            self.thread.set_state(BUSY);
            self.found = self.thread.publish(&self.hub, command::SAVE);
            if !poll_fn(|cx| self.poll_taken(cx)).await {
                return Err(PlatformError::Dead("it was asked for its floating-point state"));
            }
            self.entry = Entry::Call(Fpu::Saved);
        }
        Ok(match self.entry {
            Entry::Frame => frame::read_fpstate(&self.hub, &self.thread.shared),
            Entry::Call(_) | Entry::Trapping(_) => patched::read_fpstate(&self.thread.shared, self.hub.setup.fpu.size),
        })
    }

    /// Writes the floating-point state; the image is one that the processor accepts.
    fn write_fpstate(&mut self, image: &[u8]) {
        match self.entry {
            Entry::Frame => frame::write_fpstate(&self.hub, &self.thread.shared, image),
            Entry::Call(_) => {
                self.thread.shared.write(field::FPSAVE, image);
                self.entry = Entry::Call(Fpu::Replaced);
            }
            Entry::Trapping(_) => {
                self.thread.shared.write(field::FPSAVE, image);
                self.entry = Entry::Trapping(Fpu::Replaced);
            }
        }
    }

    /// Publishes as many operations as fit.
    fn send_batch(&mut self) {
        let shared = &self.thread.shared;
        let (mut count, mut room) = (0, 0);
        let mut notified = Vec::new();
        while let Some(op) = self.batch.queue.front_mut().filter(|_| count < field::OPS_MAX) {
            if let Some(bytes) = &op.bytes {
                if room + bytes.len() > field::WINDOW_LEN {
                    break;
                }
                shared.write(field::WINDOW + room, bytes);
                op.args[1] = copier::window(&self.thread) + room as u64;
                room += bytes.len().next_multiple_of(8);
            }
            op.write(shared, count);
            notified.extend(op.notified());
            count += 1;
            self.batch.queue.pop_front();
        }
        self.thread.let_through(&self.hub, notified);
        self.batch.sent = u32::try_from(count).unwrap_or(0);
        shared.u32(field::OP_COUNT).store(self.batch.sent, Ordering::Relaxed);
        self.thread.set_state(BUSY);
        self.found = self.thread.publish(&self.hub, command::OPS);
    }

    /// Begins a batch.
    fn begin(&mut self, ops: impl IntoIterator<Item = RawOp>, refused: Option<Errno>) {
        self.batch = Batch { queue: ops.into_iter().collect(), refused, ..Batch::default() };
        // A stub that is late with something waits its turn in `poll_batch`.
        if self.thread.state() == IDLE {
            self.begin_sending();
        }
    }

    fn begin_sending(&mut self) {
        if !self.batch.queue.is_empty() && !self.is_dead() {
            self.send_batch();
        }
    }

    /// Returns the value of the last operation, or index and error of the one that failed.
    fn poll_batch(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<u64, MemOpError>> {
        loop {
            if self.batch.sent == 0 && !self.batch.queue.is_empty() && !self.is_dead() {
                match self.poll_taken(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(true) => self.begin_sending(),
                    Poll::Ready(false) => {}
                }
                continue;
            }
            if self.batch.sent == 0 && !self.is_dead() {
                let (index, value) = (self.batch.done, self.batch.value);
                return Poll::Ready(self.batch.refused.map_or(Ok(value), |errno| Err(MemOpError { index, errno })));
            }
            match self.poll_taken(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(false) => {
                    let index = self.batch.done;
                    self.batch = Batch::default();
                    return Poll::Ready(Err(MemOpError { index, errno: Errno::ESRCH }));
                }
                Poll::Ready(true) => {}
            }
            if let Err(error) = self.finish_part() {
                self.batch = Batch::default();
                return Poll::Ready(Err(error));
            }
        }
    }

    fn finish_part(&mut self) -> Result<(), MemOpError> {
        let shared = &self.thread.shared;
        let done = shared.u32(field::OP_DONE).load(Ordering::Relaxed).min(self.batch.sent);
        let value = shared.get(field::OP_RESULT);
        self.thread.watch(&self.hub, false);
        self.thread.expected.lock().clear();
        self.batch.done += done as usize;
        if done < self.batch.sent {
            return Err(MemOpError { index: self.batch.done, errno: refusal(shared) });
        }
        self.batch.value = value;
        self.batch.sent = 0;
        if !self.batch.queue.is_empty() {
            self.send_batch();
        }
        Ok(())
    }

    /// Has the host write what was to go with the reply.
    fn write_now(&mut self) {
        if let Some(reply) = self.replying.take() {
            self.thread.later.write_now(&self.hub, &self.process.proc, &self.thread.shared, &reply);
        }
    }

    /// Waits for what an earlier, dropped future has left under way.
    pub(super) async fn settle(&mut self) -> Result<(), PlatformError> {
        while self.thread.state() != IDLE {
            if !poll_fn(|cx| self.poll_taken(cx)).await {
                return Err(PlatformError::Dead("it was asked for something"));
            }
            self.thread.watch(&self.hub, false);
            self.thread.expected.lock().clear();
            self.end_trapping();
        }
        self.batch = Batch::default();
        Ok(())
    }

    /// Performs operations of our own.
    pub(super) async fn perform(&mut self, ops: Vec<RawOp>) -> Result<u64, Errno> {
        self.begin(ops, None);
        poll_fn(|cx| self.poll_batch(cx)).await.map_err(|error| error.errno)
    }

    /// Tells whether the stub has done what it was last asked for.
    pub(super) fn is_free(&mut self) -> bool {
        let free = self.thread.state() == IDLE || self.thread.take(&self.hub).is_some();
        free && !self.is_dead()
    }

    /// Asks for a clone.
    pub(super) fn begin_clone(&mut self, what: u32) {
        self.thread.set_state(BUSY);
        self.found = self.thread.publish(&self.hub, what);
    }

    /// Returns what the host answered to the stub.
    pub(super) async fn end_clone(&mut self) -> Result<(), PlatformError> {
        let alive = poll_fn(|cx| self.poll_taken(cx)).await;
        self.thread.expected.lock().clear();
        if !alive {
            return Err(PlatformError::Dead("it was asked for a clone"));
        }
        let shared = &self.thread.shared;
        let result = shared.get(field::OP_RESULT).cast_signed();
        if shared.u32(field::KIND).load(Ordering::Relaxed) == outcome::DONE && result > 0 {
            return Ok(());
        }
        let number = i32::try_from(result.wrapping_neg()).unwrap_or(libc::EAGAIN);
        Err(PlatformError::Host {
            what: "cloning a stub",
            errno: if (1..4096).contains(&number) { Errno::from_raw(number) } else { Errno::EAGAIN },
            hint: "raise the limits on processes and memory of the sandbox",
        })
    }
}

impl Context for SystrapContext {
    fn start(&mut self, regs: &Registers) {
        if self.brief {
            self.regs.rax = regs.rax;
        } else {
            self.regs = *regs;
        }
        let idle = self.thread.state() == IDLE;
        self.replying = copier::take_pending(&self.thread);
        if !(idle && self.brief && matches!(self.entry, Entry::Call(_))) {
            self.write_now();
        }
        if let Some(result) = self.thread.later.take_result() {
            self.regs.rax = result;
        }
        self.interrupted = false;
        if idle {
            self.go();
        } else {
            self.deferred = true;
        }
        if self.interrupted && self.replying.is_some() {
            self.write_now();
            self.regs.rax = self.thread.later.take_result().unwrap_or(self.regs.rax);
        }
    }

    fn flush(&mut self) -> Option<u64> {
        copier::write_pending();
        self.thread.later.take_result()
    }

    fn start_after(&mut self, ops: &[MemOp], regs: &Registers) -> bool {
        let quick = match self.entry {
            Entry::Frame => self.trapped,
            Entry::Call(_) => self.brief,
            Entry::Trapping(_) => false,
        } && self.thread.state() == IDLE;
        let interrupted = self.thread.interrupt.load(Ordering::SeqCst);
        if !quick
            || interrupted
            || copier::is_pending()
            || self.is_dead()
            || ops.is_empty()
            || ops.len() > field::OPS_MAX
        {
            return false;
        }
        let (user, shared) = (&self.hub.setup.user, &self.thread.shared);
        let mut notified = Vec::new();
        for (at, op) in ops.iter().enumerate() {
            match ops::translate(op, user) {
                Ok(op) if op.bytes.is_none() => {
                    op.write(shared, at);
                    notified.extend(op.notified());
                }
                _ => return false,
            }
        }
        self.thread.let_through(&self.hub, notified);
        if ops.iter().any(|op| matches!(op, MemOp::Rseq { .. })) {
            self.rseq = Area::Some;
        }
        count(Counter::Behind);
        self.process.proc.note(ops);
        self.leading = u32::try_from(ops.len()).unwrap_or(0);
        shared.u32(field::OP_COUNT).store(self.leading, Ordering::Relaxed);
        if !self.brief {
            self.regs = *regs;
        }
        self.regs.rax = self.thread.later.take_result().unwrap_or(regs.rax);
        self.interrupted = false;
        self.go();
        if std::mem::take(&mut self.interrupted) {
            self.leading = 0;
            self.end_expecting();
            return false;
        }
        true
    }

    fn next_run(&self) -> u32 {
        self.thread.next_request()
    }

    fn poll_event(&mut self, cx: &mut TaskContext<'_>, regs: &mut Registers) -> Poll<Event> {
        loop {
            if self.is_dead() {
                return Poll::Ready(Event::Dead(death_of(&self.thread)));
            }
            if self.interrupted {
                self.interrupted = false;
                self.thread.interrupt.store(false, Ordering::SeqCst);
                self.read_rest();
                *regs = self.regs;
                return Poll::Ready(Event::Interrupted);
            }
            match self.poll_taken(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(false) => continue,
                Poll::Ready(true) => {}
            }
            if self.deferred {
                self.deferred = false;
                self.end_trapping();
                self.thread.watch(&self.hub, false);
                self.thread.expected.lock().clear();
                self.batch = Batch::default();
                self.go();
            } else if let Some(event) = self.event() {
                if self.brief {
                    let call = &self.regs;
                    (regs.rax, regs.orig_rax) = (call.rax, call.orig_rax);
                    (regs.rdi, regs.rsi, regs.rdx) = (call.rdi, call.rsi, call.rdx);
                    (regs.r10, regs.r8, regs.r9) = (call.r10, call.r8, call.r9);
                } else {
                    *regs = self.regs;
                }
                return Poll::Ready(event);
            }
        }
    }

    fn submit(&mut self, ops: &[MemOp]) {
        self.process.proc.note(ops);
        let user = &self.hub.setup.user;
        let mut raw = Vec::with_capacity(ops.len());
        let mut refused = None;
        for op in ops {
            if let MemOp::Rseq { flags, .. } = op {
                self.rseq = if *flags & 1 == 0 { Area::Some } else { Area::Leaving };
            }
            match ops::translate(op, user) {
                Ok(op) => raw.push(op),
                Err(errno) => {
                    refused = Some(errno);
                    break;
                }
            }
        }
        self.begin(raw, refused);
    }

    fn poll_ops(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<u64, MemOpError>> {
        let polled = self.poll_batch(cx);
        if let (Poll::Ready(result), Area::Leaving) = (&polled, self.rseq) {
            self.rseq = if result.is_ok() { Area::None } else { Area::Some };
        }
        polled
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        Arc::new(Interrupter {
            thread: Arc::clone(&self.thread),
            hub: Arc::clone(&self.hub),
            life: Arc::clone(&self.life),
        })
    }

    fn new_thread(&mut self) -> BoxFuture<'_, Result<Box<dyn Context>, PlatformError>> {
        Box::pin(async move {
            self.settle().await?;
            let image = self.read_fpstate().await?;
            if let Some(mut context) = reuse::take(self).await {
                context.write_fpstate(&image);
                return Ok(Box::new(context) as Box<dyn Context>);
            }
            let thread = birth::give(self, Kind::Thread).await?;
            let process = Arc::clone(&self.process);
            let context = SystrapContext::new(Arc::clone(&self.hub), process, thread);
            Ok(Box::new(context) as Box<dyn Context>)
        })
    }

    fn fork(&mut self) -> BoxFuture<'_, Result<NewProcess, PlatformError>> {
        Box::pin(async move {
            self.settle().await?;
            // Both write to copies from now on.
            self.process.proc.present.forget();
            let thread = birth::give(self, Kind::Process).await?;
            birth::process_of(&self.hub, thread)
        })
    }

    fn fpstate(&mut self) -> BoxFuture<'_, Result<Vec<u8>, PlatformError>> {
        Box::pin(async move {
            let mut image = self.read_fpstate().await?;
            self.hub.setup.fpu.present(&mut image);
            Ok(image)
        })
    }

    fn set_fpstate<'a>(&'a mut self, xsave: &'a [u8]) -> BoxFuture<'a, Result<(), PlatformError>> {
        let checked = self.hub.setup.fpu.check(xsave).map_err(PlatformError::Refused);
        let result = checked.map(|image| self.write_fpstate(&image));
        Box::pin(std::future::ready(result))
    }

    fn frame_state_len(&self) -> Option<u64> {
        self.state_len()
    }

    fn write_frame<'a>(
        &'a mut self,
        at: u64,
        frame: &'a [u8],
        state: u64,
    ) -> BoxFuture<'a, Result<bool, PlatformError>> {
        Box::pin(self.put_frame(at, frame, state))
    }

    fn reset_fpstate(&mut self) {
        let hub = Arc::clone(&self.hub);
        self.write_fpstate(&hub.setup.fpu.initial);
    }

    fn trapped(&self) -> bool {
        self.trapped
    }

    fn hurry(&mut self) {
        self.hurried = true;
    }

    fn complete(&mut self, regs: &mut Registers) {
        if self.brief {
            self.read_rest();
            *regs = Registers { rax: regs.rax, ..self.regs };
        }
    }

    /// Every stop is a signal to the stub, and the host aborts before it delivers one.
    fn aborts_rseq(&self) -> bool {
        true
    }
}

impl Drop for SystrapContext {
    fn drop(&mut self) {
        copier::forget(&self.thread);
        self.life.end();
        answers::prepare(&self.thread.shared, self.thread.slot);
        if !reuse::keep(self) {
            self.thread.abandon(&self.hub);
        }
    }
}
