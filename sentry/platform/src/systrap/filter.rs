//! The seccomp filter of stubs: the table of what they may call, and the BPF program made from it.
//!
//! A call from an address outside the stub's code is trapped, whatever it is. From inside, the table decides; what it
//! doesn't list is trapped as well. The guest can jump to the stub's `syscall` instructions, so the table allows nothing
//! that would harm anybody but the caller's own address space; of that it protects the stub region, so that no context
//! can be mapped a second time or outlive the thread that it was made for.

use std::mem::offset_of;

use super::layout::{self, call};
use super::ops::{SET_MM, SET_MM_MAP};
use super::reuse::OF_THREAD;
use super::stub::{FORK_FLAGS, THREAD_FLAGS};

/// What an argument must be.
#[derive(Clone, Copy, Debug)]
enum Condition {
    /// The 64-bit argument has this value.
    Is(u8, u64),
    /// The low 32 bits, masked, have this value; the upper ones are zero.
    Bits(u8, u32, u32),
    /// The range that starts at the first argument and is as long as the second ends below the stub region.
    Guest(u8, u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Allow,
    Notify,
}

struct Rule {
    nr: i64,
    conditions: &'static [Condition],
    action: Action,
    why: &'static str,
}

use Action::{Allow, Notify};
use Condition::{Bits, Guest, Is};

const fn rule(nr: i64, conditions: &'static [Condition], action: Action, why: &'static str) -> Rule {
    Rule { nr, conditions, action, why }
}

/// `mmap` flags that anonymous guest memory may have; `MAP_FIXED` and `MAP_ANONYMOUS` must be among them.
const MAP_FLAGS: u32 = (libc::MAP_SHARED
    | libc::MAP_PRIVATE
    | libc::MAP_FIXED
    | libc::MAP_ANONYMOUS
    | libc::MAP_GROWSDOWN
    | libc::MAP_NORESERVE
    | libc::MAP_POPULATE
    | libc::MAP_LOCKED
    | libc::MAP_STACK)
    .cast_unsigned();
/// `MAP_FIXED | MAP_ANONYMOUS`, and the bits that must be absent.
const MAP_MASK: u32 = !MAP_FLAGS | MAP_WANTED;
const MAP_WANTED: u32 = (libc::MAP_FIXED | libc::MAP_ANONYMOUS).cast_unsigned();
const DONTFORK: u64 = libc::MADV_DONTFORK as u64;

const WAIT_REALTIME: i32 = libc::FUTEX_WAIT_BITSET | libc::FUTEX_CLOCK_REALTIME;

/// A futex operation on memory of one process only.
pub(super) const fn private(operation: i32) -> u64 {
    (operation | libc::FUTEX_PRIVATE_FLAG) as u64
}

/// What stubs may call. Several rules for one call are alternatives.
const RULES: &[Rule] = &[
    rule(libc::SYS_futex, &[Is(1, 0)], Allow, "sleeps on the context until the sentry replies"),
    rule(libc::SYS_futex, &[Is(1, private(libc::FUTEX_WAIT))], Allow, "sleeps on a word of the caller's own memory"),
    rule(libc::SYS_futex, &[Is(1, private(libc::FUTEX_WAKE))], Allow, "wakes threads of the caller's own process"),
    rule(libc::SYS_futex, &[Is(1, private(libc::FUTEX_WAIT_BITSET))], Allow, "as above, until a point in time"),
    rule(libc::SYS_futex, &[Is(1, private(WAIT_REALTIME))], Allow, "as above, by the clock of the wall"),
    rule(libc::SYS_futex, &[Is(1, private(libc::FUTEX_WAKE_BITSET))], Allow, "wakes some of those threads"),
    rule(libc::SYS_futex, &[Is(1, private(libc::FUTEX_REQUEUE))], Allow, "has those threads sleep on another word"),
    rule(libc::SYS_futex, &[Is(1, private(libc::FUTEX_CMP_REQUEUE))], Allow, "as above, if a word has not changed"),
    rule(call::WAKE, &[], Notify, "wakes a worker"),
    rule(libc::SYS_sched_yield, &[], Allow, "gives the CPU away, as the guest asks"),
    rule(libc::SYS_rt_sigreturn, &[], Allow, "goes on with the guest; sets only the caller's own registers"),
    rule(libc::SYS_mmap, &[Bits(3, MAP_MASK, MAP_WANTED), Guest(0, 1)], Allow, "anonymous guest memory"),
    rule(libc::SYS_mmap, &[Bits(3, 0x20, 0)], Notify, "file mappings: only those the sentry asked for"),
    rule(libc::SYS_munmap, &[Guest(0, 1)], Allow, "guest memory"),
    rule(libc::SYS_mprotect, &[Guest(0, 1)], Allow, "guest memory"),
    rule(libc::SYS_mremap, &[Guest(0, 1), Guest(4, 2)], Allow, "guest memory"),
    rule(libc::SYS_madvise, &[Guest(0, 1)], Allow, "guest memory"),
    rule(libc::SYS_madvise, &[Is(2, DONTFORK)], Allow, "keeps contexts out of copies"),
    rule(libc::SYS_msync, &[Guest(0, 1)], Allow, "guest memory"),
    rule(libc::SYS_mlock2, &[Guest(0, 1)], Allow, "guest memory, within the sandbox's limit"),
    rule(libc::SYS_munlock, &[Guest(0, 1)], Allow, "guest memory"),
    rule(libc::SYS_mincore, &[Guest(0, 1)], Allow, "tells what is resident"),
    rule(libc::SYS_membarrier, &[], Allow, "orders memory accesses of the caller's own threads"),
    rule(libc::SYS_rseq, &[Guest(0, 1)], Allow, "aborts critical sections of the caller's own code"),
    rule(libc::SYS_clone, &[Is(0, FORK_FLAGS as u64)], Notify, "new processes: only those the sentry asked for"),
    rule(libc::SYS_clone, &[Is(0, THREAD_FLAGS as u64)], Notify, "new threads: only those the sentry asked for"),
    rule(libc::SYS_rt_sigprocmask, &[], Allow, "keeps interrupts from a new stub"),
    rule(libc::SYS_sigaltstack, &[], Allow, "gives a new stub its signal stack"),
    rule(call::HELLO, &[], Notify, "tells the sentry who a new thread is"),
    rule(
        libc::SYS_prctl,
        &[Is(0, libc::PR_SET_PDEATHSIG as u64), Is(1, libc::SIGKILL as u64)],
        Allow,
        "dies with the sentry",
    ),
    rule(
        libc::SYS_prctl,
        &[Is(0, SET_MM), Is(1, SET_MM_MAP)],
        Allow,
        "has the host show the guest's arguments in the caller's own row of `ps`; the program's file needs a right",
    ),
    rule(libc::SYS_getrusage, &[Is(0, OF_THREAD)], Allow, "tells what the thread has used so far"),
    rule(libc::SYS_exit, &[], Allow, "ends one thread"),
];

/// Returns the numbers of what stubs may call, and why. Several rows for one call are alternatives.
pub(crate) fn listed() -> impl Iterator<Item = (i64, &'static str)> {
    RULES.iter().map(|rule| (rule.nr, rule.why))
}

/// Where the CPU, or the host, has no `wrfsbase` for us.
const RULE_ARCH_PRCTL: &[Rule] = &[
    rule(libc::SYS_arch_prctl, &[Is(0, 0x1001)], Allow, "ARCH_SET_GS"),
    rule(libc::SYS_arch_prctl, &[Is(0, 0x1002)], Allow, "ARCH_SET_FS"),
];

pub(super) const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

const LD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const TAX: u16 = 0x07;
const ADD_X: u16 = 0x0c;
const AND: u16 = 0x54;
const JEQ: u16 = 0x15;
const JGE: u16 = 0x35;
const JGT: u16 = 0x25;
const RET: u16 = 0x06;

struct Builder(Vec<libc::sock_filter>);

impl Builder {
    fn put(&mut self, code: u16, k: u32) {
        self.0.push(libc::sock_filter { code, jt: 0, jf: 0, k });
    }

