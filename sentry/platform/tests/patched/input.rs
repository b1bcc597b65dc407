//! Bytes that come with a call.

use abi::flags::Prot;
use sentry_platform::{ContextExt, Event, MemOp, Platform};

use super::{PRIVATE, patched, scribble};
use crate::common::guest::{CODE, Guest, call_forever};
use crate::common::{Case, block_on};
use crate::guest_code;

pub(crate) const CASES: &[Case] = &[
    ("bytes_come_with_the_call", bytes_come_with_the_call),
    ("bytes_with_the_call_end_with_the_page", bytes_with_the_call_end_with_the_page),
    ("bytes_that_came_with_a_call_are_not_used_again", bytes_that_came_with_a_call_are_not_used_again),
    ("bytes_with_the_call_of_a_guest_that_forges_its_context", bytes_with_the_call_of_a_guest_that_forges_its_context),
];

const AREA: u64 = 0x6000_0000;
const END: u64 = AREA + 0x2000;
const MOST: usize = 256;
/// Of a path.
const FIXED: usize = 64;

guest_code!(write_and_stat, "2:", "mov eax, 1", "syscall", "mov eax, 4", "syscall", "jmp 2b");

fn guest(platform: &dyn Platform) -> Guest<'_> {
    let mut guest = patched(platform, write_and_stat());
    let prot = Prot::READ | Prot::WRITE;
    guest.ops(&[MemOp::MapAnonymous { addr: AREA, len: END - AREA, prot, flags: PRIVATE }]).expect("map");
    let bytes: Vec<u8> = (0..END - AREA).map(|at| at as u8 ^ (at >> 8) as u8).collect();
    assert_eq!(guest.space.write(AREA, &bytes), bytes.len());
    guest
}

/// Lets the guest make the next `write` or `stat`, with this buffer and length or path.
#[track_caller]
fn call(guest: &mut Guest<'_>, nr: u64, addr: u64, len: u64) {
    loop {
        guest.context.complete(&mut guest.regs);
        (guest.regs.rdi, guest.regs.rsi, guest.regs.rdx) = (if nr == 4 { addr } else { 7 }, addr, len);
        assert_eq!(block_on(guest.platform, guest.context.run(&mut guest.regs)), Event::Syscall);
        if guest.regs.orig_rax == nr {
            return;
        }
    }
}

fn at_hand(guest: &Guest<'_>, addr: u64) -> Vec<u8> {
    let mut bytes = vec![0; 2 * MOST];
    let len = guest.space.peek(addr, &mut bytes);
    bytes.truncate(len);
    bytes
}

fn contents(guest: &Guest<'_>, addr: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    assert_eq!(guest.space.read(addr, &mut bytes), len);
    bytes
}

fn bytes_come_with_the_call(platform: &dyn Platform) {
    let mut guest = guest(platform);
    call(&mut guest, 1, AREA, 1);
    for len in [1, 2, 7, 8, 9, 63, 64, 65, 255, 256] {
        call(&mut guest, 1, AREA + 5, len);
        let bytes = at_hand(&guest, AREA + 5);
        assert_eq!(bytes.len(), len as usize);
        assert_eq!(at_hand(&guest, AREA + 6), []);
        assert_eq!(bytes, contents(&guest, AREA + 5, len as usize));
    }
    for len in [0, 257, 4096, u64::MAX] {
        call(&mut guest, 1, AREA, len);
        assert_eq!(at_hand(&guest, AREA), [], "{len} bytes");
    }
    call(&mut guest, 4, AREA + 100, 0);
    let came = at_hand(&guest, AREA + 100);
    assert_eq!(came, contents(&guest, AREA + 100, FIXED));
    // More than came is read in another way, all of it; where the stub is asked for it, what came is over.
    assert_eq!(contents(&guest, AREA + 100, 300)[..FIXED], came);
}

fn bytes_with_the_call_end_with_the_page(platform: &dyn Platform) {
    let mut guest = guest(platform);
    call(&mut guest, 4, AREA, 0);
    for end in [AREA + 0x1000, END] {
        for room in [1, 2, 8, 63, 64, 65] {
            call(&mut guest, 4, end - room, 0);
            let expected = FIXED.min(room as usize);
            assert_eq!(at_hand(&guest, end - room), contents(&guest, end - room, expected));
            call(&mut guest, 1, end - room, 200);
            assert_eq!(at_hand(&guest, end - room).len(), room as usize);
            let mut all = [0; 200];
            let readable = if end == END { room as usize } else { 200 };
            assert_eq!(guest.space.read(end - room, &mut all), readable);
        }
    }
    for nowhere in [END, 0, 8, 0xfff, AREA - 1, 0x7e80_0000_0000, u64::MAX, 1 << 63] {
        call(&mut guest, 4, nowhere, 0);
        assert_eq!(at_hand(&guest, nowhere), [], "{nowhere:#x}");
        assert_eq!(guest.space.read(nowhere, &mut [0; 8]), 0, "{nowhere:#x}");
    }
    // Not readable.
    guest.ops(&[MemOp::Protect { addr: AREA, len: 0x1000, prot: Prot::empty() }]).expect("protect");
    call(&mut guest, 4, AREA, 0);
    assert_eq!(at_hand(&guest, AREA), []);
}

fn bytes_that_came_with_a_call_are_not_used_again(platform: &dyn Platform) {
    let mut guest = guest(platform);
    call(&mut guest, 4, AREA, 0);
    assert_eq!(at_hand(&guest, AREA).len(), FIXED);
    guest.space.write(AREA + 1, b"changed");
    assert_eq!(at_hand(&guest, AREA), []);
    assert_eq!(contents(&guest, AREA + 1, 7), b"changed");
    call(&mut guest, 4, AREA, 0);
    let other = self::guest(platform);
    let mut bytes = [0; 8];
    assert_eq!(other.space.peek(AREA, &mut bytes), 0, "of another process");
    sentry_platform::systrap::turn_away();
    assert_eq!(at_hand(&guest, AREA), []);
    // By a trap nothing comes along.
    let mut trapping = Guest::new(platform, write_and_stat());
    call(&mut trapping, 4, CODE, 0);
    assert_eq!(at_hand(&trapping, CODE), []);
}

fn bytes_with_the_call_of_a_guest_that_forges_its_context(platform: &dyn Platform) {
    let mut other = Guest::new(platform, call_forever());
    for len in [1u64, 64, 256, 257, 0xffff] {
        let mut guest = guest(platform);
        call(&mut guest, 4, AREA, 0);
        let mut forger = guest.thread();
        let code = CODE + 0x1000;
        guest
            .ops(&[MemOp::Protect { addr: CODE, len: 0x2000, prot: Prot::READ | Prot::WRITE | Prot::EXEC }])
            .expect("protect");
        guest.space.write(code, scribble());
        // Kind and length of an event that is there already, then one that comes.
        forger.regs.rip = code;
        forger.regs.rbx = crate::context_of(&guest);
        forger.regs.rcx = 0x80;
        forger.regs.rdx = 0x102 << 32 | len << 48 | 2;
        guest.context.start(&guest.regs);
        crate::run_briefly(&mut forger);
        crate::run_briefly(&mut guest);
        assert!(at_hand(&guest, AREA).len() <= MOST);
        drop(guest);
        drop(forger);
        crate::expect_alive(&mut other);
    }
}
