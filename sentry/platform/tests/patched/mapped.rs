//! Bytes of a file that the guest's thread copies from a mapping with the reply to its call.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::Errno;
use abi::flags::Prot;
use sentry_platform::{ContextExt, Direction, Event, FileBytes, MappedFile, MemOp, Platform};

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
    ("bytes_reach_a_mapped_file_with_the_reply", bytes_reach_a_mapped_file_with_the_reply),
    ("bytes_of_a_mapped_file_go_to_several_places", bytes_of_a_mapped_file_go_to_several_places),
    ("own_mappings_stay_out_of_the_guests_reach", own_mappings_stay_out_of_the_guests_reach),
];

const LEN: u64 = 0x2_1234;

/// A file, and what it holds.
fn file() -> (Arc<OwnedFd>, Vec<u8>) {
    let file = rustix::fs::memfd_create("mapped", rustix::fs::MemfdFlags::CLOEXEC).expect("a file");
    let bytes: Vec<u8> = (0..LEN).map(|at| ((at * 31) >> 5) as u8).collect();
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

/// The file as the kernel knows it.
struct Known(Arc<OwnedFd>, AtomicU64, AtomicU64);

impl MappedFile for Known {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        rustix::io::pread(&*self.0, buf, offset).map_err(|_| Errno::EIO)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<usize, Errno> {
        rustix::io::pwrite(&*self.0, buf, offset).map_err(|_| Errno::EIO)
    }

    fn fell_short(&self, end: u64, missing: u64) {
        self.1.store(end, Ordering::Relaxed);
        self.2.store(missing, Ordering::Relaxed);
    }
}

impl Known {
    /// Returns what was told since the last time.
    fn told(&self) -> (u64, u64) {
        (self.1.swap(0, Ordering::Relaxed), self.2.swap(0, Ordering::Relaxed))
    }
}

fn known(file: &Arc<OwnedFd>) -> Arc<Known> {
    Arc::new(Known(Arc::clone(file), AtomicU64::new(0), AtomicU64::new(0)))
}

/// Leaves bytes for the reply, whose call is to return their number.
#[track_caller]
fn copy_later(guest: &mut Guest<'_>, to: u64, file: &Arc<OwnedFd>, offset: u64, at: u64, len: u64) -> Arc<Known> {
    move_later(guest, to, file, offset, at, len, Direction::Read)
}

#[track_caller]
fn move_later(
    guest: &mut Guest<'_>,
    addr: u64,
    file: &Arc<OwnedFd>,
    offset: u64,
    at: u64,
    len: u64,
    direction: Direction,
) -> Arc<Known> {
    let known = known(file);
    guest.regs.rax = len;
    for _ in 0..100 {
        let file = Arc::clone(&known) as _;
        if guest.space.copy_later(
            &[(addr, len as usize)],
            FileBytes { file, offset, at, len: len as u32, direction, moved: true },
        ) {
            return known;
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
    let refused = FileBytes { file: known(&file), offset: 0, at, len: 1, direction: Direction::Read, moved: false };
    assert!(!guest.space.copy_later(&[(AREA, 1)], refused));
    run(&mut guest);
    sum(&mut guest);
    copy_later(&mut guest, AREA, &file, 90, at + 90, 100);
    assert!(guest.space.write_later(AREA + 1, &pattern(10, 1), sentry_platform::Short::Fails));
    run(&mut guest);
    assert_eq!(contents(&guest, AREA, 100), [&bytes[90..91], &pattern(10, 1), &bytes[101..190]].concat());
}

/// A guest that may write the file in the kernel's own part of its memory.
fn with_writable<'a>(platform: &'a dyn Platform, file: &Arc<OwnedFd>) -> (Guest<'a>, u64) {
    let (mut guest, at) = with_file(platform, file);
    let (prot, flags) = (Prot::READ | Prot::WRITE, libc::MAP_SHARED.cast_unsigned());
    let map = MemOp::MapFile { addr: at, len: 0x10_0000, prot, flags, file: Arc::clone(file), offset: 0 };
    guest.ops(&[map]).expect("map");
    sum(&mut guest);
    (guest, at)
}

fn bytes_reach_a_mapped_file_with_the_reply(platform: &dyn Platform) {
    let (file, bytes) = file();
    let (mut guest, at) = with_writable(platform, &file);
    let new = pattern(0x8000, 3);
    assert_eq!(guest.space.write(AREA, &new), new.len());
    let stored = |len: u64| {
        let mut found = vec![0; len as usize];
        assert_eq!(rustix::io::pread(&file, &mut found, 50), Ok(found.len()));
        found
    };
    for slow in [false, true] {
        // As long as there is something to write, whatever comes after.
        for (len, room) in [(1, 1), (100, 100), (0x5000, 0x5000), (0x5000, 0x1fff), (200, 1), (5, 0)] {
            rustix::io::pwrite(&file, &bytes, 0).expect("write");
            let known = move_later(&mut guest, END - room, &file, 50, at + 50, len, Direction::Write);
            if slow {
                guest.context.complete(&mut guest.regs);
            }
            run(&mut guest);
            let what = format!("{len} bytes, of which {room} can be read, slow: {slow}");
            assert_eq!(sum(&mut guest), if room > 0 { room } else { FAULT }, "{what}");
            assert_eq!(stored(room), new[0x8000 - room as usize..], "{what}");
            assert_eq!(stored(room + 1)[room as usize], bytes[50 + room as usize], "{what}");
            assert_eq!(known.told(), if room < len { (50 + len, len - room) } else { (0, 0) }, "{what}");
        }
    }
    // A file that has become shorter is made longer again, by the kernel.
    let known = move_later(&mut guest, AREA, &file, 0x1800, at + 0x1800, 0x3000, Direction::Write);
    rustix::fs::ftruncate(&file, 0x2000).expect("truncate");
    run(&mut guest);
    assert_eq!((sum(&mut guest), known.told()), (0x3000, (0, 0)));
    assert_eq!(rustix::fs::fstat(&file).expect("stat").st_size, 0x4800);
    let mut found = vec![0; 0x3000];
    assert_eq!(rustix::io::pread(&file, &mut found, 0x1800), Ok(found.len()));
    assert_eq!(found, new[..0x3000]);
}

fn bytes_of_a_mapped_file_go_to_several_places(platform: &dyn Platform) {
    let (file, bytes) = file();
    let (mut guest, at) = with_writable(platform, &file);
    // The places, and how many of the bytes can be moved.
    let lists: [(&[(u64, usize)], usize); 5] = [
        (&[(AREA, 10), (AREA + 0x1000, 1), (AREA + 0x100, 3000)], 3011),
        (&[(AREA, 10), (END - 5, 20), (AREA + 0x2000, 7)], 15),
        (&[(END, 4), (AREA + 0x3000, 7)], 0),
        (&[(AREA, 700), (END - 0x1000, 0x1000), (END, 1)], 700 + 0x1000),
        (&[(AREA, 0x4000), (AREA + 0x5000, 0x2000)], 0x6000),
    ];
    for (places, moved) in lists {
        for (slow, direction) in [(false, Direction::Read), (true, Direction::Read), (false, Direction::Write)] {
            let what = format!("{places:x?} {direction:?} slow: {slow}");
            rustix::io::pwrite(&file, &bytes, 0).expect("write");
            let len: usize = places.iter().map(|place| place.1).sum();
            let known = known(&file);
            let own = Arc::clone(&known) as _;
            let bytes_of = FileBytes { file: own, offset: 40, at: at + 40, len: len as u32, direction, moved: true };
            let marks = pattern(0x8000, 9);
            assert_eq!(guest.space.write(AREA, &marks), marks.len());
            guest.regs.rax = len as u64;
            assert!(guest.space.copy_later(places, bytes_of), "{what}");
            if slow {
                guest.context.complete(&mut guest.regs);
            }
            run(&mut guest);
            assert_eq!(sum(&mut guest), if moved > 0 { moved as u64 } else { FAULT }, "{what}");
            let missing = (len - moved) as u64;
            assert_eq!(known.told(), if missing > 0 { (40 + len as u64, missing) } else { (0, 0) }, "{what}");
            let mut stored = vec![0; len];
            assert_eq!(rustix::io::pread(&file, &mut stored, 40), Ok(len));
            let mut done = 0;
            for (addr, len) in places {
                let len = (*len).min(moved - done);
                let there = contents(&guest, if len > 0 { *addr } else { AREA }, len);
                assert_eq!(there, stored[done..done + len], "{what}");
                done += len;
            }
            let changed = stored[..moved] != bytes[40..40 + moved];
            assert_eq!(changed, direction == Direction::Write && moved > 0, "{what}");
            assert_eq!(stored[moved..], bytes[40 + moved..40 + len], "{what}");
        }
    }
}

fn own_mappings_stay_out_of_the_guests_reach(platform: &dyn Platform) {
    let (file, _) = file();
    let (guest, at) = with_file(platform, &file);
    let own = guest.space.own_range();
    assert!(platform.user_range().end <= own.start && own.start < own.end);
    assert_eq!(guest.space.read(at, &mut [0; 8]), 0, "the sentry reads there for nobody");
    assert_eq!(guest.space.write(at, &[0; 8]), 0);
    let direction = Direction::Read;
    let bytes = |len| FileBytes { file: known(&file), offset: 0, at, len, direction, moved: false };
    assert!(!guest.space.copy_later(&[(at, 1)], bytes(1)), "nor does it write");
    assert!(!guest.space.copy_later(&[(platform.user_range().end - 1, 2)], bytes(2)));
    // Only a call that waits in a patched site takes bytes.
    let mut trapping = Guest::new(platform, count_calls());
    run(&mut trapping);
    assert!(!trapping.space.copy_later(&[(crate::common::guest::DATA, 1)], bytes(1)));
}
