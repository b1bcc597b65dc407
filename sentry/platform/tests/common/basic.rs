//! System calls, faults and interrupts of a single thread.

use std::time::{Duration, Instant};

use abi::flags::Prot;
use sentry_platform::{Death, Event, Fault, MemOp, Platform, Registers};

use super::guest::{CODE, DATA, Guest, call_forever};
use super::{Case, block_on};
use crate::guest_code;

pub(crate) const CASES: &[Case] = &[
    ("system_call_round_trip", system_call_round_trip),
    ("registers_are_kept_and_settable", registers_are_kept_and_settable),
    ("segment_bases_are_kept_and_settable", segment_bases_are_kept_and_settable),
    ("read_of_unmapped_memory_faults", read_of_unmapped_memory_faults),
    ("write_of_read_only_memory_faults", write_of_read_only_memory_faults),
    ("division_by_zero_faults", division_by_zero_faults),
    ("invalid_instruction_faults", invalid_instruction_faults),
    ("breakpoint_faults", breakpoint_faults),
    ("interrupt_ends_a_spinning_guest", interrupt_ends_a_spinning_guest),
    ("interrupt_before_the_run_counts_once", interrupt_before_the_run_counts_once),
    ("interrupts_race_with_system_calls", interrupts_race_with_system_calls),
    ("killed_stub_is_reported_dead", killed_stub_is_reported_dead),
    ("idle_guest_uses_no_cpu", idle_guest_uses_no_cpu),
    ("cost_of_a_trapped_call", cost_of_a_trapped_call),
];

guest_code!(spin_forever, "inc qword ptr [0x200000]", "2:", "inc rbx", "jmp 2b");
guest_code!(
    call_with_arguments,
    "mov eax, 1000",
    "mov edi, 1",
    "mov esi, 2",
    "mov edx, 3",
    "mov r10d, 4",
    "mov r8d, 5",
    "mov r9d, 6",
    "mov ebx, 7",
    "syscall",
    "mov rbx, rax",
    "mov eax, 1001",
    "syscall"
);

fn system_call_round_trip(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, call_with_arguments());
    assert_eq!(guest.expect_syscall(1000), [1, 2, 3, 4, 5, 6]);
    assert_eq!(guest.regs.rbx, 7);
    assert_eq!(guest.regs.rax, 1000);
    assert_eq!(guest.regs.rcx, guest.regs.rip);
    assert_eq!(guest.regs.rsp, super::guest::STACK_TOP);
    guest.regs.rax = 0x1234_5678_9abc_def0;
    guest.expect_syscall(1001);
    assert_eq!(guest.regs.rbx, 0x1234_5678_9abc_def0);
}

fn registers_are_kept_and_settable(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, call_forever());
    let set = Registers {
        r15: 15,
        r14: 14,
        r13: 13,
        r12: 12,
        rbp: 5,
        rbx: 3,
        r10: 10,
        r9: 9,
        r8: 8,
        rax: 999,
        rdx: 2,
        rsi: 6,
        rdi: 7,
        eflags: 0x202 | 0x1 | 0x4 | 0x40 | 0x80 | 0x400 | 0x800,
        ..guest.regs
    };
    guest.regs = set;
    guest.expect_syscall(999);
    let expected = Registers { rcx: CODE + 2, r11: set.eflags, rip: CODE + 2, orig_rax: 999, ..set };
    let got = Registers { ds: set.ds, es: set.es, fs: set.fs, gs: set.gs, ..guest.regs };
    assert_eq!(got, expected);
    // A second round from a different place, with every register changed by us.
    guest.regs.rip = CODE;
    guest.regs.rcx = 0x77;
    guest.regs.rsp = 0xdead_0000;
    guest.regs.rax = 998;
    guest.expect_syscall(998);
    assert_eq!(guest.regs.rsp, 0xdead_0000);
}

guest_code!(
    bases,
    "mov rax, fs:[0]",
    "mov rbx, gs:[8]",
    "mov eax, eax",
    "syscall",
    "rdfsbase rdi",
    "rdgsbase rsi",
    "mov rdx, 0x200100",
    "wrgsbase rdx",
    "mov eax, 3",
    "syscall"
);

