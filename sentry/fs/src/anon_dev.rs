//! Numbers for what has no disk: devices of file systems (major 0, as Linux's `get_anon_bdev`) and inodes of pipes and the like.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::DeviceId;

static NEXT: AtomicU32 = AtomicU32::new(2);

/// Returns a device number that no other file system of this sandbox has.
pub fn next_anon_device() -> DeviceId {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    DeviceId::new(number >> 20 & 0xfff, number & 0xf_ffff)
}

static NEXT_INO: AtomicU64 = AtomicU64::new(1024);

/// Returns an inode number for an object without a file system of its own: pipes, sockets, namespaces.
pub fn next_anon_ino() -> u64 {
    NEXT_INO.fetch_add(1, Ordering::Relaxed)
}
