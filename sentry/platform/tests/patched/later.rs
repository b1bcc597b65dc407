//! Bytes that reach the guest with the reply to its call.

use std::future::poll_fn;

use abi::flags::Prot;
use sentry_platform::{ContextExt, Event, MemOp, Platform, Short};

use super::{PRIVATE, count_calls, patched, scribble};
use crate::common::guest::{CODE, Guest, call_forever};
use crate::common::{Case, block_on};

pub(crate) const CASES: &[Case] = &[
    ("bytes_go_with_the_reply", bytes_go_with_the_reply),
    ("bytes_with_the_reply_stop_at_the_faulting_byte", bytes_with_the_reply_stop_at_the_faulting_byte),
    ("bytes_for_the_reply_come_before_anything_else", bytes_for_the_reply_come_before_anything_else),
    ("bytes_do_not_go_with_every_reply", bytes_do_not_go_with_every_reply),
    ("bytes_for_the_reply_of_a_guest_that_forges_its_context", bytes_for_the_reply_of_a_guest_that_forges_its_context),
];

/// Two pages, and nothing behind them.
pub(super) const AREA: u64 = 0x6000_0000;
pub(super) const END: u64 = AREA + 0x8000;
pub(super) const FAULT: u64 = (-(libc::EFAULT as i64)).cast_unsigned();

/// A guest that has made a patched call, and room to write to.
pub(super) fn guest(platform: &dyn Platform) -> Guest<'_> {
    let mut guest = patched(platform, count_calls());
    let prot = Prot::READ | Prot::WRITE;
    guest.ops(&[MemOp::MapAnonymous { addr: AREA, len: END - AREA, prot, flags: PRIVATE }]).expect("map");
    run(&mut guest);
    guest
}

/// Runs to the next call, of which only what it passes is asked for.
#[track_caller]
pub(super) fn run(guest: &mut Guest<'_>) {
    assert_eq!(block_on(guest.platform, guest.context.run(&mut guest.regs)), Event::Syscall);
}

/// Returns what the guest has added up of the results of its calls since the last time.
pub(super) fn sum(guest: &mut Guest<'_>) -> u64 {
    guest.context.complete(&mut guest.regs);
    let sum = guest.regs.rbx;
    guest.regs.rbx = 0;
    guest.regs.rax = 0;
    // All registers were asked for, so this is the slow way back.
    run(guest);
    sum
}

pub(super) fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(7) ^ seed).collect()
}

pub(super) fn contents(guest: &Guest<'_>, addr: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    assert_eq!(guest.space.read(addr, &mut bytes), len);
    bytes
}

/// Leaves bytes for the reply; a stub that was late with a copy is waited for.
#[track_caller]
fn write_later(guest: &mut Guest<'_>, addr: u64, bytes: &[u8], short: Short) {
    for _ in 0..100 {
        if guest.space.write_later(addr, bytes, short) {
            return;
        }
        guest.ops(&[MemOp::Membarrier { cmd: 0, flags: 0, cpu: 0 }]).expect("a question");
    }
    panic!("turned down");
}

fn bytes_go_with_the_reply(platform: &dyn Platform) {
    let mut guest = guest(platform);
    let before = sum(&mut guest);
    assert_eq!(before, 0);
    for (seed, len) in [1, 2, 7, 8, 9, 63, 64, 65, 144, 1000, 4096, 4097, 16384, 19456].into_iter().enumerate() {
        let bytes = pattern(len, seed as u8);
        let addr = AREA + seed as u64;
        write_later(&mut guest, addr, &bytes, Short::Counts(0));
        guest.regs.rax = len as u64;
        run(&mut guest);
        assert_eq!(sum(&mut guest), len as u64, "{len} bytes");
        assert_eq!(contents(&guest, addr, len), bytes, "{len} bytes");
    }
}

fn bytes_with_the_reply_stop_at_the_faulting_byte(platform: &dyn Platform) {
    let mut guest = guest(platform);
    sum(&mut guest);
    for slow in [false, true] {
        for len in [1u64, 8, 100, 4096, 4097, 9000, 19456] {
            for room in [0, 1, 2, 7, 8, 99, 100, 4095, 4096, 4097, 8192].into_iter().filter(|room| *room <= len) {
                for short in [Short::Fails, Short::Counts(0), Short::Counts(3)] {
                    let bytes = pattern(len as usize, room as u8);
                    write_later(&mut guest, END - room, &bytes, short);
                    guest.regs.rax = 0x10_0000;
                    if slow {
                        guest.context.complete(&mut guest.regs);
                    }
                    run(&mut guest);
                    let expected = match short {
                        _ if room == len => 0x10_0000,
                        Short::Counts(before) if before + room > 0 => before + room,
                        _ => FAULT,
                    };
                    let what = format!("{len} bytes where {room} fit, {short:?}, slow: {slow}");
                    assert_eq!(sum(&mut guest), expected, "{what}");
                    assert_eq!(contents(&guest, END - room, room as usize), bytes[..room as usize], "{what}");
                }
            }
        }
    }
}

