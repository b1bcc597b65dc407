//! Making threads and processes from a stub that waits.
//!
//! The parent clones itself in a call that the sentry lets through. The child shows whose it is by a cookie that only its
//! parent's context held, in another call: the one that maps its own context if it is a process, else one made for
//! that. From then on the sentry can reach its memory, and the kernel makes a guest thread of it; the call is
//! let through with the first request, which the child finds in its context.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use super::answers;
use super::context::SystrapContext;
use super::frame;
use super::hub::{self, Birth, Hub, STUB_LOOKS};
use super::layout::{command, field};
use super::ops::RawOp;
use super::process::{Proc, Process};
use super::shared::CONTEXT_SIZE;
use super::stub::{FORK_FLAGS, THREAD_FLAGS};
use super::thread::{ExpectedCall, IDLE, Thread};
use crate::{AddressSpace, Context, NewProcess, PlatformError};
use abi::Errno;

/// What is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Process,
    Thread,
}

/// A thread or process that has been asked for. Undoes that unless it is taken.
pub(super) struct Unborn {
    hub: Arc<Hub>,
    thread: Option<Arc<Thread>>,
    cookie: u64,
    kind: Kind,
}

impl Drop for Unborn {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        thread.watch(&self.hub, false);
        if self.hub.cancel_birth(self.cookie) {
            // It never said hello, and if it does it will be refused. A slot that may be mapped stays with the process.
            if self.kind == Kind::Process {
                self.hub.free_slot(thread.slot);
            }
            return;
        }
        thread.abandon(&self.hub);
        if let (Kind::Process, Some(proc)) = (self.kind, thread.proc.get()) {
            self.hub.release(proc, false);
        }
    }
}

impl Unborn {
    /// Tells whether it waits for its first request.
    pub(super) fn has_arrived(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| thread.proc.get().is_some())
    }

    /// Waits until it has said hello.
    pub(super) async fn arrival(mut self, parent: &SystrapContext) -> Result<Arc<Thread>, PlatformError> {
        const GONE: PlatformError = PlatformError::Dead("it had just been made");
        let thread = self.thread.as_ref().ok_or(GONE)?;
        parent.thread.expecting.store(true, Ordering::SeqCst);
        let alive = poll_fn(|cx| {
            thread.register(cx.waker());
            parent.thread.register(cx.waker());
            // A child that dies before it has said who it is tells nobody; one that lives is refused when it says hello.
            let parent_dead = parent.thread.dead.load(Ordering::SeqCst);
            if thread.dead.load(Ordering::SeqCst) || parent_dead {
                return Poll::Ready(false);
            }
            if thread.proc.get().is_some() { Poll::Ready(true) } else { Poll::Pending }
        })
        .await;
        parent.thread.expecting.store(false, Ordering::SeqCst);
        if !alive {
            if self.kind == Kind::Process {
                self.hub.reap_unborn(parent.thread.shared.get(field::OP_RESULT));
            }
            return Err(GONE);
        }
        self.thread.take().ok_or(GONE)
    }
}

fn word(number: i32) -> u64 {
    u64::from(number.cast_unsigned())
}

fn map_context(hub: &Hub, slot: u32) -> [u64; 6] {
    use std::os::fd::AsRawFd;
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_FIXED;
    let fd = u64::from(hub.setup.memory.as_raw_fd().cast_unsigned());
    let offset = u64::from(slot) * CONTEXT_SIZE as u64;
    [hub::address(slot), CONTEXT_SIZE as u64, word(prot), word(flags), fd, offset]
}

/// Returns the arguments of the call by which a new process maps its context, with the cookie in the upper halves of
/// two of which the host looks at the lower ones only: protection and descriptor.
pub(super) fn mapping(hub: &Hub, slot: u32, cookie: u64) -> [u64; 6] {
    let mut args = map_context(hub, slot);
    args[2] |= cookie << 32;
    args[4] |= cookie >> 32 << 32;
    args
}

/// Returns the cookie in such arguments.
pub(super) fn cookie_of(args: &[u64; 6]) -> u64 {
    args[2] >> 32 | args[4] >> 32 << 32
}

/// Has a stub that waits make a thread or process; returns when that has arrived.
pub(super) async fn give(parent: &mut SystrapContext, kind: Kind) -> Result<Arc<Thread>, PlatformError> {
    let hub = Arc::clone(&parent.hub);
    hub.note_birth(kind == Kind::Process);
    let image = parent.read_fpstate().await?;
    let proc = (kind == Kind::Thread).then(|| Arc::clone(&parent.process.proc));
    let used = proc.as_ref().and_then(|proc| proc.reusable_slot(&hub));
    if let Some(past) = used.and_then(|slot| hub.table.get(slot)) {
        hub.forget(&past);
    }
    let leader = (kind == Kind::Thread).then_some(&parent.process.leader);
    let unborn = conceive(&hub, kind, used, leader, &image)?;
    let Some(thread) = unborn.thread.clone() else { return Err(PlatformError::Refused(Errno::EAGAIN)) };
    if let (Some(proc), None) = (&proc, used) {
        proc.add_slot(thread.slot);
        let address = hub::address(thread.slot);
        let advice = libc::MADV_DONTFORK as u64;
        let ops = vec![
            RawOp::new(libc::SYS_mmap, map_context(&hub, thread.slot)),
            RawOp::new(libc::SYS_madvise, [address, CONTEXT_SIZE as u64, advice, 0, 0, 0]),
        ];
        let mapped = parent.perform(ops).await;
        mapped.map_err(|errno| PlatformError::Host {
            what: "mapping a new thread's context",
            errno,
            hint: "raise the limits on memory of the sandbox",
        })?;
    }
    ask(parent, &unborn, &thread, proc);
    parent.end_clone().await?;
    unborn.arrival(parent).await
}

