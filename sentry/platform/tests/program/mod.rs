//! Runs a static C program with just enough of a kernel to let it print and exit: the platform with real code.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use abi::flags::Prot;
use sentry_platform::{Event, MemOp, Platform};

use crate::common::guest::Guest;

const PAGE: u64 = 4096;
const HEAP: u64 = 0x7000_0000;
const HEAP_LEN: u64 = 0x40_0000;
const MAPPINGS: u64 = 0x1000_0000_0000;
const STACK: u64 = 0x2000_0000_0000;
const STACK_LEN: u64 = 0x10_0000;
const PRIVATE: u32 = libc::MAP_PRIVATE as u32;

const SOURCE: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
int main(int argc, char **argv) {
    struct timespec now;
    char *area = malloc(1 << 20);
    double sum = 0;
    memset(area, 1, 1 << 20);
    for (int i = 0; i < 1000; i++) sum += area[i * 997] / 8.0;
    if (clock_gettime(CLOCK_REALTIME, &now) || now.tv_sec < 1000000000) return 1;
    printf("%s %d %.3f\n", argv[1], argc, sum);
    return 7;
}
"#;

/// What the program has done so far.
struct Kernel {
    output: Vec<u8>,
    end_of_heap: u64,
    free: u64,
}

/// A segment or header field.
fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes[at..at + len].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn compile(into: &Path) {
    let source = into.with_extension("c");
    std::fs::write(&source, SOURCE).expect("source");
    let status = Command::new("cc")
        .args(["-static", "-no-pie", "-O1", "-o"])
        .arg(into)
        .arg(&source)
        .status()
        .expect("a C compiler (package gcc) is needed for this test");
    assert!(status.success());
    std::fs::remove_file(source).expect("remove the source");
}

/// Maps the segments and builds the initial stack.
fn load(guest: &mut Guest<'_>, path: &Path) {
    let image = std::fs::read(path).expect("program");
    let fd: Arc<OwnedFd> = Arc::new(File::open(path).expect("program").into());
    let rw = Prot::READ | Prot::WRITE;
    let (headers, count) = (number(&image, 32, 8) as usize, number(&image, 56, 2) as usize);
    let mut table = 0;
    for index in 0..count {
        let header = &image[headers + index * 56..];
        if number(header, 0, 4) != 1 {
            continue;
        }
        let [offset, addr, in_file, in_memory] = [8, 16, 32, 40].map(|at| number(header, at, 8));
        if offset == 0 {
            table = addr + headers as u64;
        }
        let prot = match number(header, 4, 4) & 3 {
            1 | 3 => Prot::READ | Prot::EXEC,
            2 => rw,
            _ => Prot::READ,
        };
        let (start, slack) = (addr - addr % PAGE, addr % PAGE);
        let file_end = (addr + in_file).next_multiple_of(PAGE);
        let mapped = file_end - start;
        let file = Arc::clone(&fd);
        guest
            .ops(&[MemOp::MapFile { addr: start, len: mapped, prot, flags: PRIVATE, file, offset: offset - slack }])
            .expect("segment");
        let end = (addr + in_memory).next_multiple_of(PAGE);
        if in_memory > in_file {
            let zeros = vec![0; usize::try_from(file_end.min(addr + in_memory) - addr - in_file).expect("small")];
            assert_eq!(guest.space.write(addr + in_file, &zeros), zeros.len());
        }
        if end > file_end {
            let (addr, len) = (file_end, end - file_end);
            guest.ops(&[MemOp::MapAnonymous { addr, len, prot, flags: PRIVATE }]).expect("bss");
        }
    }
    guest
        .ops(&[
            MemOp::MapAnonymous { addr: STACK, len: STACK_LEN, prot: rw, flags: PRIVATE },
            MemOp::MapAnonymous { addr: HEAP, len: HEAP_LEN, prot: rw, flags: PRIVATE },
        ])
        .expect("stack");
    let strings = STACK + STACK_LEN - 256;
    assert_eq!(guest.space.write(strings, b"program\0hello\0"), 14);
    let vdso = guest.platform.vdso().image.start;
    let entry = number(&image, 24, 8);
    let pairs =
        [(3, table), (4, 56), (5, count as u64), (6, PAGE), (9, entry), (25, strings + 64), (33, vdso), (17, 100)];
    let mut stack = vec![2, strings, strings + 8, 0, 0];
    stack.extend(pairs.iter().flat_map(|(key, value)| [*key, *value]));
    stack.extend([0, 0]);
    let bytes: Vec<u8> = stack.iter().flat_map(|word| word.to_le_bytes()).collect();
    let rsp = strings - 1024;
    assert_eq!(guest.space.write(rsp, &bytes), bytes.len());
    (guest.regs.rip, guest.regs.rsp) = (entry, rsp);
}

