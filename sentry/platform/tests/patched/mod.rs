//! Guests whose system calls are patched.

pub(crate) mod answers;
pub(crate) mod behind;
pub(crate) mod input;
pub(crate) mod later;
pub(crate) mod mapped;
pub(crate) mod scarce;

use std::time::{Duration, Instant};

use abi::flags::Prot;
use sentry_platform::{Event, MemOp, Platform, Registers};

use crate::common::guest::{CODE, CODE_LEN, DATA, Guest, STACK_TOP, call_forever};
use crate::common::{Case, block_on};
use crate::guest_code;

pub(crate) const CASES: &[Case] = &[
    ("patched_call_has_the_registers_of_a_trap", patched_call_has_the_registers_of_a_trap),
    ("patched_call_returns_with_any_registers", patched_call_returns_with_any_registers),
    ("patched_call_keeps_vectors_over_fork_and_thread", patched_call_keeps_vectors_over_fork_and_thread),
    ("fpstate_of_a_patched_call_can_be_set", fpstate_of_a_patched_call_can_be_set),
    ("a_guest_with_its_own_gs_traps", a_guest_with_its_own_gs_traps),
    ("a_base_of_gs_can_be_set_from_a_patched_call", a_base_of_gs_can_be_set_from_a_patched_call),
    ("memory_operations_work_from_a_patched_call", memory_operations_work_from_a_patched_call),
    ("small_copies_stop_at_the_faulting_byte", small_copies_stop_at_the_faulting_byte),
    ("interrupts_race_with_patched_calls", interrupts_race_with_patched_calls),
    ("a_stepping_guest_passes_a_patched_call", a_stepping_guest_passes_a_patched_call),
    ("a_patched_site_may_be_anything_to_its_context", a_patched_site_may_be_anything_to_its_context),
    ("cost_of_a_patched_call", cost_of_a_patched_call),
];

/// Where thunks are mapped.
const REGION: u64 = 0x30_0000;
const PRIVATE: u32 = libc::MAP_PRIVATE as u32;

/// Patches every `mov eax, NUMBER; syscall` of a guest's code.
fn patch(guest: &mut Guest<'_>) {
    let patching = guest.platform.patching().expect("this processor and kernel allow patching");
    let mut code = vec![0; CODE_LEN as usize];
    assert_eq!(guest.space.read(CODE, &mut code), code.len());
    let (rw, rx) = (Prot::READ | Prot::WRITE, Prot::READ | Prot::EXEC);
    guest
        .ops(&[
            MemOp::MapAnonymous { addr: REGION, len: 0x1000, prot: rw, flags: PRIVATE },
            MemOp::Protect { addr: CODE, len: CODE_LEN, prot: rw },
        ])
        .expect("map");
    guest.space.write(REGION, patching.common());
    let mut at = REGION + patching.common().len() as u64;
    for site in 0..code.len() - 7 {
        if code[site] != 0xb8 || code[site + 5..site + 7] != [0x0f, 0x05] {
            continue;
        }
        let resume = CODE + site as u64 + 7;
        let thunk = patching.thunk(REGION, at, &code[site..site + 5], resume).expect("in reach");
        guest.space.write(at, &thunk);
        let mut jump = vec![0xe9];
        jump.extend(u32::try_from(at - (resume - 2)).expect("in reach").to_le_bytes());
        guest.space.write(CODE + site as u64, &jump);
        at += patching.thunk_len();
    }
    assert!(at > REGION + patching.common().len() as u64, "no site was found");
    guest
        .ops(&[
            MemOp::Protect { addr: REGION, len: 0x1000, prot: rx },
            MemOp::Protect { addr: CODE, len: CODE_LEN, prot: rx },
        ])
        .expect("protect");
}

fn patched<'a>(platform: &'a dyn Platform, code: &[u8]) -> Guest<'a> {
    let mut guest = Guest::new(platform, code);
    patch(&mut guest);
    guest
}

/// Runs to the next call, which must not come by a trap.
#[track_caller]
fn expect_patched(guest: &mut Guest<'_>, nr: u64) -> [u64; 6] {
    let args = guest.expect_syscall(nr);
    assert!(!guest.context.trapped(), "call {nr} came by a trap");
    args
}

