//! The stub: position-independent code that every guest address space has at [`layout::STUB`].
//!
//! It is entered by the host at a signal, publishes what happened, waits for the sentry's request and performs it. It
//! keeps nothing but what stands in its context, which it finds by rounding its stack pointer down (the signal stack
//! lies inside the context). All signals but SIGSEGV and SIGBUS are blocked while it runs, so an interrupt that comes
//! while it waits for the sentry is delivered when the guest goes on, and there is no window between deciding to sleep
//! and sleeping. Faults of its own are either repaired (compare-and-exchange) or the end of the process.
//!
//! The guest may jump anywhere in here. It can do no more by that than the filter allows the stub, in its own address
//! space.

use super::layout::{self, call, command, control, field, frame, outcome, waiting};
use super::shared::CONTEXT_SIZE;

std::arch::global_asm!(
    ".pushsection .rodata.systrap_stub, \"a\"",
    ".balign 64",
    ".globl systrap_stub_start",
    ".hidden systrap_stub_start",
    "systrap_stub_start:",
    // Signal handler: edi = signal, rsi = siginfo, rdx = ucontext, rsp = frame.
    "mov rbx, rsp",
    "and rbx, -{SIZE}",
    "movabs rbp, {CONTROL}",
    "mov eax, [rbp + {C_FRAME}]",
    "test eax, eax",
    "jz 20f",
    // Interrupted in here?
    "movabs rcx, {STUB}",
    "mov r8, [rdx + {UC_RIP}]",
    "mov r9, r8",
    "sub r9, rcx",
    "cmp r9, {CODE_LEN}",
    "jb 30f",
    // The frame must stand where the sentry edits it.
    "add rax, rbx",
    "cmp rax, rsp",
    "jne 99f",
    "21:",
    "mov [rbx + {KIND}], edi",
    "cmp dword ptr [rbp + {C_FSGSBASE}], 0",
    "je 40f",
    "rdfsbase rax",
    "mov [rbx + {EVENT_FS}], rax",
    "rdgsbase rax",
    "mov [rbx + {EVENT_GS}], rax",
    // Publish, then wait for the next request.
    "40:",
    "mov r12d, [rbx + {REQUEST}]",
    "mov eax, r12d",
    "xchg [rbx + {EVENT}], eax",
    "movabs rbp, {CONTROL}",
    "mov ecx, [rbx + {SPIN}]",
    "cmp ecx, 8",
    "jae 41f",
    // Given up: try again every sixteenth time.
    "inc dword ptr [rbx + {COLD}]",
    "test dword ptr [rbx + {COLD}], 15",
    "jnz 44f",
    "mov ecx, [rbp + {C_SPIN}]",
    "test ecx, ecx",
    "jz 44f",
    "41:",
    "mov eax, [rbx + {REQUEST}]",
    "cmp eax, r12d",
    "jne 42f",
    "pause",
    "dec ecx",
    "jnz 41b",
    "shr dword ptr [rbx + {SPIN}], 1",
    "jmp 44f",
    "42:",
    "mov ecx, [rbp + {C_SPIN}]",
    "mov [rbx + {SPIN}], ecx",
    "jmp 50f",
    // The event was published before this (xchg is a full barrier), so that either we see that no worker is awake or
    // a worker that lies down sees the event: super::hub.
    "44:",
    "mov eax, [rbp + {C_AWAKE}]",
    "test eax, eax",
    "jnz 45f",
    "mov eax, {WAKE}",
    "mov edi, r12d",
    "syscall",
    "cmp rax, -38",
    "je 99f",
    "45:",
    "mov eax, {FUTEX}",
    "xchg [rbx + {WAITING}], eax",
    "cmp [rbx + {REQUEST}], r12d",
    "jne 46f",
    "mov eax, {SYS_futex}",
    "lea rdi, [rbx + {REQUEST}]",
    "xor esi, esi",
    "mov edx, r12d",
    "xor r10d, r10d",
    "xor r8d, r8d",
    "xor r9d, r9d",
    "syscall",
    "jmp 45b",
    "46:",
    "mov dword ptr [rbx + {WAITING}], 0",
    // A request is there.
    "50:",
    "mov eax, [rbx + {COMMAND}]",
    "cmp eax, {GO}",
    "jne 60f",
    "mov eax, [rbx + {FLAGS}]",
    "cmp dword ptr [rbp + {C_FSGSBASE}], 0",
    "je 53f",
    "test al, 1",
    "jz 51f",
    "mov rcx, [rbx + {FS_BASE}]",
    "wrfsbase rcx",
    "51:",
    "test al, 2",
    "jz 52f",
    "mov rcx, [rbx + {GS_BASE}]",
    "wrgsbase rcx",
    "52:",
    "mov eax, [rbp + {C_FRAME}]",
    "lea rsp, [rbx + rax + 8]",
    "mov eax, {SYS_rt_sigreturn}",
    "syscall",
    "jmp 99f",
    "53:",
    "test al, 1",
    "jz 54f",
    "mov eax, {SYS_arch_prctl}",
    "mov edi, 0x1002",
    "mov rsi, [rbx + {FS_BASE}]",
    "syscall",
    "54:",
    "test dword ptr [rbx + {FLAGS}], 2",
    "jz 52b",
    "mov eax, {SYS_arch_prctl}",
    "mov edi, 0x1001",
    "mov rsi, [rbx + {GS_BASE}]",
    "syscall",
    "jmp 52b",
    "60:",
    "cmp eax, {CMD_OPS}",
    "jne 70f",
    "xor r13d, r13d",
    "xor r15d, r15d",
    "lea r14, [rbx + {OPS}]",
    "61:",
    "cmp r13d, [rbx + {OP_COUNT}]",
    "jae 64f",
    "mov rax, [r14]",
    "mov rdi, [r14 + 8]",
    "mov rsi, [r14 + 16]",
    "mov rdx, [r14 + 24]",
    "mov r10, [r14 + 32]",
    "mov r8, [r14 + 40]",
    "mov r9, [r14 + 48]",
    "cmp rax, {COMPARE_EXCHANGE}",
    "je 66f",
    "syscall",
    "63:",
    "mov r15, rax",
    "cmp rax, -4095",
    "jae 64f",
    "inc r13d",
    "add r14, {OP_SIZE}",
    "jmp 61b",
    "64:",
    "mov [rbx + {OP_DONE}], r13d",
    "65:",
    "mov [rbx + {OP_RESULT}], r15",
    "mov dword ptr [rbx + {KIND}], {DONE}",
    "jmp 40b",
    "66:",
    "mov eax, esi",
    "systrap_stub_exchange:",
    "lock cmpxchg [rdi], edx",
    "mov eax, eax",
    "jmp 63b",
    "67:",
    "mov rax, -14",
    "jmp 63b",
    // Clones.
    "70:",
    "mov r13, [rbx + {CHILD}]",
    "mov r14, [rbx + {MEMORY}]",
    "mov r15, [rbx + {OFFSET}]",
    "mov rbp, [rbx + {COOKIE}]",
    "xor edx, edx",
    "xor r8d, r8d",
    "cmp eax, {FORK}",
    "jne 80f",
    "mov eax, {SYS_clone}",
    "mov edi, {FORK_FLAGS}",
    "xor esi, esi",
    "xor r10d, r10d",
    "syscall",
    "test rax, rax",
    "jnz 71f",
    // A new process. It has no context yet, so no stack.
    "mov eax, {HELLO}",
    "mov rdi, rbp",
    "syscall",
    "test rax, rax",
    "jnz 99f",
    "mov eax, {SYS_prctl}",
    "mov edi, {PDEATHSIG}",
    "mov esi, {SIGKILL}",
    "syscall",
    "mov eax, {SYS_mmap}",
    "mov rdi, r13",
    "mov esi, {SIZE}",
    "mov edx, 3",
    "mov r10d, 0x11",
    "mov r8, r14",
    "mov r9, r15",
    "syscall",
    "cmp rax, r13",
    "jne 99f",
    "mov eax, {SYS_madvise}",
    "mov rdi, r13",
    "mov esi, {SIZE}",
    "mov edx, {DONTFORK}",
    "syscall",
    "jmp 90f",
    "71:",
    "mov r15, rax",
    "jmp 65b",
    "80:",
    "cmp eax, {THREAD}",
    "jne 95f",
    "mov eax, {SYS_clone}",
    "mov edi, {THREAD_FLAGS}",
    "lea rsi, [r13 + {STACK_END}]",
    "lea r10, [r13 + {ALIVE}]",
    "syscall",
    "test rax, rax",
    "jnz 71b",
    "mov eax, {HELLO}",
    "mov rdi, rbp",
    "syscall",
    "test rax, rax",
    "jnz 99f",
    // Through the prepared frame, which sets signal stack, mask and floating-point state, to 91.
    "90:",
    "movabs rax, {CONTROL}",
    "mov eax, [rax + {C_FRAME}]",
    "lea rsp, [r13 + rax + 8]",
    "mov eax, {SYS_rt_sigreturn}",
    "syscall",
    "jmp 99f",
    ".globl systrap_stub_announce",
    ".hidden systrap_stub_announce",
    "systrap_stub_announce:",
    "mov dword ptr [rbx + {KIND}], {KIND_HELLO}",
    "jmp 40b",
    // The end of this thread.
    "95:",
    "mov eax, {SYS_exit}",
    "xor edi, edi",
    "syscall",
    // The end of this process: the signal is blocked, so the host kills.
    "99:",
    "ud2",
    // The zygote's first signal: the sentry learns where frames stand.
    "20:",
    "mov [rbx + {FIRST_FRAME}], rsp",
    "jmp 21b",
    // A signal in here: a compare-and-exchange with bad memory, or an attack.
    "30:",
    "lea rax, [rip + systrap_stub_exchange]",
    "cmp r8, rax",
    "jne 99b",
    "lea rax, [rip + 67b]",
    "mov [rdx + {UC_RIP}], rax",
    "add rsp, 8",
    "mov eax, {SYS_rt_sigreturn}",
    "syscall",
    "jmp 99b",
    ".globl systrap_stub_end",
    ".hidden systrap_stub_end",
    "systrap_stub_end:",
    ".popsection",
    SIZE = const CONTEXT_SIZE,
    CONTROL = const layout::CONTROL,
    STUB = const layout::STUB,
    CODE_LEN = const layout::CODE_LEN,
    UC_RIP = const frame::REGS - 8 + 16 * 8,
    C_FRAME = const control::FRAME,
    C_FSGSBASE = const control::FSGSBASE,
    C_SPIN = const control::SPIN,
    C_AWAKE = const control::AWAKE,
    KIND = const field::KIND,
    EVENT = const field::EVENT,
    EVENT_FS = const field::EVENT_FS,
    EVENT_GS = const field::EVENT_GS,
    REQUEST = const field::REQUEST,
    SPIN = const field::SPIN,
    COLD = const field::COLD,
    WAITING = const field::WAITING,
    COMMAND = const field::COMMAND,
    FLAGS = const field::FLAGS,
    FS_BASE = const field::FS_BASE,
    GS_BASE = const field::GS_BASE,
    OPS = const field::OPS,
    OP_SIZE = const field::OP_SIZE,
    OP_COUNT = const field::OP_COUNT,
    OP_DONE = const field::OP_DONE,
    OP_RESULT = const field::OP_RESULT,
    CHILD = const field::CHILD,
    MEMORY = const field::MEMORY,
    OFFSET = const field::OFFSET,
    COOKIE = const field::COOKIE,
    ALIVE = const field::ALIVE,
    STACK_END = const field::STACK_END,
    FIRST_FRAME = const field::FIRST_FRAME,
    GO = const command::GO,
    CMD_OPS = const command::OPS,
    FORK = const command::FORK,
    THREAD = const command::THREAD,
    DONE = const outcome::DONE,
    KIND_HELLO = const outcome::HELLO,
    FUTEX = const waiting::FUTEX,
    WAKE = const call::WAKE,
    HELLO = const call::HELLO,
    COMPARE_EXCHANGE = const call::COMPARE_EXCHANGE,
    FORK_FLAGS = const FORK_FLAGS,
    THREAD_FLAGS = const THREAD_FLAGS,
    PDEATHSIG = const libc::PR_SET_PDEATHSIG,
    SIGKILL = const libc::SIGKILL,
    DONTFORK = const libc::MADV_DONTFORK,
    SYS_futex = const libc::SYS_futex,
    SYS_rt_sigreturn = const libc::SYS_rt_sigreturn,
    SYS_clone = const libc::SYS_clone,
    SYS_arch_prctl = const libc::SYS_arch_prctl,
    SYS_prctl = const libc::SYS_prctl,
    SYS_mmap = const libc::SYS_mmap,
    SYS_madvise = const libc::SYS_madvise,
    SYS_exit = const libc::SYS_exit,
);

