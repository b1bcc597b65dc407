//! What is measured: for each item the preparations and the calls of one round.

use abi::table::nr;
use sentry::Current;
use sentry::task::seccomp::{Insn, Program, Sync, action, add_filter};
use sentry_platform::Registers;

use crate::platform::{BASE, Player, Step};
use crate::world::{FILE_LEN, World};

/// Threads with their calls. The first one's rounds are counted.
pub(crate) struct Item {
    pub(crate) name: &'static str,
    pub(crate) rounds: u64,
    pub(crate) prepare: fn(&mut World, &mut Current) -> Vec<Vec<Step>>,
    /// What a child of a fork does.
    pub(crate) fork: Option<fn() -> Player>,
}

const AT_FDCWD: u64 = (-100i64).cast_unsigned();

fn failed(regs: &Registers) -> bool {
    i64::from_ne_bytes(regs.rax.to_ne_bytes()) < 0
}

fn set(regs: &mut Registers, number: u32, args: [u64; 6]) {
    [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9] = args;
    regs.orig_rax = u64::from(number);
    regs.rax = (-38i64).cast_unsigned();
}

/// A call whose predecessor must have succeeded.
fn step(number: u32, args: [u64; 6]) -> Step {
    let mut first = true;
    Box::new(move |regs| {
        assert!(first || !failed(regs), "before {number}: {}", i64::from_ne_bytes(regs.rax.to_ne_bytes()));
        first = false;
        set(regs, number, args);
    })
}

/// A call with the result of the one before as its first argument.
fn with_result(number: u32, args: [u64; 6]) -> Step {
    Box::new(move |regs| {
        assert!(!failed(regs), "before {number}: {}", i64::from_ne_bytes(regs.rax.to_ne_bytes()));
        let [_, rest @ ..] = args;
        let [a, b, c, d, e] = rest;
        set(regs, number, [regs.rax, a, b, c, d, e]);
    })
}

/// A call after one that may have failed.
fn anyway(number: u32, args: [u64; 6]) -> Step {
    Box::new(move |regs| set(regs, number, args))
}

fn one(number: u32, args: [u64; 6]) -> Vec<Vec<Step>> {
    vec![vec![step(number, args)]]
}

fn open(world: &mut World, cur: &mut Current, path: &str, flags: u64) -> u64 {
    let name = world.put(&[path.as_bytes(), b"\0"].concat());
    world.call(cur, nr::openat, [AT_FDCWD, name, flags, 0o644, 0, 0])
}

const BUF: u64 = BASE + 0x9_0000;
const O_RDWR: u64 = 2;
const O_CREAT: u64 = 0o100;
const O_DIRECTORY: u64 = 0o200_000;

fn filled(world: &mut World, cur: &mut Current, path: &str) -> u64 {
    let fd = open(world, cur, path, O_RDWR | O_CREAT);
    let chunk = 64 * 1024;
    for at in 0..FILE_LEN / chunk {
        world.call(cur, nr::pwrite64, [fd, BASE, chunk as u64, (at * chunk) as u64, 0, 0]);
    }
    fd
}

fn path_call(world: &mut World, number: u32, path: &str, rest: [u64; 3]) -> Vec<Vec<Step>> {
    let name = world.put(&[path.as_bytes(), b"\0"].concat());
    let [a, b, c] = rest;
    vec![vec![anyway(number, [name, a, b, c, 0, 0])]]
}

fn open_close(world: &mut World, path: &str) -> Vec<Vec<Step>> {
    let name = world.put(&[path.as_bytes(), b"\0"].concat());
    vec![vec![step(nr::openat, [AT_FDCWD, name, 0, 0, 0, 0]), with_result(nr::close, [0; 6])]]
}

fn pipe(world: &mut World, cur: &mut Current) -> (u64, u64) {
    let at = world.put(&[0; 8]);
    world.call(cur, nr::pipe2, [at, 0, 0, 0, 0, 0]);
    pair(cur, at)
}

