//! Bytes that a call reads, which go to the sentry with it: the stub copies the start of a path, a buffer, a struct or an array
//! before it tells of the call, which saves the crossing that [`super::copier`] needs.
//!
//! Which argument that is says a table made from the declaration of the calls, of which the stub has a copy. What the
//! stub tells is no more than a number of bytes; where they are from follows from the sentry's own table. They count
//! until the call waits, or the kernel writes to guest memory; whoever needs more, or meets a fault, asks for the bytes
//! in another way. As guest memory, they may change at any time, and are copied out once.

use std::sync::LazyLock;

use abi::table::{ENTRIES, Kind};

use super::layout::{control, field};
use super::shared::Shared;
use crate::Registers;

/// One more than the highest number of a call in the table.
pub(super) const CALLS: usize = abi::table::TABLE_LEN;
/// Bytes copied of what has no length of its own.
pub(super) const FIXED: usize = 64;
/// Most bytes copied; of what is longer nothing is.
pub(super) const MOST: usize = 256;
/// The argument behind is the length. The lower three bits are one more than the number of the argument, 0 for none.
pub(super) const MEASURED: u8 = 8;
/// The floating-point state is saved to the context, for a new thread or process.
pub(super) const SAVES: u8 = 16;

const _: () = assert!(field::INPUT + MOST <= super::shared::CONTEXT_SIZE && control::INPUTS + CALLS <= 0x1000);
const _: () = assert!(FIXED <= MOST);

/// Calls that make a thread or process.
const CLONES: [i64; 4] = [libc::SYS_clone, libc::SYS_fork, libc::SYS_vfork, libc::SYS_clone3];
/// Pointers of `futex(2)` may be numbers, and its word must be looked at in its time.
const LEFT_OUT: [u32; 1] = [202];

static TABLE: LazyLock<[u8; CALLS]> = LazyLock::new(|| {
    let mut table = [0; CALLS];
    for entry in ENTRIES.iter().filter(|entry| !LEFT_OUT.contains(&entry.number)) {
        let how = |(at, kind): (usize, Kind)| match kind {
            // The size is the argument behind.
            Kind::In("clone_args") => Some((at as u8 + 1) | MEASURED),
            Kind::Path | Kind::Str | Kind::InIov(_) | Kind::In(_) | Kind::InOut("pollfd") => Some(at as u8 + 1),
            Kind::InBuf(len) if usize::from(len) == at + 1 => Some((at as u8 + 1) | MEASURED),
            _ => None,
        };
        let first = entry.args.iter().map(|arg| arg.kind).enumerate().find_map(how);
        if let (Some(place), Some(how)) = (table.get_mut(entry.number as usize), first) {
            *place = how;
        }
    }
    for number in CLONES {
        if let Some(place) = usize::try_from(number).ok().and_then(|number| table.get_mut(number)) {
            *place |= SAVES;
        }
    }
    table
});

/// Gives the stubs their copy.
pub(super) fn publish(control_page: &Shared) {
    control_page.write(control::INPUTS, &*TABLE);
}

/// Tells whether the stub saves the floating-point state with a call.
pub(super) fn saves(number: u64) -> bool {
    usize::try_from(number).ok().and_then(|number| TABLE.get(number)).is_some_and(|how| how & SAVES != 0)
}

/// Returns where the bytes are from that came with a call, and how many there are.
pub(super) fn of_call(regs: &Registers, len: u32) -> Option<(u64, usize)> {
    let how = usize::try_from(regs.orig_rax).ok().and_then(|number| TABLE.get(number)).copied()?;
    let args = regs.syscall_args();
    let addr = *args.get(usize::from(how & 7).checked_sub(1)?)?;
    let len = usize::try_from(len).ok().filter(|len| (1..=MOST).contains(len))?;
    Some((addr, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn came(number: u64, len: u32) -> Option<(u64, usize)> {
        let regs = Registers { orig_rax: number, rdi: 1, rsi: 2, rdx: 3, r10: 4, r8: 5, r9: 6, ..Registers::default() };
        of_call(&regs, len)
    }

    #[test]
    fn the_table_names_what_calls_read() {
        // write, stat, openat, writev, poll, rt_sigaction
        assert_eq!([came(1, 9), came(4, 9), came(257, 9)], [Some((2, 9)), Some((1, 9)), Some((2, 9))]);
        assert_eq!([came(20, 9), came(7, 9), came(13, 9)], [Some((2, 9)), Some((1, 9)), Some((2, 9))]);
        // read, futex, getppid, no call at all
        assert_eq!([came(0, 9), came(202, 9), came(110, 9), came(9999, 9), came(u64::MAX, 9)], [None; 5]);
    }

    #[test]
    fn the_state_goes_with_clones() {
        assert_eq!(CLONES.map(|number| saves(number.cast_unsigned())), [true; 4]);
        assert!(!saves(1) && !saves(9999) && !saves(u64::MAX));
        // fork has no arguments; clone3 names the size of its struct.
        assert_eq!([came(57, 9), came(435, 88)], [None, Some((1, 88))]);
        assert_eq!(TABLE[435], 1 | MEASURED | SAVES);
    }

    #[test]
    fn a_forged_length_is_ignored() {
        assert_eq!([came(1, 0), came(1, MOST as u32 + 1), came(1, u32::MAX)], [None; 3]);
    }
}
