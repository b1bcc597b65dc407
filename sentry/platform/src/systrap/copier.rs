//! Copies of guest memory by the stub that waits for us anyway.
//!
//! While a worker serves a call, the calling thread's stub looks for the reply. It can copy a few bytes of guest memory to
//! the window in its context in the time that two cache lines take to change hands, where the host's
//! `process_vm_readv` costs over a microsecond. What the stub says of it is as little to be trusted as guest memory
//! itself, and can harm nobody else.
//!
//! It only reads. A stub that is late can't be called back, and what it wrote in the end would cover what others have
//! written meanwhile: the id of a new thread, say, after that thread has ended and it was cleared. What goes to guest
//! memory with a reply ([`super::later`]) is written before the guest, and so the call, goes on.
//!
//! Which stub that is stands in a variable of the worker's thread: from the event until the worker turns to another task
//! ([`turn_away`]). A stub that doesn't answer in time (the host runs something else on its CPU) is left to answer
//! later, and the bytes are copied by the host; nothing else is asked of the stub until then.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::LocalKey;

use super::Copies;
use super::hub::{self, Hub};
use super::later::Reply;
use super::layout::{command, field, outcome};
use super::process::Proc;
use super::thread::{BUSY, IDLE, RUNNING, Thread};
use crate::counters::{Counter, count};
use crate::{FileBytes, Short};

/// Most bytes for which the window is quicker than the host.
const MOST: usize = 1024;
const _: () = assert!(MOST <= field::WINDOW_LEN);
/// Copies left to the host after a stub was late.
const REST: u32 = 16;

/// A guest thread whose call waits for something.
pub struct Waiting(Arc<Hub>, Arc<Thread>);

thread_local! {
    /// The thread whose call this worker serves, or one that it served before.
    static SERVED: RefCell<Option<(Arc<Hub>, Arc<Thread>)>> = const { RefCell::new(None) };
    /// Whether it is being served.
    static SERVES: Cell<bool> = const { Cell::new(false) };
    /// The thread whose call this worker goes on with. Its stub most likely sleeps: only what is worth waking it is asked
    /// of it.
    static RESUMED: RefCell<Option<Waiting>> = const { RefCell::new(None) };
    /// Whether bytes are pending for it ([`super::later`]).
    static PENDING: Cell<bool> = const { Cell::new(false) };
    /// Address and number of the bytes that came with its call ([`super::input`]).
    static INPUT: Cell<Option<(u64, usize)>> = const { Cell::new(None) };
    /// Copies to be left to the host.
    static RESTING: Cell<u32> = const { Cell::new(0) };
    /// The stub that is being served has not answered yet what it was asked to copy.
    static LATE: Cell<bool> = const { Cell::new(false) };
}

/// Sets one of the variables. `LocalKey::set` is a call to a function of its own each time.
#[inline(always)]
fn assign<T>(variable: &'static LocalKey<Cell<T>>, value: T) {
    variable.with(|cell| cell.set(value));
}

/// Hears that this worker serves a call of a thread that waits.
pub(super) fn turn_to(hub: &Arc<Hub>, thread: &Arc<Thread>, input: Option<(u64, usize)>) {
    write_pending();
    assign(&INPUT, input);
    SERVED.with_borrow_mut(|served| match served {
        Some((_, known)) if Arc::ptr_eq(known, thread) => {}
        _ => *served = Some((Arc::clone(hub), Arc::clone(thread))),
    });
    assign(&SERVES, true);
    assign(&LATE, false);
}

/// Hears that this worker turns to something else. A stub whose call has no reply by then may as well sleep.
/// Returns it if it has none, for [`turn_back`].
pub fn turn_away() -> Option<Waiting> {
    write_pending();
    // What the stub does for the call ends before the call does.
    let waits = |thread: &Thread| thread.state() != RUNNING;
    let resumed = RESUMED.take().filter(|it| waits(&it.1));
    if !SERVES.replace(false) {
        return resumed;
    }
    SERVED.with_borrow(|served| {
        let (hub, thread) = served.as_ref()?;
        thread.hold();
        waits(thread).then(|| Waiting(Arc::clone(hub), Arc::clone(thread)))
    })
}

/// Hears that this worker goes on with what it turned away from.
pub fn turn_back(waiting: Option<Waiting>) {
    RESUMED.set(waiting);
}

/// Runs `f` with the thread of this process whose call this worker serves or goes on with, if its stub waits for the
/// reply.
pub(super) fn with_waiting<R>(proc: &Arc<Proc>, f: impl FnOnce(&Hub, &Arc<Thread>) -> R) -> Option<R> {
    let waits = |thread: &Thread| is_served(proc, thread);
    if SERVES.get() {
        SERVED.with_borrow(|served| served.as_ref().filter(|it| waits(&it.1)).map(|it| f(&it.0, &it.1)))
    } else {
        RESUMED.with_borrow(|resumed| resumed.as_ref().filter(|it| waits(&it.1)).map(|it| f(&it.0, &it.1)))
    }
}

/// Waits by `wait` for a stub that is late with a copy, so that it can be asked for something else.
pub(super) fn await_late(proc: &Arc<Proc>, wait: impl FnOnce(&Hub, &Thread)) {
    if !LATE.get() || !SERVES.get() {
        return;
    }
    SERVED.with_borrow(|served| {
        let Some((hub, thread)) = served else { return };
        let same = thread.proc.get().is_some_and(|known| Arc::ptr_eq(known, proc));
        if same && thread.state() == BUSY && !thread.dead.load(Ordering::Relaxed) {
            wait(hub, thread);
            // What it says is not wanted any more.
            assign(&LATE, thread.take(hub).is_none());
        }
    });
}

