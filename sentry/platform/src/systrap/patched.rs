//! Guest threads that come by a patched call: their registers in the context, and the code that brings them.
//!
//! A patched site jumps to its *thunk*, which stands within reach of a 32-bit displacement in memory of the guest:
//!
//! ```text
//! region:  common code, 64 bytes        rcx = return address
//!          thunk of a site, 32 bytes    the instruction displaced; rcx = return address; jmp common
//!          …
//! ```
//!
//! The common code looks whether gs still is what we set it to. If so it enters the stub ([`super::stub`]), else it goes
//! back to the site's own `syscall` instruction, which traps. It changes no flags and no register that a system call
//! preserves.

use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::OnceLock;

use super::hub;
use super::layout::{self, field};
use super::shared::Shared;
use crate::regs::{USER_CS, USER_EFLAGS, USER_SS};
use crate::{Patching, Registers};

/// Reads the registers that a patched call passes.
pub(super) fn read_call(shared: &Shared, regs: &mut Registers) {
    regs.rax = shared.get(field::REG_RAX);
    regs.orig_rax = regs.rax;
    regs.rdi = shared.get(field::REG_RDI);
    regs.rsi = shared.get(field::REG_RSI);
    regs.rdx = shared.get(field::REG_RDX);
    regs.r10 = shared.get(field::REG_R10);
    regs.r8 = shared.get(field::REG_R8);
    regs.r9 = shared.get(field::REG_R9);
}

/// Reads all others.
pub(super) fn read_rest(shared: &Shared, regs: &mut Registers) {
    let get = |at| shared.get(at);
    let (rip, eflags) = (get(field::REG_RIP), get(field::REG_EFLAGS));
    *regs = Registers {
        r12: get(field::REG_R12),
        r13: get(field::REG_R13),
        r14: get(field::REG_R14),
        r15: get(field::REG_R15),
        rbp: get(field::REG_RBP),
        rbx: get(field::REG_RBX),
        // As the processor's `syscall` leaves them.
        r11: eflags,
        rcx: rip,
        rsp: get(field::REG_RSP),
        rip,
        eflags,
        cs: USER_CS,
        ss: USER_SS,
        fs_base: get(field::EVENT_FS),
        gs_base: get(field::EVENT_GS),
        ds: 0,
        es: 0,
        fs: 0,
        gs: 0,
        ..*regs
    };
}

/// Reads those of a return that an interrupt has stopped.
pub(super) fn read_stopped(shared: &Shared, regs: &mut Registers) {
    read_call(shared, regs);
    read_rest(shared, regs);
    regs.orig_rax = u64::MAX;
    regs.rcx = shared.get(field::REG_RCX);
    regs.r11 = shared.get(field::REG_R11);
}

/// Tells whether a return needs nothing but another `rax`.
pub(super) fn only_result(was: &Registers, now: &Registers) -> bool {
    let but_rax = Registers { rax: now.rax, orig_rax: now.orig_rax, ..*was };
    but_rax == *now
}

/// Writes all registers to be returned by.
pub(super) fn write(shared: &Shared, regs: &Registers) {
    let values = [
        (field::REG_RAX, regs.rax),
        (field::REG_RDI, regs.rdi),
        (field::REG_RSI, regs.rsi),
        (field::REG_RDX, regs.rdx),
        (field::REG_R10, regs.r10),
        (field::REG_R8, regs.r8),
        (field::REG_R9, regs.r9),
        (field::REG_RIP, regs.rip),
        (field::REG_RSP, regs.rsp),
        (field::REG_EFLAGS, regs.eflags & USER_EFLAGS | 0x202),
        (field::REG_RBX, regs.rbx),
        (field::REG_RBP, regs.rbp),
        (field::REG_R12, regs.r12),
        (field::REG_R13, regs.r13),
        (field::REG_R14, regs.r14),
        (field::REG_R15, regs.r15),
        (field::REG_RCX, regs.rcx),
        (field::REG_R11, regs.r11),
    ];
    for (at, value) in values {
        shared.set(at, value);
    }
}

/// Reads the floating-point state that the stub has saved.
pub(super) fn read_fpstate(shared: &Shared, size: usize) -> Vec<u8> {
    let mut image = vec![0; size];
    shared.read(field::FPSAVE, &mut image);
    image
}

/// Bytes of the common code.
const COMMON: u64 = 64;
/// Bytes of a thunk.
const THUNK: u64 = 32;

/// Makes thunks.
#[derive(Debug)]
pub(super) struct Thunks {
    common: Vec<u8>,
    /// What the processor has answered about the leaves of [`EXTENDED`], in the order of the registers a, b, c, d.
    answers: OnceLock<Vec<[u32; 4]>>,
}

/// First of the leaves that are answered.
const EXTENDED: u32 = 0x8000_0000;
/// How many there are.
const LEAVES: u32 = 9;

