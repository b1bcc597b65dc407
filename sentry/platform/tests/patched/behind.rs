//! Memory operations on the way back from a call.

use std::fs::File;
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use abi::Errno;
use abi::flags::Prot;
use sentry_platform::{ContextExt, Event, MemOp, MemOpError, Platform};

use super::{PRIVATE, count_calls, patched};
use crate::common::guest::{DATA, DATA_LEN, Guest};
use crate::common::{Case, block_on};

pub(crate) const CASES: &[Case] = &[
    ("operations_go_with_the_reply", operations_go_with_the_reply),
    ("operations_go_with_the_reply_to_a_trap", operations_go_with_the_reply_to_a_trap),
    ("a_refused_operation_is_an_event", a_refused_operation_is_an_event),
    ("a_refused_operation_is_an_event_after_a_trap", a_refused_operation_is_an_event_after_a_trap),
    ("operations_do_not_go_with_every_reply", operations_do_not_go_with_every_reply),
    ("an_interrupt_meets_operations_with_the_reply", an_interrupt_meets_operations_with_the_reply),
    ("an_interrupt_meets_operations_behind_a_trap", an_interrupt_meets_operations_behind_a_trap),
    ("files_are_mapped_with_the_reply", files_are_mapped_with_the_reply),
    ("an_interrupt_meets_a_file_mapped_with_the_reply", an_interrupt_meets_a_file_mapped_with_the_reply),
];

const READ_ONLY: MemOp = MemOp::Protect { addr: DATA, len: 0x1000, prot: Prot::READ };
const WRITABLE: MemOp = MemOp::Protect { addr: DATA, len: 0x1000, prot: Prot::READ.union(Prot::WRITE) };

/// Runs to the next event, of which only what a call passes is asked for.
fn run(guest: &mut Guest<'_>) -> Event {
    block_on(guest.platform, guest.context.run(&mut guest.regs))
}

/// Starts behind operations, which must not be turned down unless the stub is late with a copy.
#[track_caller]
fn start_after(guest: &mut Guest<'_>, ops: &[MemOp]) {
    if !guest.context.start_after(ops, &guest.regs) {
        guest.ops(&[MemOp::Membarrier { cmd: 0, flags: 0, cpu: 0 }]).expect("a question");
        assert!(guest.context.start_after(ops, &guest.regs));
    }
}

/// Runs to the next event behind operations.
#[track_caller]
fn run_behind(guest: &mut Guest<'_>, ops: &[MemOp]) -> Event {
    start_after(guest, ops);
    block_on(guest.platform, poll_fn(|cx| guest.context.poll_event(cx, &mut guest.regs)))
}

fn operations_go_with_the_reply(platform: &dyn Platform) {
    operations_go(patched(platform, count_calls()));
}

fn operations_go_with_the_reply_to_a_trap(platform: &dyn Platform) {
    operations_go(Guest::new(platform, count_calls()));
}

fn operations_go(mut guest: Guest<'_>) {
    let thread = guest.context.interrupter();
    assert_eq!(run(&mut guest), Event::Syscall);
    let number = guest.context.next_run();
    assert!(!thread.has_performed(number));
    guest.regs.rax = 0;
    assert_eq!(run_behind(&mut guest, &[WRITABLE]), Event::Syscall);
    assert!(thread.has_performed(number));
    for round in 0..1000u64 {
        guest.regs.rax = 1;
        let op = if round % 2 == 0 { READ_ONLY } else { WRITABLE };
        assert_eq!(run_behind(&mut guest, &[op]), Event::Syscall);
        assert_eq!(guest.space.write(DATA, &[1]), (round % 2) as usize, "round {round}");
    }
    guest.regs.rax = 1;
    assert_eq!(run(&mut guest), Event::Syscall);
    assert!(!thread.has_performed(number));
    guest.context.complete(&mut guest.regs);
    assert_eq!(guest.regs.rbx, 1001);
}

fn a_refused_operation_is_an_event(platform: &dyn Platform) {
    refused(patched(platform, count_calls()));
}

fn a_refused_operation_is_an_event_after_a_trap(platform: &dyn Platform) {
    refused(Guest::new(platform, count_calls()));
}

fn refused(mut guest: Guest<'_>) {
    const NOTHING: u64 = 0x5000_0000;
    let thread = guest.context.interrupter();
    let bad = MemOp::Protect { addr: NOTHING, len: 0x1000, prot: Prot::READ };
    assert_eq!(run(&mut guest), Event::Syscall);
    for calls in 0..100u64 {
        let number = guest.context.next_run();
        let expected = Event::Refused(MemOpError { index: 1, errno: Errno::ENOMEM });
        guest.regs.rax = 0x1000;
        assert_eq!(run_behind(&mut guest, &[READ_ONLY, bad.clone(), WRITABLE]), expected);
        assert!(!thread.has_performed(number));
        // What came before it has taken effect, what comes behind it hasn't, and the guest stands where it stood.
        assert_eq!(guest.space.write(DATA, &[1]), 0);
        guest.ops(&[WRITABLE]).expect("the page is there");
        if calls % 2 == 0 {
            guest.context.complete(&mut guest.regs);
            assert_eq!((guest.regs.orig_rax, guest.regs.rbx), (1000, calls));
        }
        guest.regs.rax = 1;
        assert_eq!(run(&mut guest), Event::Syscall);
    }
}

