//! The common suite on systrap, and guests that attack their stub.

mod common;
mod patched;

use std::os::unix::fs::FileExt;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use common::guest::{CODE, DATA, Guest, call_forever};
use sentry_platform::systrap::{Copies, Options, Systrap};
use sentry_platform::{Event, MemOp, MemoryLimit, Platform, Registers};

const OWN: &[common::Case] = &[
    ("a_guest_that_jumps_into_the_stub_hurts_only_itself", a_guest_that_jumps_into_the_stub_hurts_only_itself),
    ("a_guest_that_uses_the_stubs_calls_hurts_only_itself", a_guest_that_uses_the_stubs_calls_hurts_only_itself),
    ("a_guest_that_overwrites_its_context_hurts_only_itself", a_guest_that_overwrites_its_context_hurts_only_itself),
    ("the_stub_region_is_out_of_the_guests_reach", the_stub_region_is_out_of_the_guests_reach),
    ("two_workers_serve_many_threads", two_workers_serve_many_threads),
    ("small_processes_wait_for_each_others_end", small_processes_wait_for_each_others_end),
    ("those_that_take_turns_are_gathered_on_one_cpu", those_that_take_turns_are_gathered_on_one_cpu),
    (
        "a_worker_that_is_lost_leaves_its_place_to_one_that_sleeps",
        a_worker_that_is_lost_leaves_its_place_to_one_that_sleeps,
    ),
];

/// Where the stub's code stands in every address space.
const STUB: u64 = 0x7e80_0000_0000;
const CODE_LEN: usize = 0x1000;

fn main() -> ExitCode {
    let way = std::env::args().find_map(|arg| arg.strip_prefix("--copy=").map(str::to_owned));
    let copies = match way.as_deref() {
        None => Copies::All,
        Some("stub") => Copies::Stub,
        Some("host") => Copies::Host,
        Some(other) => panic!("--copy={other}: use stub or host"),
    };
    let mut cases = [OWN, patched::CASES, patched::behind::CASES, patched::answers::CASES].concat();
    if copies == Copies::All {
        cases.extend([patched::later::CASES, patched::mapped::CASES, patched::input::CASES].concat());
    }
    let no_clocks = copies == Copies::Host;
    cases.extend(if no_clocks { patched::answers::NO_CLOCKS } else { patched::answers::CLOCKS });
    let scarce = std::env::args().any(|arg| arg == "--scarce");
    if scarce {
        cases.extend([patched::scarce::CASES, patched::answers::SCARCE].concat());
    }
    let limits = if scarce { vec![no_memory()] } else { Vec::new() };
    let options = Options { copies, limits: limits.into(), no_clocks, ..Options::default() };
    let code = common::main(|| Systrap::new(options).expect("systrap works here"), &cases);
    // The other ways of copying: a platform is made before anything else, so in processes of their own.
    let others = if std::env::args().len() == 1 { &["--copy=stub", "--copy=host", "--scarce"][..] } else { &[] };
    let good = others.iter().all(|way| {
        println!("{way}");
        let this = std::env::current_exe().expect("this program");
        let status = Command::new(this).args([*way, "memory", "copies", "patched", "fault", "scarce"]).status();
        status.expect("this program again").success()
    });
    if good { code } else { ExitCode::FAILURE }
}

fn small_processes_wait_for_each_others_end(platform: &dyn Platform) {
    let end = |bytes: Option<u64>| {
        let guest = Guest::new(platform, &[]);
        if let Some(bytes) = bytes {
            guest.space.note_end(bytes);
        }
        guest.space.host_pid()
    };
    // What has been reaped is no longer there.
    let is_there = |pid: i32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    let poll_until = |what: &str, done: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !done() {
            platform.poll();
            assert!(began.elapsed() < Duration::from_secs(10), "{what}");
        }
    };
    // What other cases have left.
    platform.poll();
    platform.tidy();
    let first = end(Some(4096));
    for _ in 0..1000 {
        platform.poll();
    }
    assert!(is_there(first));
    platform.tidy();
    poll_until("what waited is ended when the platform is tidied", &|| !is_there(first));
    let large = end(Some(1 << 30));
    poll_until("a large process is ended at once", &|| !is_there(large));
    let unknown = end(None);
    poll_until("one of which nothing is known as well", &|| !is_there(unknown));
    let many: Vec<i32> = (0..4).map(|_| end(Some(4096))).collect();
    poll_until("many are ended together", &|| !many.iter().any(|pid| is_there(*pid)));
}

