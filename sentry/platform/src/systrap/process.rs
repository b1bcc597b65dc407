//! Stub processes: their life, death and memory.

use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock, Weak};

use nix::sys::uio::RemoteIoVec;
use sentry_sync::{Level, Mutex};
use smallvec::SmallVec;

use super::Copies;
use super::host::Wait;
use super::hub::Hub;
use super::layout::field;
use super::plain::Plain;
use super::present::{self, Present};
use super::reuse::Kept;
use super::thread::Thread;
use super::{copier, host, layout};
use crate::ptrace::figures::Figures;
use crate::{AddressSpace, Death, FileBytes, MemOp, PLACES, Peak, Short, each_place};

/// What the sentry keeps of a stub process until it is reaped.
pub(super) struct Proc {
    pub(super) pid: i32,
    pidfd: OwnedFd,
    pub(super) present: Present,
    pub(super) plain: Plain,
    /// Processor time in nanoseconds, once it has ended.
    time: AtomicU64,
    /// Most bytes that were resident at a time, once it has ended.
    peak: Arc<OnceLock<u64>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Slots of its threads, past ones included: their contexts are mapped there.
    slots: Vec<u32>,
    /// Of them, those that wait for another guest thread.
    kept: Vec<Kept>,
    /// Nobody uses the address space any more.
    released: bool,
    reaped: bool,
    death: Option<Death>,
    /// Why we have killed it.
    reason: Option<&'static str>,
}

impl Proc {
    /// Hears what a stub is about to do.
    pub(super) fn note(&self, ops: &[MemOp]) {
        self.present.note(ops);
        self.plain.note(ops);
    }

    /// Names a child that can't be reaped by anybody but us.
    pub(super) fn new(pid: i32, pidfd: OwnedFd) -> Arc<Proc> {
        let state = Mutex::new(Level::Platform, State::default());
        Arc::new(Proc {
            pid,
            pidfd,
            present: Present::default(),
            plain: Plain::default(),
            time: AtomicU64::new(0),
            peak: Arc::default(),
            state,
        })
    }

    /// Returns the processor time of one that has ended.
    pub(super) fn time(&self) -> u64 {
        self.time.load(Ordering::Relaxed)
    }

    pub(super) fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    pub(super) fn add_slot(&self, slot: u32) {
        let slots = &mut self.state.lock().slots;
        if !slots.contains(&slot) {
            slots.push(slot);
        }
    }

    /// Signals a thread, unless the process is gone and its numbers may be somebody else's.
    pub(super) fn signal(&self, tid: i32, signal: i32) {
        let state = self.state.lock();
        if !state.reaped && tid > 0 {
            host::tgkill(self.pid, tid, signal);
        }
    }

    /// Kills because the stub broke the protocol.
    pub(super) fn kill(&self, reason: &'static str) {
        let mut state = self.state.lock();
        if !state.reaped && state.death.is_none() {
            tracing::warn!(pid = self.pid, reason, "a stub is killed");
            state.reason.get_or_insert(reason);
            host::kill(self.pidfd.as_fd());
        }
    }

    pub(super) fn death(&self) -> Option<Death> {
        self.state.lock().death
    }

    /// Finds a slot of a thread that has ended, whose context is mapped here and can be used again.
    pub(super) fn reusable_slot(&self, hub: &Hub) -> Option<u32> {
        let slots = self.state.lock().slots.clone();
        slots.into_iter().find(|slot| {
            let Some(thread) = hub.table.get(*slot) else { return false };
            thread.orphan.load(Ordering::SeqCst)
                && thread.tid.load(Ordering::SeqCst) != self.pid
                && thread.shared.u32(field::ALIVE).load(Ordering::Acquire) == 0
        })
    }

    /// Tells whether the process has never had a second thread.
    pub(super) fn is_single(&self) -> bool {
        self.state.lock().slots.len() == 1
    }

    /// Keeps a stub that is left over, unless there are that many, or the process is over.
    pub(super) fn keep(&self, stub: Kept, most: usize) -> bool {
        let mut state = self.state.lock();
        let room = !state.released && !state.reaped && state.kept.len() < most;
        if room {
            state.kept.push(stub);
        }
        room
    }

    /// Takes the stub back that was kept last.
    pub(super) fn take_kept(&self) -> Option<Kept> {
        self.state.lock().kept.pop()
    }

    /// Looks whether the process has ended; returns its slots if so, for the first time, and whether it was reaped at once, as
    /// one that nobody uses is.
    pub(super) fn check_end(&self) -> Option<(Vec<u32>, bool)> {
        let mut state = self.state.lock();
        if state.death.is_some() || state.reaped {
            return None;
        }
        let how = if state.released { Wait::Reap } else { Wait::Look };
        let ended = host::wait(self.pidfd.as_fd(), how)?;
        let _ = self.peak.set(ended.peak);
        self.time.store(u64::try_from(ended.time.as_nanos()).unwrap_or(0), Ordering::Relaxed);
        state.death = Some(cause(ended.signal, state.reason));
        state.reaped = state.released;
        Some((if state.reaped { std::mem::take(&mut state.slots) } else { state.slots.clone() }, state.reaped))
    }