fn bytes_for_the_reply_come_before_anything_else(platform: &dyn Platform) {
    let mut guest = guest(platform);
    sum(&mut guest);
    // Before a look at memory, and before another write.
    write_later(&mut guest, AREA, b"first", Short::Fails);
    assert_eq!(contents(&guest, AREA, 5), b"first");
    write_later(&mut guest, AREA, b"second", Short::Fails);
    assert_eq!(guest.space.write(AREA, b"third"), 5);
    assert_eq!(contents(&guest, AREA, 6), b"thirdd");
    write_later(&mut guest, AREA, b"fourth", Short::Fails);
    write_later(&mut guest, AREA + 1, b"ifth", Short::Fails);
    guest.regs.rax = 1;
    run(&mut guest);
    assert_eq!(contents(&guest, AREA, 6), b"fifthh");
    assert_eq!(sum(&mut guest), 1);
    // Before a signal's frame: what the call returns is known then.
    write_later(&mut guest, END, b"nowhere", Short::Fails);
    assert_eq!(guest.context.flush(), Some(FAULT));
    assert_eq!(guest.context.flush(), None);
    write_later(&mut guest, END - 3, b"somewhere", Short::Counts(10));
    assert_eq!(guest.context.flush(), Some(13));
    // Before an interrupt that has come already.
    write_later(&mut guest, END, b"nowhere", Short::Fails);
    guest.context.interrupter().interrupt();
    guest.regs.rax = 7;
    assert_eq!(block_on(platform, guest.context.run(&mut guest.regs)), Event::Interrupted);
    assert_eq!(guest.regs.rax, FAULT);
    guest.regs.rax = 7;
    run(&mut guest);
    assert_eq!(sum(&mut guest), 7);
    // Where the worker turns to something else.
    write_later(&mut guest, AREA, b"turned", Short::Fails);
    sentry_platform::systrap::turn_away();
    assert!(!guest.space.write_later(AREA, b"not now", Short::Fails));
    assert_eq!(contents(&guest, AREA, 6), b"turned");
}

fn bytes_do_not_go_with_every_reply(platform: &dyn Platform) {
    let mut trapping = Guest::new(platform, count_calls());
    run(&mut trapping);
    assert!(!trapping.space.write_later(crate::common::guest::DATA, b"trapped", Short::Fails));
    let mut guest = guest(platform);
    assert!(!trapping.space.write_later(AREA, b"of another", Short::Fails));
    assert!(!guest.space.write_later(AREA, &[0; 19457], Short::Fails));
    assert!(!guest.space.write_later(AREA, &[], Short::Fails));
    assert!(!guest.space.write_later(platform.user_range().end - 1, &[0; 2], Short::Fails));
    run(&mut guest);
}

fn bytes_for_the_reply_of_a_guest_that_forges_its_context(platform: &dyn Platform) {
    let mut other = Guest::new(platform, call_forever());
    for offset in (0..0x200).step_by(8).chain([0xb000, 0xb008, 0xfff8]) {
        let mut guest = guest(platform);
        let mut forger = guest.thread();
        // While the first waits for its reply, its context is forged.
        let code = CODE + 0x1000;
        let rw = Prot::READ | Prot::WRITE;
        guest.ops(&[MemOp::Protect { addr: CODE, len: 0x2000, prot: rw | Prot::EXEC }]).expect("protect");
        guest.space.write(code, scribble());
        forger.regs.rip = code;
        forger.regs.rbx = crate::context_of(&guest);
        forger.regs.rcx = offset;
        forger.regs.rdx = u64::MAX / 3;
        crate::run_briefly(&mut forger);
        guest.space.write_later(AREA, &pattern(5000, 1), Short::Counts(0));
        guest.context.start(&guest.regs);
        let mut looks = 0;
        block_on(
            platform,
            poll_fn(|cx| {
                looks += 1;
                match guest.context.poll_event(cx, &mut guest.regs) {
                    std::task::Poll::Pending if looks < 3 => {
                        cx.waker().wake_by_ref();
                        std::task::Poll::Pending
                    }
                    _ => std::task::Poll::Ready(()),
                }
            }),
        );
        drop(guest);
        drop(forger);
        crate::expect_alive(&mut other);
    }
}