fn segment_bases_are_kept_and_settable(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, bases());
    guest.set_word(DATA + 0x40, 1);
    guest.set_word(DATA + 0x88, 2);
    guest.regs.fs_base = DATA + 0x40;
    guest.regs.gs_base = DATA + 0x80;
    guest.expect_syscall(1);
    assert_eq!(guest.regs.rbx, 2);
    assert_eq!(guest.regs.fs_base, DATA + 0x40);
    assert_eq!(guest.regs.gs_base, DATA + 0x80);
    guest.regs.fs_base = 0x7000_0000_0000;
    guest.expect_syscall(3);
    assert_eq!(guest.regs.rdi, 0x7000_0000_0000);
    assert_eq!(guest.regs.rsi, DATA + 0x80);
    assert_eq!(guest.regs.gs_base, DATA + 0x100);
}

#[track_caller]
fn expect_fault(guest: &mut Guest<'_>) -> Fault {
    match guest.run() {
        Event::Fault(fault) => fault,
        other => panic!("{other:?} instead of a fault, {:x?}", guest.regs),
    }
}

guest_code!(load, "mov rax, [rdi]", "syscall");
guest_code!(store, "mov [rdi], rax", "syscall");

fn read_of_unmapped_memory_faults(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, load());
    guest.regs.rdi = 0x5000_1230;
    let fault = expect_fault(&mut guest);
    let expected = Fault { signo: libc::SIGSEGV, code: 1, addr: 0x5000_1230, trapno: 14, error: 4, cr2: 0x5000_1230 };
    assert_eq!(fault, expected);
    assert_eq!(guest.regs.rip, CODE);
    // Repaired, the same instruction goes on.
    let prot = Prot::READ | Prot::WRITE;
    guest
        .ops(&[MemOp::MapAnonymous { addr: 0x5000_1000, len: 0x1000, prot, flags: libc::MAP_PRIVATE as u32 }])
        .expect("map");
    guest.set_word(0x5000_1230, 77);
    guest.expect_syscall(77);
    // Not canonical: a general protection fault has no address.
    guest.regs.rip = CODE;
    guest.regs.rdi = 0x8000_0000_0000_0000;
    let fault = expect_fault(&mut guest);
    assert_eq!((fault.signo, fault.code, fault.addr, fault.trapno), (libc::SIGSEGV, 128, 0, 13));
}

fn write_of_read_only_memory_faults(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, store());
    guest.regs.rdi = CODE + 8;
    let fault = expect_fault(&mut guest);
    let expected = Fault { signo: libc::SIGSEGV, code: 2, addr: CODE + 8, trapno: 14, error: 7, cr2: CODE + 8 };
    assert_eq!(fault, expected);
}

guest_code!(divide, "xor ecx, ecx", "div ecx");
guest_code!(invalid, "ud2");
guest_code!(breakpoint, "int3", "mov eax, 9", "syscall");

fn division_by_zero_faults(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, divide());
    let fault = expect_fault(&mut guest);
    assert_eq!((fault.signo, fault.code, fault.addr, fault.trapno), (libc::SIGFPE, 1, CODE + 2, 0));
    assert_eq!(guest.regs.rip, CODE + 2);
}

fn invalid_instruction_faults(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, invalid());
    let fault = expect_fault(&mut guest);
    assert_eq!((fault.signo, fault.code, fault.addr, fault.trapno), (libc::SIGILL, 2, CODE, 6));
}

fn breakpoint_faults(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, breakpoint());
    let fault = expect_fault(&mut guest);
    assert_eq!((fault.signo, fault.code, fault.addr, fault.trapno), (libc::SIGTRAP, 128, 0, 3));
    assert_eq!(guest.regs.rip, CODE + 1);
    guest.expect_syscall(9);
}