    /// Jumps to the mark (patched later, offset 255) when the test has this outcome, else goes on.
    fn leave_if(&mut self, code: u16, k: u32, outcome: bool) {
        let (jt, jf) = if outcome { (255, 0) } else { (0, 255) };
        self.0.push(libc::sock_filter { code, jt, jf, k });
    }

    /// Makes all jumps marked since `start` come here.
    fn land(&mut self, start: usize) {
        let here = self.0.len();
        for (at, insn) in self.0.iter_mut().enumerate().skip(start) {
            let distance = u8::try_from(here - at - 1).unwrap_or(254).min(254);
            for target in [&mut insn.jt, &mut insn.jf] {
                if *target == 255 {
                    *target = distance;
                }
            }
        }
    }

    fn condition(&mut self, condition: Condition, user_hi: u32) {
        match condition {
            Is(arg, value) => {
                self.put(LD, low(arg));
                self.leave_if(JEQ, value as u32, false);
                self.put(LD, high(arg));
                self.leave_if(JEQ, (value >> 32) as u32, false);
            }
            Bits(arg, mask, value) => {
                self.put(LD, low(arg));
                self.put(AND, mask);
                self.leave_if(JEQ, value, false);
                self.put(LD, high(arg));
                self.leave_if(JEQ, 0, false);
            }
            // The sum of the upper halves is at most the upper half of the guest's end, so the range ends less than
            // 8 GiB above that: in the gap.
            Guest(addr, len) => {
                self.put(LD, high(addr));
                self.leave_if(JGT, user_hi, true);
                self.put(TAX, 0);
                self.put(LD, high(len));
                self.leave_if(JGT, user_hi, true);
                self.put(ADD_X, 0);
                self.leave_if(JGT, user_hi, true);
            }
        }
    }
}

fn low(arg: u8) -> u32 {
    offset_of!(libc::seccomp_data, args) as u32 + 8 * u32::from(arg)
}

fn high(arg: u8) -> u32 {
    low(arg) + 4
}

/// Makes the program. `user_end` is a multiple of 4 GiB.
pub(super) fn program(user_end: u64, fsgsbase: bool) -> Vec<libc::sock_filter> {
    let user_hi = (user_end >> 32) as u32;
    let ip = offset_of!(libc::seccomp_data, instruction_pointer) as u32;
    let mut out = Builder(Vec::new());
    out.put(LD, offset_of!(libc::seccomp_data, arch) as u32);
    out.leave_if(JEQ, AUDIT_ARCH_X86_64, false);
    out.put(LD, ip + 4);
    out.leave_if(JEQ, (layout::STUB >> 32) as u32, false);
    out.put(LD, ip);
    // The instruction pointer is that behind the `syscall`. The region starts at a multiple of 4 GiB.
    out.leave_if(JGE, layout::CODE_LEN as u32, true);
    out.0.push(libc::sock_filter { code: 0x05, jt: 0, jf: 0, k: 1 }); // over the next
    out.land(0);
    out.put(RET, libc::SECCOMP_RET_TRAP);
    let extra = if fsgsbase { &[] } else { RULE_ARCH_PRCTL };
    for rule in RULES.iter().chain(extra) {
        let start = out.0.len();
        out.put(LD, 0);
        out.leave_if(JEQ, rule.nr as u32, false);
        for condition in rule.conditions {
            out.condition(*condition, user_hi);
        }
        out.put(RET, if rule.action == Allow { libc::SECCOMP_RET_ALLOW } else { libc::SECCOMP_RET_USER_NOTIF });
        out.land(start);
    }
    out.put(RET, libc::SECCOMP_RET_TRAP);
    out.0
}
