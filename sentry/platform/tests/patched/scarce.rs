//! Writes to guest memory where little memory is left to the sandbox: the stub makes the pages present.

use abi::flags::Prot;
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};
use sentry_platform::systrap::{turn_away, turn_back};
use sentry_platform::{ContextExt, Event, MemOp, Platform, Short};

use super::{PRIVATE, count_calls, patched};
use crate::common::guest::Guest;
use crate::common::{Case, block_on};

pub(crate) const CASES: &[Case] = &[
    ("scarce_memory_is_made_present_by_the_stub", scarce_memory_is_made_present_by_the_stub),
    ("scarce_memory_is_made_present_for_a_call_that_goes_on", scarce_memory_is_made_present_for_a_call_that_goes_on),
    ("scarce_memory_is_made_present_by_a_stub_that_is_late", scarce_memory_is_made_present_by_a_stub_that_is_late),
    ("scarce_memory_of_a_dead_process_is_not_written", scarce_memory_of_a_dead_process_is_not_written),
];

const AREA: u64 = 0x6000_0000;
const LEN: u64 = 0x40_0000;
const PAGE: u64 = 0x1000;

/// A guest that has made a patched call, and room that it has not touched.
fn guest(platform: &dyn Platform) -> Guest<'_> {
    let mut guest = patched(platform, count_calls());
    let prot = Prot::READ | Prot::WRITE;
    guest.ops(&[MemOp::MapAnonymous { addr: AREA, len: LEN, prot, flags: PRIVATE }]).expect("map");
    run(&mut guest);
    guest
}

fn run(guest: &mut Guest<'_>) {
    assert_eq!(block_on(guest.platform, guest.context.run(&mut guest.regs)), Event::Syscall);
}

/// How many times stubs have been asked.
fn asked(platform: &dyn Platform) -> u64 {
    let counters = platform.counters();
    counters.iter().find(|(name, _)| *name == "memory_populated_by_stub").expect("a counter").1
}

/// Writes, and returns how many times a stub was asked for that.
#[track_caller]
fn write(guest: &Guest<'_>, addr: u64, len: u64) -> u64 {
    let before = asked(guest.platform);
    let bytes: Vec<u8> = (0..len).map(|at| (at >> 3) as u8).collect();
    assert_eq!(guest.space.write(addr, &bytes), bytes.len());
    let after = asked(guest.platform);
    // A stub that is late with a small copy isn't asked for anything else: so many bytes are read by the host.
    let mut found = vec![0; bytes.len().max(0x1000)];
    assert_eq!(guest.space.read(addr, &mut found), found.len());
    assert!(found[..bytes.len()] == bytes, "{len} bytes at {addr:#x}");
    after - before
}

fn scarce_memory_is_made_present_by_the_stub(platform: &dyn Platform) {
    let mut guest = guest(platform);
    assert_eq!(write(&guest, AREA + 100, 511), 0, "few bytes");
    assert_eq!(write(&guest, AREA + 2 * PAGE - 100, 600), 1);
    assert_eq!(write(&guest, AREA + PAGE, 2 * PAGE), 0, "it was just written");
    assert_eq!(write(&guest, AREA + PAGE, 2 * PAGE + 1), 1, "a page more");
    assert_eq!(write(&guest, AREA + 0x10_0000, 0x10_0000), 1);
    assert_eq!(write(&guest, AREA + 0x1f_f000, 0x1000), 0, "the end of that");
    // The guest goes on as if nothing had been asked.
    run(&mut guest);
    guest.ops(&[MemOp::Advise { addr: AREA, len: LEN, advice: libc::MADV_DONTNEED }]).expect("advise");
    assert_eq!(write(&guest, AREA + 0x1f_f000, 0x1000), 1, "it was given back");
    let child = guest.fork();
    assert_eq!(write(&guest, AREA + 0x1f_f000, 0x1000), 1, "it has become a copy");
    assert_eq!(write(&child, AREA + 0x2f_f000, 0x1000), 0, "nobody of that process makes a call");
    // What is to go with the reply, and is written before, since there is something else to write.
    let before = asked(platform);
    assert!(guest.space.write_later(AREA + 0x30_0000, &[5; 5000], Short::Fails));
    assert_eq!(asked(platform), before);
    assert_eq!(guest.space.write(AREA, &[1]), 1);
    assert_eq!(asked(platform) - before, 1);
    // What can't be written is found by the copy.
    let before = asked(platform);
    assert_eq!(guest.space.write(AREA + LEN - 600, &[7; 1200]), 600);
    assert_eq!(asked(platform) - before, 1);
    run(&mut guest);
}