fn interrupt_ends_a_spinning_guest(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, spin_forever());
    guest.regs.rbx = 0;
    guest.context.start(&guest.regs);
    // Wait until it certainly runs.
    let began = Instant::now();
    while guest.word(DATA) == 0 && began.elapsed() < Duration::from_secs(10) {
        if !platform.poll() {
            platform.park(Some(Duration::from_millis(1)));
        }
    }
    guest.context.interrupter().interrupt();
    let (context, regs) = (&mut guest.context, &mut guest.regs);
    let event = block_on(platform, std::future::poll_fn(|cx| context.poll_event(cx, regs)));
    assert_eq!(event, Event::Interrupted);
    assert!((CODE..CODE + 0x100).contains(&guest.regs.rip));
    assert_eq!(guest.word(DATA), 1, "the guest was restarted from its beginning");
}

fn interrupt_before_the_run_counts_once(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, call_forever());
    let interrupter = guest.context.interrupter();
    interrupter.interrupt();
    interrupter.interrupt();
    guest.regs.rax = 5;
    assert_eq!(guest.run(), Event::Interrupted);
    assert_eq!(guest.regs.rip, CODE);
    for nr in 5..20 {
        guest.regs.rax = nr;
        guest.expect_syscall(nr);
    }
}

fn interrupts_race_with_system_calls(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, call_forever());
    let interrupter = guest.context.interrupter();
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(11)
                && receiver.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty)
            {
                interrupter.interrupt();
                std::thread::sleep(Duration::from_micros(30));
            }
        });
        let (mut calls, mut interrupts) = (0u64, 0u64);
        let began = Instant::now();
        guest.regs.rax = 1000;
        while (calls < 2000 || interrupts < 20) && began.elapsed() < Duration::from_secs(10) {
            match guest.run() {
                Event::Syscall => {
                    assert_eq!(guest.regs.orig_rax, 1000 + calls);
                    calls += 1;
                    guest.regs.rax = 1000 + calls;
                }
                Event::Interrupted => interrupts += 1,
                other => panic!("{other:?}"),
            }
        }
        sender.send(()).expect("the other thread listens");
        assert!(calls >= 2000 && interrupts >= 20, "{calls} calls, {interrupts} interrupts");
    });
}

fn killed_stub_is_reported_dead(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, spin_forever());
    let mut other = Guest::new(platform, call_forever());
    guest.context.start(&guest.regs);
    // SAFETY: the process is a stub of ours.
    assert_eq!(unsafe { libc::kill(guest.space.host_pid(), libc::SIGKILL) }, 0);
    let (context, regs) = (&mut guest.context, &mut guest.regs);
    let event = block_on(platform, std::future::poll_fn(|cx| context.poll_event(cx, regs)));
    assert_eq!(event, Event::Dead(Death::Signal(libc::SIGKILL)));
    assert_eq!(guest.run(), Event::Dead(Death::Signal(libc::SIGKILL)));
    assert!(guest.ops(&[MemOp::Unmap { addr: DATA, len: 0x1000 }]).is_err());
    assert_eq!(guest.space.read(DATA, &mut [0; 8]), 0);
    other.regs.rax = 4;
    other.expect_syscall(4);
}

fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) }, 0);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("below a second"))
}

fn process_cpu_time(pid: i32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat of the stub");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("name").split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
    Duration::from_millis(ticks * 10)
}

fn idle_guest_uses_no_cpu(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, call_forever());
    guest.regs.rax = 1;
    guest.expect_syscall(1);
    let pid = guest.space.host_pid();
    let (sentry_before, stub_before) = (cpu_time(), process_cpu_time(pid));
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(400) {
        platform.park(Some(Duration::from_millis(400)));
    }
    let sentry = cpu_time() - sentry_before;
    let stub = process_cpu_time(pid) - stub_before;
    assert!(sentry < Duration::from_millis(10), "the sentry used {sentry:?}");
    assert!(stub <= Duration::from_millis(10), "the stub used {stub:?}");
    guest.regs.rax = 2;
    guest.expect_syscall(2);
}

fn cost_of_a_trapped_call(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, call_forever());
    let rounds = 20_000u32;
    for _ in 0..200 {
        guest.run();
    }
    let began = Instant::now();
    for _ in 0..rounds {
        assert_eq!(guest.run(), Event::Syscall);
    }
    println!("{}: {:?} per trapped call", platform.name(), began.elapsed() / rounds);
}
