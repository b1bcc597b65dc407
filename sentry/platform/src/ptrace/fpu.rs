//! Floating-point and vector state in the processor's standard XSAVE layout (Intel SDM volume 1, chapter 13).

use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

use abi::Errno;

use super::host;
use crate::PlatformError;
use crate::xstate::{HEADER, NOTES};

/// Size of the legacy area and the header.
const MINIMUM: usize = 576;
/// The most that any processor needs with all components of today (AMX included), with room.
const MAXIMUM: usize = 64 << 10;
/// AMX tiles: a program must ask for them before its signal frames hold them, and ours can't ask.
const DYNAMIC: u64 = 0b11 << 17;
const X87: u64 = 1;
const SSE: u64 = 2;
const PKRU: u32 = 9;

/// Sizes of the state on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fpu {
    /// What `PTRACE_SETREGSET` wants.
    full: usize,
    /// What signal frames hold.
    shown: usize,
    /// What a new program starts with, `full` bytes.
    initial: Vec<u8>,
    /// Offset and size of each component. In a virtual machine it takes some ten microseconds to ask the processor for one.
    components: OnceLock<Vec<Option<(usize, usize)>>>,
}

impl Fpu {
    /// Asks about the host by a stopped thread whose protection keys are those of a new program.
    pub(super) fn probe(tid: i32) -> Result<Fpu, Errno> {
        let mut buf = vec![0; MAXIMUM];
        let full = host::get_xstate(tid, &mut buf)?;
        if full < MINIMUM {
            return Err(Errno::ENODEV);
        }
        let mut initial = vec![0; full];
        let mut present = X87 | SSE;
        put(&mut initial, 0, &0x37f_u16.to_le_bytes());
        put(&mut initial, 24, &0x1f80_u32.to_le_bytes());
        if word(&buf, HEADER) & 1 << PKRU != 0
            && let Some((offset, _)) = component(PKRU)
            && let (Some(from), Some(to)) = (buf.get(offset..offset + 4), initial.get_mut(offset..offset + 4))
        {
            to.copy_from_slice(from);
            present |= 1 << PKRU;
        }
        put(&mut initial, HEADER, &present.to_le_bytes());
        let enabled = supported() & !DYNAMIC;
        let shown = (2..63)
            .filter(|number| enabled & 1 << number != 0)
            .filter_map(component)
            .map(|(offset, size)| offset + size)
            .fold(MINIMUM, usize::max)
            .min(full);
        Ok(Fpu { full, shown, initial, components: OnceLock::new() })
    }

    /// Returns offset and size of a component, asked for once.
    fn known(&self, number: u32) -> Option<(usize, usize)> {
        let list = || {
            let enabled = supported();
            (0..63).map(|number| (enabled & 1 << number != 0).then(|| component(number)).flatten()).collect()
        };
        self.components.get_or_init(list).get(number as usize).copied().flatten()
    }

    /// Reads the state of a stopped thread.
    pub(super) fn read(&self, tid: i32) -> Result<Vec<u8>, Errno> {
        let mut buf = vec![0; self.full];
        host::get_xstate(tid, &mut buf)?;
        let enabled = word(&buf, NOTES.start) & !DYNAMIC;
        if let Some(notes) = buf.get_mut(NOTES) {
            notes.fill(0);
        }
        put(&mut buf, NOTES.start, &enabled.to_le_bytes());
        buf.truncate(self.shown);
        Ok(buf)
    }

    /// Writes the state of a stopped thread, as a guest gave it.
    pub(super) fn write(&self, tid: i32, xsave: &[u8]) -> Result<(), PlatformError> {
        let invalid = PlatformError::Refused(Errno::EINVAL);
        if xsave.len() < MINIMUM || xsave.len() > self.full {
            return Err(invalid);
        }
        let missing = (2..63).filter(|number| word(xsave, HEADER) & 1 << number != 0).any(|number| {
            self.known(number).is_none_or(|(offset, size)| offset.checked_add(size).is_none_or(|end| end > xsave.len()))
        });
        if missing {
            return Err(invalid);
        }
        let mut buf = vec![0; self.full];
        buf[..xsave.len()].copy_from_slice(xsave);
        if let Some(notes) = buf.get_mut(NOTES) {
            notes.fill(0);
        }
        host::set_xstate(tid, &buf).map_err(|errno| match errno {
            Errno::ESRCH => PlatformError::Dead("setting its floating-point state"),
            _ => invalid,
        })
    }

    /// Puts a stopped thread's state to that of a new program.
    pub(super) fn reset(&self, tid: i32) -> Result<(), Errno> {
        host::set_xstate(tid, &self.initial)
    }
}

/// Returns the components that the host has enabled (`XCR0`), as far as the processor knows them.
fn supported() -> u64 {
    let leaf = __cpuid_count(0xd, 0);
    u64::from(leaf.edx) << 32 | u64::from(leaf.eax)
}

/// Returns offset and size of one component beyond the legacy area, `None` where the processor has none of that number
/// (or it isn't user state).
fn component(number: u32) -> Option<(usize, usize)> {
    let leaf = __cpuid_count(0xd, number);
    (leaf.eax != 0 && leaf.ebx != 0).then_some((leaf.ebx as usize, leaf.eax as usize))
}

fn put(buf: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = buf.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

fn word(buf: &[u8], at: usize) -> u64 {
    let bytes = buf.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_le_bytes)
}
