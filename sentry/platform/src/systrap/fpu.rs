//! What this host's floating-point and vector state in signal frames ([`crate::xstate`]) has in it.

use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

use abi::Errno;

use crate::xstate::{HEADER, MAGIC1, MAGIC2, NOTES};

/// Legacy area (x87 and SSE) with the header behind it.
const MINIMUM: usize = 576;
const MXCSR: usize = 24;
const MXCSR_MASK: usize = 28;
/// MXCSR bits that every processor has; for one that doesn't tell.
const MXCSR_DEFAULT: u32 = 0xffbf;
const PKRU: u32 = 9;

/// Sizes and masks of the state on this host, learned from a frame that the host wrote.
#[derive(Clone, Debug)]
pub(super) struct Fpu {
    /// Bytes of the image.
    pub(super) size: usize,
    /// Components that the host saves and restores.
    pub(super) features: u64,
    mxcsr_mask: u32,
    /// State of a new program.
    pub(super) initial: Vec<u8>,
    /// Offset and size of each component of `features`. In a virtual machine it takes some ten microseconds to ask the
    /// processor for one.
    components: OnceLock<Vec<Option<(usize, usize)>>>,
}

impl Fpu {
    /// Learns from the state in the first frame: `image` starts there and ends with the frame.
    pub(super) fn learn(image: &[u8]) -> Option<Fpu> {
        let size = word(image, NOTES.start + 16)? as usize & 0xffff_ffff;
        if word(image, NOTES.start)? as u32 != MAGIC1 || size < MINIMUM || size > image.len() {
            return None;
        }
        let features = word(image, NOTES.start + 8)?;
        let mask = (word(image, MXCSR)? >> 32) as u32;
        let mxcsr_mask = if mask == 0 { MXCSR_DEFAULT } else { mask };
        let mut initial = vec![0; size];
        put(&mut initial, 0, &0x37f_u16.to_le_bytes());
        put(&mut initial, MXCSR, &0x1f80_u32.to_le_bytes());
        put(&mut initial, MXCSR_MASK, &mask.to_le_bytes());
        // The one component whose start isn't zero in Linux: a new program may use no protection key but 0.
        if features & 1 << PKRU != 0
            && let Some((offset, _)) = component(PKRU)
            && offset + 4 <= size
        {
            put(&mut initial, offset, &0x5555_5554_u32.to_le_bytes());
            put(&mut initial, HEADER, &(1u64 << PKRU).to_le_bytes());
        }
        Some(Fpu { size, features, mxcsr_mask, initial, components: OnceLock::new() })
    }

    /// Returns offset and size of a component that the host saves and restores.
    fn known(&self, number: u32) -> Option<(usize, usize)> {
        let ask = |number: u32| (self.features & 1 << number != 0).then(|| component(number)).flatten();
        *self.components.get_or_init(|| (0..63).map(ask).collect()).get(number as usize)?
    }

    /// Returns the bytes of an image with the mark behind it.
    pub(super) fn marked_size(&self) -> usize {
        self.size + size_of_val(&MAGIC2)
    }

    /// Makes of an image in a frame what the trait promises.
    pub(super) fn present(&self, image: &mut [u8]) {
        if let Some(notes) = image.get_mut(NOTES) {
            notes.fill(0);
        }
        put(image, NOTES.start, &self.features.to_le_bytes());
    }

    /// Checks what a guest gave, as the host would; returns the image to put into a frame.
    pub(super) fn check(&self, xsave: &[u8]) -> Result<Vec<u8>, Errno> {
        if xsave.len() < MINIMUM || xsave.len() > self.size {
            return Err(Errno::EINVAL);
        }
        let header = |at| word(xsave, HEADER + at).ok_or(Errno::EINVAL);
        let present = header(0)?;
        let reserved = (8..64).step_by(8).map(header).try_fold(0, |all, word| word.map(|word| all | word))?;
        if present & !self.features != 0 || reserved != 0 {
            return Err(Errno::EINVAL);
        }
        if word(xsave, MXCSR).ok_or(Errno::EINVAL)? as u32 & !self.mxcsr_mask != 0 {
            return Err(Errno::EINVAL);
        }
        let fits = |number: u32| self.known(number).is_some_and(|(offset, size)| offset + size <= xsave.len());
        if (2..63).filter(|number| present & 1 << number != 0).any(|number| !fits(number)) {
            return Err(Errno::EINVAL);
        }
        let mut image = vec![0; self.size];
        image[..xsave.len()].copy_from_slice(xsave);
        Ok(image)
    }
}

/// Returns offset and size of a component beyond the legacy area, where the processor has it.
fn component(number: u32) -> Option<(usize, usize)> {
    let leaf = __cpuid_count(0xd, number);
    (leaf.eax != 0 && leaf.ebx != 0).then_some((leaf.ebx as usize, leaf.eax as usize))
}

fn put(buf: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = buf.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

fn word(buf: &[u8], at: usize) -> Option<u64> {
    buf.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}