/// Serves one call; `Err` is the exit status.
fn serve(guest: &mut Guest<'_>, kernel: &mut Kernel) -> Result<i64, u64> {
    let errno = |number: i32| Ok(-i64::from(number));
    let [first, second, third, _, _, _] = guest.regs.syscall_args();
    match guest.regs.orig_rax.cast_signed() {
        libc::SYS_write => {
            let mut text = vec![0; usize::try_from(third).expect("small").min(1 << 16)];
            let len = guest.space.read(second, &mut text);
            kernel.output.extend_from_slice(&text[..len]);
            Ok(len as i64)
        }
        libc::SYS_brk => {
            if (HEAP..=HEAP + HEAP_LEN).contains(&first) {
                kernel.end_of_heap = first;
            }
            Ok(kernel.end_of_heap.cast_signed())
        }
        libc::SYS_mmap => {
            let (addr, len) = (kernel.free, second.next_multiple_of(PAGE));
            kernel.free += len;
            let prot = Prot::from_bits_truncate(u32::try_from(third).expect("bits"));
            match guest.ops(&[MemOp::MapAnonymous { addr, len, prot, flags: PRIVATE }]) {
                Ok(_) => Ok(addr.cast_signed()),
                Err(error) => errno(error.errno.raw()),
            }
        }
        libc::SYS_mprotect => {
            let prot = Prot::from_bits_truncate(u32::try_from(third).expect("bits"));
            let len = second.next_multiple_of(PAGE);
            Ok(guest.ops(&[MemOp::Protect { addr: first, len, prot }]).map_or(-1, |_| 0))
        }
        libc::SYS_arch_prctl if first == 0x1002 => {
            guest.regs.fs_base = second;
            Ok(0)
        }
        libc::SYS_set_tid_address => Ok(1),
        libc::SYS_set_robust_list => Ok(0),
        libc::SYS_newfstatat | libc::SYS_fstat => errno(libc::EBADF),
        libc::SYS_exit_group => Err(first),
        _ => errno(libc::ENOSYS),
    }
}

/// Compiles a program, runs it, and compares what it prints.
pub(crate) fn a_static_program_runs(platform: &dyn Platform) {
    let path = std::env::temp_dir().join(format!("platform-test-{}", std::process::id()));
    compile(&path);
    let mut guest = Guest::new(platform, &[0xcc]);
    load(&mut guest, &path);
    std::fs::remove_file(&path).expect("remove the program");
    let mut kernel = Kernel { output: Vec::new(), end_of_heap: HEAP, free: MAPPINGS };
    let status = loop {
        let event = guest.run();
        assert_eq!(event, Event::Syscall, "{:x?}", guest.regs);
        match serve(&mut guest, &mut kernel) {
            Ok(value) => guest.regs.rax = value.cast_unsigned(),
            Err(status) => break status,
        }
    };
    assert_eq!(String::from_utf8_lossy(&kernel.output), "hello 2 125.000\n");
    assert_eq!(status, 7);
}
