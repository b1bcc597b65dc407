//! The descriptors that a thread has used lately: found again without the table's lock.
//!
//! A thread remembers files weakly, with the table's count of descriptors that have lost their file: as long as that
//! stays, each descriptor remembered still means what it meant. Nothing is kept alive by having been used.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use abi::{Errno, Fd};

use super::{FdTable, File};

/// Descriptors remembered, by their low bits.
const SLOTS: usize = 4;

#[derive(Default)]
struct Slot {
    fd: i32,
    /// The table's count, plus one; 0 in an empty slot.
    generation: u64,
    /// Set at the second use: most descriptors are used once between an open and a close.
    file: Option<Weak<File>>,
}

/// What one thread remembers of its table.
#[derive(Default)]
pub struct KnownFiles(RefCell<[Slot; SLOTS]>);

impl KnownFiles {
    /// Returns the file behind a descriptor: `EBADF` where there is none.
    pub(crate) fn get(&self, table: &FdTable, fd: Fd) -> Result<Arc<File>, Errno> {
        // Read before the table is looked at: what a later change makes untrue isn't remembered as true.
        let generation = table.generation() + 1;
        let mut slots = self.0.borrow_mut();
        let slot = &mut slots[fd.0.cast_unsigned() as usize % SLOTS];
        let seen = slot.generation == generation && slot.fd == fd.0;
        if seen && let Some(file) = slot.file.as_ref().and_then(Weak::upgrade) {
            return Ok(file);
        }
        let file = table.get(fd)?;
        *slot = Slot { fd: fd.0, generation, file: seen.then(|| Arc::downgrade(&file)) };
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use std::any::Any;

    use abi::flags::OpenFlags;
    use sentry_fs::FileOps;

    use super::*;
    use crate::vfs::FdFlags;

    struct Nothing;

    impl FileOps for Nothing {
        fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
            self
        }
    }

    fn file() -> Arc<File> {
        File::new(Arc::new(Nothing), None, OpenFlags::empty())
    }

    #[test]
    fn a_descriptor_remembered_is_not_found_after_it_means_another_file() {
        let (table, known) = (FdTable::default(), KnownFiles::default());
        let (first, second) = (file(), file());
        let fd = table.install(Arc::clone(&first), FdFlags::empty(), 0, 9).expect("there is room");
        for _ in 0..3 {
            assert!(Arc::ptr_eq(&known.get(&table, fd).expect("it is open"), &first));
        }
        table.replace(fd, Arc::clone(&second), FdFlags::empty(), 9).expect("it is open");
        for _ in 0..3 {
            assert!(Arc::ptr_eq(&known.get(&table, fd).expect("it is open"), &second));
        }
        table.remove(fd).expect("it is open");
        assert_eq!(known.get(&table, fd).err(), Some(Errno::EBADF));
    }

    #[test]
    fn nothing_is_kept_alive_by_being_remembered() {
        let (table, known) = (FdTable::default(), KnownFiles::default());
        let first = file();
        let weak = Arc::downgrade(&first);
        let fd = table.install(first, FdFlags::empty(), 0, 9).expect("there is room");
        for _ in 0..3 {
            known.get(&table, fd).expect("it is open");
        }
        drop(table.remove(fd));
        assert!(weak.upgrade().is_none());
    }
}