guest_code!(
    call_with_everything,
    "mov edi, 1",
    "mov esi, 2",
    "mov edx, 3",
    "mov r10d, 4",
    "mov r8d, 5",
    "mov r9d, 6",
    "mov ebx, 7",
    "mov ebp, 8",
    "mov r12d, 12",
    "mov r13d, 13",
    "mov r14d, 14",
    "mov r15d, 15",
    "std",
    "stc",
    "mov eax, 1000",
    "syscall",
    "cld",
    "mov eax, 1001",
    "syscall"
);

fn patched_call_has_the_registers_of_a_trap(platform: &dyn Platform) {
    let mut trapping = Guest::new(platform, call_with_everything());
    let mut guest = patched(platform, call_with_everything());
    assert_eq!(expect_patched(&mut guest, 1000), trapping.expect_syscall(1000));
    assert!(trapping.context.trapped());
    assert_eq!(guest.regs, trapping.regs);
    (guest.regs.rax, trapping.regs.rax) = (0x1234_5678_9abc_def0, 0x1234_5678_9abc_def0);
    expect_patched(&mut guest, 1001);
    trapping.expect_syscall(1001);
    assert_eq!(guest.regs, trapping.regs);
}

guest_code!(
    show_registers,
    "mov eax, 1",
    "syscall",
    "pushfq",
    "push rcx",
    "push r11",
    "push rax",
    "mov eax, 2",
    "syscall"
);

fn patched_call_returns_with_any_registers(platform: &dyn Platform) {
    let mut guest = patched(platform, show_registers());
    expect_patched(&mut guest, 1);
    let set = Registers {
        r15: 15,
        r14: 14,
        r13: 13,
        r12: 12,
        rbp: 5,
        rbx: 3,
        r11: 0x1111,
        r10: 10,
        r9: 9,
        r8: 8,
        rax: 0xaaaa,
        rcx: 0xcccc,
        rdx: 2,
        rsi: 6,
        rdi: 7,
        rsp: STACK_TOP - 0x100,
        eflags: 0x202 | 0x1 | 0x80,
        fs_base: 0x1234_5000,
        ..guest.regs
    };
    guest.regs = set;
    expect_patched(&mut guest, 2);
    let got = guest.regs;
    let expected =
        Registers { rax: 2, orig_rax: 2, rip: got.rip, rcx: got.rip, r11: set.eflags, rsp: set.rsp - 32, ..set };
    assert_eq!(got, expected);
    assert_eq!([24, 16, 8, 0].map(|at| guest.word(got.rsp + at)), [set.eflags, 0xcccc, 0x1111, 0xaaaa]);
}

guest_code!(
    patched_vectors,
    "mov rax, 0x1111111111111111",
    "movq xmm0, rax",
    "mov rax, 0x2222222222222222",
    "movq xmm15, rax",
    "fld1",
    "mov eax, 1",
    "syscall",
    "movq rbx, xmm0",
    "movq rcx, xmm15",
    "mov rdx, rcx",
    "fstp qword ptr [0x200000]",
    "mov eax, 2",
    "syscall"
);

fn patched_call_keeps_vectors_over_fork_and_thread(platform: &dyn Platform) {
    let mut guest = patched(platform, patched_vectors());
    expect_patched(&mut guest, 1);
    let mut child = guest.fork();
    let mut thread = guest.thread();
    for who in [&mut child, &mut thread, &mut guest] {
        expect_patched(who, 2);
        assert_eq!((who.regs.rbx, who.regs.rdx), (0x1111_1111_1111_1111, 0x2222_2222_2222_2222));
    }
    assert_eq!(f64::from_bits(guest.word(DATA)), 1.0);
    assert_eq!(f64::from_bits(child.word(DATA)), 1.0);
}

