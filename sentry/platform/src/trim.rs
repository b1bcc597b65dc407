//! Gives memory back that only the start of a process needed.

use rustix::mm::{Advice, madvise};

// Laid down by the linker around all that is mapped of the program and never written: constants and code.
// SAFETY: these are places in the program's own image, of which only the addresses are used.
unsafe extern "C" {
    safe static __executable_start: u8;
    safe static etext: u8;
}

/// Lets go of the program's code and constants, and of free heap: what is needed again comes back from the page cache, by a
/// page fault each.
///
/// Most of a program runs once, at its start, and the host maps what lies around each page that is touched as well: most of
/// what is resident is never executed again.
pub fn trim() {
    let start = &raw const __executable_start;
    let len = (&raw const etext).addr().saturating_sub(start.addr());
    // SAFETY: the range is mapped privately from the program's file and read-only, or not at all: dropping pages that were
    // never written changes no contents.
    let dropped = unsafe { madvise(start.cast_mut().cast(), len, Advice::LinuxDontNeed) };
    if let Err(error) = dropped {
        tracing::debug!(%error, "the host keeps the program's code mapped");
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: an ordinary call of the C library, which takes its own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_goes_on_with_its_code_and_constants() {
        let words: Vec<String> = (0..100).map(|number| format!("{number:#x}")).collect();
        trim();
        assert_eq!(words.iter().map(String::len).sum::<usize>(), 16 * 3 + 84 * 4);
    }
}
