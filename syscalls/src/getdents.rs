//! `getdents`, `getdents64`.

use std::sync::Arc;

use abi::{Errno, Fd, UserAddr};
use sentry::Current;
use sentry::vfs::File;
use sentry_fs::{DirEntry, DirSink};

use crate::io;

/// Most bytes listed by one call: a larger buffer gets part of its fill, as it may.
const MAX_BYTES: usize = 256 * 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    /// `struct linux_dirent`: the type in the last byte.
    Old,
    /// `struct linux_dirent64`.
    New,
}

/// Lays entries out for the guest.
struct Buffer {
    format: Format,
    bytes: Vec<u8>,
    max: usize,
    next: u64,
    full: bool,
}

impl DirSink for Buffer {
    fn entry(&mut self, entry: &DirEntry<'_>) -> bool {
        let kind = entry.kind.map_or(0, |kind| kind.dirent_type());
        // Header of 18 or 19 bytes, name, NUL; the old format ends with the type.
        // Header and NUL of the new form; header, NUL and type byte of the old one.
        let fixed = 20;
        let len = (fixed + entry.name.len()).next_multiple_of(8);
        let Ok(reclen) = u16::try_from(len) else { return true };
        if self.bytes.len() + len > self.max {
            self.full = true;
            return false;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&entry.ino.to_le_bytes());
        self.bytes.extend_from_slice(&entry.next.to_le_bytes());
        self.bytes.extend_from_slice(&reclen.to_le_bytes());
        if self.format == Format::New {
            self.bytes.push(kind);
        }
        self.bytes.extend_from_slice(entry.name);
        self.bytes.resize(start + len, 0);
        if self.format == Format::Old
            && let Some(last) = self.bytes.last_mut()
        {
            *last = kind;
        }
        self.next = entry.next;
        true
    }
}

/// Serves `getdents(2)`.
pub fn getdents(cur: &mut Current, fd: Fd, dirp: UserAddr, count: u32) -> Result<u64, Errno> {
    list(cur, fd, dirp, count, Format::Old)
}

/// Serves `getdents64(2)`.
pub fn getdents64(cur: &mut Current, fd: Fd, dirp: UserAddr, count: u32) -> Result<u64, Errno> {
    list(cur, fd, dirp, count, Format::New)
}

fn list(cur: &Current, fd: Fd, dirp: UserAddr, count: u32, format: Format) -> Result<u64, Errno> {
    let file: Arc<File> = io::file_of(cur, fd)?;
    let path = file.path.as_ref().filter(|path| path.dentry.is_dir()).ok_or(Errno::ENOTDIR)?;
    if path.dentry.is_unlinked() {
        return Err(Errno::ENOENT);
    }
    let start = file.position();
    let max = usize::try_from(count).unwrap_or(usize::MAX).min(MAX_BYTES);
    let mut buffer = Buffer { format, bytes: Vec::new(), max, next: start, full: false };
    file.ops.read_dir(start, &mut buffer)?;
    if buffer.bytes.is_empty() {
        return if buffer.full { Err(Errno::EINVAL) } else { Ok(0) };
    }
    cur.mem.write_bytes(dirp, &buffer.bytes)?;
    // Written back only if nobody has moved the position meanwhile.
    file.with_position(|pos| {
        if *pos == start {
            *pos = buffer.next;
        }
    });
    sentry::vfs::notify::file_event(&file, sentry_fs::inotify::InMask::ACCESS);
    Ok(buffer.bytes.len() as u64)
}
