//! Making threads and processes from a stub that waits.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use super::context::SystrapContext;
use super::frame;
use super::hub::{self, Birth, Hub};
use super::layout::{command, field};
use super::ops::RawOp;
use super::process::Process;
use super::shared::CONTEXT_SIZE;
use super::stub::{FORK_FLAGS, THREAD_FLAGS};
use super::thread::{BUSY, ExpectedCall, Thread};
use crate::{AddressSpace, Context, NewProcess, PlatformError};
use abi::Errno;

/// What is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Process,
    Thread,
}

/// Undoes a birth that doesn't come to its end.
struct Unborn<'a> {
    hub: &'a Arc<Hub>,
    thread: Option<Arc<Thread>>,
    cookie: u64,
    kind: Kind,
}

impl Drop for Unborn<'_> {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        if self.hub.cancel_birth(self.cookie) {
            // It never said hello, and if it does it will be refused. A slot that may be mapped stays with the process.
            self.hub.table.deactivate(thread.slot);
            if self.kind == Kind::Process {
                self.hub.free_slot(thread.slot);
            }
            return;
        }
        thread.abandon(self.hub);
        if let (Kind::Process, Some(proc)) = (self.kind, thread.proc.get()) {
            self.hub.release(proc);
        }
    }
}

fn map_context(hub: &Hub, slot: u32) -> [u64; 6] {
    use std::os::fd::AsRawFd;
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_FIXED;
    let fd = u64::from(hub.setup.memory.as_raw_fd().cast_unsigned());
    let offset = u64::from(slot) * CONTEXT_SIZE as u64;
    let word = |number: i32| u64::from(number.cast_unsigned());
    [hub::address(slot), CONTEXT_SIZE as u64, word(prot), word(flags), fd, offset]
}

/// Has a stub that waits make a thread or process; returns when that waits as well.
pub(super) async fn give(parent: &mut SystrapContext, kind: Kind) -> Result<Arc<Thread>, PlatformError> {
    let hub = Arc::clone(&parent.hub);
    let image = parent.read_fpstate().await?;
    let proc = (kind == Kind::Thread).then(|| Arc::clone(&parent.process.proc));
    let used = proc.as_ref().and_then(|proc| proc.reusable_slot(&hub));
    let slot = match used {
        Some(slot) => {
            if let Some(past) = hub.table.get(slot) {
                hub.forget_tid(past.tid.load(Ordering::SeqCst));
            }
            slot
        }
        None => hub.table.allocate().ok_or(PlatformError::Refused(Errno::EAGAIN))?,
    };
    let shared = hub.context(slot);
    for at in (0..field::OPS).step_by(8) {
        shared.set(at, 0);
    }
    let thread = Thread::new(slot, shared, 1, BUSY);
    hub.table.put(slot, Some(Arc::clone(&thread)));
    let cookie = random();
    let mut unborn = Unborn { hub: &hub, thread: Some(Arc::clone(&thread)), cookie, kind };
    frame::prepare(&hub, &shared, slot, &image);
    shared.u32(field::ALIVE).store(1, Ordering::Relaxed);
    shared.u32(field::REQUEST).store(1, Ordering::SeqCst);

    if let (Some(proc), None) = (&proc, used) {
        proc.add_slot(slot);
        let address = hub::address(slot);
        let advice = libc::MADV_DONTFORK as u64;
        let ops = vec![
            RawOp::new(libc::SYS_mmap, map_context(&hub, slot)),
            RawOp::new(libc::SYS_madvise, [address, CONTEXT_SIZE as u64, advice, 0, 0, 0]),
        ];
        let mapped = parent.perform(ops).await;
        mapped.map_err(|errno| PlatformError::Host {
            what: "mapping a new thread's context",
            errno,
            hint: "raise the limits on memory of the sandbox",
        })?;
    } else {
        let call = ExpectedCall { nr: libc::SYS_mmap, args: map_context(&hub, slot), file: None };
        if kind == Kind::Process {
            thread.expected.lock().expect([call]);
        }
    }
    hub.expect_birth(cookie, Birth { thread: Arc::clone(&thread), process: proc });
    ask(parent, &thread, cookie, kind);
    thread.watch(&hub, true);
    thread.list(&hub);
    let what = if kind == Kind::Process { command::FORK } else { command::THREAD };
    parent.request_clone(what).await?;
    // The child is there; it says so when it is ready.
    let alive = poll_fn(|cx| {
        thread.register(cx.waker());
        parent.thread.register(cx.waker());
        let parent_dead = parent.thread.dead.load(Ordering::SeqCst) && kind == Kind::Thread;
        if thread.dead.load(Ordering::SeqCst) || parent_dead {
            return Poll::Ready(false);
        }
        if thread.take(&hub).is_some() { Poll::Ready(true) } else { Poll::Pending }
    })
    .await;
    thread.watch(&hub, false);
    if !alive || thread.proc.get().is_none() {
        return Err(PlatformError::Dead("it had just been made"));
    }
    unborn.thread = None;
    Ok(thread)
}

/// Writes the request, and what notifications will come of it.
fn ask(parent: &SystrapContext, thread: &Thread, cookie: u64, kind: Kind) {
    let shared = &parent.thread.shared;
    let child = hub::address(thread.slot);
    let args = map_context(&parent.hub, thread.slot);
    shared.set(field::CHILD, child);
    shared.set(field::COOKIE, cookie);
    shared.set(field::MEMORY, args[4]);
    shared.set(field::OFFSET, args[5]);
    let flags = |flags: i32| u64::from(flags.cast_unsigned());
    let args = match kind {
        Kind::Process => [flags(FORK_FLAGS), 0, 0, 0, 0, 0],
        Kind::Thread => [flags(THREAD_FLAGS), child + field::STACK_END as u64, 0, child + field::ALIVE as u64, 0, 0],
    };
    parent.thread.expected.lock().expect([ExpectedCall { nr: libc::SYS_clone, args, file: None }]);
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
    let process = Arc::new(Process { proc: Arc::clone(proc), hub: Arc::clone(hub) });
    let space = Arc::clone(&process) as Arc<dyn AddressSpace>;
    let context = SystrapContext::new(Arc::clone(hub), process, thread);
    Ok((space, Box::new(context) as Box<dyn Context>))
}
