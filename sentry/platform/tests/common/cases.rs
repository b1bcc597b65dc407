//! Memory operations, processes, threads and floating-point state.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use abi::Errno;
use abi::flags::Prot;
use sentry_platform::{Event, MemOp, MemOpError, Platform, PlatformError};

use super::guest::{CODE, DATA, DATA_LEN, Guest, call_forever};
use super::{Case, block_on};
use crate::guest_code;

pub(crate) const CASES: &[Case] = &[
    ("memory_copies_stop_at_the_faulting_page", memory_copies_stop_at_the_faulting_page),
    ("copies_of_several_places_stop_at_the_faulting_byte", copies_of_several_places_stop_at_the_faulting_byte),
    ("memory_outside_the_user_range_is_out_of_reach", memory_outside_the_user_range_is_out_of_reach),
    ("a_batch_stops_at_its_first_failure", a_batch_stops_at_its_first_failure),
    ("long_batches_are_performed_whole", long_batches_are_performed_whole),
    ("every_memory_operation_works", every_memory_operation_works),
    ("files_are_mapped_shared_and_private", files_are_mapped_shared_and_private),
    ("compare_exchange_swaps_and_faults", compare_exchange_swaps_and_faults),
    ("fork_copies_on_write", fork_copies_on_write),
    ("fork_of_a_fork", fork_of_a_fork),
    ("threads_share_memory", threads_share_memory),
    ("threads_come_and_go", threads_come_and_go),
    ("fork_of_a_thread_copies_only_it", fork_of_a_thread_copies_only_it),
    ("processes_come_and_go", processes_come_and_go),
    ("vector_registers_survive_events", vector_registers_survive_events),
    ("fpstate_can_be_read_and_set", fpstate_can_be_read_and_set),
    ("fpstate_that_the_processor_refuses_is_einval", fpstate_that_the_processor_refuses_is_einval),
    ("reset_fpstate_gives_that_of_a_new_program", reset_fpstate_gives_that_of_a_new_program),
    ("vdso_is_mapped_and_works", vdso_is_mapped_and_works),
];

const PRIVATE: u32 = libc::MAP_PRIVATE as u32;
const SHARED: u32 = libc::MAP_SHARED as u32;
const FAR: u64 = 0x6000_0000;

fn rw() -> Prot {
    Prot::READ | Prot::WRITE
}

fn memory_copies_stop_at_the_faulting_page(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, call_forever());
    guest.ops(&[MemOp::MapAnonymous { addr: FAR, len: 0x4000, prot: rw(), flags: PRIVATE }]).expect("map");
    guest.ops(&[MemOp::Unmap { addr: FAR + 0x2000, len: 0x1000 }]).expect("unmap");
    let mut buf = vec![0u8; 0x4000];
    assert_eq!(guest.space.read(FAR, &mut buf), 0x2000);
    assert_eq!(guest.space.read(FAR + 0xff0, &mut buf), 0x1010);
    assert_eq!(guest.space.read(FAR + 0x1fff, &mut buf), 1);
    assert_eq!(guest.space.read(FAR + 0x2000, &mut buf), 0);
    assert_eq!(guest.space.write(FAR + 0x1800, &[7; 0x1000]), 0x800);
    assert_eq!(guest.space.write(FAR + 0x2fff, &[7; 0x1000]), 0);
    assert_eq!(guest.space.write(FAR + 0x3000, &[7; 0x3000]), 0x1000);
    guest.ops(&[MemOp::Protect { addr: FAR + 0x1000, len: 0x1000, prot: Prot::READ }]).expect("protect");
    assert_eq!(guest.space.write(FAR + 0xffe, &[1; 8]), 2);
    assert_eq!(guest.space.read(FAR + 0xffe, &mut buf[..8]), 8);
    assert_eq!(guest.space.read(FAR, &mut []), 0);
}

