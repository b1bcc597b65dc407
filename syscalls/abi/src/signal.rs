//! Signal numbers, sets and the structs of `rt_sigaction(2)`, `sigaltstack(2)` and `siginfo_t`.

use std::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Highest signal number on Linux.
pub const NSIG: i32 = 64;
/// First real-time signal of the kernel (libc reserves the first few).
pub const SIGRTMIN: i32 = 32;

macro_rules! signals {
    ($($name:ident = $number:literal;)*) => {
        impl Signal {
            $(#[doc = stringify!($name)] pub const $name: Signal = Signal($number);)*

            /// Returns the name, for example `"SIGINT"`; real-time signals are `"SIGRT"`.
            pub fn name(self) -> &'static str {
                match self.0 {
                    $($number => stringify!($name),)*
                    _ => "SIGRT",
                }
            }
        }
    };
}

/// A valid signal number, 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

signals! {
    SIGHUP = 1; SIGINT = 2; SIGQUIT = 3; SIGILL = 4; SIGTRAP = 5; SIGABRT = 6; SIGBUS = 7; SIGFPE = 8;
    SIGKILL = 9; SIGUSR1 = 10; SIGSEGV = 11; SIGUSR2 = 12; SIGPIPE = 13; SIGALRM = 14; SIGTERM = 15;
    SIGSTKFLT = 16; SIGCHLD = 17; SIGCONT = 18; SIGSTOP = 19; SIGTSTP = 20; SIGTTIN = 21; SIGTTOU = 22;
    SIGURG = 23; SIGXCPU = 24; SIGXFSZ = 25; SIGVTALRM = 26; SIGPROF = 27; SIGWINCH = 28; SIGIO = 29;
    SIGPWR = 30; SIGSYS = 31;
}

impl Signal {
    /// Accepts 1 to 64.
    pub fn new(number: i32) -> Option<Signal> {
        if (1..=NSIG).contains(&number) { u8::try_from(number).ok().map(Signal) } else { None }
    }

    /// Returns the number, 1 to 64.
    pub fn number(self) -> i32 {
        i32::from(self.0)
    }

    /// Tells whether instances of this signal queue up.
    pub fn is_realtime(self) -> bool {
        self.number() >= SIGRTMIN
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_realtime() { write!(f, "SIGRT_{}", self.0 - 32) } else { f.write_str(self.name()) }
    }
}

/// A set of signals; signal *n* is bit *n*−1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct SigSet(pub u64);

impl SigSet {
    /// No signals.
    pub const EMPTY: SigSet = SigSet(0);
    /// The two that can be neither caught, blocked nor ignored.
    pub const UNBLOCKABLE: SigSet = SigSet((1 << 8) | (1 << 18));

    /// A set of one.
    pub fn of(signal: Signal) -> SigSet {
        SigSet(1 << (signal.number() - 1))
    }

    /// Tells whether the signal is in the set.
    pub fn contains(self, signal: Signal) -> bool {
        self.0 & SigSet::of(signal).0 != 0
    }

    /// Tells whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Adds all signals of `other`.
    #[must_use]
    pub fn union(self, other: SigSet) -> SigSet {
        SigSet(self.0 | other.0)
    }

    /// Removes all signals of `other`.
    #[must_use]
    pub fn without(self, other: SigSet) -> SigSet {
        SigSet(self.0 & !other.0)
    }

    /// Keeps the signals that are in both.
    #[must_use]
    pub fn intersection(self, other: SigSet) -> SigSet {
        SigSet(self.0 & other.0)
    }

    /// Returns the lowest-numbered signal.
    pub fn first(self) -> Option<Signal> {
        if self.0 == 0 { None } else { i32::try_from(self.0.trailing_zeros() + 1).ok().and_then(Signal::new) }
    }
}

/// `struct kernel_sigaction` of x86-64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SigAction {
    /// `SIG_DFL` (0), `SIG_IGN` (1) or the handler's address.
    pub handler: u64,
    /// `SA_*`.
    pub flags: u64,
    /// Address that the handler returns to.
    pub restorer: u64,
    /// Signals blocked while the handler runs.
    pub mask: SigSet,
}

/// Default action.
pub const SIG_DFL: u64 = 0;
/// Ignore the signal.
pub const SIG_IGN: u64 = 1;

/// `SA_*` of `sigaction(2)`.
#[allow(missing_docs)]
pub mod sa {
    pub const NOCLDSTOP: u64 = 0x1;
    pub const NOCLDWAIT: u64 = 0x2;
    pub const SIGINFO: u64 = 0x4;
    pub const UNSUPPORTED: u64 = 0x400;
    pub const EXPOSE_TAGBITS: u64 = 0x800;
    pub const RESTORER: u64 = 0x0400_0000;
    pub const ONSTACK: u64 = 0x0800_0000;
    pub const RESTART: u64 = 0x1000_0000;
    pub const NODEFER: u64 = 0x4000_0000;
    pub const RESETHAND: u64 = 0x8000_0000;
}

/// `si_code` values shared by all signals.
#[allow(missing_docs)]
pub mod si {
    pub const USER: i32 = 0;
    pub const KERNEL: i32 = 0x80;
    pub const QUEUE: i32 = -1;
    pub const TIMER: i32 = -2;
    pub const MESGQ: i32 = -3;
    pub const ASYNCIO: i32 = -4;
    pub const SIGIO: i32 = -5;
    pub const TKILL: i32 = -6;
}

