//! The signal frame in a context: registers in and out, and the frame that a new thread starts with.

use super::hub::{self, Hub};
use super::layout::{INTERRUPT, field, frame};
use super::shared::Shared;
use crate::regs::{USER_CS, USER_EFLAGS, USER_SS};
use crate::xstate::NOTES;
use crate::{Fault, Registers};

/// `SYS_SECCOMP`, `si_code` of a trapped call.
const SYS_SECCOMP: i32 = 1;
const SI_KERNEL: i32 = 0x80;
/// Length of `int 0x80`.
const INT_LEN: u64 = 2;
/// Signals that stay unblocked in the stub: its own faults.
pub(super) const STUB_MASK: u64 = !(1 << (libc::SIGSEGV - 1) | 1 << (libc::SIGBUS - 1));

/// What a signal in guest code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Syscall(u64),
    Fault(Fault),
    Interrupt,
    /// No stub of ours publishes that.
    Nonsense,
}

/// Reads registers and cause of an event.
pub(super) fn read(hub: &Hub, shared: &Shared, regs: &mut Registers, kind: u32) -> Cause {
    let base = hub.setup.frame;
    let reg = |at: usize| shared.get(base + frame::REGS + at * 8);
    *regs = Registers {
        r8: reg(0),
        r9: reg(1),
        r10: reg(2),
        r11: reg(3),
        r12: reg(4),
        r13: reg(5),
        r14: reg(6),
        r15: reg(7),
        rdi: reg(8),
        rsi: reg(9),
        rbp: reg(10),
        rbx: reg(11),
        rdx: reg(12),
        rax: reg(13),
        rcx: reg(14),
        rsp: reg(15),
        rip: reg(16),
        eflags: reg(17),
        orig_rax: u64::MAX,
        cs: USER_CS,
        ss: USER_SS,
        fs_base: regs.fs_base,
        gs_base: regs.gs_base,
        ds: 0,
        es: 0,
        fs: 0,
        gs: 0,
    };
    if hub.setup.fsgsbase {
        regs.fs_base = shared.get(field::EVENT_FS);
        regs.gs_base = shared.get(field::EVENT_GS);
    }
    let info = |at: usize| shared.get(base + frame::SIGINFO + at);
    let code = info(8) as u32 as i32;
    match kind.cast_signed() {
        INTERRUPT => Cause::Interrupt,
        libc::SIGSYS if code == SYS_SECCOMP => {
            let (nr, arch) = (info(24) as u32, (info(24) >> 32) as u32);
            if arch != super::filter::AUDIT_ARCH_X86_64 {
                // A processor without a gate for that vector.
                regs.rip = regs.rip.wrapping_sub(INT_LEN);
                let error = 0x80 * 8 + 2;
                return Cause::Fault(Fault {
                    signo: libc::SIGSEGV,
                    code: SI_KERNEL,
                    addr: 0,
                    trapno: 13,
                    error,
                    cr2: 0,
                });
            }
            regs.orig_rax = regs.rax;
            Cause::Syscall(u64::from(nr))
        }
        signo @ (libc::SIGSEGV | libc::SIGBUS | libc::SIGFPE | libc::SIGILL | libc::SIGTRAP) if code > 0 => {
            Cause::Fault(Fault {
                signo,
                code,
                addr: info(16),
                trapno: shared.get(base + frame::TRAPNO),
                error: shared.get(base + frame::ERR),
                cr2: shared.get(base + frame::CR2),
            })
        }
        // Sent by some process of the host: not the guest's business.
        libc::SIGSYS | libc::SIGSEGV | libc::SIGBUS | libc::SIGFPE | libc::SIGILL | libc::SIGTRAP => Cause::Interrupt,
        _ => Cause::Nonsense,
    }
}

/// Writes registers, and everything else of the frame that the guest isn't to choose.
pub(super) fn write(hub: &Hub, shared: &Shared, slot: u32, regs: &Registers) {
    let base = hub.setup.frame;
    let values = [
        regs.r8, regs.r9, regs.r10, regs.r11, regs.r12, regs.r13, regs.r14, regs.r15, regs.rdi, regs.rsi, regs.rbp,
        regs.rbx, regs.rdx, regs.rax, regs.rcx, regs.rsp, regs.rip,
    ];
    for (at, value) in values.into_iter().enumerate() {
        shared.set(base + frame::REGS + at * 8, value);
    }
    shared.set(base + frame::REGS + 17 * 8, regs.eflags & USER_EFLAGS | 0x202);
    fix(hub, shared, slot);
}

fn fix(hub: &Hub, shared: &Shared, slot: u32) {
    let (base, address) = (hub.setup.frame, hub::address(slot));
    shared.set(base + frame::SEGMENTS, USER_CS | USER_SS << 48);
    shared.set(base + frame::SIGMASK, 0);
    shared.set(base + frame::STACK_SP, address + field::STACK as u64);
    shared.set(base + frame::STACK_FLAGS, 0);
    shared.set(base + frame::STACK_SIZE, (field::STACK_END - field::STACK) as u64);
    shared.set(base + frame::FPSTATE, address + fpstate_offset(hub) as u64);
}

/// Prepares a new thread's frame, by which it goes to guest code. `image` is its floating-point state.
pub(super) fn prepare(hub: &Hub, shared: &Shared, slot: u32, image: &[u8]) {
    shared.write(hub.setup.frame, &hub.setup.template);
    write(hub, shared, slot, &Registers::default());
    write_fpstate(hub, shared, image);
}

/// Returns where the floating-point state stands in a context.
pub(super) fn fpstate_offset(hub: &Hub) -> usize {
    hub.setup.fpstate
}

/// Reads the floating-point state; the host's notes are those of the guest's frame, not to be trusted.
pub(super) fn read_fpstate(hub: &Hub, shared: &Shared) -> Vec<u8> {
    let mut image = vec![0; hub.setup.fpu.size];
    shared.read(fpstate_offset(hub), &mut image);
    image
}

/// Writes the floating-point state, with the notes that the host wants.
pub(super) fn write_fpstate(hub: &Hub, shared: &Shared, image: &[u8]) {
    let mut image = image.to_vec();
    let notes = fpstate_offset(hub) - hub.setup.frame + NOTES.start;
    let len = NOTES.len();
    if let (Some(to), Some(from)) = (image.get_mut(NOTES), hub.setup.template.get(notes..notes + len)) {
        to.copy_from_slice(from);
    }
    shared.write(fpstate_offset(hub), &image);
}
