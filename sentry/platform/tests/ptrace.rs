//! The common suite on the ptrace platform, and what only this platform does.

mod common;
mod program;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sentry_platform::ptrace::Ptrace;
use sentry_platform::{Event, Platform};

use common::Case;
use common::guest::{CODE, DATA, Guest, call_forever};

const CASES: &[Case] = &[
    ("a_static_program_runs", program::a_static_program_runs),
    ("jumps_to_the_code_page_reach_the_sentry", jumps_to_the_code_page_reach_the_sentry),
    ("vsyscalls_reach_the_sentry", vsyscalls_reach_the_sentry),
    ("single_steps_are_traps", single_steps_are_traps),
    ("kernel_addresses_in_fs_base_stay_the_guests_own", kernel_addresses_in_fs_base_stay_the_guests_own),
    ("guests_dropped_as_they_run_leave_nothing", guests_dropped_as_they_run_leave_nothing),
    ("a_process_outlives_its_first_thread", a_process_outlives_its_first_thread),
    ("fifty_forks_and_threads_run_at_once", fifty_forks_and_threads_run_at_once),
    ("stubs_that_die_in_an_operation_are_reported", stubs_that_die_in_an_operation_are_reported),
    ("operations_are_not_cut_short_by_interrupts", operations_are_not_cut_short_by_interrupts),
    ("signals_from_the_host_do_not_reach_the_guest", signals_from_the_host_do_not_reach_the_guest),
    ("an_unpark_before_the_sleep_counts", an_unpark_before_the_sleep_counts),
    ("a_second_platform_does_not_disturb", a_second_platform_does_not_disturb),
    ("a_sentry_that_is_not_dumpable_reads_its_stubs", a_sentry_that_is_not_dumpable_reads_its_stubs),
    ("stubs_have_no_privileges", stubs_have_no_privileges),
    ("processor_time_is_counted", processor_time_is_counted),
    ("cost_of_memory_operations_and_forks", cost_of_memory_operations_and_forks),
];

fn main() -> ExitCode {
    common::main(|| Ptrace::new().expect("ptrace"), CASES)
}

guest_code!(jump, "jmp rdi");
guest_code!(vsyscall, "mov rax, 0xffffffffff600000", "call rax", "mov rbx, rax", "mov eax, 39", "syscall");
guest_code!(step, "pushfq", "or qword ptr [rsp], 0x100", "popfq", "nop", "nop");
guest_code!(wild_base, "mov rax, 0xffff888000000000", "wrfsbase rax", "2:", "mov eax, 39", "syscall", "jmp 2b");
guest_code!(count, "2:", "lock inc qword ptr [rdi]", "jmp 2b");

/// Returns the only executable mapping of a stub that has no name: the code page.
fn code_page(guest: &Guest<'_>) -> u64 {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", guest.space.host_pid())).expect("maps");
    let end = guest.platform.user_range().end;
    maps.lines()
        .filter(|line| line.contains(" r-xp ") && !line.contains('['))
        .filter_map(|line| u64::from_str_radix(line.split('-').next()?, 16).ok())
        .find(|start| *start >= end)
        .expect("a code page")
}

/// Counts our tasks and descriptors: children and tracees that were not reaped show among them.
fn belongings(platform: &dyn Platform) -> (Vec<OsString>, usize) {
    let own = std::process::id().to_string();
    let began = Instant::now();
    loop {
        platform.poll();
        let stubs: Vec<OsString> = std::fs::read_dir("/proc")
            .expect("proc")
            .filter_map(Result::ok)
            .filter(|entry| {
                let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
                let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("").trim();
                value("PPid:") == own || value("TracerPid:") == own
            })
            .map(|entry| entry.file_name())
            .collect();
        // Killed stubs take a moment to go.
        if stubs.len() <= 1 || began.elapsed() > Duration::from_secs(5) {
            let files = std::fs::read_dir("/proc/self/fd").expect("descriptors").count();
            return (stubs, files);
        }
        platform.park(Some(Duration::from_millis(5)));
    }
}

fn jumps_to_the_code_page_reach_the_sentry(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, jump());
    let page = code_page(&guest);
    (guest.regs.rdi, guest.regs.rax) = (page, 57);
    guest.expect_syscall(57);
    match guest.run() {
        Event::Fault(fault) => assert_eq!((fault.signo, guest.regs.rip), (libc::SIGTRAP, page + 3)),
        other => panic!("{other:?}"),
    }
    // It can't be written, and operations on it are refused.
    assert_eq!(guest.space.write(page, &[0]), 0);
    let unmap = sentry_platform::MemOp::Unmap { addr: page, len: 0x1000 };
    assert!(guest.ops(&[unmap]).is_err());
    let over = sentry_platform::MemOp::Unmap { addr: u64::MAX - 0xfff, len: 0x1000 };
    assert!(guest.ops(&[over]).is_err());
}