fn operations_do_not_go_with_every_reply(platform: &dyn Platform) {
    let mut guest = patched(platform, count_calls());
    assert!(!guest.context.start_after(&[READ_ONLY], &guest.regs), "before the first run");
    assert_eq!(run(&mut guest), Event::Syscall);
    assert!(!guest.context.start_after(&[], &guest.regs), "no operation");
    let write = MemOp::Write { addr: DATA, bytes: vec![1].into() };
    assert!(!guest.context.start_after(&[write], &guest.regs), "bytes");
    let outside = MemOp::Unmap { addr: guest.space.own_range().end, len: 0x1000 };
    assert!(!guest.context.start_after(&[outside], &guest.regs), "outside");
    guest.context.interrupter().interrupt();
    assert!(!guest.context.start_after(&[READ_ONLY], &guest.regs), "interrupted");
    assert_eq!(guest.space.write(DATA, &[1]), 1);
    assert_eq!(run(&mut guest), Event::Interrupted);
    assert!(!guest.context.start_after(&[READ_ONLY], &guest.regs), "not from a call");
    guest.regs.rax = 1;
    assert_eq!(guest.run(), Event::Syscall);
    assert!(!guest.context.start_after(&[READ_ONLY], &guest.regs), "all registers are to be written");
    assert_eq!(guest.regs.rbx, 1);
}

fn map_file(file: &Arc<OwnedFd>) -> MemOp {
    let file = Arc::clone(file);
    MemOp::MapFile { addr: DATA, len: 0x1000, prot: Prot::READ | Prot::WRITE, flags: PRIVATE, file, offset: 0 }
}

fn files_are_mapped_with_the_reply(platform: &dyn Platform) {
    let mut guest = patched(platform, count_calls());
    let zero: Arc<OwnedFd> = Arc::new(File::open("/dev/zero").expect("open").into());
    let program: Arc<OwnedFd> = Arc::new(File::open("/proc/self/exe").expect("open").into());
    assert_eq!(run(&mut guest), Event::Syscall);
    for _ in 0..200 {
        guest.regs.rax = 0;
        assert_eq!(run_behind(&mut guest, &[map_file(&zero), map_file(&program)]), Event::Syscall);
        let mut head = [0; 4];
        assert_eq!((guest.space.read(DATA, &mut head), &head), (4, b"\x7fELF"));
    }
    // A directory can't be mapped; the guest stands where it stood.
    let directory: Arc<OwnedFd> = Arc::new(File::open("/").expect("open").into());
    let refused = run_behind(&mut guest, &[map_file(&zero), map_file(&directory)]);
    assert_eq!(refused, Event::Refused(MemOpError { index: 1, errno: Errno::ENODEV }));
    let mut head = [1; 4];
    assert_eq!((guest.space.read(DATA, &mut head), head), (4, [0; 4]));
    guest.regs.rax = 0;
    assert_eq!(run(&mut guest), Event::Syscall);
}

/// Interrupts a guest sooner and later after it was let run behind operations that make memory writable.
fn interrupt_behind(mut guest: Guest<'_>, rounds: u32, ops: &[MemOp]) {
    let platform = guest.platform;
    let thread = guest.context.interrupter();
    assert_eq!(run(&mut guest), Event::Syscall);
    for round in 0..rounds {
        guest.regs.rax = 0;
        start_after(&mut guest, ops);
        for _ in 0..round * 8 {
            std::hint::spin_loop();
        }
        thread.interrupt();
        let event = block_on(platform, poll_fn(|cx| guest.context.poll_event(cx, &mut guest.regs)));
        assert_eq!(guest.space.write(DATA, &[1]), 1, "performed before any event: {event:?}");
        if event == Event::Interrupted {
            assert_eq!(run(&mut guest), Event::Syscall);
        }
        // The interrupt may have been late.
        guest.regs.rax = 0;
        while run(&mut guest) != Event::Syscall {}
    }
}

fn an_interrupt_meets_a_file_mapped_with_the_reply(platform: &dyn Platform) {
    let file: Arc<OwnedFd> = Arc::new(File::open("/dev/zero").expect("open").into());
    interrupt_behind(patched(platform, count_calls()), 600, &[READ_ONLY, map_file(&file)]);
}

fn an_interrupt_meets_operations_with_the_reply(platform: &dyn Platform) {
    let map = MemOp::MapAnonymous { addr: DATA, len: DATA_LEN, prot: Prot::READ, flags: PRIVATE };
    interrupt_behind(patched(platform, count_calls()), 300, &[map, WRITABLE]);
}

fn an_interrupt_meets_operations_behind_a_trap(platform: &dyn Platform) {
    let map = MemOp::MapAnonymous { addr: DATA, len: DATA_LEN, prot: Prot::READ, flags: PRIVATE };
    interrupt_behind(Guest::new(platform, count_calls()), 300, &[map, WRITABLE]);
}
