//! A guest process for tests: one code region, one data region, one stack.

use std::sync::Arc;

use abi::flags::Prot;
use sentry_platform::{AddressSpace, Context, ContextExt, Event, MemOp, MemOpError, Platform, Registers, regs};

use super::block_on;

/// Where test code is mapped, readable and executable.
pub(crate) const CODE: u64 = 0x10_0000;
/// Bytes of code.
pub(crate) const CODE_LEN: u64 = 0x4000;
/// Where test data is mapped, readable and writable.
pub(crate) const DATA: u64 = 0x20_0000;
/// Bytes of data.
pub(crate) const DATA_LEN: u64 = 0x1_0000;
/// End of the stack.
pub(crate) const STACK_TOP: u64 = 0x40_0000;
const STACK_LEN: u64 = 0x1_0000;
const PRIVATE: u32 = libc::MAP_PRIVATE as u32;

/// Defines a function that returns position-independent machine code, written as assembly.
#[macro_export]
macro_rules! guest_code {
    ($vis:vis $name:ident, $($line:literal),+ $(,)?) => {
        std::arch::global_asm!(
            ".pushsection .rodata",
            concat!(".globl guest_", stringify!($name), "_start"),
            concat!(".globl guest_", stringify!($name), "_end"),
            concat!("guest_", stringify!($name), "_start:"),
            $($line,)+
            concat!("guest_", stringify!($name), "_end:"),
            ".popsection",
        );

        $vis fn $name() -> &'static [u8] {
            unsafe extern "C" {
                #[link_name = concat!("guest_", stringify!($name), "_start")]
                static START: u8;
                #[link_name = concat!("guest_", stringify!($name), "_end")]
                static END: u8;
            }
            let start = &raw const START;
            let len = (&raw const END).addr() - start.addr();
            // SAFETY: the assembler put `len` bytes between the two symbols.
            unsafe { std::slice::from_raw_parts(start, len) }
        }
    };
}

crate::guest_code!(pub(crate) call_forever, "2:", "syscall", "jmp 2b");

/// A guest thread, the memory it runs in and its registers.
pub(crate) struct Guest<'a> {
    pub(crate) platform: &'a dyn Platform,
    pub(crate) space: Arc<dyn AddressSpace>,
    pub(crate) context: Box<dyn Context>,
    pub(crate) regs: Registers,
}

impl<'a> Guest<'a> {
    /// Makes a process with this code, about to run its first instruction.
    pub(crate) fn new(platform: &'a dyn Platform, code: &[u8]) -> Guest<'a> {
        let (space, context) = block_on(platform, platform.new_process()).expect("new process");
        let regs = Registers {
            rip: CODE,
            rsp: STACK_TOP,
            cs: regs::USER_CS,
            ss: regs::USER_SS,
            eflags: 0x202,
            ..Registers::default()
        };
        let mut guest = Guest { platform, space, context, regs };
        let rw = Prot::READ | Prot::WRITE;
        guest
            .ops(&[
                MemOp::MapAnonymous { addr: CODE, len: CODE_LEN, prot: rw, flags: PRIVATE },
                MemOp::MapAnonymous { addr: DATA, len: DATA_LEN, prot: rw, flags: PRIVATE },
                MemOp::MapAnonymous { addr: STACK_TOP - STACK_LEN, len: STACK_LEN, prot: rw, flags: PRIVATE },
            ])
            .expect("map");
        assert_eq!(guest.space.write(CODE, code), code.len());
        guest.ops(&[MemOp::Protect { addr: CODE, len: CODE_LEN, prot: Prot::READ | Prot::EXEC }]).expect("protect");
        guest
    }

    /// Performs memory operations.
    pub(crate) fn ops(&mut self, ops: &[MemOp]) -> Result<u64, MemOpError> {
        block_on(self.platform, self.context.memory(ops))
    }

    /// Runs until the next event.
    pub(crate) fn run(&mut self) -> Event {
        block_on(self.platform, self.context.run_complete(&mut self.regs))
    }

    /// Runs until the next event, which must be this system call; returns its arguments.
    #[track_caller]
    pub(crate) fn expect_syscall(&mut self, nr: u64) -> [u64; 6] {
        let event = self.run();
        assert_eq!(event, Event::Syscall, "registers {:x?}", self.regs);
        assert_eq!(self.regs.orig_rax, nr, "registers {:x?}", self.regs);
        self.regs.syscall_args()
    }

    /// Reads one 64-bit word.
    #[track_caller]
    pub(crate) fn word(&self, addr: u64) -> u64 {
        let mut bytes = [0; 8];
        assert_eq!(self.space.read(addr, &mut bytes), 8);
        u64::from_le_bytes(bytes)
    }

    /// Writes one 64-bit word.
    #[track_caller]
    pub(crate) fn set_word(&self, addr: u64, value: u64) {
        assert_eq!(self.space.write(addr, &value.to_le_bytes()), 8);
    }

    /// Forks; both sides stand where this one stood.
    pub(crate) fn fork(&mut self) -> Guest<'a> {
        let (space, context) = block_on(self.platform, self.context.fork()).expect("fork");
        Guest { platform: self.platform, space, context, regs: self.regs }
    }

    /// Makes another thread with its own part of the stack.
    pub(crate) fn thread(&mut self) -> Guest<'a> {
        let context = block_on(self.platform, self.context.new_thread()).expect("new thread");
        let regs = Registers { rsp: self.regs.rsp - 0x4000, ..self.regs };
        Guest { platform: self.platform, space: Arc::clone(&self.space), context, regs }
    }
}