fn copies_of_several_places_stop_at_the_faulting_byte(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, call_forever());
    guest.ops(&[MemOp::MapAnonymous { addr: FAR, len: 0x4000, prot: rw(), flags: PRIVATE }]).expect("map");
    let end = FAR + 0x4000;
    let outside = platform.user_range().end;
    let good = [(FAR + 0x2f00, 3), (FAR, 0x1800), (FAR + 0x1fff, 2), (FAR + 0x1900, 1)];
    // What follows the good places, and how many of its bytes are there.
    let tails =
        [(FAR + 0x3800, 700, 700), (end - 5, 10, 5), (end, 4, 0), (end - 0x1001, 0x2000, 0x1001), (outside, 1, 0)];
    for (addr, len, room) in tails {
        for count in 0..=good.len() {
            let mut places = good[..count].to_vec();
            places.push((addr, len));
            // Nothing comes after a fault.
            places.push((FAR + 0x2800, 1));
            let whole: usize = places.iter().map(|place| place.1).sum();
            let reached = if room == len { whole } else { whole - 1 - len + room };
            let bytes: Vec<u8> = (0..whole).map(|at| (at * 7 + count) as u8 | 1).collect();
            guest.space.write(FAR, &[0; 0x4000]);
            assert_eq!(guest.space.write_list(&places, &bytes), reached, "{places:x?}");
            let mut at = 0;
            for (addr, len) in &places {
                let want = &bytes[at.min(reached)..(at + len).min(reached)];
                let mut found = vec![0; want.len()];
                assert_eq!(guest.space.read(*addr, &mut found), want.len());
                assert_eq!(found, want, "{places:x?}");
                at += len;
            }
            let mut found = vec![0; whole];
            assert_eq!(guest.space.read_list(&places, &mut found), reached, "{places:x?}");
            assert_eq!(found[..reached], bytes[..reached], "{places:x?}");
            assert_eq!(guest.word(FAR + 0x2800) != 0, room == len);
        }
    }
    let many: Vec<(u64, usize)> = (0..sentry_platform::PLACES as u64).map(|at| (FAR + at * 64, 64)).collect();
    let mut found = [0; 64 * sentry_platform::PLACES];
    assert_eq!(guest.space.read_list(&many, &mut found), found.len());
    assert_eq!((guest.space.read_list(&[], &mut []), guest.space.write_list(&[], &[])), (0, 0));
}

fn memory_outside_the_user_range_is_out_of_reach(platform: &dyn Platform) {
    let guest = Guest::new(platform, call_forever());
    let end = platform.user_range().end;
    let mut buf = [0u8; 16];
    for addr in [0, end, end + 0x1000, 0x7fff_ffff_f000, u64::MAX - 3, 1 << 63, 0xffff_ffff_ff60_0000] {
        assert_eq!(guest.space.read(addr, &mut buf), 0, "{addr:#x}");
        assert_eq!(guest.space.write(addr, &buf), 0, "{addr:#x}");
    }
}

fn a_batch_stops_at_its_first_failure(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, call_forever());
    let map = |addr| MemOp::MapAnonymous { addr, len: 0x1000, prot: rw(), flags: PRIVATE };
    let bad = MemOp::Protect { addr: FAR + 0x10_0000, len: 0x1000, prot: Prot::READ };
    let result = guest.ops(&[map(FAR), map(FAR + 0x1000), bad, map(FAR + 0x2000)]);
    assert_eq!(result, Err(MemOpError { index: 2, errno: Errno::ENOMEM }));
    let mut buf = vec![0u8; 0x4000];
    assert_eq!(guest.space.read(FAR, &mut buf), 0x2000);
}

fn long_batches_are_performed_whole(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, call_forever());
    let page = |i: u64| MemOp::MapAnonymous { addr: FAR + 0x2000 * i, len: 0x1000, prot: rw(), flags: PRIVATE };
    let mut ops: Vec<MemOp> = (0..200).map(page).collect();
    assert_eq!(guest.ops(&ops), Ok(FAR + 0x2000 * 199));
    for i in 0..200 {
        assert_eq!(guest.space.read(FAR + 0x2000 * i, &mut [0; 0x1001]), 0x1000);
    }
    ops[150] = MemOp::Sync { addr: FAR + 0x1000, len: 0x1000, flags: 4 };
    assert_eq!(guest.ops(&ops), Err(MemOpError { index: 150, errno: Errno::ENOMEM }));
}

