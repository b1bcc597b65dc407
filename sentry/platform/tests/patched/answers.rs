//! Calls that the stub answers by itself.

use std::sync::Arc;

use abi::flags::Prot;
use sentry_platform::{Answers, Event, MemOp, Platform};

use super::{expect_patched, patched};
use crate::common::Case;
use crate::common::guest::{DATA, Guest, STACK_TOP};
use crate::guest_code;

pub(crate) const CASES: &[Case] = &[
    ("the_alternate_stack_is_answered", the_alternate_stack_is_answered),
    ("an_alternate_stack_that_is_refused_is_an_event", an_alternate_stack_that_is_refused_is_an_event),
    ("advice_about_plain_pages_is_answered", advice_about_plain_pages_is_answered),
    ("barriers_are_answered_where_they_are_registered", barriers_are_answered_where_they_are_registered),
    ("only_what_is_let_is_answered", only_what_is_let_is_answered),
    ("a_trap_on_the_stack_of_patched_calls_fails_the_call", a_trap_on_the_stack_of_patched_calls_fails_the_call),
];
/// Where the stub calls the vDSO.
pub(crate) const CLOCKS: &[Case] = &[("the_time_is_answered", the_time_is_answered)];
/// Where it doesn't.
pub(crate) const NO_CLOCKS: &[Case] =
    &[("the_time_is_an_event_of_a_patched_call_without_a_vdso", the_time_is_an_event_of_a_patched_call_without_a_vdso)];

/// Where little memory is left.
pub(crate) const SCARCE: &[Case] =
    &[("advice_is_an_event_where_memory_is_scarce", advice_is_an_event_where_memory_is_scarce)];

const SIGALTSTACK: u64 = libc::SYS_sigaltstack as u64;
const CLOCK_GETTIME: u64 = libc::SYS_clock_gettime as u64;
const MONOTONIC: u64 = libc::CLOCK_MONOTONIC as u64;
/// Between the calls of interest.
const PAUSE: u64 = 1000;

guest_code!(set_stack_and_pause, "2:", "mov eax, 131", "syscall", "mov eax, 1000", "syscall", "jmp 2b");
guest_code!(advise_and_pause, "2:", "mov eax, 28", "syscall", "mov eax, 1000", "syscall", "jmp 2b");
guest_code!(barrier_and_pause, "2:", "mov eax, 324", "syscall", "mov eax, 1000", "syscall", "jmp 2b");
guest_code!(look_and_pause, "2:", "mov eax, 228", "syscall", "mov eax, 1000", "syscall", "jmp 2b");
guest_code!(
    trap_inside,
    "mov eax, 1",
    "syscall",
    "mov rbp, rsp",
    "rdgsbase rbx",
    "lea rsp, [rbx + 0xf00]",
    "mov eax, 1001",
    "nop",
    "syscall",
    "mov rsp, rbp",
    "mov rdi, rax",
    "mov eax, 2",
    "syscall"
);

/// A guest that pauses, its calls answered from now on.
fn answered<'a>(platform: &'a dyn Platform, code: &[u8], first: u64) -> (Guest<'a>, Arc<dyn Answers>) {
    let mut guest = patched(platform, code);
    expect_patched(&mut guest, first);
    guest.regs.rax = 0;
    expect_patched(&mut guest, PAUSE);
    let answers = guest.context.interrupter().answers().expect("answers where calls are patched");
    answers.begin(0, &|_| true);
    (guest, answers)
}

/// Goes on to the next event, with these arguments of the next call; tells whether it was answered.
fn call(guest: &mut Guest<'_>, args: [u64; 2]) -> bool {
    guest.context.complete(&mut guest.regs);
    (guest.regs.rdi, guest.regs.rsi) = (args[0], args[1]);
    assert_eq!(guest.run(), Event::Syscall);
    guest.context.complete(&mut guest.regs);
    if guest.regs.orig_rax != PAUSE {
        assert_eq!(guest.regs.syscall_args()[..2], args);
        guest.regs.rax = 0;
        expect_patched(guest, PAUSE);
        return false;
    }
    assert_eq!([guest.regs.rdi, guest.regs.rsi], args);
    true
}

fn write_stack(guest: &Guest<'_>, at: u64, words: [u64; 3]) {
    for (word, value) in (0..).zip(words) {
        guest.set_word(at + 8 * word, value);
    }
}

fn stack_at(guest: &Guest<'_>, at: u64) -> [u64; 3] {
    [0, 8, 16].map(|word| guest.word(at + word))
}

