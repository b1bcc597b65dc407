//! What the stub may ask the host about memory without the kernel: advice about plain memory, and barriers.
//!
//! The kernel names ranges of a process in which all memory is *plain*: private, anonymous, not locked and not executable. Advice there that
//! changes no mapping (`MADV_DONTNEED` and its like: what allocators and collectors call most) changes nothing that the kernel has
//! in its books, so the stub makes the host's call at once. The ranges stand in the context of the process's first thread.
//! Before a stub is asked for an operation by which memory of a range may come to be something else, the range is withdrawn.
//!
//! A thread that has found a range may be late, and its advice meet what another thread has put there meanwhile. So it would
//! on Linux: who advises about memory that others unmap may lose theirs.
//!
//! The guest can name ranges, too, and give the stub's own call any advice about its own memory.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use abi::PAGE_SIZE;
use abi::flags::Prot;
use sentry_sync::{Level, Mutex};

use super::layout::field;
use super::shared::Shared;
use crate::MemOp;

/// Advice that the stub passes on: bits by number.
pub(super) const ADVICE: u32 = 1 << libc::MADV_WILLNEED
    | 1 << libc::MADV_DONTNEED
    | 1 << libc::MADV_FREE
    | 1 << libc::MADV_COLD
    | 1 << libc::MADV_PAGEOUT;

/// `MEMBARRIER_CMD_PRIVATE_EXPEDITED`; the next bit registers for it.
pub(super) const BARRIER: u32 = 1 << 3;

const COUNT: usize = field::PLAIN_COUNT;
const _: () = assert!(COUNT == 4, "as in answers.s");
const _: () = assert!(field::PLAIN + 8 * COUNT <= 0xc00);

/// The ranges of one process.
pub(super) struct Plain {
    /// The context of the first thread.
    table: OnceLock<Shared>,
    /// Tells whether there are any.
    some: AtomicBool,
    ranges: Mutex<Ranges>,
}

#[derive(Default)]
struct Ranges {
    list: [Range<u64>; COUNT],
    /// Which gives way next.
    next: usize,
}

impl Default for Plain {
    fn default() -> Plain {
        Plain {
            table: OnceLock::new(),
            some: AtomicBool::new(false),
            ranges: Mutex::new(Level::Leaf, Ranges::default()),
        }
    }
}

/// Prepares the context of a first thread: nothing is plain.
pub(super) fn prepare(shared: &Shared) {
    (0..COUNT).for_each(|at| shared.set(field::PLAIN + 8 * at, 0));
    shared.u32(field::BARRIERS).store(0, Ordering::Relaxed);
}

/// How a range is written; what is too long is cut.
fn word(range: &Range<u64>) -> u64 {
    let most = (1 << field::PLAIN_BITS) - 1;
    let pages = (range.end.saturating_sub(range.start) / PAGE_SIZE).min(most);
    (range.start / PAGE_SIZE) << field::PLAIN_BITS | pages
}

/// Returns where an operation may make something else of memory.
fn touched(op: &MemOp) -> [Range<u64>; 2] {
    let range = |addr: u64, len: u64| addr..addr.saturating_add(len);
    match op {
        MemOp::MapAnonymous { addr, len, .. }
        | MemOp::MapFile { addr, len, .. }
        | MemOp::Unmap { addr, len }
        | MemOp::Lock { addr, len, .. } => [range(*addr, *len), 0..0],
        MemOp::Protect { addr, len, prot } if prot.contains(Prot::EXEC) => [range(*addr, *len), 0..0],
        MemOp::Remap { old, old_len, new, new_len, .. } => [range(*old, *old_len), range(*new, *new_len)],
        _ => [0..0, 0..0],
    }
}

