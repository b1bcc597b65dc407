//! General-purpose registers of an x86-64 guest thread.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Registers in the order of the kernel's `struct user_regs_struct`, so that ptrace can use them as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Registers {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub orig_rax: u64,
    pub rip: u64,
    pub cs: u64,
    pub eflags: u64,
    pub rsp: u64,
    pub ss: u64,
    pub fs_base: u64,
    pub gs_base: u64,
    pub ds: u64,
    pub es: u64,
    pub fs: u64,
    pub gs: u64,
}

/// Code segment of 64-bit user code on Linux.
pub const USER_CS: u64 = 0x33;
/// Stack segment of 64-bit user code on Linux.
pub const USER_SS: u64 = 0x2b;
/// Bits of `eflags` that user code may set (kernel: `FIX_EFLAGS` in `arch/x86/kernel/signal.c`, plus TF).
pub const USER_EFLAGS: u64 = 0x0005_0dd5;

impl Registers {
    /// Returns the six system-call arguments.
    pub fn syscall_args(&self) -> [u64; 6] {
        [self.rdi, self.rsi, self.rdx, self.r10, self.r8, self.r9]
    }
}
