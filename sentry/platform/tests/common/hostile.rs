//! Guests that attack: whatever they do, they are told to the kernel or die, and others go on.

use sentry_platform::{Event, Platform};

use super::Case;
use super::guest::{CODE, DATA, Guest, call_forever};
use crate::guest_code;

pub(crate) const CASES: &[Case] = &[
    ("every_call_number_reaches_the_sentry", every_call_number_reaches_the_sentry),
    ("calls_of_other_abis_do_not_reach_the_host", calls_of_other_abis_do_not_reach_the_host),
    ("garbage_registers_hurt_only_the_guest", garbage_registers_hurt_only_the_guest),
    ("signals_with_a_bad_stack_reach_the_sentry", signals_with_a_bad_stack_reach_the_sentry),
];

guest_code!(old_call, "mov eax, 20", "int 0x80", "mov eax, 5", "syscall");

fn every_call_number_reaches_the_sentry(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, call_forever());
    let odd =
        [511, 512, 547, 1023, 4095, 9000, 0x1fff_ffff, 0x4000_0000, 0x4000_0014, 0x7fff_ffff, u64::from(u32::MAX)];
    for nr in (0..480).chain(odd) {
        guest.regs.rax = nr;
        // Arguments for which the host's own call would do something.
        (guest.regs.rdi, guest.regs.rsi, guest.regs.rdx) = (CODE, 0x1000, 0);
        let event = guest.run();
        // The host's seccomp lets uretprobe and uprobe pass, whatever a filter says (Linux 6.12 and 6.18). Outside of a
        // probe they raise SIGILL or fail, natively as well.
        if matches!(nr, 335 | 336) {
            assert!(matches!(event, Event::Syscall | Event::Fault(_)));
            guest.regs.rip = CODE;
            continue;
        }
        assert_eq!(event, Event::Syscall, "call {nr}");
        assert_eq!(guest.regs.rax, nr);
        assert_eq!(guest.regs.syscall_args()[..3], [CODE, 0x1000, 0]);
    }
}

fn calls_of_other_abis_do_not_reach_the_host(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, old_call());
    match guest.run() {
        Event::Fault(fault) => assert_eq!(fault.signo, libc::SIGSEGV),
        other => panic!("{other:?}"),
    }
}

fn garbage_registers_hurt_only_the_guest(platform: &dyn Platform) {
    for value in [0, 1, u64::MAX, 1 << 63, 0x8000_0000_0000, 0x7fff_ffff_ffff, platform.user_range().end] {
        let mut guest = Guest::new(platform, call_forever());
        guest.regs.rip = value;
        guest.regs.rsp = value;
        guest.regs.eflags = value;
        guest.regs.cs = value;
        guest.regs.ss = value;
        match guest.run() {
            Event::Fault(_) | Event::Dead(_) => {}
            other => panic!("{other:?} with {value:#x}"),
        }
    }
    let mut guest = Guest::new(platform, call_forever());
    guest.regs.fs_base = u64::MAX;
    guest.regs.gs_base = 1 << 63;
    assert!(matches!(guest.run(), Event::Syscall | Event::Fault(_) | Event::Dead(_)));
}

fn signals_with_a_bad_stack_reach_the_sentry(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, call_forever());
    for rsp in [0, 8, DATA + 3, u64::MAX, 0xffff_8000_0000_0000] {
        guest.regs.rsp = rsp;
        guest.regs.rax = 7;
        guest.expect_syscall(7);
        assert_eq!(guest.regs.rsp, rsp);
    }
}