impl Thunks {
    pub(super) fn new() -> Thunks {
        let lower = (layout::CONTEXTS >> 32) as u32;
        let mut common = Vec::with_capacity(COMMON as usize);
        common.extend([0xf3, 0x49, 0x0f, 0xae, 0xcb]); // rdgsbase r11
        common.extend([0xc4, 0x43, 0xfb, 0xf0, 0xdb, 0x20]); // rorx r11, r11, 32
        common.extend([0x45, 0x8d, 0x9b]); // lea r11d, [r11 - upper half of the contexts' address]
        common.extend(lower.wrapping_neg().to_le_bytes());
        common.extend([0x49, 0x87, 0xcb]); // xchg r11, rcx
        common.extend([0xe3, 0x0a]); // jrcxz: ours
        common.extend([0x4d, 0x8d, 0x5b, 0xfe]); // lea r11, [r11 - 2]
        common.extend([0x41, 0xff, 0xe3]); // jmp r11
        common.extend([0x0f, 0x1f, 0x00]); // nop
        common.extend([0x4c, 0x89, 0xd9]); // mov rcx, r11
        // Aligned: the guest may have accesses checked for that.
        common.extend([0xff, 0x25, 6, 0, 0, 0, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc]); // jmp [rip + 6]
        common.extend(super::stub::call_entry().to_le_bytes());
        common.resize(COMMON as usize, 0xcc);
        Thunks { common, answers: OnceLock::new() }
    }
}

impl Patching for Thunks {
    fn common(&self) -> &[u8] {
        &self.common
    }

    fn thunk_len(&self) -> u64 {
        THUNK
    }

    fn thunk(&self, region: u64, at: u64, displaced: &[u8], resume: u64) -> Option<Vec<u8>> {
        let mut code = displaced.to_vec();
        code.extend([0x48, 0x8d, 0x0d]); // lea rcx, [rip + …]
        let here = at + code.len() as u64 + 4;
        code.extend(displacement(here, resume)?.to_le_bytes());
        code.push(0xe9); // jmp
        let here = at + code.len() as u64 + 4;
        code.extend(displacement(here, region)?.to_le_bytes());
        (code.len() as u64 <= THUNK).then(|| {
            code.resize(THUNK as usize, 0xcc);
            code
        })
    }

    fn return_address(&self, offset: u64, regs: &Registers) -> u64 {
        // Offsets of the common code's instructions: `xchg` is at 0x12, `jmp r11` at 0x1b, the last at 0x24.
        match offset {
            0x1b => regs.r11.wrapping_add(2),
            0x13..0x24 => regs.r11,
            _ => regs.rcx,
        }
    }

    fn knows_cpuid(&self) -> bool {
        !self.answers.get_or_init(ask).is_empty()
    }

    fn cpuid(&self, at: u64, leaf: u32, resume: u64) -> Option<Vec<u8>> {
        let answer = self.answers.get_or_init(ask).get(usize::try_from(leaf.checked_sub(EXTENDED)?).ok()?)?;
        let mut code = Vec::with_capacity(THUNK as usize);
        // mov eax, …; mov ebx, …; mov ecx, …; mov edx, …
        for (opcode, value) in [0xb8, 0xbb, 0xb9, 0xba].into_iter().zip(answer) {
            code.push(opcode);
            code.extend(value.to_le_bytes());
        }
        code.push(0xe9); // jmp
        let here = at + code.len() as u64 + 4;
        code.extend(displacement(here, resume)?.to_le_bytes());
        code.resize(THUNK as usize, 0xcc);
        Some(code)
    }
}

/// Asks the processor; nothing where its cores may answer differently.
fn ask() -> Vec<[u32; 4]> {
    const FEATURES: u32 = 7;
    const HYBRID: u32 = 1 << 15;
    let (basic, extended) = (__cpuid(0).eax, __cpuid(EXTENDED).eax);
    let hybrid = basic >= FEATURES && __cpuid_count(FEATURES, 0).edx & HYBRID != 0;
    if hybrid || extended < EXTENDED {
        return Vec::new();
    }
    let leaves = EXTENDED..EXTENDED + LEAVES.min(extended - EXTENDED + 1);
    let answer = |leaf| {
        let it = __cpuid(leaf);
        [it.eax, it.ebx, it.ecx, it.edx]
    };
    leaves.map(answer).collect()
}

fn displacement(from: u64, to: u64) -> Option<i32> {
    i32::try_from(to.cast_signed().checked_sub(from.cast_signed())?).ok()
}

/// Tells whether the processor has what this and the answers of the stub need besides the instructions for the base of gs.
pub(super) fn supported() -> bool {
    std::arch::is_x86_feature_detected!("bmi1")
        && std::arch::is_x86_feature_detected!("bmi2")
        && std::arch::is_x86_feature_detected!("xsave")
}

/// The base of gs as the guest knows it: ours is its 0.
pub(super) fn gs_seen(slot: u32, raw: u64) -> u64 {
    if raw == hub::address(slot) { 0 } else { raw }
}