fn vsyscalls_reach_the_sentry(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, vsyscall());
    match guest.run() {
        Event::Syscall => {
            assert_eq!(guest.regs.rax, 96);
            guest.regs.rax = 0x77;
            guest.expect_syscall(39);
            assert_eq!(guest.regs.rbx, 0x77);
        }
        // A host without the page.
        Event::Fault(fault) => assert_eq!(fault.signo, libc::SIGSEGV),
        other => panic!("{other:?}"),
    }
}

fn single_steps_are_traps(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, step());
    for offset in [11, 12] {
        match guest.run() {
            Event::Fault(fault) => assert_eq!((fault.signo, fault.code, fault.trapno), (libc::SIGTRAP, 2, 1)),
            other => panic!("{other:?}"),
        }
        assert_eq!(guest.regs.rip, CODE + offset);
    }
}

fn kernel_addresses_in_fs_base_stay_the_guests_own(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, wild_base());
    guest.expect_syscall(39);
    assert_eq!(guest.regs.fs_base, 0xffff_8880_0000_0000);
    guest.regs.rbx = 5;
    guest.expect_syscall(39);
    assert_eq!((guest.regs.fs_base, guest.regs.rbx), (0xffff_8880_0000_0000, 5));
}

fn guests_dropped_as_they_run_leave_nothing(platform: &dyn Platform) {
    let (_, files) = belongings(platform);
    for _ in 0..20 {
        let mut guest = Guest::new(platform, count());
        guest.regs.rdi = DATA;
        let mut thread = guest.thread();
        let mut child = guest.fork();
        for running in [&mut guest, &mut thread, &mut child] {
            let regs = running.regs;
            running.context.start(&regs);
        }
        assert_eq!(common::block_on(platform, interrupted(&mut child)), Event::Interrupted);
        drop(thread);
    }
    let (stubs, now) = belongings(platform);
    assert_eq!(stubs.len(), 1, "{stubs:?}");
    assert_eq!(now, files);
}

/// Interrupts a running guest and takes its event.
async fn interrupted(guest: &mut Guest<'_>) -> Event {
    guest.context.interrupter().interrupt();
    std::future::poll_fn(|cx| guest.context.poll_event(cx, &mut guest.regs)).await
}

fn a_process_outlives_its_first_thread(platform: &dyn Platform) {
    let mut first = Guest::new(platform, call_forever());
    let mut second = first.thread();
    let pid = first.space.host_pid();
    drop(first);
    second.regs.rax = 60;
    second.expect_syscall(60);
    let mut third = second.thread();
    drop(second);
    third.regs.rax = 61;
    third.expect_syscall(61);
    assert_eq!(third.space.host_pid(), pid);
    // Memory can be read as long as somebody holds on to it.
    let space = Arc::clone(&third.space);
    drop(third);
    assert_eq!(space.read(CODE, &mut [0; 2]), 2);
    drop(space);
    assert_eq!(belongings(platform).0.len(), 1);
}

fn fifty_forks_and_threads_run_at_once(platform: &dyn Platform) {
    let mut first = Guest::new(platform, call_forever());
    let mut others = Vec::new();
    for _ in 0..25 {
        others.push(first.thread());
        others.push(first.fork());
    }
    for round in 1..20 {
        for (guest, nr) in others.iter_mut().zip(1000..1050) {
            guest.regs.rax = nr * round;
            let regs = guest.regs;
            guest.context.start(&regs);
        }
        for (guest, nr) in others.iter_mut().zip(1000..1050) {
            let (context, regs) = (&mut guest.context, &mut guest.regs);
            let event = common::block_on(platform, std::future::poll_fn(|cx| context.poll_event(cx, regs)));
            assert_eq!((event, regs.orig_rax), (Event::Syscall, nr * round));
        }
    }
}

fn stubs_that_die_in_an_operation_are_reported(platform: &dyn Platform) {
    for with_threads in [false, true] {
        let mut guest = Guest::new(platform, count());
        guest.regs.rdi = DATA;
        let mut thread = with_threads.then(|| guest.thread());
        if let Some(thread) = &mut thread {
            let regs = thread.regs;
            thread.context.start(&regs);
        }
        let pid = guest.space.host_pid();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(3));
            // SAFETY: takes numbers; the stub can't be reaped before it is killed.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        });
        let began = Instant::now();
        while guest.ops(&[sentry_platform::MemOp::Unmap { addr: 0x900_0000, len: 0x1000 }]).is_ok() {
            assert!(began.elapsed() < Duration::from_secs(10));
        }
        killer.join().expect("the killer");
        assert!(matches!(guest.run(), Event::Dead(_)));
        if let Some(mut thread) = thread {
            assert!(matches!(thread.run(), Event::Dead(_)));
        }
    }
    assert_eq!(belongings(platform).0.len(), 1);
}