fn the_alternate_stack_is_answered(platform: &dyn Platform) {
    const AUTODISARM: u64 = 1 << 31;
    let (mut guest, answers) = answered(platform, set_stack_and_pause(), SIGALTSTACK);
    let (new, old) = (DATA + 0x100, DATA + 0x200);
    answers.set_stack(0x7000, 0, 0x3000);
    write_stack(&guest, new, [0x5000, 0xffff_ffff_0000_0000 | AUTODISARM, 2048]);
    let before = answers.count();
    assert!(call(&mut guest, [new, old]));
    assert_eq!(answers.stack(), (0x5000, i32::MIN, 2048));
    assert_eq!(stack_at(&guest, old), [0x7000, 0, 0x3000]);
    // The guest stands on a stack that disarms itself: that doesn't count.
    answers.set_stack(STACK_TOP - 0x1000, i32::MIN, 0x1000);
    assert!(call(&mut guest, [0, old]));
    assert_eq!(stack_at(&guest, old), [STACK_TOP - 0x1000, AUTODISARM, 0x1000]);
    // None at all, whatever else is said.
    write_stack(&guest, new, [0x5000, 2, 5]);
    assert!(call(&mut guest, [new, 0]));
    assert_eq!(answers.stack(), (0, 2, 0));
    assert!(call(&mut guest, [0, old]));
    assert_eq!(stack_at(&guest, old), [0, 2, 0]);
    assert_eq!(answers.count(), before + 4);
    // Where the guest is on it that is told.
    answers.set_stack(STACK_TOP - 0x1000, 0, 0x1000);
    assert!(call(&mut guest, [0, old]));
    assert_eq!(stack_at(&guest, old), [STACK_TOP - 0x1000, 1, 0x1000]);
    answers.end();
    assert!(!call(&mut guest, [0, old]));
}

fn an_alternate_stack_that_is_refused_is_an_event(platform: &dyn Platform) {
    let (mut guest, answers) = answered(platform, set_stack_and_pause(), SIGALTSTACK);
    let (new, old, nowhere) = (DATA + 0x100, DATA + 0x200, 0x7000_0000);
    let known = (0x9000, 0, 0x9000);
    let (sp, flags, size) = known;
    answers.set_stack(sp, flags, size);
    let refused = |guest: &mut Guest<'_>, args| {
        write_stack(guest, old, [7; 3]);
        assert!(!call(guest, args), "{args:x?}");
        assert_eq!((answers.stack(), stack_at(guest, old)), (known, [7; 3]), "{args:x?}");
    };
    for words in [[0, 0, 2047], [0, 3, 4096], [0, 1 << 30, 4096], [0, 0x8000_0004, 4096]] {
        write_stack(&guest, new, words);
        refused(&mut guest, [new, old]);
    }
    write_stack(&guest, new, [0, 2, 0]);
    for args in [[nowhere, old], [new, nowhere], [0, nowhere], [u64::MAX - 7, old], [new, new + 23], [new + 23, new]] {
        refused(&mut guest, args);
    }
    answers.set_stack(STACK_TOP - 0x1000, 0, 0x1000);
    assert!(!call(&mut guest, [new, 0]), "it stands on the old one");
    assert!(call(&mut guest, [0, old]));
}

fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

fn the_time_is_answered(platform: &dyn Platform) {
    let (mut guest, answers) = answered(platform, look_and_pause(), CLOCK_GETTIME);
    let mut last = now();
    for _ in 0..100 {
        assert!(call(&mut guest, [MONOTONIC, DATA]));
        let told = guest.word(DATA) * 1_000_000_000 + guest.word(DATA + 8);
        assert!((last..=now()).contains(&told), "{told} after {last}");
        last = told;
    }
    assert_eq!(answers.count(), 100);
    // Clocks of its own, none at all, and nowhere.
    for args in
        [[2, DATA], [3, DATA], [10, DATA], [77, DATA], [u64::MAX, DATA], [MONOTONIC, 0], [MONOTONIC, 0x7000_0000]]
    {
        assert!(!call(&mut guest, args), "{args:x?}");
    }
    assert!(call(&mut guest, [MONOTONIC | 1 << 32, DATA]));
}

fn the_time_is_an_event_of_a_patched_call_without_a_vdso(platform: &dyn Platform) {
    let (mut guest, answers) = answered(platform, look_and_pause(), CLOCK_GETTIME);
    for _ in 0..10 {
        guest.set_word(DATA, 7);
        assert!(!call(&mut guest, [MONOTONIC, DATA]));
        assert_eq!(guest.word(DATA), 7);
    }
    assert_eq!(answers.count(), 0);
}

fn only_what_is_let_is_answered(platform: &dyn Platform) {
    let (mut guest, answers) = answered(platform, set_stack_and_pause(), SIGALTSTACK);
    assert!(call(&mut guest, [0, DATA]));
    answers.restrict(&|number| number != libc::SYS_getcpu as u32);
    assert!(call(&mut guest, [0, DATA]));
    answers.restrict(&|number| u64::from(number) != SIGALTSTACK);
    assert!(!call(&mut guest, [0, DATA]));
    // It stays so.
    answers.restrict(&|_| true);
    assert!(!call(&mut guest, [0, DATA]));
    answers.begin(0, &|number| u64::from(number) == SIGALTSTACK);
    assert!(call(&mut guest, [0, DATA]));
    answers.begin(0, &|number| u64::from(number) != SIGALTSTACK);
    assert!(!call(&mut guest, [0, DATA]));
}