fn every_memory_operation_works(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, call_forever());
    guest.ops(&[MemOp::MapAnonymous { addr: FAR, len: 0x4000, prot: rw(), flags: PRIVATE }]).expect("map");
    guest.set_word(FAR, 1);
    guest.set_word(FAR + 0x1000, 2);
    let moved = MemOp::Remap { old: FAR, old_len: 0x2000, new: FAR + 0x10_0000, new_len: 0x3000, flags: 0 };
    assert_eq!(guest.ops(&[moved]), Ok(FAR + 0x10_0000));
    assert_eq!(guest.word(FAR + 0x10_1000), 2);
    assert_eq!(guest.space.read(FAR, &mut [0; 8]), 0);
    let grown = MemOp::Remap { old: FAR + 0x10_0000, old_len: 0x3000, new: FAR + 0x10_0000, new_len: 0x5000, flags: 0 };
    assert_eq!(guest.ops(&[grown]), Ok(FAR + 0x10_0000));
    assert_eq!(guest.word(FAR + 0x10_4000), 0);
    guest.ops(&[MemOp::Advise { addr: FAR + 0x10_0000, len: 0x1000, advice: libc::MADV_DONTNEED }]).expect("madvise");
    assert_eq!(guest.word(FAR + 0x10_0000), 0);
    guest.ops(&[MemOp::Sync { addr: FAR + 0x10_0000, len: 0x1000, flags: libc::MS_SYNC }]).expect("msync");
    guest.ops(&[MemOp::Lock { addr: FAR + 0x10_0000, len: 0x1000, flags: 0 }]).expect("mlock2");
    guest.ops(&[MemOp::Unlock { addr: FAR + 0x10_0000, len: 0x1000 }]).expect("munlock");
    let query = guest.ops(&[MemOp::Membarrier { cmd: 0, flags: 0, cpu: 0 }]).expect("membarrier");
    assert_ne!(query, 0);
    guest.set_word(DATA, u64::MAX);
    guest.ops(&[MemOp::Mincore { addr: FAR + 0x10_0000, len: 0x2000, vec: DATA }]).expect("mincore");
    assert_eq!(guest.word(DATA) & 0xffff, 0x0101);
    guest.ops(&[MemOp::Unmap { addr: FAR + 0x10_0000, len: 0x5000 }]).expect("munmap");
    assert_eq!(guest.space.read(FAR + 0x10_0000, &mut [0; 8]), 0);
}

fn memory_file(pages: i64) -> Arc<OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: the name is a C string.
    let fd = unsafe { libc::memfd_create(c"test".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0);
    // SAFETY: nobody else owns the new descriptor.
    let file = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: no memory is involved.
    assert_eq!(unsafe { libc::ftruncate(fd, pages * 4096) }, 0);
    Arc::new(file)
}

fn file_word(file: &OwnedFd, offset: i64) -> u64 {
    let mut bytes = [0u8; 8];
    // SAFETY: the buffer has 8 bytes.
    assert_eq!(unsafe { libc::pread(file.as_raw_fd(), bytes.as_mut_ptr().cast(), 8, offset) }, 8);
    u64::from_le_bytes(bytes)
}

fn files_are_mapped_shared_and_private(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, call_forever());
    let file = memory_file(4);
    let map =
        |addr, flags, offset| MemOp::MapFile { addr, len: 0x2000, prot: rw(), flags, file: Arc::clone(&file), offset };
    let result = guest.ops(&[map(FAR, SHARED, 0x1000), map(FAR + 0x10_0000, PRIVATE, 0)]);
    assert_eq!(result, Ok(FAR + 0x10_0000));
    guest.set_word(FAR + 0x10, 42);
    assert_eq!(file_word(&file, 0x1010), 42);
    assert_eq!(guest.word(FAR + 0x10_1010), 42);
    guest.set_word(FAR + 0x10_1010, 43);
    assert_eq!(file_word(&file, 0x1010), 42);
    let result = guest.ops(&[map(FAR, SHARED, 0x123)]);
    assert_eq!(result, Err(MemOpError { index: 0, errno: Errno::EINVAL }));
    let child = guest.fork();
    child.set_word(FAR + 0x10, 44);
    assert_eq!(guest.word(FAR + 0x10), 44);
    assert_eq!(child.word(FAR + 0x10_1010), 43);
}

fn compare_exchange_swaps_and_faults(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, call_forever());
    guest.set_word(DATA, 0xffff_fff0_0000_0005);
    let exchange = |addr, old, new| MemOp::CompareExchange { addr, old, new };
    assert_eq!(guest.ops(&[exchange(DATA, 5, 6)]), Ok(5));
    assert_eq!(guest.ops(&[exchange(DATA, 5, 7)]), Ok(6));
    assert_eq!(guest.ops(&[exchange(DATA + 4, 0xffff_fff0, 0xffff_ffff)]), Ok(0xffff_fff0));
    assert_eq!(guest.word(DATA), 0xffff_ffff_0000_0006);
    let fault = Err(MemOpError { index: 1, errno: Errno::EFAULT });
    assert_eq!(guest.ops(&[exchange(DATA, 6, 8), exchange(FAR, 0, 1)]), fault);
    assert_eq!(guest.ops(&[exchange(DATA, 8, 9), exchange(CODE, 0, 1)]), fault);
    // The thread is as it was.
    guest.regs.rax = 3;
    guest.expect_syscall(3);
    assert_eq!(guest.ops(&[exchange(DATA, 9, 1)]), Ok(9));
}