    /// Waits for the end of a process that nobody uses, and returns what was resident of it at most; `None` where it is in
    /// use.
    fn peak_at_end(&self) -> Option<u64> {
        {
            let state = self.state.lock();
            if !state.released {
                return None;
            }
            if state.death.is_none() && !state.reaped {
                host::kill(self.pidfd.as_fd());
            }
        }
        // A signal may end the wait.
        for _ in 0..64 {
            if self.peak.get().is_some() {
                break;
            }
            host::readable([self.pidfd.as_fd()], None);
            // Whoever reaps it meanwhile has noted that before.
            if let Some(ended) = host::wait(self.pidfd.as_fd(), Wait::Look) {
                let _ = self.peak.set(ended.peak);
            }
        }
        self.peak.get().copied()
    }

    /// Marks as used by nobody.
    pub(super) fn release(&self) {
        self.state.lock().released = true;
    }

    /// Kills what nobody uses. Returns whether it can be reaped at once.
    pub(super) fn end(&self) -> bool {
        let state = self.state.lock();
        if state.death.is_none() && !state.reaped {
            host::kill(self.pidfd.as_fd());
        }
        state.death.is_some()
    }

    pub(super) fn is_released(&self) -> bool {
        self.state.lock().released
    }

    /// Removes the zombie; returns the slots, once.
    pub(super) fn reap(&self) -> Option<Vec<u32>> {
        let mut state = self.state.lock();
        if state.reaped || state.death.is_none() {
            return None;
        }
        host::wait(self.pidfd.as_fd(), Wait::Reap);
        state.reaped = true;
        Some(std::mem::take(&mut state.slots))
    }
}

/// Most bytes of a process's own that may stay for a while after nobody uses it: all that may wait are less than what counts as
/// little memory.
const SMALL: u64 = 4 << 20;

/// Signals that the host raises for what a stub itself has done. SIGSEGV isn't among them: that is also how the host
/// answers an `rseq` section that it can't abort.
const OWN_FAULTS: [i32; 5] = [libc::SIGILL, libc::SIGBUS, libc::SIGSYS, libc::SIGTRAP, libc::SIGFPE];

fn cause(signal: Option<i32>, reason: Option<&'static str>) -> Death {
    match (reason, signal) {
        (Some(reason), _) => Death::Protocol(reason),
        (None, Some(signal)) if OWN_FAULTS.contains(&signal) => Death::Protocol("it attacked its stub"),
        (None, Some(signal)) => Death::Signal(signal),
        (None, None) => Death::Protocol("it ended by itself"),
    }
}

/// The address space of a stub process. The process is killed when the last context and the last handle are gone.
pub(super) struct Process {
    pub(super) proc: Arc<Proc>,
    /// The first thread, whose context stays mapped for as long as there is the process.
    pub(super) leader: Arc<Thread>,
    pub(super) hub: Arc<Hub>,
    /// It has so little memory that it may be ended some milliseconds late.
    small: AtomicBool,
    /// Of a process whose memory has been asked for while others went on using it: a parent that calls vfork again and again.
    statm: OnceLock<Option<OwnedFd>>,
}

impl Process {
    pub(super) fn new(proc: Arc<Proc>, leader: Arc<Thread>, hub: Arc<Hub>) -> Process {
        proc.plain.stand_in(leader.shared);
        Process { proc, leader, hub, small: AtomicBool::new(false), statm: OnceLock::new() }
    }

    /// Cuts a range to what the guest may use.
    pub(super) fn reach(&self, addr: u64, len: usize) -> usize {
        let range = self.hub.user_range();
        if !range.contains(&addr) {
            return 0;
        }
        usize::try_from(range.end - addr).map_or(len, |room| room.min(len))
    }
}

/// What was resident of a process that ends. Keeps nothing of it.
struct LastPeak {
    peak: Arc<OnceLock<u64>>,
    proc: Weak<Proc>,
    hub: Weak<Hub>,
}

impl Peak for LastPeak {
    fn known(&self) -> Option<u64> {
        self.peak.get().copied()
    }

    fn wait(&self) -> u64 {
        let (Some(proc), None) = (self.proc.upgrade(), self.known()) else { return self.known().unwrap_or(0) };
        proc.peak_at_end().unwrap_or_else(|| {
            // Somebody looks at it still.
            let resident = self.hub.upgrade().and_then(|hub| hub.setup.figures.resident(proc.pid));
            resident.map(|resident| resident.peak).or(self.known()).unwrap_or(0)
        })
    }
}

impl Process {
    /// Returns places as the host wants them, if all lie where the guest may use memory.
    fn remote(&self, places: &[(u64, usize)]) -> Option<SmallVec<[RemoteIoVec; PLACES]>> {
        let inside = |(addr, len): &(u64, usize)| self.reach(*addr, *len) == *len;
        places.iter().map(|it| inside(it).then(|| host::place(it.0, it.1))).collect()
    }

    /// Returns the number of those that sleep on words of the same class, which the stubs of the process look at and may
    /// write. Who falsifies it loses wake-ups of its own.
    fn sleepers(&self, addr: u64) -> &AtomicU32 {
        self.leader.shared.u32(field::SLEEPERS + layout::class_of(addr))
    }