/// As those of the vDSO do that the stub has called.
fn a_trap_on_the_stack_of_patched_calls_fails_the_call(platform: &dyn Platform) {
    let mut guest = patched(platform, trap_inside());
    expect_patched(&mut guest, 1);
    let [failed, ..] = expect_patched(&mut guest, 2);
    assert_eq!(failed.cast_signed(), -i64::from(libc::ENOSYS));
}

fn advice_about_plain_pages_is_answered(platform: &dyn Platform) {
    const PAGE: u64 = 0x1000;
    let (mut guest, answers) = answered(platform, advise_and_pause(), libc::SYS_madvise as u64);
    let advise = |guest: &mut Guest<'_>, addr: u64, len: u64, advice: i32| {
        guest.context.complete(&mut guest.regs);
        guest.regs.rdx = u64::from(advice.cast_unsigned());
        call(guest, [addr, len])
    };
    let drop = |guest: &mut Guest<'_>, addr, len| advise(guest, addr, len, libc::MADV_DONTNEED);
    let range = DATA + PAGE..DATA + 5 * PAGE;
    assert!(!drop(&mut guest, range.start, PAGE));
    guest.space.let_advise(range.clone());
    for page in 0..6 {
        guest.set_word(DATA + page * PAGE, 7);
    }
    assert!(drop(&mut guest, range.start, PAGE));
    assert!(drop(&mut guest, range.start + 2 * PAGE, 2 * PAGE));
    assert_eq!([0, 1, 2, 3, 4, 5].map(|page| guest.word(DATA + page * PAGE)), [7, 0, 7, 0, 0, 7]);
    for advice in [libc::MADV_FREE, libc::MADV_COLD, libc::MADV_PAGEOUT, libc::MADV_WILLNEED] {
        assert!(advise(&mut guest, range.start, PAGE, advice), "{advice}");
    }
    for advice in [libc::MADV_NORMAL, libc::MADV_REMOVE, libc::MADV_DONTFORK, 22, 24, 36, 102, -1] {
        assert!(!advise(&mut guest, range.start, PAGE, advice), "{advice}");
    }
    assert!(drop(&mut guest, range.start, 0) && drop(&mut guest, range.start + 1, 5));
    // What does not lie in it.
    for (addr, len) in
        [(DATA, PAGE), (range.end, 0), (range.end - PAGE, PAGE + 1), (DATA, 2 * PAGE), (range.start, u64::MAX)]
    {
        assert!(!drop(&mut guest, addr, len), "{addr:x} {len:x}");
    }
    assert!(!drop(&mut guest, range.start, PAGE.wrapping_neg()) && !drop(&mut guest, range.start | 1 << 63, PAGE));
    // Before it becomes something else it is withdrawn, by whomever.
    guest.ops(&[MemOp::Protect { addr: DATA, len: 8 * PAGE, prot: Prot::READ | Prot::WRITE }]).expect("protect");
    assert!(drop(&mut guest, range.start, PAGE));
    let mut thread = guest.thread();
    thread.ops(&[MemOp::Unmap { addr: range.start, len: PAGE }]).expect("unmap");
    assert!(!drop(&mut guest, range.start + PAGE, PAGE));
    // A child has none.
    guest.space.let_advise(range.start + PAGE..range.end);
    assert!(drop(&mut guest, range.start + PAGE, PAGE));
    let mut child = guest.fork();
    let of_child = child.context.interrupter().answers().expect("answers");
    of_child.begin(0, &|_| true);
    assert!(!drop(&mut child, range.start + PAGE, PAGE));
    assert!(drop(&mut guest, range.start + PAGE, PAGE));
    assert!(answers.count() > 10);
}

fn advice_is_an_event_where_memory_is_scarce(platform: &dyn Platform) {
    let (mut guest, answers) = answered(platform, advise_and_pause(), libc::SYS_madvise as u64);
    guest.space.let_advise(DATA..DATA + 0x4000);
    guest.regs.rdx = libc::MADV_DONTNEED as u64;
    assert!(!call(&mut guest, [DATA, 0x1000]));
    assert_eq!(answers.count(), 0);
}

fn barriers_are_answered_where_they_are_registered(platform: &dyn Platform) {
    let (mut guest, _answers) = answered(platform, barrier_and_pause(), libc::SYS_membarrier as u64);
    guest.ops(&[MemOp::Membarrier { cmd: 1 << 4, flags: 0, cpu: 0 }]).expect("register");
    assert!(!call(&mut guest, [1 << 3, 0]));
    guest.space.let_barrier(1 << 6);
    assert!(!call(&mut guest, [1 << 3, 0]));
    guest.space.let_barrier(1 << 4 | 1 << 6);
    assert!(call(&mut guest, [1 << 3, 0]));
    for args in [[1 << 3, 1], [1 << 4, 0], [1 << 5, 0], [0, 0], [9, 0]] {
        assert!(!call(&mut guest, args), "{args:x?}");
    }
}
