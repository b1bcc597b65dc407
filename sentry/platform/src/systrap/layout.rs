//! Where things stand: the stub region at the top of every guest address space, and the fields of a context.
//!
//! The region begins above everything that a guest may map; a gap of 8 GiB below it lets the stubs' filter check a
//! range by adding the upper halves of address and length. Each guest thread of the sandbox has its own slot number,
//! which fixes the address of its context (the same in every address space) and its place in the sentry's memory file.
//!
//! The assembly in [`super::stub`] takes its offsets from here.

use super::shared::CONTEXT_SIZE;

/// Start of the stub region; the stub's code stands here.
pub(super) const STUB: u64 = 0x7e80_0000_0000;
/// Bytes of code, at most.
pub(super) const CODE_LEN: u64 = 0x2000;
/// A page that the sentry writes and stubs read: [`control`].
pub(super) const CONTROL: u64 = STUB + CODE_LEN;
/// Where the vDSO and its data are moved.
pub(super) const VDSO: u64 = STUB + 0x10_0000;
/// Context of slot 0.
pub(super) const CONTEXTS: u64 = STUB + 0x1_0000_0000;
/// Most threads that a sandbox can have.
pub(super) const SLOTS: u32 = 1 << 15;
/// End of the region.
pub(super) const STUB_END: u64 = CONTEXTS + SLOTS as u64 * CONTEXT_SIZE as u64;
/// End of what a guest may map, where the vDSO could be moved; see [`super::filter`] for the gap.
pub(super) const USER_END: u64 = 0x7e7e_0000_0000;
/// Bytes below the end of what stubs may map that the kernel keeps for mappings of its own: the guest's addresses end there.
pub(super) const OWN_LEN: u64 = 0x4_0000_0000;
/// End of user addresses on the host, less the page that it leaves out.
pub(super) const TASK_END: u64 = 0x7fff_ffff_f000;

/// Returns the address of a slot's context in stubs.
pub(super) fn context_address(slot: u32) -> u64 {
    CONTEXTS + u64::from(slot) * CONTEXT_SIZE as u64
}

/// Fields of the control page.
pub(super) mod control {
    /// u32: workers that are awake. A stub that sees 0 asks for one by a notification before it sleeps.
    pub(in super::super) const AWAKE: usize = 0x00;
    /// u32: how many times a stub looks for the reply before it sleeps; 0 where there is one CPU.
    pub(in super::super) const SPIN: usize = 0x40;
    /// u32: offset in a context of the signal frame of its event; 0 until the zygote has found out.
    pub(in super::super) const FRAME: usize = 0x44;
    /// u32: whether `rdfsbase` and its kin may be used.
    pub(in super::super) const FSGSBASE: usize = 0x48;
    /// u64: components of the floating-point state that `xsave` and `xrstor` are asked for.
    pub(in super::super) const FEATURES: usize = 0x50;
    /// u64 for each function of the vDSO that the stub calls ([`super::super::vdso`]): its address, or 0.
    pub(in super::super) const CLOCKS: usize = 0x58;
    /// 48 bytes: the notes that the host leaves with floating-point state in a signal frame; 0 where stubs write no frames.
    pub(in super::super) const NOTES: usize = 0x80;
    /// u8 for each call: what goes to the sentry with it ([`super::super::input`]).
    pub(in super::super) const INPUTS: usize = 0x200;
    /// Floating-point state of a new program, up to the end of the page.
    pub(in super::super) const INITIAL: usize = 0x400;
    /// Bytes for it.
    pub(in super::super) const INITIAL_LEN: usize = 0xc00;
}

/// Fields of a context. The first line is written by the sentry.
///
/// A cache line that changes hands costs as much as everything else in a call together, so what a call needs stands in
/// two: the request's and the event's.
pub(super) mod field {
    /// u32: number of the request; the sentry raises it when the rest of the request is written. Futex word.
    pub(in super::super) const REQUEST: usize = 0x00;
    /// u32: a [`super::command`], and in the upper half one more than the CPU of the worker that wrote it; 0: not told.
    pub(in super::super) const COMMAND: usize = 0x04;
    /// u32: number of operations.
    pub(in super::super) const OP_COUNT: usize = 0x08;
    /// u32: bits of [`super::load`].
    pub(in super::super) const FLAGS: usize = 0x0c;
    /// u64: base of fs to be loaded.
    pub(in super::super) const FS_BASE: usize = 0x10;
    /// u64: base of gs to be loaded.
    pub(in super::super) const GS_BASE: usize = 0x18;
    /// Up to 16 bytes for the guest, with a reply that loads no bases.
    pub(in super::super) const INSIDE: usize = FS_BASE;
    /// u64: result of the system call.
    pub(in super::super) const RESULT: usize = 0x20;
    /// u64: where the floating-point state of a signal frame goes to.
    pub(in super::super) const STATE: usize = RESULT;
    /// u64: where to copy from.
    pub(in super::super) const COPY_FROM: usize = 0x28;
    /// u64: where to copy to.
    pub(in super::super) const COPY_TO: usize = 0x30;
    /// u64: how many bytes.
    pub(in super::super) const COPY_LEN: usize = 0x38;