    /// As above, of those that sleep without the kernel.
    fn hosted(&self, addr: u64) -> &AtomicU32 {
        self.leader.shared.u32(field::HOSTED + layout::class_of(addr))
    }
}

impl AddressSpace for Process {
    fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        copier::write_pending();
        let len = self.reach(addr, buf.len());
        let buf = &mut buf[..len];
        if copier::peek(&self.proc, addr, buf) == len {
            return len;
        }
        if let Some(copied) = copier::read(&self.proc, addr, buf) {
            return copied;
        }
        let mut done = 0;
        // What the host copies in one call may end at the first bad page or earlier.
        while done < len {
            match host::read_memory(self.proc.pid, addr + done as u64, &mut buf[done..]) {
                0 => break,
                copied => done += copied,
            }
        }
        done
    }

    fn write(&self, addr: u64, buf: &[u8]) -> usize {
        copier::write_pending();
        copier::forget_input();
        let len = self.reach(addr, buf.len());
        present::write(&self.hub, &self.proc, addr, &buf[..len])
    }

    fn read_list(&self, places: &[(u64, usize)], buf: &mut [u8]) -> usize {
        copier::write_pending();
        // The waiting stub is quicker with each of a few bytes.
        let remote = if places.iter().all(|(_, len)| copier::may_read(*len)) { None } else { self.remote(places) };
        let done = remote.map_or(0, |list| host::read_list(self.proc.pid, &list, buf));
        // The host says only roughly how far it has got.
        if done == buf.len() { done } else { each_place(places, |addr, part| self.read(addr, &mut buf[part])) }
    }

    fn write_list(&self, places: &[(u64, usize)], buf: &[u8]) -> usize {
        copier::write_pending();
        copier::forget_input();
        let remote = self.remote(places).filter(|_| !self.hub.setup.limits.is_tight());
        let done = remote.map_or(0, |list| host::write_list(self.proc.pid, &list, buf));
        if done == buf.len() { done } else { each_place(places, |addr, part| self.write(addr, &buf[part])) }
    }

    fn peek(&self, addr: u64, buf: &mut [u8]) -> usize {
        let len = self.reach(addr, buf.len());
        copier::peek(&self.proc, addr, &mut buf[..len])
    }

    fn write_later(&self, addr: u64, buf: &[u8], short: Short) -> bool {
        self.reach(addr, buf.len()) == buf.len() && copier::write_later(&self.proc, addr, buf, short)
    }

    fn copy_later(&self, places: &[(u64, usize)], bytes: FileBytes) -> bool {
        let inside = places.iter().all(|(addr, len)| self.reach(*addr, *len) == *len);
        inside && copier::copy_later(&self.proc, places, bytes)
    }

    fn own_range(&self) -> Range<u64> {
        if self.hub.setup.copies == Copies::All { self.hub.own_range() } else { 0..0 }
    }

    fn let_advise(&self, range: Range<u64>) {
        if !self.hub.setup.limits.is_tight() {
            self.proc.plain.offer(range);
        }
    }

    fn let_barrier(&self, registered: i32) {
        self.proc.plain.register(registered);
    }

    fn begin_sleep(&self, addr: u64) {
        self.sleepers(addr).fetch_add(1, Ordering::SeqCst);
    }

    fn end_sleep(&self, addr: u64) {
        self.sleepers(addr).fetch_sub(1, Ordering::SeqCst);
    }

    fn may_sleep_on_host(&self, addr: u64) -> bool {
        // The guest has changed the word before; the pair to this barrier is the stub's count, then the host's look at it.
        fence(Ordering::SeqCst);
        self.hosted(addr).load(Ordering::SeqCst) != 0
    }

    fn expect_moved(&self, addr: u64) {
        self.hosted(addr).fetch_add(1, Ordering::SeqCst);
    }

    fn host_pid(&self) -> i32 {
        self.proc.pid
    }

    fn resident(&self) -> Option<crate::Resident> {
        self.hub.setup.figures.resident(self.proc.pid)
    }

    fn resident_parts(&self) -> Vec<crate::ResidentPart> {
        self.hub.setup.figures.resident_parts(self.proc.pid)
    }

    fn page_entries(&self, first: u64, count: u64) -> Vec<u64> {
        self.hub.setup.figures.page_entries(self.proc.pid, first, count)
    }

    fn note_end(&self, bytes: u64) {
        self.small.store(bytes <= SMALL, Ordering::Relaxed);
    }

    fn peak(&self) -> Option<Arc<dyn Peak>> {
        let (proc, hub) = (Arc::downgrade(&self.proc), Arc::downgrade(&self.hub));
        Some(Arc::new(LastPeak { peak: Arc::clone(&self.proc.peak), proc, hub }))
    }

    fn resident_now(&self) -> u64 {
        let figures = &self.hub.setup.figures;
        self.statm.get_or_init(|| figures.open_statm(self.proc.pid)).as_ref().map_or(0, Figures::resident_in)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.hub.release(&self.proc, self.small.load(Ordering::Relaxed));
    }
}
