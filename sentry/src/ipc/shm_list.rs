//! Segments as they are mapped and listed.

use std::collections::HashMap;
use std::fmt::Write;

use super::Segment;
use crate::Kernel;
use crate::mm::{Backing, Vma};

/// Returns the segment that an area maps, and the offset in it.
pub fn segment_of(vma: &Vma) -> Option<(&Segment, u64)> {
    match &vma.backing {
        Backing::File { file, offset } => file.as_any().downcast_ref().map(|segment| (segment, *offset)),
        _ => None,
    }
}

/// Counts the mappings of each segment in all address spaces.
pub fn attachments(kernel: &Kernel) -> HashMap<i32, u64> {
    let mms: HashMap<u64, _> = {
        let table = kernel.tasks.read();
        table.tasks.values().map(|task| task.mm.load_full()).map(|mm| (mm.id(), mm)).collect()
    };
    let mut counts = HashMap::new();
    for mm in mms.values() {
        let books = mm.books();
        for (segment, _) in books.tree().iter().filter_map(segment_of) {
            *counts.entry(segment.id).or_default() += 1;
        }
    }
    counts
}

/// Renders `/proc/sysvipc/shm`. Resident and swapped pages are known to the host only and shown as none.
pub(super) fn render(kernel: &Kernel) -> Vec<u8> {
    /// `SHM_DEST` and `SHM_LOCKED`, shown above the permission bits.
    const REMOVED: u32 = 0o1000;
    const LOCKED: u32 = 0o2000;
    let mut text = "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap\n".to_owned();
    let attached = attachments(kernel);
    for (_, segment) in kernel.ipc.shm.list() {
        let info = segment.info();
        let state = |set: bool, bit: u32| if set { bit } else { 0 };
        let mode = info.mode | state(info.removed, REMOVED) | state(info.locked, LOCKED);
        // Writing to a string can't fail.
        let _ = writeln!(
            text,
            "{:10} {:10}  {mode:4o} {:21} {:5} {:5}  {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10} {:21} {:21}",
            info.key,
            segment.id,
            segment.size,
            info.cpid,
            info.lpid,
            attached.get(&segment.id).copied().unwrap_or(0),
            info.uid,
            info.gid,
            info.cuid,
            info.cgid,
            info.atime,
            info.dtime,
            info.ctime,
            0,
            0
        );
    }
    text.into_bytes()
}
