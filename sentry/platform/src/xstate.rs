//! Floating-point and vector state as it stands in signal frames: the standard XSAVE layout (Intel SDM volume 1, chapter 13),
//! with notes in bytes 464 to 511 (`struct _fpx_sw_bytes`, arch/x86/include/uapi/asm/sigcontext.h) and a mark behind it.

use std::ops::Range;

/// Where the notes stand.
pub const NOTES: Range<usize> = 464..512;
/// Where the header of the extended state stands.
pub const HEADER: usize = 512;
/// First word of the notes where there is extended state (`FP_XSTATE_MAGIC1`).
pub const MAGIC1: u32 = 0x4650_5853;
/// The mark behind an image (`FP_XSTATE_MAGIC2`).
pub const MAGIC2: u32 = 0x4650_5845;

/// Returns the notes on an image of so many bytes with these components.
pub fn notes(size: u32, features: u64) -> [u8; NOTES.end - NOTES.start] {
    let mut notes = [0; NOTES.end - NOTES.start];
    notes[0..4].copy_from_slice(&MAGIC1.to_le_bytes());
    notes[4..8].copy_from_slice(&(size + size_of_val(&MAGIC2) as u32).to_le_bytes());
    notes[8..16].copy_from_slice(&features.to_le_bytes());
    notes[16..20].copy_from_slice(&size.to_le_bytes());
    notes
}