    // What a stub publishes: one line, apart from the first by as much as a processor may fetch at once.
    /// u32: number of the request whose outcome stands below.
    pub(in super::super) const EVENT: usize = 0x80;
    /// u32: a signal number or an [`super::outcome`]; with a call by a patched site in the upper half the bytes at
    /// [`INPUT`].
    pub(in super::super) const KIND: usize = 0x84;
    /// Registers that a patched call passes.
    pub(in super::super) const REG_RAX: usize = 0x88;
    /// u64: bytes that could not be copied. By then the sentry has read the number.
    pub(in super::super) const COPY_LEFT: usize = REG_RAX;
    pub(in super::super) const REG_RDI: usize = 0x90;
    pub(in super::super) const REG_RSI: usize = 0x98;
    pub(in super::super) const REG_RDX: usize = 0xa0;
    pub(in super::super) const REG_R10: usize = 0xa8;
    pub(in super::super) const REG_R8: usize = 0xb0;
    pub(in super::super) const REG_R9: usize = 0xb8;

    // What the sentry seldom looks at.
    /// The other registers of a guest that came by a patched call.
    pub(in super::super) const REG_RIP: usize = 0x100;
    pub(in super::super) const REG_RSP: usize = 0x108;
    pub(in super::super) const REG_EFLAGS: usize = 0x110;
    pub(in super::super) const REG_RBX: usize = 0x118;
    pub(in super::super) const REG_RBP: usize = 0x120;
    pub(in super::super) const REG_R12: usize = 0x128;
    pub(in super::super) const REG_R13: usize = 0x130;
    pub(in super::super) const REG_R14: usize = 0x138;
    pub(in super::super) const REG_R15: usize = 0x140;
    pub(in super::super) const REG_RCX: usize = 0x148;
    pub(in super::super) const REG_R11: usize = 0x150;
    /// u64: base of fs at the event.
    pub(in super::super) const EVENT_FS: usize = 0x158;
    /// u64: base of gs at the event.
    pub(in super::super) const EVENT_GS: usize = 0x160;
    /// u32: operations that succeeded.
    pub(in super::super) const OP_DONE: usize = 0x168;
    /// u32: number of the request on whose way back the operations were all performed, or all was copied.
    pub(in super::super) const PERFORMED: usize = 0x16c;
    /// u64: result of the last operation, or its negated error number.
    pub(in super::super) const OP_RESULT: usize = 0x170;

    // The stub's own.
    /// u32: rounds of spinning that the stub allows itself.
    pub(in super::super) const SPIN: usize = 0x180;
    /// u32: waits since spinning was given up.
    pub(in super::super) const COLD: usize = 0x184;
    /// u32: an interrupt came while the stub served a patched call.
    pub(in super::super) const PENDING: usize = 0x188;
    /// u32: low half of the processor's time at the end of the last sleep, 0 once the guest has stopped again.
    pub(in super::super) const RESUMED: usize = 0x198;
    /// u32: not 0: no worker looks at this context, so an event needs a notification; written by the sentry.
    pub(in super::super) const OVERLOOKED: usize = 0x19c;
    /// u64: number of the patched call.
    pub(in super::super) const NUMBER: usize = 0x1a0;
    /// u64: calls that the stub has answered.
    pub(in super::super) const ANSWERED: usize = 0x1a8;
    /// u64: stack pointer at the first signal (zygote only).
    pub(in super::super) const FIRST_FRAME: usize = 0x190;

    /// u32: how the stub waits: a [`super::waiting`].
    pub(in super::super) const WAITING: usize = 0x1c0;
    /// u32: what the guest has taken when it last ran after a sleep of the stub, in the processor's time.
    pub(in super::super) const THOUGHT: usize = 0x1c8;
    /// u32: the CPU on which the stub lay down.
    pub(in super::super) const CPU: usize = 0x1c4;