/// Flags of the clone that makes a process: the sentry is the parent of all.
pub(super) const FORK_FLAGS: i32 = libc::CLONE_PARENT | libc::CLONE_FILES | libc::SIGCHLD;
/// Flags of the clone that makes a thread.
pub(super) const THREAD_FLAGS: i32 = libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_CHILD_CLEARTID;

unsafe extern "C" {
    #[link_name = "systrap_stub_start"]
    static START: u8;
    #[link_name = "systrap_stub_announce"]
    static ANNOUNCE: u8;
    #[link_name = "systrap_stub_end"]
    static END: u8;
}

/// Returns the machine code.
pub(super) fn code() -> &'static [u8] {
    let start = &raw const START;
    let len = (&raw const END).addr() - start.addr();
    // SAFETY: the assembler put `len` bytes of read-only data between the two symbols.
    unsafe { std::slice::from_raw_parts(start, len) }
}

/// Address of the signal handler in stubs.
pub(super) const HANDLER: u64 = layout::STUB;

/// Address in stubs at which a new thread, its registers set by the prepared frame, says that it is there.
pub(super) fn announce() -> u64 {
    layout::STUB + ((&raw const ANNOUNCE).addr() - (&raw const START).addr()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_fits_its_page() {
        assert!((256..layout::CODE_LEN as usize).contains(&code().len()));
        assert!(announce() < layout::STUB + layout::CODE_LEN);
    }

    #[test]
    fn fields_do_not_overlap() {
        const { assert!(field::OPS + field::OPS_MAX * field::OP_SIZE <= field::STACK) };
        const { assert!(field::WINDOW < CONTEXT_SIZE && CONTEXT_SIZE.is_power_of_two()) };
        const { assert!(layout::STUB_END < layout::TASK_END) };
    }
}
