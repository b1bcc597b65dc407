//! Pages that the sentry is about to write are made present by the stub that waits for us anyway.
//!
//! The host charges a page to the memory's own cgroup whoever faults it in, and where that is full it kills the process
//! that has taken most: as a rule the very one that is being written to. Its memory isn't freed before whoever writes there has left the
//! host's call, and that one waits for memory: the host sees the victim gone and no memory come of it, and kills the next
//! one, until it comes to the sentry. A stub that faults the pages in itself dies of it alone.
//!
//! Asking costs two cache lines and a short host call, or waking the stub, so it is done where little memory is left
//! ([`crate::MemoryLimits`]), and what was written is noted ([`Present`]): programs read into the same buffers again and
//! again. The notes are hints. One that is out of date costs what is said above.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use abi::PAGE_SIZE;

use super::hub::Hub;
use super::layout::{command, field};
use super::ops::RawOp;
use super::process::Proc;
use super::thread::{BUSY, Found, Thread};
use super::{copier, host};
use crate::MemOp;
use crate::counters::{Counter, count};

/// Least bytes that a stub is asked for. Below, nearly all goes with the reply and so is written by the stub.
const LEAST: usize = 512;
/// Longest that a stub may take. One that is out of memory dies, and one that waits for a disk is seldom; after this the
/// host makes the pages present, as it would have anyway.
const PATIENCE: Duration = Duration::from_secs(1);
/// `MADV_POPULATE_WRITE` (Linux 5.14). Older hosts refuse, and nothing is won.
const POPULATE_WRITE: u64 = 23;

/// Pages of one note: one for each of its bits.
const PAGES: u64 = 16;
const BLOCK: u64 = PAGES * PAGE_SIZE;
/// Notes of a process: for 16 MiB.
const NOTES: usize = 256;

/// What of a guest memory is known to be present.
#[derive(Default)]
pub(super) struct Present {
    /// Raised when notes may have become untrue.
    age: AtomicU64,
    /// Age, block and pages of it, in 17, 31 and 16 bits. Writers that meet may lose one.
    notes: OnceLock<Box<[AtomicU64]>>,
}

/// The blocks of a range, with the bits of the pages that belong to it.
fn blocks(addr: u64, len: usize) -> impl Iterator<Item = (u64, u64)> {
    let end = addr.saturating_add(len as u64);
    (addr / BLOCK..end.div_ceil(BLOCK)).map(move |block| {
        let start = block * BLOCK;
        let from = addr.saturating_sub(start) / PAGE_SIZE;
        let to = (end - start).min(BLOCK).div_ceil(PAGE_SIZE);
        (block, ((1 << to) - 1) & !((1 << from) - 1))
    })
}

impl Present {
    /// Returns what a note of this block has above its pages.
    fn mark(&self, block: u64) -> u64 {
        self.age.load(Ordering::Relaxed) << 47 | block << PAGES
    }

    fn has(&self, addr: u64, len: usize) -> bool {
        let Some(notes) = self.notes.get() else { return false };
        blocks(addr, len).all(|(block, pages)| {
            let note = notes[block as usize % NOTES].load(Ordering::Relaxed);
            note ^ self.mark(block) < 1 << PAGES && note & pages == pages
        })
    }

    fn add(&self, addr: u64, len: usize) {
        if len == 0 {
            return;
        }
        let notes = self.notes.get_or_init(|| (0..NOTES).map(|_| AtomicU64::new(0)).collect());
        for (block, pages) in blocks(addr, len) {
            let (note, mark) = (&notes[block as usize % NOTES], self.mark(block));
            let before = note.load(Ordering::Relaxed);
            let known = if before ^ mark < 1 << PAGES { before } else { mark };
            note.store(known | pages, Ordering::Relaxed);
        }
    }

    /// Forgets everything.
    pub(super) fn forget(&self) {
        self.age.fetch_add(1, Ordering::Relaxed);
    }

    /// Hears what a stub is about to do.
    pub(super) fn note(&self, ops: &[MemOp]) {
        let changes = |op: &MemOp| {
            use MemOp::{Advise, MapAnonymous, MapFile, Remap, Unmap};
            matches!(op, MapAnonymous { .. } | MapFile { .. } | Unmap { .. } | Remap { .. } | Advise { .. })
        };
        if ops.iter().any(changes) {
            self.forget();
        }
    }
}