fn those_that_take_turns_are_gathered_on_one_cpu(platform: &dyn Platform) {
    let cpus = |pid: i32| {
        let pid = rustix::process::Pid::from_raw(pid);
        rustix::thread::sched_getaffinity(pid).expect("the CPUs of a process").count()
    };
    let all = cpus(0);
    if all < 2 {
        return;
    }
    // Other cases have made processes, too.
    std::thread::sleep(Duration::from_millis(20));
    let mut guest = Guest::new(platform, call_forever());
    let pid = guest.space.host_pid();
    let began = Instant::now();
    let mut turn = |children: &mut Vec<i32>| {
        guest.regs.rax = 1;
        guest.expect_syscall(1);
        let child = guest.fork();
        children.push(cpus(child.space.host_pid()) as i32);
        assert!(began.elapsed() < Duration::from_secs(20), "{children:?}");
        drop(child);
        platform.poll();
    };
    // It may take more than one attempt, where others use the CPUs as well.
    let mut children = Vec::new();
    while cpus(pid) != 1 {
        turn(&mut children);
    }
    assert!(children.len() >= 7, "not for a few");
    assert_eq!(cpus(0), 1, "the worker is there");
    // Nobody makes processes any more.
    while cpus(pid) != all {
        std::thread::sleep(Duration::from_millis(5));
        platform.tidy();
        assert!(began.elapsed() < Duration::from_secs(20), "they stay where they are");
    }
    assert_eq!(cpus(0), all, "the worker");
}

/// A limit that leaves nothing.
fn no_memory() -> MemoryLimit {
    let number = || {
        let file = rustix::fs::memfd_create("limit", rustix::fs::MemfdFlags::CLOEXEC).expect("a file");
        rustix::io::write(&file, b"1\n").expect("write a number");
        file
    };
    MemoryLimit { used: number(), most: number() }
}

/// Runs a guest that may never say anything again; returns its event, if any.
fn run_briefly(guest: &mut Guest<'_>) -> Option<Event> {
    guest.context.start(&guest.regs);
    let began = Instant::now();
    let mut interrupted = false;
    loop {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        if let Poll::Ready(event) = guest.context.poll_event(&mut cx, &mut guest.regs) {
            guest.context.complete(&mut guest.regs);
            return Some(event);
        }
        if !guest.platform.poll() {
            guest.platform.park(Some(Duration::from_micros(500)));
        }
        if began.elapsed() > Duration::from_millis(2) && !interrupted {
            guest.context.interrupter().interrupt();
            interrupted = true;
        }
        if began.elapsed() > Duration::from_millis(4) {
            return None;
        }
    }
}

/// Waits for an event while another worker may be the one that sees it.
fn wait(guest: &mut Guest<'_>) -> Option<Event> {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        if let Poll::Ready(event) = guest.context.poll_event(&mut cx, &mut guest.regs) {
            guest.context.complete(&mut guest.regs);
            return Some(event);
        }
        if !guest.platform.poll() {
            guest.platform.park(Some(Duration::from_micros(200)));
        }
    }
    None
}

fn expect_alive(guest: &mut Guest<'_>) {
    guest.regs.rip = CODE;
    guest.regs.rax = 4242;
    guest.expect_syscall(4242);
}

fn stub_code(guest: &Guest<'_>) -> Vec<u8> {
    let memory = std::fs::File::open(format!("/proc/{}/mem", guest.space.host_pid())).expect("memory of the stub");
    let mut code = vec![0; CODE_LEN];
    memory.read_exact_at(&mut code, STUB).expect("the stub's code");
    code
}