guest_code!(increment, "2:", "lock inc qword ptr [0x200000]", "mov eax, 11", "syscall", "jmp 2b");

fn fork_copies_on_write(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, increment());
    guest.set_word(DATA, 10);
    guest.expect_syscall(11);
    let mut child = guest.fork();
    assert_ne!(child.space.host_pid(), guest.space.host_pid());
    child.expect_syscall(11);
    child.expect_syscall(11);
    guest.expect_syscall(11);
    assert_eq!((guest.word(DATA), child.word(DATA)), (12, 13));
    child.ops(&[MemOp::Unmap { addr: DATA, len: DATA_LEN }]).expect("unmap");
    guest.expect_syscall(11);
    assert_eq!(guest.word(DATA), 13);
    drop(guest);
    assert!(matches!(child.run(), Event::Fault(_)));
}

fn fork_of_a_fork(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, increment());
    for generation in 1..=20 {
        guest.expect_syscall(11);
        assert_eq!(guest.word(DATA), generation);
        guest = guest.fork();
    }
}

fn threads_share_memory(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, increment());
    let mut threads: Vec<Guest<'_>> = (0..4).map(|_| guest.thread()).collect();
    for _ in 0..50 {
        for thread in &mut threads {
            thread.expect_syscall(11);
        }
        guest.expect_syscall(11);
    }
    assert_eq!(guest.word(DATA), 250);
    // All at once.
    let run_all = async {
        for thread in &mut threads {
            thread.context.start(&thread.regs);
        }
        for thread in &mut threads {
            let (context, regs) = (&mut thread.context, &mut thread.regs);
            assert_eq!(std::future::poll_fn(|cx| context.poll_event(cx, regs)).await, Event::Syscall);
        }
    };
    block_on(platform, run_all);
    assert_eq!(guest.word(DATA), 254);
}

fn threads_come_and_go(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, increment());
    for round in 1..=100 {
        let mut thread = guest.thread();
        thread.expect_syscall(11);
        assert_eq!(guest.word(DATA), round);
    }
    // The first thread may leave before the others.
    let mut thread = guest.thread();
    let space = Arc::clone(&guest.space);
    drop(guest);
    thread.expect_syscall(11);
    let mut word = [0; 8];
    assert_eq!(space.read(DATA, &mut word), 8);
    assert_eq!(u64::from_le_bytes(word), 101);
}

fn fork_of_a_thread_copies_only_it(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, increment());
    let mut thread = guest.thread();
    thread.expect_syscall(11);
    let mut child = thread.fork();
    child.expect_syscall(11);
    let mut sibling = child.thread();
    sibling.expect_syscall(11);
    thread.expect_syscall(11);
    guest.expect_syscall(11);
    assert_eq!((guest.word(DATA), child.word(DATA)), (3, 3));
}

fn processes_come_and_go(platform: &dyn Platform) {
    for _ in 0..50 {
        let mut guest = Guest::new(platform, increment());
        guest.expect_syscall(11);
        let mut child = guest.fork();
        child.expect_syscall(11);
    }
}

guest_code!(
    vectors,
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

fn vector_registers_survive_events(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, vectors());
    guest.expect_syscall(1);
    let mut child = guest.fork();
    let mut thread = guest.thread();
    for who in [&mut child, &mut thread, &mut guest] {
        who.expect_syscall(2);
        assert_eq!(who.regs.rbx, 0x1111_1111_1111_1111);
        assert_eq!(who.regs.rdx, 0x2222_2222_2222_2222);
    }
    assert_eq!(f64::from_bits(guest.word(DATA)), 1.0);
    assert_eq!(f64::from_bits(child.word(DATA)), 1.0);
}

/// Offset of `xmm0` in the XSAVE image.
const XMM0: usize = 160;
/// Offset of `xstate_bv` in the XSAVE image.
const XSTATE_BV: usize = 512;

fn fpstate_can_be_read_and_set(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, vectors());
    guest.expect_syscall(1);
    let mut state = block_on(platform, guest.context.fpstate()).expect("fpstate");
    assert!(state.len() >= 576);
    assert_eq!(state[XMM0..XMM0 + 8], [0x11; 8]);
    assert_eq!(state[XMM0 + 240..XMM0 + 248], [0x22; 8]);
    assert_eq!(state[XSTATE_BV] & 3, 3);
    state[XMM0..XMM0 + 8].fill(0x33);
    block_on(platform, guest.context.set_fpstate(&state)).expect("set");
    let again = block_on(platform, guest.context.fpstate()).expect("fpstate");
    assert_eq!(again[XMM0..XMM0 + 8], [0x33; 8]);
    guest.expect_syscall(2);
    assert_eq!(guest.regs.rbx, 0x3333_3333_3333_3333);
    assert_eq!(guest.regs.rdx, 0x2222_2222_2222_2222);
}