fn fpstate_of_a_patched_call_can_be_set(platform: &dyn Platform) {
    /// Offset of `xmm0` in the XSAVE image.
    const XMM0: usize = 160;
    let mut guest = patched(platform, patched_vectors());
    expect_patched(&mut guest, 1);
    let mut state = block_on(platform, guest.context.fpstate()).expect("fpstate");
    assert_eq!(state[XMM0..XMM0 + 8], [0x11; 8]);
    state[XMM0..XMM0 + 8].fill(0x33);
    block_on(platform, guest.context.set_fpstate(&state)).expect("set");
    let again = block_on(platform, guest.context.fpstate()).expect("fpstate");
    assert_eq!(again[XMM0..XMM0 + 8], [0x33; 8]);
    // By way of a signal frame as well as straight back.
    for gs_base in [0, DATA] {
        let mut guest = guest.fork();
        guest.regs.gs_base = gs_base;
        guest.expect_syscall(2);
        assert_eq!((guest.regs.rbx, guest.regs.rdx), (0x3333_3333_3333_3333, 0x2222_2222_2222_2222));
    }
    guest.regs.gs_base = DATA;
    guest.expect_syscall(2);
    assert_eq!((guest.regs.rbx, guest.regs.rdx), (0x3333_3333_3333_3333, 0x2222_2222_2222_2222));
}

guest_code!(
    own_gs,
    "mov eax, 1",
    "syscall",
    "mov edi, 0x200000",
    "wrgsbase rdi",
    "mov eax, 2",
    "syscall",
    "xor edi, edi",
    "wrgsbase rdi",
    "mov eax, 3",
    "syscall",
    "mov eax, 4",
    "syscall"
);

fn a_guest_with_its_own_gs_traps(platform: &dyn Platform) {
    let mut guest = patched(platform, own_gs());
    expect_patched(&mut guest, 1);
    assert_eq!(guest.regs.gs_base, 0);
    guest.expect_syscall(2);
    assert!(guest.context.trapped());
    assert_eq!(guest.regs.gs_base, DATA);
    guest.expect_syscall(3);
    assert_eq!(guest.regs.gs_base, 0);
    expect_patched(&mut guest, 4);
}

fn a_base_of_gs_can_be_set_from_a_patched_call(platform: &dyn Platform) {
    let mut guest = patched(platform, show_registers());
    expect_patched(&mut guest, 1);
    guest.regs.gs_base = DATA + 0x100;
    guest.regs.rbx = 77;
    guest.expect_syscall(2);
    assert_eq!((guest.regs.gs_base, guest.regs.rbx), (DATA + 0x100, 77));
}

fn memory_operations_work_from_a_patched_call(platform: &dyn Platform) {
    let mut guest = patched(platform, show_registers());
    expect_patched(&mut guest, 1);
    guest
        .ops(&[
            MemOp::Write { addr: DATA + 3, bytes: (*b"patched!").into() },
            MemOp::StoreByte { addr: DATA + 3, byte: b'P' },
        ])
        .expect("store");
    let mut bytes = [0; 8];
    guest.space.read(DATA + 3, &mut bytes);
    assert_eq!(&bytes, b"Patched!");
    let bad =
        guest.ops(&[MemOp::Write { addr: DATA - 0x1000, bytes: vec![0; 8].into() }]).expect_err("nothing is there");
    assert_eq!(bad.errno, abi::Errno::EFAULT);
    let bad = guest.ops(&[MemOp::StoreByte { addr: CODE, byte: 0 }]).expect_err("not writable");
    assert_eq!(bad.errno, abi::Errno::EFAULT);
    guest.regs.rax = 5;
    expect_patched(&mut guest, 2);
    assert_eq!(guest.word(guest.regs.rsp), 5);
}

fn small_copies_stop_at_the_faulting_byte(platform: &dyn Platform) {
    const FAR: u64 = 0x6000_0000;
    for by_trap in [false, true] {
        let mut guest = Guest::new(platform, show_registers());
        if !by_trap {
            patch(&mut guest);
        }
        let rw = Prot::READ | Prot::WRITE;
        let map = [
            MemOp::MapAnonymous { addr: FAR, len: 0x2000, prot: rw, flags: PRIVATE },
            MemOp::Protect { addr: FAR + 0x1000, len: 0x1000, prot: Prot::READ },
        ];
        guest.ops(&map).expect("map");
        guest.expect_syscall(1);
        for len in [1, 7, 8, 9, 63, 64, 65, 500, 1024, 1025, 4000] {
            let bytes: Vec<u8> = (0..len).map(|at| at as u8 ^ 0x5a).collect();
            let mut back = vec![0; len];
            assert_eq!(guest.space.write(FAR + 3, &bytes), len);
            assert_eq!(guest.space.read(FAR + 3, &mut back), len);
            assert_eq!(back, bytes);
            for room in [0, 1, 2, 8, 100].into_iter().filter(|room| *room <= len) {
                assert_eq!(guest.space.write(FAR + 0x1000 - room as u64, &bytes), room, "{len} into {room}");
                assert_eq!(guest.space.read(FAR + 0x2000 - room as u64, &mut back), room, "{len} from {room}");
            }
        }
        guest.regs.rax = 9;
        guest.expect_syscall(2);
        assert_eq!(guest.word(guest.regs.rsp), 9);
    }
}