/// Finds the address of the context that is mapped in a stub.
fn context_of(guest: &Guest<'_>) -> u64 {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", guest.space.host_pid())).expect("maps of the stub");
    let line = maps.lines().find(|line| line.contains("runsc-contexts")).expect("a context");
    u64::from_str_radix(line.split('-').next().expect("address"), 16).expect("hexadecimal")
}

fn a_guest_that_jumps_into_the_stub_hurts_only_itself(platform: &dyn Platform) {
    let mut other = Guest::new(platform, call_forever());
    let len = stub_code(&other).iter().rposition(|byte| *byte != 0).expect("code") as u64;
    for offset in (0..=len).step_by(9) {
        let mut guest = Guest::new(platform, call_forever());
        let context = context_of(&guest);
        // Registers with which the stub's code finds what it expects.
        guest.regs = Registers { rip: STUB + offset, rbx: context, rsp: context + 0x7000, ..guest.regs };
        guest.regs.r13 = context;
        run_briefly(&mut guest);
        drop(guest);
        expect_alive(&mut other);
    }
}

fn a_guest_that_uses_the_stubs_calls_hurts_only_itself(platform: &dyn Platform) {
    let mut other = Guest::new(platform, call_forever());
    let code = stub_code(&other);
    let gadget = code.windows(2).position(|bytes| bytes == [0x0f, 0x05]).expect("a system call") as u64;
    let own_numbers = [0x0f57_0001, 0x0f57_0002, 0x0f57_0003];
    for nr in (0..470).chain(own_numbers) {
        let mut guest = Guest::new(platform, call_forever());
        guest.regs.rip = STUB + gadget;
        guest.regs.rax = nr;
        (guest.regs.rdi, guest.regs.rsi, guest.regs.rdx) = (0x11, 0x1000, 3);
        let event = run_briefly(&mut guest);
        // What would reach beyond the guest must not have been made.
        let beyond = [0, 1, 2, 9, 39, 41, 56, 57, 58, 59, 61, 62, 101, 105, 157, 200, 231, 234, 321, 435];
        if beyond.contains(&nr) {
            assert!(matches!(event, Some(Event::Dead(_)) | None), "call {nr}: {event:?}");
        }
        drop(guest);
        expect_alive(&mut other);
    }
}

guest_code!(fill, "mov rdi, rbx", "mov ecx, 0x1000", "mov rax, rdx", "rep stosq", "mov eax, 9", "syscall");
guest_code!(fill_line, "mov [rbx + rcx], rdx", "mov eax, 9", "syscall");

fn a_guest_that_overwrites_its_context_hurts_only_itself(platform: &dyn Platform) {
    let mut other = Guest::new(platform, call_forever());
    for value in [0, u64::MAX, 0x0000_0001_0000_0001, 0x4141_4141_4141_4141] {
        let mut guest = Guest::new(platform, fill());
        guest.regs.rbx = context_of(&guest);
        guest.regs.rdx = value;
        run_briefly(&mut guest);
        run_briefly(&mut guest);
        drop(guest);
        expect_alive(&mut other);
    }
    for offset in (0..0x100).step_by(8) {
        let mut guest = Guest::new(platform, fill_line());
        guest.regs.rbx = context_of(&guest);
        guest.regs.rcx = offset;
        guest.regs.rdx = 0x0000_0003_0000_0002;
        run_briefly(&mut guest);
        guest.regs.rip = CODE;
        run_briefly(&mut guest);
        drop(guest);
        expect_alive(&mut other);
    }
}