fn fpstate_that_the_processor_refuses_is_einval(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, vectors());
    guest.expect_syscall(1);
    let good = block_on(platform, guest.context.fpstate()).expect("fpstate");
    let mut refuse = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut state = good.clone();
        change(&mut state);
        match block_on(platform, guest.context.set_fpstate(&state)) {
            Err(PlatformError::Refused(errno)) => assert_eq!(errno, Errno::EINVAL),
            other => panic!("{other:?}"),
        }
    };
    refuse(&|state| state[24..28].fill(0xff)); // reserved bits of MXCSR
    refuse(&|state| state[XSTATE_BV + 7] = 0x40); // a component that no processor has
    refuse(&|state| state[XSTATE_BV + 15] = 0x80); // compacted format
    refuse(&|state| state[XSTATE_BV + 20] = 1); // reserved part of the header
    refuse(&|state| state.truncate(100));
    guest.expect_syscall(2);
    assert_eq!(guest.regs.rbx, 0x1111_1111_1111_1111);
}

fn reset_fpstate_gives_that_of_a_new_program(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, vectors());
    guest.expect_syscall(1);
    guest.context.reset_fpstate();
    let state = block_on(platform, guest.context.fpstate()).expect("fpstate");
    assert_eq!(state[0..2], 0x37fu16.to_le_bytes());
    assert_eq!(state[24..28], 0x1f80u32.to_le_bytes());
    guest.expect_syscall(2);
    assert_eq!(guest.regs.rbx, 0);
    assert_eq!(guest.regs.rdx, 0);
}

guest_code!(vdso_call, "mov edi, 1", "mov esi, 0x200000", "call rax", "mov rdi, rax", "mov eax, 77", "syscall");

/// Finds a function in the image of the vDSO: dynamic symbols by the section headers.
fn vdso_symbol(image: &[u8], name: &str) -> Option<u64> {
    let u16_at = |at: usize| Some(usize::from(u16::from_le_bytes(image.get(at..at + 2)?.try_into().ok()?)));
    let u32_at = |at: usize| Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?));
    let u64_at = |at: usize| Some(u64::from_le_bytes(image.get(at..at + 8)?.try_into().ok()?));
    let (table, count) = (usize::try_from(u64_at(0x28)?).ok()?, u16_at(0x3c)?);
    let section = |index: usize| table + index * 64;
    let symbols = (0..count).map(section).find(|&at| u32_at(at + 4) == Some(11))?;
    let strings = section(usize::try_from(u32_at(symbols + 0x28)?).ok()?);
    let strings = usize::try_from(u64_at(strings + 0x18)?).ok()?;
    let (start, size) =
        (usize::try_from(u64_at(symbols + 0x18)?).ok()?, usize::try_from(u64_at(symbols + 0x20)?).ok()?);
    (start..start + size).step_by(24).find_map(|at| {
        let text = image.get(strings + usize::try_from(u32_at(at)?).ok()?..)?;
        text.starts_with(format!("{name}\0").as_bytes()).then(|| u64_at(at + 8))?
    })
}

fn vdso_is_mapped_and_works(platform: &dyn Platform) {
    let vdso = platform.vdso();
    if vdso.image.is_empty() {
        println!("the host has no vDSO");
        return;
    }
    let len = usize::try_from(vdso.image.end - vdso.image.start).expect("small");
    // The platform's own copy is where a guest can read it; the test's own is the same image.
    // SAFETY: getauxval has no precondition.
    let own = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
    // SAFETY: the host maps as many bytes of vDSO here as in the guest.
    let image = unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(own as usize), len) };
    let function = vdso_symbol(image, "clock_gettime").or_else(|| vdso_symbol(image, "__vdso_clock_gettime"));
    let mut guest = Guest::new(platform, vdso_call());
    guest.regs.rax = vdso.image.start + function.expect("clock_gettime in the vDSO");
    assert_eq!(guest.expect_syscall(77)[0], 0);
    assert_ne!(guest.word(DATA), 0, "CLOCK_MONOTONIC is zero");
    // Without the sentry's help, it works in a child as well.
    let mut child = guest.fork();
    child.regs.rip = CODE;
    child.regs.rax = vdso.image.start + function.expect("clock_gettime in the vDSO");
    assert_eq!(child.expect_syscall(77)[0], 0);
}
