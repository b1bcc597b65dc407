//! Reads and writes of files that the calling thread performs by itself, by way of a mapping.

use std::sync::Arc;

use abi::types::Iovec;
use sentry_platform::{Direction, FileBytes, PLACES};
use smallvec::SmallVec;

use super::Current;
use crate::vfs::File;

/// Most bytes of one call: the thread hears of nothing else meanwhile.
const MOST: u64 = 4 << 20;
/// Those who hold a description that one thread uses by one descriptor: the table, and the call.
const OF_ONE: usize = 2;

impl Current {
    /// Reads, where the file is mapped for that; returns how many bytes the guest will find. `None`: read in another way.
    ///
    /// Nobody keeps others from changing the guest's buffer until then, as nobody does while a read copies. What can't be
    /// written is not lost: the file still has it.
    pub fn read_mapped(&mut self, file: &Arc<File>, pos: Option<u64>, list: &[Iovec]) -> Option<u64> {
        self.move_mapped(file, pos, list, Direction::Read)
    }

    /// Writes, where the file is mapped for that and nobody else writes to it: writes are atomic to each other, and this one
    /// is made when the call returns. `None`: write in another way.
    pub fn write_mapped(&mut self, file: &Arc<File>, pos: Option<u64>, list: &[Iovec]) -> Option<u64> {
        if self.mm.own.is_empty() || !self.is_only_writer(file) {
            return None;
        }
        self.move_mapped(file, pos, list, Direction::Write)
    }

    fn is_only_writer(&self, file: &Arc<File>) -> bool {
        !self.mm.is_shared() && Arc::strong_count(file) <= OF_ONE && file.is_only_writer()
    }

    fn move_mapped(&mut self, file: &Arc<File>, pos: Option<u64>, list: &[Iovec], direction: Direction) -> Option<u64> {
        if self.mm.own.is_empty() || list.len() > PLACES || !file.is_regular() {
            return None;
        }
        let len = list.iter().map(|buffer| buffer.len).sum();
        if len == 0 || len > MOST {
            return None;
        }
        let moved = file.move_elsewhere(pos, len, direction, |host, offset, len| {
            let place = self.mm.own.find(host, offset, len.into(), direction == Direction::Write)?;
            let (file, moved) = (Arc::clone(file) as _, pos.is_none());
            let bytes = FileBytes { file, offset, at: place.at, len, direction, moved };
            self.place = Some(place);
            self.mem.copy_last_bytes(&first(list, len), bytes).then_some(())
        });
        if moved.is_none() {
            self.release_memory();
        }
        moved
    }

    /// Hears how much was read in another way, from `pos` or up to the description's own position. Has a file mapped that is
    /// read again and again.
    pub fn has_read(&mut self, file: &Arc<File>, pos: Option<u64>, count: u64) {
        self.has_moved(file, pos, count, Direction::Read);
    }

    /// The same of a write.
    pub fn has_written(&mut self, file: &Arc<File>, pos: Option<u64>, count: u64) {
        self.has_moved(file, pos, count, Direction::Write);
    }

    fn has_moved(&mut self, file: &Arc<File>, pos: Option<u64>, count: u64, direction: Direction) {
        if !self.mm.own.is_possible() || !file.is_regular() || self.own_change.is_some() {
            return;
        }
        let end = pos.map_or_else(|| file.position(), |pos| pos.saturating_add(count));
        let write = direction == Direction::Write;
        if !file.is_used_often(end, count) || (write && !self.is_only_writer(file)) {
            return;
        }
        // Whoever reads the same again is to find it there; whoever makes the file longer finds nothing to replace.
        let next = if write { end } else { end.saturating_sub(count) };
        let stored = if write { file.ops.replaceable(next, 1) } else { file.ops.stored(next, 1) };
        let Some((host, _)) = stored else { return };
        file.ops.show();
        self.own_change = self.mm.own.open(host, file.id, next, write);
    }

    /// Hears that a descriptor of a file is closed.
    pub fn has_closed(&mut self, file: &File) {
        if let Some(change) = self.mm.own.close(file.id) {
            self.own_change = Some(match self.own_change.take() {
                Some(before) => before.and(change),
                None => change,
            });
        }
    }
}

/// Returns where the first `len` bytes of a list of buffers are.
fn first(list: &[Iovec], len: u32) -> SmallVec<[(u64, usize); 2]> {
    let mut left = u64::from(len);
    let places = list.iter().map(|buffer| {
        let part = buffer.len.min(left);
        left -= part;
        (buffer.base, usize::try_from(part).unwrap_or(0))
    });
    places.filter(|(_, len)| *len > 0).collect()
}