fn operations_are_not_cut_short_by_interrupts(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, call_forever());
    let interrupter = guest.context.interrupter();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                interrupter.interrupt();
                std::thread::sleep(Duration::from_micros(20));
            }
        });
        for round in 0..300 {
            let advice = libc::MADV_POPULATE_WRITE;
            let result = guest.ops(&[sentry_platform::MemOp::Advise { addr: DATA, len: 0x8000, advice }]);
            assert_eq!(result, Ok(0));
            if round % 10 == 0 {
                let child = guest.fork();
                drop(child);
            }
            guest.regs.rax = 1;
            assert!(matches!(guest.run(), Event::Syscall | Event::Interrupted));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

fn signals_from_the_host_do_not_reach_the_guest(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, count());
    guest.regs.rdi = DATA;
    let pid = guest.space.host_pid();
    let send = |signal| {
        // SAFETY: takes numbers; the stub lives as long as the guest.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    };
    let all = (1..64).filter(|signal| !matches!(*signal, libc::SIGKILL | 32 | 33));
    // Before the run, in operations, and as it runs.
    all.clone().for_each(send);
    let advice = libc::MADV_DONTNEED;
    assert_eq!(guest.ops(&[sentry_platform::MemOp::Advise { addr: DATA, len: 0x1000, advice }]), Ok(0));
    all.clone().for_each(send);
    drop(guest.fork());
    let regs = guest.regs;
    guest.context.start(&regs);
    all.for_each(send);
    let count = guest.word(DATA);
    let began = Instant::now();
    while guest.word(DATA) <= count + 1000 {
        assert!(began.elapsed() < Duration::from_secs(10));
        let (context, regs) = (&mut guest.context, &mut guest.regs);
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(context.poll_event(&mut cx, regs).is_pending());
        if !platform.poll() {
            platform.park(Some(Duration::from_millis(1)));
        }
    }
    assert_eq!(common::block_on(platform, interrupted(&mut guest)), Event::Interrupted);
}

fn an_unpark_before_the_sleep_counts(platform: &dyn Platform) {
    while platform.poll() {}
    let began = Instant::now();
    for _ in 0..200 {
        platform.unpark();
        platform.park(Some(Duration::from_secs(10)));
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(10));
            platform.unpark();
        });
        platform.park(Some(Duration::from_secs(10)));
    });
    assert!(began.elapsed() < Duration::from_secs(5));
}

fn a_second_platform_does_not_disturb(platform: &dyn Platform) {
    let files = belongings(platform).1;
    let mut mine = Guest::new(platform, call_forever());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let other = Ptrace::new().expect("a second platform");
            let mut guest = Guest::new(&*other, call_forever());
            for nr in 0..500 {
                guest.regs.rax = nr;
                guest.expect_syscall(nr);
            }
        });
        for nr in 0..500 {
            mine.regs.rax = nr;
            mine.expect_syscall(nr);
        }
    });
    drop(mine);
    let (stubs, now) = belongings(platform);
    assert_eq!((stubs.len(), now), (1, files), "{stubs:?}");
}

fn a_sentry_that_is_not_dumpable_reads_its_stubs(_: &dyn Platform) {
    let dumpable = |value: libc::c_ulong| {
        // SAFETY: takes numbers only.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, value, 0, 0, 0) }, 0);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            dumpable(0);
            let platform = Ptrace::new();
            dumpable(1);
            let platform = platform.expect("a platform");
            let mut guest = Guest::new(&*platform, call_forever());
            guest.regs.rax = 3;
            guest.expect_syscall(3);
        });
    });
}

fn stubs_have_no_privileges(platform: &dyn Platform) {
    let guest = Guest::new(platform, call_forever());
    let status = std::fs::read_to_string(format!("/proc/{}/status", guest.space.host_pid())).expect("status");
    let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    assert_eq!(value("CapPrm:"), Some("0000000000000000"));
    assert_eq!(value("CapEff:"), Some("0000000000000000"));
    assert_eq!(value("NoNewPrivs:"), Some("1"));
    assert_eq!(value("Seccomp:"), Some("2"));
}

fn processor_time_is_counted(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, count());
    guest.regs.rdi = DATA;
    let mut idle = guest.thread();
    let interrupter = guest.context.interrupter();
    let before = interrupter.cpu_time();
    let regs = guest.regs;
    guest.context.start(&regs);
    let began = Instant::now();
    while interrupter.cpu_time() - before < Duration::from_millis(20) {
        assert!(began.elapsed() < Duration::from_secs(10));
        platform.park(Some(Duration::from_millis(2)));
    }
    idle.context.interrupter().interrupt();
    assert_eq!(idle.run(), Event::Interrupted);
    assert!(idle.context.interrupter().cpu_time() < Duration::from_millis(15));
}

fn cost_of_memory_operations_and_forks(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, call_forever());
    let time = |what: &str, rounds: u32, mut work: Box<dyn FnMut() + '_>| {
        let began = Instant::now();
        (0..rounds).for_each(|_| work());
        println!("{}: {:?} per {what}", platform.name(), began.elapsed() / rounds);
    };
    let unmap = sentry_platform::MemOp::Unmap { addr: 0x900_0000, len: 0x1000 };
    time("memory operation", 2000, Box::new(|| assert!(guest.ops(std::slice::from_ref(&unmap)).is_ok())));
    time("fork and end", 100, Box::new(|| drop(guest.fork())));
    time("thread and end", 100, Box::new(|| drop(guest.thread())));
    time("new process", 100, Box::new(|| drop(common::block_on(platform, platform.new_process()))));
}