guest_code!(count_calls, "2:", "mov eax, 1000", "syscall", "add rbx, rax", "jmp 2b");

/// Time for a busy machine to have made its interrupts; a second is the rule.
const LIMIT: Duration = Duration::from_mins(1);

fn interrupts_race_with_patched_calls(platform: &dyn Platform) {
    let mut guest = patched(platform, count_calls());
    let interrupter = guest.context.interrupter();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let began = Instant::now();
            while began.elapsed() < LIMIT && !stop.load(std::sync::atomic::Ordering::SeqCst) {
                interrupter.interrupt();
                // From no pause to some: interrupts are to meet every instruction on the way.
                for _ in 0..(began.elapsed().subsec_nanos() / 64) % 4096 {
                    std::hint::spin_loop();
                }
            }
        });
        let (mut calls, mut interrupts) = (0u64, 0u64);
        let began = Instant::now();
        let mut wrong = None;
        while (calls < 50_000 || interrupts < 500) && began.elapsed() < LIMIT && wrong.is_none() {
            match guest.run() {
                Event::Syscall if guest.regs.orig_rax == 1000 && guest.regs.rbx == calls => {
                    calls += 1;
                    guest.regs.rax = 1;
                }
                // Before the result was added, or after; in the thunk it is as if the call had not begun.
                Event::Interrupted => interrupts += 1,
                event => wrong = Some(event),
            }
        }
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(wrong, None, "after {calls} calls: {:x?}", guest.regs);
        assert!(calls >= 50_000 && interrupts >= 500, "{calls} calls, {interrupts} interrupts");
    });
}

guest_code!(
    step,
    "pushfq",
    "or qword ptr [rsp], 0x100",
    "popfq",
    "mov eax, 1",
    "syscall",
    "nop",
    "mov eax, 2",
    "syscall"
);

fn a_stepping_guest_passes_a_patched_call(platform: &dyn Platform) {
    let mut guest = patched(platform, step());
    let mut calls = 0;
    for _ in 0..100 {
        match guest.run() {
            Event::Syscall if guest.regs.orig_rax == 2 => break,
            Event::Syscall => calls += 1,
            Event::Fault(fault) => assert_eq!(fault.signo, libc::SIGTRAP),
            other => panic!("{other:?} {:x?}", guest.regs),
        }
    }
    assert_eq!((calls, guest.regs.orig_rax), (1, 2));
}

guest_code!(scribble, "mov [rbx + rcx], rdx", "mov eax, 9", "syscall", "jmp rdi");

fn a_patched_site_may_be_anything_to_its_context(platform: &dyn Platform) {
    let mut other = Guest::new(platform, call_forever());
    for value in [0, 1, 0x102, 0x103, u64::MAX, 0x0000_0102_0000_0002] {
        for offset in (0..0x200).step_by(8) {
            let mut guest = patched(platform, scribble());
            guest.regs.rbx = crate::context_of(&guest);
            guest.regs.rcx = offset;
            guest.regs.rdx = value;
            crate::run_briefly(&mut guest);
            guest.regs.rip = CODE;
            crate::run_briefly(&mut guest);
            drop(guest);
            crate::expect_alive(&mut other);
        }
    }
}

fn cost_of_a_patched_call(platform: &dyn Platform) {
    let mut guest = patched(platform, count_calls());
    let rounds = 200_000u32;
    for _ in 0..2000 {
        guest.run();
    }
    let began = Instant::now();
    for _ in 0..rounds {
        assert_eq!(guest.run(), Event::Syscall);
    }
    println!("{}: {:?} per patched call", platform.name(), began.elapsed() / rounds);
}
