//! Bytes of a file that the guest's thread copies from a mapping with the reply to its call.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::flags::Prot;
use sentry_platform::{ContextExt, Event, FellShort, FileBytes, MemOp, Platform};

use super::later::{AREA, END, FAULT, contents, guest, pattern, run, sum};
use super::{PRIVATE, count_calls};
use crate::common::guest::Guest;
use crate::common::{Case, block_on};

pub(crate) const CASES: &[Case] = &[
    ("bytes_of_a_mapped_file_go_with_the_reply", bytes_of_a_mapped_file_go_with_the_reply),
    ("bytes_of_a_mapped_file_stop_at_the_faulting_byte", bytes_of_a_mapped_file_stop_at_the_faulting_byte),
    ("bytes_of_a_file_that_has_become_shorter", bytes_of_a_file_that_has_become_shorter),
    ("bytes_of_a_file_come_whatever_the_guest_does_to_the_mapping", bytes_come_whatever_the_guest_does_to_the_mapping),
    ("bytes_of_a_mapped_file_come_before_anything_else", bytes_of_a_mapped_file_come_before_anything_else),
    ("own_mappings_stay_out_of_the_guests_reach", own_mappings_stay_out_of_the_guests_reach),
];

const LEN: u64 = 0x2_1234;

/// A file, and what it holds.
fn file() -> (Arc<OwnedFd>, Vec<u8>) {
    let file = rustix::fs::memfd_create("mapped", rustix::fs::MemfdFlags::CLOEXEC).expect("a file");
    let bytes: Vec<u8> = (0..LEN).map(|at| (at * 31 >> 5) as u8).collect();
    assert_eq!(rustix::io::pwrite(&file, &bytes, 0), Ok(bytes.len()));
    (Arc::new(file), bytes)
}

/// A guest with the file in the kernel's own part of its memory.
fn with_file<'a>(platform: &'a dyn Platform, file: &Arc<OwnedFd>) -> (Guest<'a>, u64) {
    let mut guest = guest(platform);
    let at = guest.space.own_range().start;
    guest
        .ops(&[
            MemOp::MapFile {
                addr: at,
                len: 0x10_0000,
                prot: Prot::READ,
                flags: PRIVATE,
                file: Arc::clone(file),
                offset: 0,
            },
            MemOp::Advise { addr: at, len: 0x10_0000, advice: libc::MADV_DONTFORK },
        ])
        .expect("map");
    assert_eq!(sum(&mut guest), 0);
    (guest, at)
}

#[derive(Default)]
struct Hears(AtomicU64, AtomicU64);

impl FellShort for Hears {
    fn fell_short(&self, end: u64, missing: u64) {
        self.0.store(end, Ordering::Relaxed);
        self.1.store(missing, Ordering::Relaxed);
    }
}

impl Hears {
    /// Returns what was told since the last time.
    fn told(&self) -> (u64, u64) {
        (self.0.swap(0, Ordering::Relaxed), self.1.swap(0, Ordering::Relaxed))
    }
}

/// Leaves bytes for the reply, whose call is to return their number.
#[track_caller]
fn copy_later(guest: &mut Guest<'_>, to: u64, file: &Arc<OwnedFd>, offset: u64, at: u64, len: u64) -> Arc<Hears> {
    let hears = Arc::new(Hears::default());
    guest.regs.rax = len;
    for _ in 0..100 {
        let told = Some(Arc::clone(&hears) as _);
        let bytes = FileBytes { file: Arc::clone(file), offset, at, len: len as u32, hears: told };
        if guest.space.copy_later(to, bytes) {
            return hears;
        }
        // A stub that was late with something else is waited for.
        guest.ops(&[MemOp::Membarrier { cmd: 0, flags: 0, cpu: 0 }]).expect("a question");
    }
    panic!("turned down");
}

fn bytes_of_a_mapped_file_go_with_the_reply(platform: &dyn Platform) {
    let (file, bytes) = file();
    let (mut guest, at) = with_file(platform, &file);
    for (offset, len) in [(0, 1), (5, 16), (0, 17), (4095, 2), (100, 5000), (0, 0x7ff0), (LEN - 1, 1), (LEN - 9, 9)] {
        let hears = copy_later(&mut guest, AREA + 3, &file, offset, at + offset, len);
        run(&mut guest);
        assert_eq!(sum(&mut guest), len, "{len} at {offset}");
        let (from, to) = (offset as usize, (offset + len) as usize);
        assert_eq!(contents(&guest, AREA + 3, len as usize), bytes[from..to], "{len} at {offset}");
        assert_eq!(hears.told(), (0, 0));
    }
    // It is the file itself that is seen.
    rustix::io::pwrite(&file, b"changed", 100).expect("write");
    copy_later(&mut guest, AREA, &file, 100, at + 100, 7);
    run(&mut guest);
    assert_eq!(contents(&guest, AREA, 7), b"changed");
}

fn bytes_of_a_mapped_file_stop_at_the_faulting_byte(platform: &dyn Platform) {
    let (file, bytes) = file();
    let (mut guest, at) = with_file(platform, &file);
    for slow in [false, true] {
        for len in [1, 100, 4097, 0x1_0000] {
            for room in [0, 1, 99, 4096, 0x7fff].into_iter().filter(|room| *room < len) {
                let what = format!("{len} bytes where {room} fit, slow: {slow}");
                let hears = copy_later(&mut guest, END - room, &file, 7, at + 7, len);
                if slow {
                    guest.context.complete(&mut guest.regs);
                }
                run(&mut guest);
                assert_eq!(sum(&mut guest), if room > 0 { room } else { FAULT }, "{what}");
                assert_eq!(contents(&guest, END - room, room as usize), bytes[7..7 + room as usize], "{what}");
                assert_eq!(hears.told(), (7 + len, len - room), "{what}");
            }
        }
    }
}

