//! The threads of the sandbox by slot number, and which of them are to be looked at.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use sentry_sync::{Level, Mutex};

use super::layout::SLOTS;
use super::thread::Thread;

const WORDS: usize = SLOTS as usize / 64;

type Chunk = Box<[Mutex<Option<Arc<Thread>>>]>;

/// Slots, and a bit for each whose stub has been asked something. Memory grows with the number of threads.
pub(super) struct Table {
    chunks: Box<[OnceLock<Chunk>]>,
    /// One bit per slot.
    active: Box<[AtomicU64]>,
    /// One bit per word of `active` that isn't zero.
    summary: Box<[AtomicU64]>,
    free: Mutex<Free>,
}

struct Free {
    next: u32,
    list: Vec<u32>,
}

impl Table {
    pub(super) fn new() -> Table {
        Table {
            chunks: (0..WORDS).map(|_| OnceLock::new()).collect(),
            active: (0..WORDS).map(|_| AtomicU64::new(0)).collect(),
            summary: (0..WORDS.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            free: Mutex::new(Level::Leaf, Free { next: 0, list: Vec::new() }),
        }
    }

    /// Takes a slot that nobody uses; its memory is zero.
    pub(super) fn allocate(&self) -> Option<u32> {
        let mut free = self.free.lock();
        if let Some(slot) = free.list.pop() {
            return Some(slot);
        }
        let slot = free.next;
        (slot < SLOTS).then(|| {
            free.next += 1;
            slot
        })
    }

    /// Returns one more than the highest slot ever taken.
    pub(super) fn allocated(&self) -> u32 {
        self.free.lock().next
    }

    /// Hears that a slot has no thread any more.
    pub(super) fn leave(&self, slot: u32) {
        self.put(slot, None);
        self.deactivate(slot);
    }

    /// Gives such a slot back.
    pub(super) fn release(&self, slot: u32) {
        self.free.lock().list.push(slot);
    }

    fn cell(&self, slot: u32) -> &Mutex<Option<Arc<Thread>>> {
        let slot = slot as usize;
        let chunk = self.chunks[slot / 64].get_or_init(|| (0..64).map(|_| Mutex::new(Level::Leaf, None)).collect());
        &chunk[slot % 64]
    }

    /// Puts a thread into its slot.
    pub(super) fn put(&self, slot: u32, thread: Option<Arc<Thread>>) {
        let old = std::mem::replace(&mut *self.cell(slot).lock(), thread);
        drop(old);
    }

    /// Returns the thread of a slot.
    pub(super) fn get(&self, slot: u32) -> Option<Arc<Thread>> {
        self.cell(slot).lock().clone()
    }

    /// Lets [`Table::scan`] look at a slot.
    pub(super) fn activate(&self, slot: u32) {
        let (word, bit) = (slot as usize / 64, 1 << (slot % 64));
        self.active[word].fetch_or(bit, Ordering::SeqCst);
        let (above, bit) = (&self.summary[word / 64], 1 << (word % 64));
        if above.load(Ordering::SeqCst) & bit == 0 {
            above.fetch_or(bit, Ordering::SeqCst);
        }
    }

    /// Ends that.
    pub(super) fn deactivate(&self, slot: u32) {
        let (word, bit) = (slot as usize / 64, 1u64 << (slot % 64));
        if self.active[word].fetch_and(!bit, Ordering::SeqCst) & !bit == 0 {
            let (above, bit) = (&self.summary[word / 64], 1 << (word % 64));
            above.fetch_and(!bit, Ordering::SeqCst);
            // Somebody may have activated a slot of this word before its bit above was cleared.
            if self.active[word].load(Ordering::SeqCst) != 0 {
                above.fetch_or(bit, Ordering::SeqCst);
            }
        }
    }

    /// Calls `look` with each active thread that `pick` picks. `pick` is called under a lock.
    pub(super) fn scan(&self, pick: impl Fn(&Thread) -> bool, mut look: impl FnMut(Arc<Thread>)) {
        for (at, above) in self.summary.iter().enumerate() {
            for word in bits(above.load(Ordering::SeqCst)).map(|bit| at * 64 + bit) {
                for bit in bits(self.active[word].load(Ordering::SeqCst)) {
                    let picked = match &*self.cell((word * 64 + bit) as u32).lock() {
                        Some(thread) if pick(thread) => Some(Arc::clone(thread)),
                        _ => None,
                    };
                    picked.into_iter().for_each(&mut look);
                }
            }
        }
    }
}

fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros();
        word &= word.wrapping_sub(1);
        (bit < 64).then_some(bit as usize)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_listed_in_order() {
        assert_eq!(bits(0).count(), 0);
        assert_eq!(bits(0x8000_0000_0000_0005).collect::<Vec<_>>(), [0, 2, 63]);
    }

    #[test]
    fn slots_are_given_once() {
        let table = Table::new();
        let slots: Vec<u32> = (0..100).filter_map(|_| table.allocate()).collect();
        assert_eq!(slots, (0..100).collect::<Vec<_>>());
        table.leave(7);
        table.release(7);
        assert_eq!(table.allocate(), Some(7));
    }

    #[test]
    fn the_summary_follows() {
        let table = Table::new();
        table.activate(70);
        table.activate(71);
        table.deactivate(70);
        assert_eq!(table.summary[0].load(Ordering::SeqCst), 2);
        table.deactivate(71);
        assert_eq!(table.summary[0].load(Ordering::SeqCst), 0);
    }
}