/// Hears that the thread which this worker serves is given up: its stub may serve another guest thread soon.
pub(super) fn forget(thread: &Arc<Thread>) {
    write_pending();
    let serves = SERVED.with_borrow(|served| served.as_ref().is_some_and(|(_, known)| Arc::ptr_eq(known, thread)));
    if serves {
        assign(&SERVES, false);
    }
    RESUMED.with_borrow_mut(|resumed| resumed.take_if(|it| Arc::ptr_eq(&it.1, thread)));
}

/// Leaves bytes for the reply; returns whether that was possible.
pub(super) fn write_later(proc: &Arc<Proc>, addr: u64, buf: &[u8], short: Short) -> bool {
    write_pending();
    // A stub that sleeps is as good as one that looks: it is to wake up for the reply.
    let put = |thread: &Thread| is_served(proc, thread) && thread.later.put(&thread.shared, addr, buf, short);
    let done = !buf.is_empty()
        && SERVES.get()
        && SERVED.with_borrow(|served| served.as_ref().is_some_and(|(_, thread)| put(thread)));
    assign(&PENDING, done);
    if done {
        count(Counter::Later);
    }
    done
}

/// Leaves bytes of a mapped file for the reply; returns whether that was possible.
pub(super) fn copy_later(proc: &Arc<Proc>, places: &[(u64, usize)], bytes: FileBytes) -> bool {
    write_pending();
    if !SERVES.get() {
        return false;
    }
    let done = SERVED.with_borrow(|served| {
        let Some((_, thread)) = served.as_ref().filter(|it| is_served(proc, &it.1)) else { return false };
        thread.later.put_file(places, bytes)
    });
    assign(&PENDING, done);
    if done {
        count(Counter::ByMapping);
    }
    done
}

/// Has the host write what is pending.
pub(super) fn write_pending() {
    if !PENDING.replace(false) {
        return;
    }
    SERVED.with_borrow(|served| {
        let Some((hub, thread)) = served else { return };
        if let (Some(reply), Some(proc)) = (thread.later.take(), thread.proc.get()) {
            thread.later.write_now(hub, proc, &thread.shared, &reply);
        }
    });
}

/// Tells whether something is pending.
pub(super) fn is_pending() -> bool {
    PENDING.get()
}

/// Takes what is pending for a thread that is about to go on.
pub(super) fn take_pending(thread: &Thread) -> Option<Reply> {
    if PENDING.replace(false) { thread.later.take() } else { None }
}

/// Copies what came with the call from this address, at most as much as the buffer holds; returns the bytes.
pub(super) fn peek(proc: &Arc<Proc>, addr: u64, buf: &mut [u8]) -> usize {
    let Some((from, len)) = INPUT.get().filter(|_| SERVES.get()) else { return 0 };
    let len = len.min(buf.len());
    SERVED.with_borrow(|served| match served {
        Some((_, thread)) if from == addr && is_served(proc, thread) => {
            thread.shared.read(field::INPUT, &mut buf[..len]);
            len
        }
        _ => 0,
    })
}

/// Hears that guest memory is about to change: what came with the call counts no longer.
pub(super) fn forget_input() {
    assign(&INPUT, None);
}

/// Tells whether so many bytes are likely to be read by a stub.
pub(super) fn may_read(len: usize) -> bool {
    len <= MOST && SERVES.get() && RESTING.get() == 0
}

/// Copies from guest memory what comes before the first byte that can't be read; returns the bytes. `None`: not in this way.
pub(super) fn read(proc: &Arc<Proc>, addr: u64, buf: &mut [u8]) -> Option<usize> {
    if buf.is_empty() || buf.len() > MOST || !SERVES.get() {
        return None;
    }
    let resting = RESTING.get();
    if resting > 0 {
        assign(&RESTING, resting - 1);
        return None;
    }
    SERVED.with_borrow(|served| {
        let (hub, thread) = served.as_ref()?;
        let awake = thread.shared.u32(field::WAITING).load(Ordering::Relaxed) == 0;
        if !awake || !is_served(proc, thread) || hub.setup.copies == Copies::Host {
            return None;
        }
        let copied = fetch(hub, thread, addr, buf.len())?;
        thread.shared.read(field::WINDOW, buf.get_mut(..copied)?);
        Some(copied)
    })
}

/// Returns the address of a thread's window in its process.
pub(super) fn window(thread: &Thread) -> u64 {
    hub::address(thread.slot) + field::WINDOW as u64
}

/// Tells whether the thread that was turned to is one of this process and waits for its reply.
fn is_served(proc: &Arc<Proc>, thread: &Thread) -> bool {
    thread.proc.get().is_some_and(|known| Arc::ptr_eq(known, proc))
        && thread.state() == IDLE
        && !thread.dead.load(Ordering::Relaxed)
}

/// Has the stub copy to its window; returns the bytes copied.
fn fetch(hub: &Hub, thread: &Arc<Thread>, from: u64, len: usize) -> Option<usize> {
    let shared = &thread.shared;
    shared.set(field::COPY_FROM, from);
    shared.set(field::COPY_TO, window(thread));
    shared.set(field::COPY_LEN, len as u64);
    thread.set_state(BUSY);
    thread.publish(hub, command::COPY);
    for _ in 0..hub.setup.rounds {
        if thread.has_news() {
            break;
        }
        std::hint::spin_loop();
    }
    if thread.take(hub).is_none() {
        assign(&RESTING, REST);
        assign(&LATE, true);
        return None;
    }
    if shared.u32(field::KIND).load(Ordering::Relaxed) != outcome::DONE {
        return None;
    }
    count(Counter::CopiedByStub);
    let left = usize::try_from(shared.get(field::COPY_LEFT)).ok()?;
    len.checked_sub(left)
}