    /// u64: address of the one of [`HOSTED`] that counts this thread; 0: it doesn't sleep in a futex of the host's.
    pub(in super::super) const ASLEEP: usize = 0x1d0;

    /// The operations: system-call number and six arguments each.
    pub(in super::super) const OPS: usize = 0x200;
    /// Bytes per operation.
    pub(in super::super) const OP_SIZE: usize = 64;
    /// Operations per request.
    pub(in super::super) const OPS_MAX: usize = 32;

    /// u64: address of the new thread's context.
    pub(in super::super) const CHILD: usize = 0xa00;
    /// u64: secret by which the new thread shows who it is.
    pub(in super::super) const COOKIE: usize = 0xa08;
    /// u64: descriptor of the contexts' memory.
    pub(in super::super) const MEMORY: usize = 0xa10;
    /// u64: offset of the new context in it.
    pub(in super::super) const OFFSET: usize = 0xa18;
    /// u32: not zero while the thread lives; the host clears it (`CLONE_CHILD_CLEARTID`).
    pub(in super::super) const ALIVE: usize = 0xa40;

    /// What the host has counted for the thread (`struct rusage`, 144 bytes), when it was left over.
    pub(in super::super) const RUSAGE: usize = 0xa80;

    // Answers that the stub gives by itself; but for the mask, the stack and the words written by the sentry.
    /// u64: the guest's signal mask, while the stub answers `rt_sigprocmask`.
    pub(in super::super) const SIGMASK: usize = 0xb40;
    /// `stack_t`: the alternate signal stack, flags as they were given, while the stub answers `sigaltstack`.
    pub(in super::super) const ALTSTACK: usize = 0xb48;
    /// u64: calls that the stub answers: a bit for each [`super::answer`].
    pub(in super::super) const ANSWERS: usize = 0xb60;
    /// u32: not 0: signals may be pending.
    pub(in super::super) const SIGNALS: usize = 0xb84;
    /// u64: address of this context.
    pub(in super::super) const SELF: usize = 0xb88;
    /// u32 for each [`super::answer`] that is a number.
    pub(in super::super) const IDENTITY: usize = 0xb90;
    /// u64: address of the context in which the process's [`SLEEPERS`] and [`HOSTED`] are: that of its first thread.
    pub(in super::super) const LEADER: usize = 0xbc0;
    /// u64 for each [`crate::Word`] of the thread, while the stub takes them.
    pub(in super::super) const WORDS: usize = 0xbc8;
    /// u32: trapped calls that the stub could answer.
    pub(in super::super) const TRAPS: usize = 0xbd8;
    /// u32: commands of `membarrier` that the process has registered; in the context of its first thread.
    pub(in super::super) const BARRIERS: usize = 0xbdc;
    /// u64 for each of some ranges of plain memory ([`super::super::plain`]): first page and number of pages, the latter in the low
    /// [`PLAIN_BITS`]; in the context of the process's first thread.
    pub(in super::super) const PLAIN: usize = 0xbe0;
    /// How many there are.
    pub(in super::super) const PLAIN_COUNT: usize = 4;
    /// Bits for the number of pages.
    pub(in super::super) const PLAIN_BITS: u32 = 29;

    /// End of the stack of a patched call, which is not the signal stack: a signal must find that unused.
    pub(in super::super) const THUNK_STACK_END: usize = 0x1000;
    /// Start of the signal stack.
    pub(in super::super) const STACK: usize = 0x1000;
    /// Its end.
    pub(in super::super) const STACK_END: usize = 0x8000;
    /// Floating-point state as `xsave` leaves it, of a guest that came by a patched call.
    pub(in super::super) const FPSAVE: usize = 0x8000;
    /// Bytes for it.
    pub(in super::super) const FPSAVE_LEN: usize = 0x3000;
    /// Window for what is copied between guest memory and the sentry.
    pub(in super::super) const WINDOW: usize = 0xb000;
    /// Bytes of it.
    pub(in super::super) const WINDOW_LEN: usize = 0x4c00;
    /// What the stub copies for a call before it tells of it.
    pub(in super::super) const INPUT: usize = 0xfc00;
    /// u32 for each class of addresses: threads of the process that sleep, in the sentry, on a word there
    /// ([`super::class_of`]).
    pub(in super::super) const SLEEPERS: usize = 0xfe00;
    /// As above, of threads that sleep in a futex of the host's.
    pub(in super::super) const HOSTED: usize = SLEEPERS + 4 * SLEEPER_CLASSES;
    /// How many classes there are: a power of two.
    pub(in super::super) const SLEEPER_CLASSES: usize = 64;
}