fn meet(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

impl Plain {
    /// Names the context where stubs look.
    pub(super) fn stand_in(&self, context: Shared) {
        let _ = self.table.set(context);
    }

    /// Tells whether stubs may make pages go without a word.
    pub(super) fn is_some(&self) -> bool {
        self.some.load(Ordering::SeqCst)
    }

    /// Names a range. Nobody may be about to change what is there.
    pub(super) fn offer(&self, range: Range<u64>) {
        let Some(table) = self.table.get() else { return };
        if range.is_empty() {
            return;
        }
        let ranges = &mut *self.ranges.lock();
        let mut place = None;
        for (at, known) in ranges.list.iter_mut().enumerate() {
            if meet(known, &range) {
                *known = 0..0;
                table.u64(field::PLAIN + 8 * at).store(0, Ordering::SeqCst);
            }
            if known.is_empty() {
                place.get_or_insert(at);
            }
        }
        let at = place.unwrap_or_else(|| {
            ranges.next = (ranges.next + 1) % COUNT;
            ranges.next
        });
        table.u64(field::PLAIN + 8 * at).store(word(&range), Ordering::SeqCst);
        ranges.list[at] = range;
        self.some.store(true, Ordering::SeqCst);
    }

    /// Hears what a stub is about to do.
    pub(super) fn note(&self, ops: &[MemOp]) {
        if self.is_some() {
            self.withdraw(|range| ops.iter().flat_map(touched).any(|touched| meet(&touched, range)));
        }
    }

    /// Names none any more.
    pub(super) fn clear(&self) {
        self.withdraw(|_| true);
    }

    fn withdraw(&self, gone: impl Fn(&Range<u64>) -> bool) {
        let Some(table) = self.table.get() else { return };
        let ranges = &mut *self.ranges.lock();
        for (at, known) in ranges.list.iter_mut().enumerate() {
            if !known.is_empty() && gone(known) {
                *known = 0..0;
                table.u64(field::PLAIN + 8 * at).store(0, Ordering::SeqCst);
            }
        }
        self.some.store(!ranges.list.iter().all(Range::is_empty), Ordering::SeqCst);
    }

    /// Says which barriers the process has registered.
    pub(super) fn register(&self, commands: i32) {
        if let Some(table) = self.table.get() {
            table.u32(field::BARRIERS).store(commands.cast_unsigned(), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::shared::CONTEXT_SIZE;
    use super::*;

    fn plain() -> (Plain, Shared) {
        let memory = vec![0u64; CONTEXT_SIZE / 8].leak();
        // SAFETY: leaked, so there for ever, and nobody else uses it. Eight bytes are enough where nothing is mapped.
        let shared = unsafe { Shared::new(memory.as_mut_ptr().cast(), CONTEXT_SIZE) };
        let plain = Plain::default();
        plain.stand_in(shared);
        (plain, shared)
    }

    /// Starts and ends.
    fn ranges(shared: &Shared) -> Vec<(u64, u64)> {
        let words = (0..COUNT).map(|at| shared.get(field::PLAIN + 8 * at)).filter(|word| *word != 0);
        let decode = |word: u64| {
            let start = (word >> field::PLAIN_BITS) * PAGE_SIZE;
            (start, start + (word & ((1 << field::PLAIN_BITS) - 1)) * PAGE_SIZE)
        };
        let mut ranges: Vec<_> = words.map(decode).collect();
        ranges.sort_unstable();
        ranges
    }

    #[test]
    fn ranges_give_way_to_those_that_they_meet_and_the_oldest() {
        let (plain, shared) = plain();
        plain.offer(0x1000..0x3000);
        plain.offer(0x2000..0x5000);
        assert_eq!(ranges(&shared), [(0x2000, 0x5000)]);
        for start in 1..10 {
            plain.offer(start * 0x10000..start * 0x10000 + 0x1000);
        }
        assert_eq!(ranges(&shared).len(), COUNT);
        assert!(ranges(&shared).contains(&(0x90000, 0x91000)));
        let end = 0x7fff_ffff_f000;
        plain.offer(0x1000..end);
        assert_eq!(ranges(&shared), [(0x1000, 0x1000 + ((1 << field::PLAIN_BITS) - 1) * PAGE_SIZE)]);
        plain.offer(end - 0x1000..end);
        assert_eq!(ranges(&shared), [(end - 0x1000, end)]);
    }

    #[test]
    fn what_may_change_memory_withdraws_its_range() {
        let (addr, len, all) = (0x3000, 0x1000, Prot::READ | Prot::WRITE | Prot::EXEC);
        let harmless = [
            MemOp::Advise { addr, len, advice: libc::MADV_DONTNEED },
            MemOp::Protect { addr, len, prot: Prot::READ },
            MemOp::Unlock { addr, len },
            MemOp::Unmap { addr: 0x5000, len },
            MemOp::MapAnonymous { addr: 0x1000, len, prot: all, flags: 0 },
        ];
        let harmful = [
            MemOp::Unmap { addr, len },
            MemOp::MapAnonymous { addr: 0, len: u64::MAX, prot: Prot::READ, flags: 0 },
            MemOp::Lock { addr, len, flags: 0 },
            MemOp::Protect { addr, len, prot: all },
            MemOp::Remap { old: addr, old_len: len, new: 0x9000, new_len: len, flags: 0 },
            MemOp::Remap { old: 0x9000, old_len: len, new: 0x1000, new_len: 0x2000, flags: 0 },
        ];
        let (plain, shared) = plain();
        plain.offer(0x2000..0x5000);
        plain.note(&harmless);
        assert_eq!(ranges(&shared), [(0x2000, 0x5000)]);
        for op in harmful {
            plain.offer(0x2000..0x5000);
            plain.offer(0x20000..0x50000);
            plain.note(std::slice::from_ref(&op));
            let left = if matches!(op, MemOp::MapAnonymous { .. }) { vec![] } else { vec![(0x20000, 0x50000)] };
            assert_eq!(ranges(&shared), left, "{op:?}");
        }
        plain.clear();
        assert!(!plain.is_some() && ranges(&shared).is_empty());
    }
}
