//! Memory shared with stubs. The one type through which the sentry touches it: every access is atomic (so volatile in
//! effect), bounded and copied out.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Bytes of one context.
pub(super) const CONTEXT_SIZE: usize = 0x1_0000;

/// A piece of memory that other processes may write at any time. Lives as long as the sentry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shared {
    base: *mut u8,
    len: usize,
}

// SAFETY: all access goes through atomics.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// Names a mapping.
    ///
    /// # Safety
    /// `base` is page-aligned, and `len` bytes from it on stay mapped readable and writable for ever.
    pub(super) unsafe fn new(base: *mut u8, len: usize) -> Shared {
        Shared { base, len }
    }

    /// Returns a part. `offset` is a multiple of 8; panics where the part isn't inside, which only a wrong constant of
    /// ours can cause.
    pub(super) fn part(&self, offset: usize, len: usize) -> Shared {
        assert!(offset.is_multiple_of(8) && offset.checked_add(len).is_some_and(|end| end <= self.len));
        // SAFETY: the offset is inside, as just checked.
        let base = unsafe { self.base.add(offset) };
        Shared { base, len }
    }

    /// Returns the word at `offset`, which is a constant of the layout.
    pub(super) fn u32(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.len);
        let word = self.base.wrapping_add(offset);
        // SAFETY: inside the mapping (just checked), aligned (checked; the base is), mapped for ever, and only accessed
        // atomically.
        unsafe { AtomicU32::from_ptr(word.cast()) }
    }

    /// Returns the word at `offset`, which is a constant of the layout.
    pub(super) fn u64(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.len);
        let word = self.base.wrapping_add(offset);
        // SAFETY: inside the mapping (just checked), aligned (checked; the base is), mapped for ever, and only accessed
        // atomically.
        unsafe { AtomicU64::from_ptr(word.cast()) }
    }

    /// Has the processor fetch the line at `offset`, a constant of the layout, for a read that follows soon.
    pub(super) fn prefetch(&self, offset: usize) {
        assert!(offset < self.len);
        let line = self.base.wrapping_add(offset);
        // SAFETY: SSE is part of x86-64, and a prefetch reads and faults nothing.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.cast()) };
    }

    /// Reads a word once.
    pub(super) fn get(&self, offset: usize) -> u64 {
        self.u64(offset).load(Ordering::Relaxed)
    }

    /// Writes a word.
    pub(super) fn set(&self, offset: usize, value: u64) {
        self.u64(offset).store(value, Ordering::Relaxed);
    }

    /// Makes all of it zero.
    pub(super) fn clear(&self) {
        (0..self.len).step_by(8).for_each(|at| self.set(at, 0));
    }

    /// Copies bytes out; offset and length are multiples of 8.
    pub(super) fn read(&self, offset: usize, buf: &mut [u8]) {
        for (at, bytes) in buf.chunks_mut(8).enumerate() {
            let word = self.get(offset + at * 8).to_le_bytes();
            bytes.copy_from_slice(&word[..bytes.len()]);
        }
    }

    /// Copies bytes in; offset is a multiple of 8, a last part of a word is filled up with zeros.
    pub(super) fn write(&self, offset: usize, buf: &[u8]) {
        for (at, bytes) in buf.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            self.set(offset + at * 8, u64::from_le_bytes(word));
        }
    }
}