/// `siginfo_t`: 128 bytes; the union is kept as raw words and built by the constructors here.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SigInfo {
    /// Signal number.
    pub signo: i32,
    /// An error number, nearly always 0.
    pub errno: i32,
    /// Why the signal was sent (`SI_*`, `SEGV_*`, `CLD_*`, …).
    pub code: i32,
    /// Padding to a program. While a timer's signal is pending: which setting of the timer sent it, from 1 on.
    setting: i32,
    /// The union, from byte 16 on.
    pub fields: [u64; 14],
}

impl SigInfo {
    fn with(signal: Signal, code: i32, words: &[u64]) -> SigInfo {
        let mut fields = [0; 14];
        fields[..words.len()].copy_from_slice(words);
        SigInfo { signo: signal.number(), errno: 0, code, setting: 0, fields }
    }

    /// `_kill` / `_rt`: sent by a process. `value` is `sigval` for `SI_QUEUE`.
    pub fn from_process(signal: Signal, code: i32, pid: i32, uid: u32, value: u64) -> SigInfo {
        SigInfo::with(signal, code, &[pair(pid, uid), value])
    }

    /// Sent by the kernel itself.
    pub fn from_kernel(signal: Signal) -> SigInfo {
        SigInfo::with(signal, si::KERNEL, &[])
    }

    /// `_sigfault`: at this address.
    pub fn fault(signal: Signal, code: i32, addr: u64) -> SigInfo {
        SigInfo::with(signal, code, &[addr])
    }

    /// Marks a signal as sent by a setting of a timer, or by none (0), which no program can claim or see.
    #[must_use]
    pub fn of_setting(self, setting: i32) -> SigInfo {
        SigInfo { setting, ..self }
    }

    /// Returns the setting of a timer that sent it; 0 for any other signal.
    pub fn setting(&self) -> i32 {
        self.setting
    }

    /// `si_timerid` of a `_timer`.
    pub fn timer_id(&self) -> i32 {
        (self.fields[0] as u32).cast_signed()
    }

    /// `si_overrun` of a `_timer`.
    pub fn overrun(&self) -> i32 {
        ((self.fields[0] >> 32) as u32).cast_signed()
    }

    /// Counts further expirations that a `_timer` stands for.
    pub fn add_overrun(&mut self, more: i32) {
        let overrun = self.overrun().saturating_add(more);
        self.fields[0] = pair(self.timer_id(), overrun.cast_unsigned());
    }

    /// `_sigsys`: a filter of `seccomp(2)` sent it instead of the call; `told` is the filter's own data.
    pub fn seccomp(told: i32, instruction_pointer: u64, number: i32, arch: u32) -> SigInfo {
        const SYS_SECCOMP: i32 = 1;
        let info = SigInfo::with(Signal::SIGSYS, SYS_SECCOMP, &[instruction_pointer, pair(number, arch)]);
        SigInfo { errno: told, ..info }
    }

    /// `_sigchld`: a child changed state. Times in clock ticks of 10 ms.
    pub fn child(code: i32, pid: i32, uid: u32, status: i32, utime: i64, stime: i64) -> SigInfo {
        let words = [pair(pid, uid), u64::from(status.cast_unsigned()), utime.cast_unsigned(), stime.cast_unsigned()];
        // `si_status` is a 4-byte field before two 8-byte ones.
        SigInfo::with(Signal::SIGCHLD, code, &words)
    }

    /// `_timer`: a POSIX timer expired.
    pub fn timer(signal: Signal, timer: i32, overrun: i32, value: u64) -> SigInfo {
        SigInfo::with(signal, si::TIMER, &[pair(timer, overrun.cast_unsigned()), value])
    }

    /// `_sigpoll`: readiness `band` of descriptor `fd`.
    pub fn poll(signal: Signal, code: i32, band: i64, fd: i32) -> SigInfo {
        SigInfo::with(signal, code, &[band.cast_unsigned(), u64::from(fd.cast_unsigned())])
    }

    /// Returns the sender's process id (`_kill`, `_rt`, `_sigchld`).
    #[allow(clippy::cast_possible_truncation)] // the low half of the word is the field
    pub fn pid(&self) -> i32 {
        (self.fields[0] as u32).cast_signed()
    }

    /// Returns the sender's real user id (`_kill`, `_rt`, `_sigchld`).
    pub fn uid(&self) -> u32 {
        u32::try_from(self.fields[0] >> 32).unwrap_or_default()
    }
}

impl fmt::Debug for SigInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigInfo {{ signo: {}, code: {}, {:#x?} }}", self.signo, self.code, &self.fields[..3])
    }
}

fn pair(low: i32, high: u32) -> u64 {
    u64::from(low.cast_unsigned()) | (u64::from(high) << 32)
}

/// `stack_t` of `sigaltstack(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StackT {
    /// Lowest address.
    pub sp: u64,
    /// `SS_ONSTACK` 1, `SS_DISABLE` 2, `SS_AUTODISARM` 1 << 31.
    pub flags: i32,
    /// Padding.
    pub pad: u32,
    /// Bytes.
    pub size: u64,
}
