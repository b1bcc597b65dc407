//! Robust futexes: the words that an ended thread still owned are marked, and one sleeper of each is woken
//! (`man 2 set_robust_list`, kernel: `exit_robust_list`).

use abi::{UserAddr, UserRef};
use sentry_platform::MemOp;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::MATCH_ANY;
use crate::Current;

/// Set in a word whose owner has ended.
pub const OWNER_DIED: u32 = 0x4000_0000;
/// Set in a word that somebody sleeps on.
pub const WAITERS: u32 = 0x8000_0000;
/// The part of a word that holds the owner's thread id.
pub const TID_MASK: u32 = 0x3fff_ffff;
/// Most entries followed: a list may be circular.
const LIMIT: usize = 2048;

/// `struct robust_list_head`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RobustListHead {
    /// First entry; bit 0 marks a priority-inheritance futex.
    pub list: u64,
    /// From an entry to its word, in bytes.
    pub futex_offset: i64,
    /// An entry that is being added or removed.
    pub pending: u64,
}

/// Walks the thread's robust list. Memory that can't be read ends the walk silently.
pub(crate) async fn release(cur: &mut Current) {
    let head_at = cur.task.robust_list();
    cur.task.set_robust_list(UserAddr::NULL);
    // Where nobody else has any of the memory, nobody looks.
    if head_at.is_null() || !cur.mm.is_shared() && !cur.mm.books().has_shared() {
        return;
    }
    let Ok(head) = cur.mem.read(UserRef::<RobustListHead>::new(head_at)) else { return };
    let mut entry = head.list;
    for _ in 0..LIMIT {
        if entry & !1 == head_at.raw() {
            break;
        }
        // Read before the word is released: its new owner may take the entry out.
        let next = cur.mem.read(UserRef::<u64>::new(UserAddr::new(entry & !1)));
        if entry & !1 != head.pending & !1 && !release_word(cur, entry, head.futex_offset, false).await {
            return;
        }
        let Ok(next) = next else { return };
        entry = next;
    }
    if head.pending & !1 != 0 {
        release_word(cur, head.pending, head.futex_offset, true).await;
    }
}

/// Marks one word if the thread owns it; returns false where it can't be reached.
async fn release_word(cur: &mut Current, entry: u64, offset: i64, pending: bool) -> bool {
    let addr = UserAddr::new((entry & !1).wrapping_add_signed(offset));
    if !addr.is_aligned(4) {
        return false;
    }
    let Ok(mut word) = cur.mem.read(UserRef::<u32>::new(addr)) else { return false };
    let pi = entry & 1 != 0;
    // A thread that died between unlocking and waking left nobody to wake the next (kernel: `handle_futex_death`).
    if pending && !pi && word & TID_MASK == 0 {
        wake(cur, addr);
        return true;
    }
    loop {
        if word & TID_MASK != cur.task.tid.0.cast_unsigned() {
            return true;
        }
        let new = (word & WAITERS) | OWNER_DIED;
        let exchange = MemOp::CompareExchange { addr: addr.raw(), old: word, new };
        let Ok(found) = cur.mm.clone().host_op(cur.context.as_mut(), exchange).await else { return false };
        let Ok(found) = u32::try_from(found) else { return false };
        if found == word {
            break;
        }
        word = found;
    }
    if word & WAITERS != 0 && !pi {
        wake(cur, addr);
    } else if pi {
        super::pi::owner_died(cur, addr).await;
    }
    true
}

/// Wakes one sleeper; as in Linux not one that sleeps with `FUTEX_PRIVATE_FLAG`.
fn wake(cur: &Current, addr: UserAddr) {
    if let Ok(key) = cur.mm.futex_key(addr, false) {
        let _ = cur.kernel().futexes.wake(&key, 1, MATCH_ANY);
    }
}

/// Clears the thread id that `CLONE_CHILD_CLEARTID` asked for and wakes who joins the thread.
pub(crate) fn clear_tid(cur: &Current, addr: UserAddr) {
    // The guest may have unmapped it; nobody is there to be told.
    if cur.mem.write(UserRef::new(addr), &0u32).is_ok() {
        wake(cur, addr);
    }
}
