//! Reads of files that the calling thread copies from a mapping by itself.

use std::sync::Arc;

use abi::UserAddr;
use abi::types::Iovec;
use sentry_fs::MapSource;
use sentry_platform::FileBytes;

use super::Current;
use crate::vfs::File;

/// Most bytes of one read: the thread hears of nothing else meanwhile.
const MOST: u64 = 4 << 20;

impl Current {
    /// Reads, where the file is mapped for that; returns how many bytes the guest will find. `None`: read in another way.
    ///
    /// Nobody keeps others from changing the guest's buffer until then, as nobody does while a read copies. What can't be
    /// written is not lost: the file still has it.
    pub fn read_mapped(&mut self, file: &Arc<File>, pos: Option<u64>, buffer: &Iovec) -> Option<u64> {
        let Iovec { base, len } = *buffer;
        if self.mm.own.is_empty() || len == 0 || len > MOST || !file.is_regular() {
            return None;
        }
        let read = file.read_elsewhere(pos, len, |host, offset, len| {
            let source = self.mm.own.find(host, offset, len.into())?;
            let hears = pos.is_none().then(|| Arc::clone(file) as _);
            let bytes = FileBytes { file: Arc::clone(host), offset, at: source.at, len, hears };
            self.source = Some(source);
            self.mem.copy_last_bytes(UserAddr::new(base), bytes).then_some(())
        });
        if read.is_none() {
            self.release_memory();
        }
        read
    }

    /// Hears how much was read in another way, from `pos` or up to the description's own position. Has a file mapped that is
    /// read again and again.
    pub fn has_read(&mut self, file: &Arc<File>, pos: Option<u64>, count: u64) {
        if !self.mm.own.is_possible() || !file.is_regular() || !file.is_read_often(count) || self.own_change.is_some() {
            return;
        }
        let next = pos.unwrap_or_else(|| file.position());
        let Some((host, _)) = file.ops.stored(next, 1) else { return };
        // What is to be mapped is asked for in the same way as for the guest: the file may have to know.
        if let Ok(MapSource::Host { file: mapped, offset: 0 }) = file.ops.map(false)
            && Arc::ptr_eq(&mapped, &host)
        {
            self.own_change = self.mm.own.open(host, file.id, next);
        }
    }

    /// Hears that a descriptor of a file is closed.
    pub fn has_closed(&mut self, file: &File) {
        if self.mm.own.is_empty() {
            return;
        }
        let change = self.mm.own.close(file.id);
        if let Some(change) = change {
            self.own_change = Some(match self.own_change.take() {
                Some(before) => before.and(change),
                None => change,
            });
        }
    }
}