/// Copies to guest memory by the host until all is written or memory can't be written; returns the bytes copied.
pub(super) fn write(hub: &Hub, proc: &Arc<Proc>, addr: u64, buf: &[u8]) -> usize {
    let short = buf.len() < LEAST;
    // Where stubs may let pages go without a word, the notes are nothing to go by.
    let known = short || !proc.plain.is_some() && proc.present.has(addr, buf.len());
    if !known && hub.setup.limits.is_tight() {
        if proc.plain.is_some() {
            proc.plain.clear();
            proc.present.forget();
        }
        copier::await_late(proc, |hub, thread| wait(hub, thread, proc, Found::Awake));
        copier::with_waiting(proc, |hub, thread| ask(hub, thread, proc, addr, buf.len()));
    }
    let mut done = 0;
    while done < buf.len() {
        match host::write_memory(proc.pid, addr + done as u64, &buf[done..]) {
            0 => break,
            copied => done += copied,
        }
    }
    if !known {
        proc.present.add(addr, done);
    }
    done
}

/// Has a stub that waits for its reply make memory present, as far as that is possible.
fn ask(hub: &Hub, thread: &Arc<Thread>, proc: &Proc, addr: u64, len: usize) {
    count(Counter::Populated);
    let start = addr & !(PAGE_SIZE - 1);
    let whole = (addr - start + len as u64).next_multiple_of(PAGE_SIZE);
    let shared = &thread.shared;
    RawOp::new(libc::SYS_madvise, [start, whole, POPULATE_WRITE, 0, 0, 0]).write(shared, 0);
    shared.u32(field::OP_COUNT).store(1, Ordering::Relaxed);
    thread.set_state(BUSY);
    let found = thread.publish(hub, command::OPS);
    wait(hub, thread, proc, found);
    // Where it is late, whoever wants something of it next waits; where it has failed, so will the host.
    thread.take(hub);
}

/// Waits for a stub to answer or to die.
fn wait(hub: &Hub, thread: &Thread, proc: &Proc, found: Found) {
    let mut rounds = hub.setup.rounds;
    if found == Found::AsleepHere {
        // It goes on on this CPU.
        rounds = 0;
    }
    for _ in 0..rounds {
        if thread.is_answered() {
            return;
        }
        std::hint::spin_loop();
    }
    let until = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(10);
    while !thread.is_answered() && Instant::now() < until {
        if let [true] = host::readable([proc.pidfd().as_fd()], Some(pause)) {
            return;
        }
        pause = (pause * 2).min(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDR: u64 = 0x7f12_3456_0000;
    const PAGE: usize = PAGE_SIZE as usize;

    #[test]
    fn what_was_noted_is_known_page_by_page() {
        let present = Present::default();
        assert!(!present.has(ADDR, 1));
        present.add(ADDR + 0x1800, 2 * PAGE);
        assert!(present.has(ADDR + 0x1000, 3 * PAGE));
        assert!(!present.has(ADDR + 0xfff, 2));
        assert!(!present.has(ADDR + 0x3fff, 2));
        present.add(ADDR + 0x4000, 1);
        assert!(present.has(ADDR + 0x3fff, 2));
    }

    #[test]
    fn ranges_may_lie_across_blocks() {
        let present = Present::default();
        present.add(ADDR + 0xf000, 40 * PAGE);
        assert!(present.has(ADDR + 0xf000, 40 * PAGE));
        assert!(!present.has(ADDR + 0xf000, 40 * PAGE + 1));
        assert!(!present.has(ADDR + 0xefff, 40 * PAGE));
    }

    #[test]
    fn other_memory_in_the_same_place_of_the_notes_is_not_known() {
        let present = Present::default();
        present.add(ADDR, PAGE);
        let other = ADDR + NOTES as u64 * BLOCK;
        assert!(!present.has(other, PAGE));
        present.add(other, PAGE);
        assert!(present.has(other, PAGE) && !present.has(ADDR, PAGE));
    }

    #[test]
    fn a_change_of_mappings_ends_what_is_known_and_one_of_protection_does_not() {
        let present = Present::default();
        present.add(ADDR, PAGE);
        present.note(&[MemOp::Protect { addr: ADDR, len: PAGE_SIZE, prot: abi::flags::Prot::READ }]);
        assert!(present.has(ADDR, PAGE));
        present.note(&[MemOp::Unmap { addr: ADDR, len: PAGE_SIZE }]);
        assert!(!present.has(ADDR, PAGE));
        present.add(ADDR, PAGE);
        assert!(present.has(ADDR, PAGE));
    }

    #[test]
    fn the_age_runs_over_harmlessly() {
        let present = Present::default();
        present.age.store(u64::MAX, Ordering::Relaxed);
        present.add(ADDR, PAGE);
        assert!(present.has(ADDR, PAGE));
        present.forget();
        assert!(!present.has(ADDR, PAGE));
    }
}