/// Returns the place of a word's class in a leader's context, from `SLEEPERS` or `HOSTED` on, as `answers.s` finds it.
pub(super) fn class_of(addr: u64) -> usize {
    4 * ((addr >> 2 ^ addr >> 12) as usize % field::SLEEPER_CLASSES)
}

/// Fields of the ucontext in a guest's signal frame (`struct ucontext`, arch/x86/include/uapi/asm/sigcontext.h), which is
/// where the stack pointer points when `rt_sigreturn` is called.
pub(super) mod context {
    /// `uc_stack`.
    pub(in super::super) const STACK: usize = 16;
    /// `uc_mcontext`, in the order of `struct sigcontext`: r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, flags.
    pub(in super::super) const REGS: usize = 40;
    /// Its `fpstate`.
    pub(in super::super) const FPSTATE: usize = 224;
    /// `uc_sigmask`.
    pub(in super::super) const SIGMASK: usize = 296;
    /// All of it.
    pub(in super::super) const LEN: usize = 304;
}

/// What the sentry asks of a stub.
pub(super) mod command {
    /// Return to guest code by the edited signal frame.
    pub(in super::super) const GO: u32 = 1;
    /// Perform the operations.
    pub(in super::super) const OPS: u32 = 2;
    /// Make a process that is a copy.
    pub(in super::super) const FORK: u32 = 3;
    /// Make a thread.
    pub(in super::super) const THREAD: u32 = 4;
    /// End this thread.
    pub(in super::super) const EXIT: u32 = 5;
    /// Return to guest code by the saved registers.
    pub(in super::super) const RETURN: u32 = 6;
    /// Save the floating-point state to [`super::field::FPSAVE`].
    pub(in super::super) const SAVE: u32 = 7;
    /// Trap, so that there is a signal frame to return by.
    pub(in super::super) const TRAP: u32 = 8;
    /// Copy between guest memory and the window.
    pub(in super::super) const COPY: u32 = 9;
    /// Perform the operations and, if all succeed, return as with [`RETURN`].
    pub(in super::super) const OPS_RETURN: u32 = 10;
    /// Perform the operations and, if all succeed, return as with [`GO`].
    pub(in super::super) const OPS_GO: u32 = 14;
    /// Copy as with [`COPY`] and, if all could be copied, return as with [`RETURN`].
    pub(in super::super) const COPY_RETURN: u32 = 11;
    /// Write a signal frame: the floating-point state from the processor, the rest from the window; then put the state to that
    /// of a new program.
    pub(in super::super) const FRAME: u32 = 13;
    /// Nothing yet: the call waits for something, and it doesn't pay to look for the reply. Written without a new number.
    pub(in super::super) const HOLD: u32 = 12;
}

/// What a stub can answer by itself. The first ones are numbers, in the order of [`crate::Identity`].
pub(super) mod answer {
    /// `getpgrp`.
    pub(in super::super) const PGID: usize = 8;
    /// `rt_sigprocmask`.
    pub(in super::super) const MASK: usize = 16;
    /// `sched_yield`.
    pub(in super::super) const YIELD: usize = 17;
    /// `getpgid`.
    pub(in super::super) const GETPGID: usize = 18;
    /// `getsid`.
    pub(in super::super) const GETSID: usize = 19;
    /// `arch_prctl`.
    pub(in super::super) const ARCH: usize = 20;
    /// `futex`: private wake-ups and waits, with the host where somebody sleeps.
    pub(in super::super) const FUTEX: usize = 21;
    /// `rt_sigreturn`.
    pub(in super::super) const SIGRETURN: usize = 22;
    /// `set_robust_list`. This and the next are what a thread begins with.
    pub(in super::super) const ROBUST: usize = 23;
    /// `set_tid_address`.
    pub(in super::super) const TID_ADDRESS: usize = 24;
    /// `sigaltstack`.
    pub(in super::super) const ALTSTACK: usize = 25;
    /// `clock_gettime`. This and the next three are calls of the vDSO's functions, in the order of [`super::control::CLOCKS`].
    pub(in super::super) const CLOCK_GETTIME: usize = 26;
    /// `clock_getres`.
    pub(in super::super) const CLOCK_GETRES: usize = 27;
    /// `gettimeofday`.
    pub(in super::super) const GETTIMEOFDAY: usize = 28;
    /// `time`.
    pub(in super::super) const TIME: usize = 29;
    /// `getcpu`.
    pub(in super::super) const GETCPU: usize = 30;
    /// `madvise`, of plain memory, and what changes no mapping.
    pub(in super::super) const MADVISE: usize = 31;
    /// `membarrier`: the plain one among threads of the process.
    pub(in super::super) const MEMBARRIER: usize = 32;
    /// Signals that can't be blocked: `SIGKILL`, `SIGSTOP`.
    pub(in super::super) const UNBLOCKABLE: u64 = 1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1);
}

