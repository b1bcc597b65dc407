//! What is taken back when a process ends (`SEM_UNDO`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sentry_sync::{Level, Mutex};

use super::SemTable;
use crate::Task;

/// The undo list of a thread, shared by `CLONE_SYSVSEM`. The adjustments themselves stand in the sets.
pub struct UndoList {
    number: u64,
    /// Sets that may hold adjustments of this list.
    sets: Mutex<BTreeSet<i32>>,
}

impl UndoList {
    /// Returns the thread's list, a new one if it has none yet.
    pub fn of(task: &Task) -> Arc<UndoList> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut own = task.sem_undo.lock();
        let list = own.get_or_insert_with(|| {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            Arc::new(UndoList { number, sets: Mutex::new(Level::Leaf, BTreeSet::new()) })
        });
        Arc::clone(list)
    }

    /// Returns what tells this list from others.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Notes that a set may hold adjustments.
    pub fn note(&self, set: i32) {
        self.sets.lock().insert(set);
    }

    /// Applies all adjustments, on behalf of the process that ends.
    pub fn apply(self, table: &SemTable, pid: i32) {
        for id in self.sets.into_inner() {
            // A set may have been removed meanwhile.
            if let Ok(set) = table.get(id) {
                set.undo(self.number, pid);
            }
        }
    }
}