fn scarce_memory_is_made_present_for_a_call_that_goes_on(platform: &dyn Platform) {
    let mut guest = guest(platform);
    let waiting = turn_away();
    assert!(waiting.is_some());
    assert_eq!(write(&guest, AREA, PAGE), 0, "the worker serves nobody");
    turn_back(waiting);
    assert_eq!(write(&guest, AREA + PAGE, PAGE), 1);
    let waiting = turn_away();
    assert!(waiting.is_some(), "it waits still");
    turn_back(waiting);
    run(&mut guest);
    assert_eq!(write(&guest, AREA + 2 * PAGE, PAGE), 1, "a later call");
    // While its stub does something for it.
    guest.context.submit(&[MemOp::Protect { addr: AREA + LEN - PAGE, len: PAGE, prot: Prot::READ }]);
    let waiting = turn_away();
    assert!(waiting.is_some());
    turn_back(waiting);
    let context = &mut guest.context;
    block_on(platform, std::future::poll_fn(|cx| context.poll_ops(cx))).expect("protect");
    assert_eq!(write(&guest, AREA + 3 * PAGE, PAGE), 1);
    // Who runs again doesn't wait.
    guest.context.start(&guest.regs);
    assert!(turn_away().is_none());
    assert_eq!(write(&guest, AREA + 4 * PAGE, PAGE), 0);
    run_on(&mut guest);
}

/// Keeps this thread on another CPU than a stub.
struct Apart(CpuSet);

impl Apart {
    fn from(pid: i32) -> Apart {
        let all = sched_getaffinity(None).expect("the CPUs of this thread");
        let mut cpus = (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu));
        let mut only = || {
            let mut set = CpuSet::new();
            set.set(cpus.next().expect("two CPUs: a stub and whoever asks it are to run at a time"));
            set
        };
        sched_setaffinity(None, &only()).expect("be on one CPU");
        sched_setaffinity(Pid::from_raw(pid), &only()).expect("have the stub on another");
        Apart(all)
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // What was allowed before.
        let _ = sched_setaffinity(None, &self.0);
    }
}

fn scarce_memory_is_made_present_by_a_stub_that_is_late(platform: &dyn Platform) {
    let mut guest = guest(platform);
    let pid = guest.space.host_pid();
    // A stub that meets us on its own CPU looks for nothing.
    let _apart = Apart::from(pid);
    // SAFETY: a signal to a child of this test that nobody has reaped.
    let signal = move |signal| assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    // A stub is late if it is stopped while it looks for its reply: it sleeps soon.
    let is_late = |guest: &mut Guest<'_>| {
        signal(libc::SIGSTOP);
        guest.space.read(AREA, &mut [0; 8]);
        let late = !guest.space.write_later(AREA, b"late?", Short::Fails);
        if !late {
            signal(libc::SIGCONT);
            run(guest);
        }
        late
    };
    assert!((0..10_000).any(|_| is_late(&mut guest)), "never late");
    let wakes = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(20));
        signal(libc::SIGCONT);
    });
    let before = asked(platform);
    assert_eq!(guest.space.write(AREA + 2 * PAGE - 100, &[1; 600]), 600);
    assert_eq!(asked(platform) - before, 1);
    wakes.join().expect("it wakes the stub");
    run(&mut guest);
}

/// Waits for the call of a guest that has been started.
fn run_on(guest: &mut Guest<'_>) {
    let Guest { context, regs, platform, .. } = guest;
    let event = block_on(*platform, std::future::poll_fn(|cx| context.poll_event(cx, regs)));
    assert_eq!(event, Event::Syscall);
}

fn scarce_memory_of_a_dead_process_is_not_written(platform: &dyn Platform) {
    let mut guest = guest(platform);
    // SAFETY: kills a child of this test that nobody has reaped.
    unsafe { libc::kill(guest.space.host_pid(), libc::SIGKILL) };
    assert_eq!(guest.space.write(AREA, &[1; 0x2000]), 0);
    let event = block_on(platform, guest.context.run(&mut guest.regs));
    assert!(matches!(event, Event::Dead(_)), "{event:?}");
}