fn the_stub_region_is_out_of_the_guests_reach(platform: &dyn Platform) {
    let guest = Guest::new(platform, call_forever());
    assert!(platform.user_range().end <= STUB);
    assert_eq!(guest.space.write(STUB, &[0; 8]), 0);
    // Another process' context is not there.
    let (mut one, two) = (Guest::new(platform, store_word()), Guest::new(platform, call_forever()));
    one.regs.rdi = context_of(&two);
    assert_ne!(context_of(&one), context_of(&two));
    assert!(matches!(one.run(), Event::Fault(_)));
    // The control page can't be written.
    one.regs.rdi = STUB + 0x1000;
    assert!(matches!(one.run(), Event::Fault(_)));
    let mut child = one.fork();
    // It maps its context with the first request.
    child.ops(&[MemOp::Advise { addr: DATA, len: 0x1000, advice: libc::MADV_NORMAL }]).expect("advise");
    assert_ne!(context_of(&child), context_of(&one));
}

guest_code!(store_word, "mov [rdi], rax", "mov eax, 3", "syscall");

fn two_workers_serve_many_threads(platform: &dyn Platform) {
    let mut guests: Vec<Guest<'_>> = (0..6).map(|_| Guest::new(platform, call_forever())).collect();
    let done = AtomicBool::new(false);
    let mut good = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                if !platform.poll() {
                    platform.park(Some(Duration::from_millis(5)));
                }
            }
        });
        for round in 0..300 {
            if done.load(Ordering::SeqCst) {
                break;
            }
            for guest in &mut guests {
                guest.regs.rip = CODE;
                guest.regs.rax = 1000 + round;
                guest.context.start(&guest.regs);
            }
            for guest in &mut guests {
                let event = wait(guest);
                good += u32::from((event, guest.regs.orig_rax) == (Some(Event::Syscall), 1000 + round));
                if event.is_none() {
                    done.store(true, Ordering::SeqCst);
                    break;
                }
            }
        }
        done.store(true, Ordering::SeqCst);
        platform.unpark();
    });
    assert_eq!(good, 6 * 300);
}

// Some milliseconds between two calls, so that nobody looks for the next one any more.
guest_code!(think_and_call, "2:", "mov ecx, 30000000", "3:", "dec ecx", "jnz 3b", "mov eax, 4242", "syscall", "jmp 2b");

/// Tells a thread of an event.
struct Ring {
    rung: AtomicBool,
    thread: std::thread::Thread,
}

impl std::task::Wake for Ring {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// Waits for an event of which workers tell.
fn hear(guest: &mut Guest<'_>, ring: &Arc<Ring>) -> Option<Event> {
    let waker = std::task::Waker::from(Arc::clone(ring));
    let mut cx = std::task::Context::from_waker(&waker);
    let until = Instant::now() + Duration::from_secs(5);
    guest.context.start(&guest.regs);
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        if let Poll::Ready(event) = guest.context.poll_event(&mut cx, &mut guest.regs) {
            guest.context.complete(&mut guest.regs);
            return Some(event);
        }
        std::thread::park_timeout(left);
    }
    None
}

fn a_worker_that_is_lost_leaves_its_place_to_one_that_sleeps(platform: &dyn Platform) {
    /// Until a worker has gone to sleep.
    const A_WHILE: Duration = Duration::from_millis(50);
    let mut guest = Guest::new(platform, think_and_call());
    let ring = Arc::new(Ring { rung: AtomicBool::new(false), thread: std::thread::current() });
    let done = AtomicBool::new(false);
    let work = |until: &AtomicBool| {
        while !until.load(Ordering::SeqCst) {
            if !platform.poll() {
                platform.park(None);
            }
        }
    };
    // This thread is no worker here.
    platform.worker_lost();
    let heard = std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            work(&ring.rung);
            platform.worker_lost();
            while !done.load(Ordering::SeqCst) {
                std::thread::park();
            }
            platform.worker_gone();
        });
        std::thread::sleep(A_WHILE);
        scope.spawn(|| work(&done));
        std::thread::sleep(A_WHILE);
        let heard = [hear(&mut guest, &ring), hear(&mut guest, &ring)];
        done.store(true, Ordering::SeqCst);
        first.thread().unpark();
        platform.unpark();
        heard
    });
    platform.worker_found();
    assert_eq!(heard, [Some(Event::Syscall); 2]);
}
