//! Device numbers of file systems that have no device (major 0, as Linux's `get_anon_bdev`).

use std::sync::atomic::{AtomicU32, Ordering};

use crate::DeviceId;

static NEXT: AtomicU32 = AtomicU32::new(2);

/// Returns a device number that no other file system of this sandbox has.
pub fn next_anon_device() -> DeviceId {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    DeviceId::new(number >> 20 & 0xfff, number & 0xf_ffff)
}
