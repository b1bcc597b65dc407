//! From the host's `siginfo_t` to a [`Fault`].
//!
//! `signo`, `code` and `addr` are the host's. `trapno`, `error` and `cr2`, which `ptrace(2)` doesn't tell, are derived:
//! the trap number from signal and code; of a page fault's error code *user*, *present* (the page is mapped but forbids
//! the access) and *protection key* are certain, *instruction fetch* is set where the address is that of the
//! instruction or of a page boundary within it, and *write* where the page can be read, so that the access can't have been a read. A write to a page
//! that isn't mapped is reported as a read.

use abi::PAGE_SIZE;

use crate::{Fault, Registers};

/// Page-fault error bits (Intel SDM volume 3, 4.7).
const PRESENT: u64 = 1;
const WRITE: u64 = 2;
const USER: u64 = 4;
const FETCH: u64 = 0x10;
const KEY: u64 = 0x20;

const SI_KERNEL: i32 = 0x80;
const SEGV_ACCERR: i32 = 2;
const SEGV_BNDERR: i32 = 3;
const SEGV_PKUERR: i32 = 4;
const BUS_ADRALN: i32 = 1;
const FPE_INTDIV: i32 = 1;

/// The longest instruction.
const LONGEST: u64 = 15;

/// Tells whether the host raised this signal because of an instruction, rather than for a `kill(2)`.
pub(super) fn is_exception(signo: i32, code: i32) -> bool {
    code > 0 && matches!(signo, libc::SIGSEGV | libc::SIGBUS | libc::SIGFPE | libc::SIGILL | libc::SIGTRAP)
}

/// Describes an exception. `readable` tells whether a byte of guest memory can be read.
pub(super) fn describe(signo: i32, code: i32, addr: u64, regs: &Registers, readable: impl Fn(u64) -> bool) -> Fault {
    let page_fault = |present: u64| {
        let fetch = addr == regs.rip || (addr.is_multiple_of(PAGE_SIZE) && addr.wrapping_sub(regs.rip) < LONGEST);
        let access = if fetch {
            FETCH
        } else if present != 0 && readable(addr) {
            WRITE
        } else {
            0
        };
        (14, USER | present | access, addr)
    };
    let (trapno, error, cr2) = match (signo, code) {
        (libc::SIGSEGV, SI_KERNEL) => (13, 0, 0),
        (libc::SIGSEGV, SEGV_BNDERR) => (5, 0, 0),
        (libc::SIGSEGV, SEGV_ACCERR) => page_fault(PRESENT),
        (libc::SIGSEGV, SEGV_PKUERR) => (14, USER | PRESENT | KEY, addr),
        (libc::SIGSEGV, _) => page_fault(0),
        (libc::SIGBUS, BUS_ADRALN) => (17, 0, 0),
        (libc::SIGBUS, SI_KERNEL) => (12, 0, 0),
        (libc::SIGBUS, _) => page_fault(0),
        (libc::SIGFPE, FPE_INTDIV) => (0, 0, 0),
        (libc::SIGFPE, _) => (19, 0, 0),
        (libc::SIGILL, _) => (6, 0, 0),
        (libc::SIGTRAP, SI_KERNEL) => (3, 0, 0),
        (libc::SIGTRAP, _) => (1, 0, 0),
        _ => (0, 0, 0),
    };
    Fault { signo, code, addr, trapno, error, cr2 }
}

/// What a system call by `int 0x80` or `sysenter` becomes: the general protection fault of a processor without a gate
/// for that vector.
pub(super) fn foreign_syscall() -> Fault {
    Fault { signo: libc::SIGSEGV, code: SI_KERNEL, addr: 0, trapno: 13, error: 0x80 * 8 + 2, cr2: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_to_a_readable_page_is_a_write() {
        let regs = Registers { rip: 0x1000, ..Registers::default() };
        let fault = describe(libc::SIGSEGV, SEGV_ACCERR, 0x5008, &regs, |_| true);
        assert_eq!((fault.trapno, fault.error, fault.cr2), (14, PRESENT | WRITE | USER, 0x5008));
        let fault = describe(libc::SIGSEGV, SEGV_ACCERR, 0x5008, &regs, |_| false);
        assert_eq!(fault.error, PRESENT | USER);
    }

    #[test]
    fn a_jump_into_data_is_a_fetch() {
        let regs = Registers { rip: 0x5000, ..Registers::default() };
        let fault = describe(libc::SIGSEGV, SEGV_ACCERR, 0x5000, &regs, |_| true);
        assert_eq!(fault.error, PRESENT | USER | FETCH);
    }

    #[test]
    fn signals_of_other_processes_are_no_exceptions() {
        assert!(!is_exception(libc::SIGSEGV, 0));
        assert!(!is_exception(libc::SIGSEGV, libc::SI_TKILL));
        assert!(is_exception(libc::SIGTRAP, SI_KERNEL));
    }
}