/// Has a stub that waits make a process; doesn't wait for either.
pub(super) fn begin(parent: &mut SystrapContext) -> Result<Unborn, PlatformError> {
    let hub = Arc::clone(&parent.hub);
    let unborn = conceive(&hub, Kind::Process, None, None, &hub.setup.fpu.initial)?;
    if let Some(thread) = unborn.thread.clone() {
        ask(parent, &unborn, &thread, None);
    }
    Ok(unborn)
}

/// Prepares the context of a new thread, in this slot or a free one. `leader`: the first thread of its process, if there is
/// one already.
fn conceive(
    hub: &Arc<Hub>,
    kind: Kind,
    slot: Option<u32>,
    leader: Option<&Arc<Thread>>,
    image: &[u8],
) -> Result<Unborn, PlatformError> {
    let slot = slot.or_else(|| hub.take_slot()).ok_or(PlatformError::Refused(Errno::EAGAIN))?;
    let shared = hub.context(slot);
    for at in (0..field::OPS).step_by(8) {
        shared.set(at, 0);
    }
    answers::prepare(&shared, slot);
    shared.set(field::LEADER, hub::address(leader.map_or(slot, |leader| leader.slot)));
    let thread = Thread::new(slot, shared, 0, IDLE);
    hub.table.put(slot, Some(Arc::clone(&thread)));
    frame::prepare(hub, &shared, slot, image);
    shared.u32(field::ALIVE).store(1, Ordering::Relaxed);
    // Short-lived threads have no time to learn that waiting pays.
    shared.u32(field::SPIN).store(hub.setup.rounds.saturating_mul(STUB_LOOKS), Ordering::Relaxed);
    Ok(Unborn { hub: Arc::clone(hub), thread: Some(thread), cookie: random(), kind })
}

/// Asks for the clone, and says what notifications will come of it.
fn ask(parent: &mut SystrapContext, unborn: &Unborn, thread: &Arc<Thread>, proc: Option<Arc<Proc>>) {
    let hub = Arc::clone(&parent.hub);
    hub.expect_birth(unborn.cookie, Birth { thread: Arc::clone(thread), process: proc });
    let shared = &parent.thread.shared;
    let child = hub::address(thread.slot);
    let mapping = mapping(&hub, thread.slot, unborn.cookie);
    shared.set(field::CHILD, child);
    shared.set(field::MEMORY, mapping[4]);
    shared.set(field::OFFSET, mapping[5]);
    let (what, cookie, args) = match unborn.kind {
        Kind::Process => (command::FORK, mapping[2], [word(FORK_FLAGS), 0, 0, 0, 0, 0]),
        Kind::Thread => {
            let (stack, alive) = (child + field::STACK_END as u64, child + field::ALIVE as u64);
            (command::THREAD, unborn.cookie, [word(THREAD_FLAGS), stack, 0, alive, 0, 0])
        }
    };
    shared.set(field::COOKIE, cookie);
    parent.thread.expected.lock().expect([ExpectedCall { nr: libc::SYS_clone, args, file: None }]);
    thread.watch(&hub, true);
    hub.turns.inherit(&parent.thread, thread);
    parent.begin_clone(what);
}

/// A number that no guest can guess.
fn random() -> u64 {
    let mut bytes = [0; 8];
    // The host's generator is ready long before a sandbox starts; 8 bytes are never cut short.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u64::from_ne_bytes(bytes)
}

/// Makes the handles of a new process.
pub(super) fn process_of(hub: &Arc<Hub>, thread: Arc<Thread>) -> Result<NewProcess, PlatformError> {
    let proc = thread.proc.get().ok_or(PlatformError::Dead("it had just been made"))?;
    let process = Arc::new(Process::new(Arc::clone(proc), Arc::clone(&thread), Arc::clone(hub)));
    let space = Arc::clone(&process) as Arc<dyn AddressSpace>;
    let context = SystrapContext::new(Arc::clone(hub), process, thread);
    Ok((space, Box::new(context) as Box<dyn Context>))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_comes_back_whole() {
        let args = |cookie: u64| [0, 0, 3 | cookie << 32, 0, 7 | cookie >> 32 << 32, 0];
        for cookie in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
            assert_eq!(cookie_of(&args(cookie)), cookie);
        }
    }
}
