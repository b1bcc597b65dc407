//! Where the vDSO's functions are that the stub calls for the time.
//!
//! The stub gives them a place of its own to write to, so that a guest's pointer never reaches them. They read the host's data
//! pages, which every process has. Where a function can't answer by itself it makes the system call, which traps since it isn't
//! the stub's: the handler has it fail, and the guest's call goes to the sentry.
//!
//! A call of the guest's keeps all registers but three: the stub saves those that a function may change. The host compiles the
//! vDSO as it does itself, without vector registers (`KBUILD_CFLAGS` in arch/x86/Makefile).

use std::ops::Range;

use super::layout::control;
use super::shared::Shared;

/// In the order of [`super::layout::answer`].
const NAMES: [&str; 4] = ["__vdso_clock_gettime", "__vdso_clock_getres", "__vdso_gettimeofday", "__vdso_time"];

const _: () = assert!(control::CLOCKS + 8 * NAMES.len() <= control::NOTES);

/// Tells stubs where the functions are: `here` is the image in the sentry, `there` its address in stubs.
pub(super) fn publish(control: &Shared, here: &Range<u64>, there: u64) {
    let Ok(len) = usize::try_from(here.end.saturating_sub(here.start)) else { return };
    if len == 0 || there == 0 {
        return;
    }
    let start = std::ptr::with_exposed_provenance::<u8>(here.start as usize);
    // SAFETY: the host has mapped the image there for as long as the sentry lives, readable, and nobody writes to it.
    let image = unsafe { std::slice::from_raw_parts(start, len) };
    for (at, name) in NAMES.iter().enumerate() {
        let address = function(image, name).map_or(0, |offset| there + offset);
        control.set(control::CLOCKS + 8 * at, address);
    }
}

/// Returns the offset in a vDSO's image of a function.
fn function(image: &[u8], name: &str) -> Option<u64> {
    const SYMBOLS: u64 = 11; // SHT_DYNSYM
    const SYMBOL: usize = 24;
    let number = |base: usize, at: usize, len: usize| {
        let start = base.checked_add(at)?;
        let bytes = image.get(start..start.checked_add(len)?)?;
        Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    let size = |base: usize, at: usize| number(base, at, 8).and_then(|value| usize::try_from(value).ok());
    let (sections, entry) = (size(0, 0x28)?, number(0, 0x3a, 2)? as usize);
    let section = |index: u64| sections.checked_add(entry.checked_mul(usize::try_from(index).ok()?)?);
    let table = (0..number(0, 0x3c, 2)?).filter_map(section).find(|at| number(*at, 4, 4) == Some(SYMBOLS))?;
    let names = size(section(number(table, 0x28, 4)?)?, 0x18)?;
    let (first, len) = (size(table, 0x18)?, size(table, 0x20)?);
    let is_called = |at: &usize| {
        let found = number(*at, 0, 4).and_then(|offset| image.get(names.checked_add(offset as usize)?..));
        let rest = found.and_then(|found| found.strip_prefix(name.as_bytes()));
        rest.is_some_and(|rest| rest.first() == Some(&0))
    };
    let symbol = (first..first.checked_add(len)?).step_by(SYMBOL).find(is_called)?;
    number(symbol, 8, 8).filter(|offset| (1..image.len() as u64).contains(offset))
}

#[cfg(test)]
mod tests {
    use super::super::zygote::find_vdso;
    use super::*;

    #[test]
    fn all_functions_are_found_in_the_image_of_this_host() {
        let parts = find_vdso().expect("the list of mappings");
        let range = &parts.iter().find(|part| part.1).expect("a vDSO").0;
        let start = std::ptr::with_exposed_provenance::<u8>(range.start as usize);
        // SAFETY: as in `publish`.
        let image = unsafe { std::slice::from_raw_parts(start, (range.end - range.start) as usize) };
        let found = NAMES.map(|name| function(image, name));
        assert!(found.iter().all(Option::is_some), "{found:x?}");
        assert_eq!(function(image, "__vdso_clock"), None);
        for len in (0..image.len()).step_by(100) {
            let _ = function(&image[..len], NAMES[0]);
        }
    }

    #[test]
    fn nonsense_has_no_functions() {
        assert_eq!(function(&[0; 64], NAMES[0]), None);
        assert_eq!(function(&[0xff; 4096], NAMES[0]), None);
    }
}