fn bytes_of_a_file_that_has_become_shorter(platform: &dyn Platform) {
    for slow in [false, true] {
        for (left, got) in [(0x2000, 0x1000), (0x1001, 1), (0x1000, 0), (0, 0), (0x1800, 0x800)] {
            let (file, bytes) = file();
            let (mut guest, at) = with_file(platform, &file);
            let hears = copy_later(&mut guest, AREA, &file, 0x1000, at + 0x1000, 0x3000);
            rustix::fs::ftruncate(&file, left).expect("truncate");
            if slow {
                guest.context.complete(&mut guest.regs);
            }
            run(&mut guest);
            // In its last page a mapping shows zeros behind the end of the file, as it does natively to who copies meanwhile.
            let shown = if slow { got } else { u64::next_multiple_of(got, 0x1000) };
            assert_eq!(sum(&mut guest), shown, "{left:#x} bytes left, slow: {slow}");
            assert_eq!(hears.told(), (0x4000, 0x3000 - shown), "{left:#x} bytes left, slow: {slow}");
            assert_eq!(contents(&guest, AREA, got as usize), bytes[0x1000..0x1000 + got as usize]);
        }
    }
}

fn bytes_come_whatever_the_guest_does_to_the_mapping(platform: &dyn Platform) {
    let (file, bytes) = file();
    let (mut guest, at) = with_file(platform, &file);
    guest.ops(&[MemOp::Unmap { addr: at + 0x1000, len: 0x1000 }]).expect("unmap");
    copy_later(&mut guest, AREA, &file, 10, at + 10, 0x4000);
    run(&mut guest);
    assert_eq!(sum(&mut guest), 0x4000);
    assert_eq!(contents(&guest, AREA, 0x4000), bytes[10..0x400a]);
    // A child has none, and needs none.
    let mut child = guest.fork();
    assert_eq!(child.space.read(at, &mut [0; 1]), 0);
    run(&mut child);
    child.context.complete(&mut child.regs);
    child.regs.rbx = 0;
    child.regs.rax = 0;
    run(&mut child);
    copy_later(&mut child, AREA, &file, 0, at, 0x2000);
    run(&mut child);
    assert_eq!(sum(&mut child), 0x2000);
    assert_eq!(contents(&child, AREA, 0x2000), bytes[..0x2000]);
}

fn bytes_of_a_mapped_file_come_before_anything_else(platform: &dyn Platform) {
    let (file, bytes) = file();
    let (mut guest, at) = with_file(platform, &file);
    copy_later(&mut guest, AREA, &file, 0, at, 0x3000);
    assert_eq!(contents(&guest, AREA, 0x3000), bytes[..0x3000]);
    copy_later(&mut guest, AREA, &file, 0, at, 0x3000);
    assert_eq!(guest.space.write(AREA, b"later"), 5);
    assert_eq!(contents(&guest, AREA, 6), [b"later", &bytes[5..6]].concat());
    // Before a signal's frame.
    let hears = copy_later(&mut guest, END - 3, &file, 0, at, 10);
    assert_eq!((guest.context.flush(), guest.context.flush()), (Some(3), None));
    assert_eq!(hears.told(), (10, 7));
    // Before an interrupt that has come already.
    copy_later(&mut guest, AREA, &file, 50, at + 50, 0x3000);
    guest.context.interrupter().interrupt();
    assert_eq!(block_on(platform, guest.context.run(&mut guest.regs)), Event::Interrupted);
    assert_eq!((guest.regs.rax, contents(&guest, AREA, 0x3000)), (0x3000, bytes[50..0x3032].to_vec()));
    run(&mut guest);
    sum(&mut guest);
    // Where the worker turns to something else, and where another reply's bytes come after.
    copy_later(&mut guest, AREA, &file, 70, at + 70, 100);
    sentry_platform::systrap::turn_away();
    let bytes_of = |offset: usize| bytes[offset..offset + 100].to_vec();
    assert_eq!(contents(&guest, AREA, 100), bytes_of(70));
    let refused = FileBytes { file: Arc::clone(&file), offset: 0, at, len: 1, hears: None };
    assert!(!guest.space.copy_later(AREA, refused));
    run(&mut guest);
    sum(&mut guest);
    copy_later(&mut guest, AREA, &file, 90, at + 90, 100);
    assert!(guest.space.write_later(AREA + 1, &pattern(10, 1), sentry_platform::Short::Fails));
    run(&mut guest);
    assert_eq!(contents(&guest, AREA, 100), [&bytes[90..91], &pattern(10, 1), &bytes[101..190]].concat());
}

fn own_mappings_stay_out_of_the_guests_reach(platform: &dyn Platform) {
    let (file, _) = file();
    let (guest, at) = with_file(platform, &file);
    let own = guest.space.own_range();
    assert!(platform.user_range().end <= own.start && own.start < own.end);
    assert_eq!(guest.space.read(at, &mut [0; 8]), 0, "the sentry reads there for nobody");
    assert_eq!(guest.space.write(at, &[0; 8]), 0);
    let bytes = |len| FileBytes { file: Arc::clone(&file), offset: 0, at, len, hears: None };
    assert!(!guest.space.copy_later(at, bytes(1)), "nor does it write");
    assert!(!guest.space.copy_later(platform.user_range().end - 1, bytes(2)));
    // Only a call that waits in a patched site takes bytes.
    let mut trapping = Guest::new(platform, count_calls());
    run(&mut trapping);
    assert!(!trapping.space.copy_later(crate::common::guest::DATA, bytes(1)));
}