fn pair(cur: &Current, at: u64) -> (u64, u64) {
    let mut bytes = [0; 8];
    cur.mem.read_bytes(abi::UserAddr::new(at), &mut bytes).expect("the guest's memory");
    let [a, b] = [0, 4].map(|at| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes")));
    (u64::from(a), u64::from(b))
}

fn socketpair(world: &mut World, cur: &mut Current) -> (u64, u64) {
    let at = world.put(&[0; 8]);
    world.call(cur, nr::socketpair, [1, 1, 0, at, 0, 0]);
    pair(cur, at)
}

/// Connects two TCP sockets over loopback.
fn tcp_pair(world: &mut World, cur: &mut Current) -> (u64, u64) {
    let mut addr = [0; 16];
    addr[0] = 2;
    addr[2..4].copy_from_slice(&4242_u16.to_be_bytes());
    addr[4..8].copy_from_slice(&[127, 0, 0, 1]);
    let addr = world.put(&addr);
    let listener = world.call(cur, nr::socket, [2, 1, 0, 0, 0, 0]);
    world.call(cur, nr::bind, [listener, addr, 16, 0, 0, 0]);
    world.call(cur, nr::listen, [listener, 5, 0, 0, 0, 0]);
    let client = world.call(cur, nr::socket, [2, 1, 0, 0, 0, 0]);
    world.call(cur, nr::connect, [client, addr, 16, 0, 0, 0]);
    let server = world.call(cur, nr::accept4, [listener, 0, 0, 0, 0, 0]);
    (client, server)
}

fn ping_pong(there: (u64, u64), back: (u64, u64)) -> Vec<Vec<Step>> {
    let byte = |number, fd, at| step(number, [fd, at, 1, 0, 0, 0]);
    vec![
        vec![byte(nr::write, there.1, BUF), byte(nr::read, back.0, BUF + 64)],
        vec![byte(nr::read, there.0, BUF + 128), byte(nr::write, back.1, BUF + 192)],
    ]
}

/// A child that ends at once.
fn exits() -> Player {
    Player::new(vec![anyway(nr::exit_group, [0; 6])], 0, 1, None)
}

/// Where the name of the program stands.
const PROGRAM: u64 = BASE;

/// A child that runs a program without arguments.
fn execs() -> Player {
    Player::new(vec![anyway(nr::execve, [PROGRAM, 0, 0, 0, 0, 0])], 0, 1, None)
}

const fn item(name: &'static str, rounds: u64, prepare: fn(&mut World, &mut Current) -> Vec<Vec<Step>>) -> Item {
    Item { name, rounds, prepare, fork: None }
}

/// Filters the thread's calls as an engine's default profile does: a dozen comparisons of the number, and for one call
/// (the trivial `getpgrp`) two of an argument.
fn filter(cur: &Current) {
    let insn = |code, jt, jf, k| Insn { code, jt, jf, k };
    let mut insns = vec![insn(0x20, 0, 0, 4), insn(0x15, 1, 0, 0xc000_003e), insn(0x06, 0, 0, 0), insn(0x20, 0, 0, 0)];
    insns.extend((0..9).map(|at| insn(0x35, 0, 0, 300 + at)));
    insns.extend([insn(0x15, 0, 4, nr::getpgrp), insn(0x20, 0, 0, 20), insn(0x15, 0, 2, 0), insn(0x20, 0, 0, 16)]);
    insns.extend([insn(0x15, 0, 0, 0), insn(0x06, 0, 0, action::ALLOW)]);
    let program = Program::new(&insns).expect("a sound filter");
    add_filter(&cur.task, program, Sync::Alone).expect("a filter");
}

/// All items.
pub(crate) const ITEMS: &[Item] = &[
    item("getppid", 200_000, |_, _| one(nr::getppid, [0; 6])),
    item("getppid, filtered by number", 200_000, |_, cur| {
        filter(cur);
        one(nr::getppid, [0; 6])
    }),
    item("getppid, filtered by argument", 200_000, |_, cur| {
        filter(cur);
        one(nr::getpgrp, [0; 6])
    }),
    item("getuid", 200_000, |_, _| one(nr::getuid, [0; 6])),
    item("unknown call", 200_000, |_, _| vec![vec![anyway(999, [0; 6])]]),
    item("lseek", 200_000, |world, cur| {
        let fd = open(world, cur, "/gofer/d1/d2/d3/file", 0);
        one(nr::lseek, [fd, 0, 0, 0, 0, 0])
    }),
    item("read /dev/zero 1", 100_000, |world, cur| {
        let fd = open(world, cur, "/dev/zero", 0);
        one(nr::read, [fd, BUF, 1, 0, 0, 0])
    }),
    item("write /dev/null 1", 100_000, |world, cur| {
        let fd = open(world, cur, "/dev/null", 1);
        one(nr::write, [fd, BUF, 1, 0, 0, 0])
    }),
    item("pread 4k gofer", 50_000, |world, cur| {
        let fd = open(world, cur, "/gofer/d1/d2/d3/file", 0);
        one(nr::pread64, [fd, BUF, 4096, 8192, 0, 0])
    }),
    item("pread 4k overlay", 50_000, |world, cur| {
        let fd = open(world, cur, "/d1/d2/d3/file", 0);
        one(nr::pread64, [fd, BUF, 4096, 8192, 0, 0])
    }),
    item("pread 4k tmpfs", 50_000, |world, cur| {
        let fd = filled(world, cur, "/tmp/data");
        one(nr::pread64, [fd, BUF, 4096, 8192, 0, 0])
    }),
    item("pwrite 4k gofer", 50_000, |world, cur| {
        let fd = filled(world, cur, "/gofer/data");
        one(nr::pwrite64, [fd, BUF, 4096, 8192, 0, 0])
    }),
    item("pwrite 4k tmpfs", 50_000, |world, cur| {
        let fd = filled(world, cur, "/tmp/data");
        one(nr::pwrite64, [fd, BUF, 4096, 8192, 0, 0])
    }),
    item("fstat gofer", 100_000, |world, cur| {
        let fd = open(world, cur, "/gofer/d1/d2/d3/file", 0);
        one(nr::fstat, [fd, BUF, 0, 0, 0, 0])
    }),
    item("fstat overlay", 100_000, |world, cur| {
        let fd = open(world, cur, "/d1/d2/d3/file", 0);
        one(nr::fstat, [fd, BUF, 0, 0, 0, 0])
    }),
    item("fstat tmpfs", 100_000, |world, cur| {
        let fd = filled(world, cur, "/tmp/data");
        one(nr::fstat, [fd, BUF, 0, 0, 0, 0])
    }),
    item("stat gofer, 5 names", 100_000, |world, _| path_call(world, nr::stat, "/gofer/d1/d2/d3/file", [BUF, 0, 0])),
    item("stat overlay, 4 names", 100_000, |world, _| path_call(world, nr::stat, "/d1/d2/d3/file", [BUF, 0, 0])),
    item("stat tmpfs, 2 names", 100_000, |world, cur| {
        filled(world, cur, "/tmp/data");
        path_call(world, nr::stat, "/tmp/data", [BUF, 0, 0])
    }),
    item("stat ENOENT overlay", 100_000, |world, _| path_call(world, nr::stat, "/d1/d2/d3/none", [BUF, 0, 0])),
    item("access gofer", 100_000, |world, _| path_call(world, nr::access, "/gofer/d1/d2/d3/file", [4, 0, 0])),
    item("readlink gofer", 100_000, |world, _| path_call(world, nr::readlink, "/gofer/link", [BUF, 128, 0])),
    item("open+close gofer", 50_000, |world, _| open_close(world, "/gofer/d1/d2/d3/file")),
    item("open+close overlay", 50_000, |world, _| open_close(world, "/d1/d2/d3/file")),
    item("open+close tmpfs", 50_000, |world, cur| {
        filled(world, cur, "/tmp/data");
        open_close(world, "/tmp/data")
    }),
    item("create+close+unlink tmpfs", 20_000, |world, _| {
        let name = world.put(b"/tmp/new\0");
        vec![vec![
            step(nr::openat, [AT_FDCWD, name, O_RDWR | O_CREAT, 0o600, 0, 0]),
            with_result(nr::close, [0; 6]),
            step(nr::unlink, [name, 0, 0, 0, 0, 0]),
        ]]
    }),
    item("getdents 53 + lseek gofer", 20_000, |world, cur| {
        let fd = open(world, cur, "/gofer/many", O_DIRECTORY);
        vec![vec![step(nr::getdents64, [fd, BUF, 32768, 0, 0, 0]), step(nr::lseek, [fd, 0, 0, 0, 0, 0])]]
    }),
    item("epoll_wait(0) ready", 100_000, |world, cur| {
        let (reader, writer) = pipe(world, cur);
        let set = world.call(cur, nr::epoll_create1, [0; 6]);
        let event = world.put(&[1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
        world.call(cur, nr::epoll_ctl, [set, 1, reader, event, 0, 0]);
        world.call(cur, nr::write, [writer, BASE, 1, 0, 0, 0]);
        one(nr::epoll_wait, [set, BUF, 1, 0, 0, 0])
    }),
    item("poll(0) of 1", 100_000, |world, cur| {
        let (reader, _) = pipe(world, cur);
        let mut entry = [0; 8];
        entry[..4].copy_from_slice(&u32::try_from(reader).expect("a small number").to_ne_bytes());
        entry[4] = 1;
        let at = world.put(&entry);
        one(nr::poll, [at, 1, 0, 0, 0, 0])
    }),
    item("futex wake, none waits", 100_000, |_, _| one(nr::futex, [BUF, 129, 1, 0, 0, 0])),
    item("eventfd write+read", 100_000, |world, cur| {
        let fd = world.call(cur, nr::eventfd2, [0; 6]);
        let value = world.put(&1_u64.to_ne_bytes());
        vec![vec![step(nr::write, [fd, value, 8, 0, 0, 0]), step(nr::read, [fd, BUF, 8, 0, 0, 0])]]
    }),
    item("pipe write+read 1", 100_000, |world, cur| {
        let (reader, writer) = pipe(world, cur);
        vec![vec![step(nr::write, [writer, BUF, 1, 0, 0, 0]), step(nr::read, [reader, BUF, 1, 0, 0, 0])]]
    }),
    item("pipe write+read 64k", 10_000, |world, cur| {
        let (reader, writer) = pipe(world, cur);
        vec![vec![step(nr::write, [writer, BASE, 65536, 0, 0, 0]), step(nr::read, [reader, BUF, 65536, 0, 0, 0])]]
    }),
    item("unix write+read 1", 100_000, |world, cur| {
        let (a, b) = socketpair(world, cur);
        vec![vec![step(nr::write, [a, BUF, 1, 0, 0, 0]), step(nr::read, [b, BUF, 1, 0, 0, 0])]]
    }),
    item("tcp write+read 1", 50_000, |world, cur| {
        let (a, b) = tcp_pair(world, cur);
        vec![vec![step(nr::write, [a, BUF, 1, 0, 0, 0]), step(nr::read, [b, BUF, 1, 0, 0, 0])]]
    }),
    item("mmap+munmap 64k", 50_000, |_, _| {
        vec![vec![step(nr::mmap, [0, 65536, 3, 0x22, u64::MAX, 0]), with_result(nr::munmap, [0, 65536, 0, 0, 0, 0])]]
    }),
    item("madvise DONTNEED", 50_000, |world, cur| {
        let at = world.call(cur, nr::mmap, [0, 65536, 3, 0x22, u64::MAX, 0]);
        one(nr::madvise, [at, 65536, 4, 0, 0, 0])
    }),
    item("sigprocmask", 100_000, |world, _| {
        let set = world.put(&[0; 8]);
        one(nr::rt_sigprocmask, [0, set, 0, 8, 0, 0])
    }),
    item("tgkill self+handler+sigreturn", 50_000, |world, cur| {
        const SIGUSR1: u64 = 10;
        let action: [u64; 4] = [0x40_0000, 0x0400_0000, 0x40_1000, 0];
        let bytes: Vec<u8> = action.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let action = world.put(&bytes);
        world.call(cur, nr::rt_sigaction, [SIGUSR1, action, 0, 8, 0, 0]);
        let back: Step = Box::new(|regs| {
            assert_eq!(regs.rip, 0x40_0000, "in the handler");
            regs.rsp += 8;
            set(regs, nr::rt_sigreturn, [0; 6]);
        });
        vec![vec![step(nr::tgkill, [1, 1, SIGUSR1, 0, 0, 0]), back]]
    }),
    item("pipe ping-pong", 20_000, |world, cur| {
        let (there, back) = (pipe(world, cur), pipe(world, cur));
        ping_pong(there, back)
    }),
    item("unix ping-pong", 20_000, |world, cur| {
        let (a, b) = socketpair(world, cur);
        ping_pong((b, a), (a, b))
    }),
    item("tcp ping-pong", 20_000, |world, cur| {
        let (a, b) = tcp_pair(world, cur);
        ping_pong((b, a), (a, b))
    }),
    item("futex ping-pong", 20_000, |_, _| {
        // Waits on a word that nobody changes: each thread wakes the other one and sleeps.
        let wake = |at| anyway(nr::futex, [at, 129, 1, 0, 0, 0]);
        let wait = |at| anyway(nr::futex, [at, 128, 0, 0, 0, 0]);
        vec![vec![wake(BUF), wait(BUF + 64)], vec![wait(BUF), wake(BUF + 64)]]
    }),
    Item {
        name: "fork+exit+wait4",
        rounds: 2_000,
        prepare: |_, _| vec![vec![step(nr::fork, [0; 6]), with_result(nr::wait4, [0; 6])]],
        fork: Some(exits),
    },
    Item {
        name: "vfork+exec+exit+wait4",
        rounds: 2_000,
        prepare: |world, _| {
            let path = world.put(b"/gofer/program\0");
            assert_eq!(path, PROGRAM, "the first thing that is put there");
            vec![vec![step(nr::vfork, [0; 6]), with_result(nr::wait4, [0; 6])]]
        },
        fork: Some(execs),
    },
];