/// What a stub loads before it returns to guest code.
pub(super) mod load {
    /// The base of fs.
    pub(in super::super) const FS: u32 = 1;
    /// The base of gs.
    pub(in super::super) const GS: u32 = 2;
    /// The floating-point state from [`super::field::FPSAVE`].
    pub(in super::super) const FPU: u32 = 4;
    /// All general registers are those of the context; without this only `rax`, from [`super::field::RESULT`].
    pub(in super::super) const REGS: u32 = 8;
}

/// What ended a request, besides signals.
pub(super) mod outcome {
    /// The operations, or the clone, are done.
    pub(in super::super) const DONE: u32 = 0x100;
    /// A new thread waits for its first request.
    pub(in super::super) const HELLO: u32 = 0x101;
    /// A system call by a patched site, registers in the context.
    pub(in super::super) const CALL: u32 = 0x102;
    /// An interrupt on the way back from a patched site, registers in the context.
    pub(in super::super) const INTERRUPTED: u32 = 0x103;
    /// As above: a change of the signal mask that may let signals through.
    pub(in super::super) const ATTENTION: u32 = 0x104;
}

/// How a stub waits for its reply.
pub(super) mod waiting {
    /// In the futex on the request number.
    pub(in super::super) const FUTEX: u32 = 1;
}

/// Numbers that no system call has, which the filter turns into notifications.
pub(super) mod call {
    /// "An event is there and no worker is awake": the request number.
    pub(in super::super) const WAKE: i64 = 0x0f57_0001;
    /// "I am the new thread": the cookie.
    pub(in super::super) const HELLO: i64 = 0x0f57_0002;
    /// Not a call at all: compare-and-exchange in a batch of operations.
    pub(in super::super) const COMPARE_EXCHANGE: i64 = 0x0f57_0003;
    /// As above: stores one byte.
    pub(in super::super) const STORE_BYTE: i64 = 0x0f57_0004;
    /// As above: copies from the window.
    pub(in super::super) const WRITE: i64 = 0x0f57_0005;
    /// Traps, whoever makes it.
    pub(in super::super) const TRAP: i64 = 0x0f57_0006;
}

/// The real-time signal of interrupts: the last one, which nothing else in the sentry uses.
pub(crate) const INTERRUPT: i32 = 64;

/// Layout of what the host writes at a signal (`struct rt_sigframe`, arch/x86/include/asm/sigframe.h), relative to the
/// stack pointer at the handler's entry.
pub(super) mod frame {
    /// u64: `uc_stack.ss_sp`.
    pub(in super::super) const STACK_SP: usize = 24;
    /// u32: `uc_stack.ss_flags`.
    pub(in super::super) const STACK_FLAGS: usize = 32;
    /// u64: `uc_stack.ss_size`.
    pub(in super::super) const STACK_SIZE: usize = 40;
    /// The 18 general registers of `struct sigcontext`: r8 … r15, di, si, bp, bx, dx, ax, cx, sp, ip, flags.
    pub(in super::super) const REGS: usize = 48;
    /// u64: cs, gs, fs, ss, 16 bits each.
    pub(in super::super) const SEGMENTS: usize = REGS + 144;
    /// u64: `err`.
    pub(in super::super) const ERR: usize = REGS + 152;
    /// u64: `trapno`.
    pub(in super::super) const TRAPNO: usize = REGS + 160;
    /// u64: `cr2`.
    pub(in super::super) const CR2: usize = REGS + 176;
    /// u64: address of the floating-point state.
    pub(in super::super) const FPSTATE: usize = REGS + 184;
    /// u64: `uc_sigmask`.
    pub(in super::super) const SIGMASK: usize = REGS + 256;
    /// `siginfo_t`: u32 signo, u32 errno, u32 code.
    pub(in super::super) const SIGINFO: usize = 312;
    /// Bytes up to here belong to the frame proper.
    pub(in super::super) const SIZE: usize = SIGINFO + 128;
}
