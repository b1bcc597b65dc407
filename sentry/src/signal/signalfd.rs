//! Signals that are read (`man 2 signalfd`).
//!
//! A signalfd has no queue of its own: it looks at what is pending for the task that reads or polls it.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::Errno;
use abi::flags::Ready;
use abi::signal::{SigInfo, SigSet, Signal, si};
use sentry_fs::{FileOps, IoDst, IoFlags};
use sentry_sync::WaitQueue;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Task;
use crate::task::served;

/// `struct signalfd_siginfo`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct SignalfdSiginfo {
    pub signo: u32,
    pub errno: i32,
    pub code: i32,
    pub pid: u32,
    pub uid: u32,
    pub fd: i32,
    pub tid: u32,
    pub band: u32,
    pub overrun: u32,
    pub trapno: u32,
    pub status: i32,
    pub int: i32,
    pub ptr: u64,
    pub utime: u64,
    pub stime: u64,
    pub addr: u64,
    pub addr_lsb: u16,
    pub pad2: u16,
    pub syscall: i32,
    pub call_addr: u64,
    pub arch: u32,
    pub pad: [u32; 7],
}

/// Which members of the union a signal has (kernel: `siginfo_layout`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Kill,
    Timer,
    Poll,
    Fault,
    Child,
    Queue,
    Syscall,
}

fn layout(info: &SigInfo) -> Layout {
    match info.code {
        si::TIMER => Layout::Timer,
        si::SIGIO => Layout::Poll,
        code if code < 0 => Layout::Queue,
        si::USER => Layout::Kill,
        code if code < si::KERNEL => match (Signal::new(info.signo), code) {
            (Some(Signal::SIGILL), ..=11)
            | (Some(Signal::SIGFPE), ..=15)
            | (Some(Signal::SIGSEGV), ..=10)
            | (Some(Signal::SIGBUS), ..=5)
            | (Some(Signal::SIGTRAP), ..=6) => Layout::Fault,
            (Some(Signal::SIGCHLD), ..=6) => Layout::Child,
            (Some(Signal::SIGSYS), ..=2) => Layout::Syscall,
            (_, ..=6) => Layout::Poll,
            _ => Layout::Kill,
        },
        _ => Layout::Kill,
    }
}

fn low(word: u64) -> u32 {
    u32::try_from(word & u64::from(u32::MAX)).unwrap_or_default()
}

fn high(word: u64) -> u32 {
    low(word >> 32)
}

impl From<&SigInfo> for SignalfdSiginfo {
    fn from(info: &SigInfo) -> SignalfdSiginfo {
        let words = &info.fields;
        let mut out = SignalfdSiginfo {
            signo: info.signo.unsigned_abs(),
            errno: info.errno,
            code: info.code,
            ..SignalfdSiginfo::default()
        };
        match layout(info) {
            Layout::Kill => (out.pid, out.uid) = (low(words[0]), high(words[0])),
            Layout::Queue => {
                (out.pid, out.uid) = (low(words[0]), high(words[0]));
                (out.ptr, out.int) = (words[1], low(words[1]).cast_signed());
            }
            Layout::Timer => {
                (out.tid, out.overrun) = (low(words[0]), high(words[0]));
                (out.ptr, out.int) = (words[1], low(words[1]).cast_signed());
            }
            Layout::Poll => (out.band, out.fd) = (low(words[0]), low(words[1]).cast_signed()),
            Layout::Fault => out.addr = words[0],
            Layout::Child => {
                (out.pid, out.uid) = (low(words[0]), high(words[0]));
                out.status = low(words[1]).cast_signed();
                (out.utime, out.stime) = (words[2], words[3]);
            }
            Layout::Syscall => {
                out.call_addr = words[0];
                (out.syscall, out.arch) = (low(words[1]).cast_signed(), high(words[1]));
            }
        }
        out
    }
}

/// A signalfd.
pub struct SignalFd(AtomicU64);

impl SignalFd {
    /// Makes one for these signals; the two that can't be blocked are left out.
    pub fn new(signals: SigSet) -> Arc<SignalFd> {
        let fd = SignalFd(AtomicU64::new(0));
        fd.store(signals);
        Arc::new(fd)
    }

    fn store(&self, signals: SigSet) {
        self.0.store(signals.without(SigSet::UNBLOCKABLE).0, Ordering::SeqCst);
    }

    fn signals(&self) -> SigSet {
        SigSet(self.0.load(Ordering::SeqCst))
    }

    /// Replaces the signals; threads of the caller's process that wait look again.
    pub fn set(&self, caller: &Task, signals: SigSet) {
        self.store(signals);
        for thread in crate::task::exit::threads_of(caller) {
            thread.signals.arrival.wake(!0);
        }
    }
}

impl FileOps for SignalFd {
    fn read(&self, _pos: &mut u64, _flags: IoFlags, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        const SIZE: usize = size_of::<SignalfdSiginfo>();
        if dst.remaining() < SIZE {
            return Err(Errno::EINVAL);
        }
        let task = served().ok_or(Errno::EAGAIN)?;
        let others = SigSet(!self.signals().0);
        let mut done = 0;
        while dst.remaining() >= SIZE {
            let Some(info) = task.signals.dequeue(&task.process, others) else { break };
            // As on Linux the signal is gone even if the copy fails.
            match dst.put(SignalfdSiginfo::from(&info).as_bytes()) {
                Ok(SIZE) => done += SIZE,
                _ if done > 0 => break,
                _ => return Err(Errno::EFAULT),
            }
        }
        if done == 0 { Err(Errno::EAGAIN) } else { Ok(done) }
    }

    fn ready(&self) -> Ready {
        let Some(task) = served() else { return Ready::empty() };
        let pending = task.signals.pending().union(task.process.signals.pending());
        if pending.intersection(self.signals()).is_empty() { Ready::empty() } else { Ready::IN }
    }

    fn wait_queue(&self) -> Option<WaitQueue> {
        // A queue that nobody wakes keeps the file pollable in threads of the kernel's own.
        Some(served().map_or_else(WaitQueue::new, |task| task.signals.arrival.clone()))
    }

    fn fdinfo(&self) -> String {
        format!("sigmask:\t{:016x}\n", self.signals().0)
    }

    fn anon_name(&self) -> Option<String> {
        Some("anon_inode:[signalfd]".to_owned())
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_struct_has_the_layout_of_linux() {
        assert_eq!(size_of::<SignalfdSiginfo>(), 128);
        assert_eq!(std::mem::offset_of!(SignalfdSiginfo, ptr), 48);
        assert_eq!(std::mem::offset_of!(SignalfdSiginfo, call_addr), 88);
    }

    #[test]
    fn each_kind_of_signal_shows_its_own_members() {
        let child = SignalfdSiginfo::from(&SigInfo::child(1, 12, 1000, 3, 4, 5));
        assert_eq!((child.pid, child.uid, child.status, child.utime, child.stime), (12, 1000, 3, 4, 5));
        let queued = SigInfo::from_process(Signal::SIGUSR1, si::QUEUE, 12, 1000, 0x1_0000_0002);
        let queued = SignalfdSiginfo::from(&queued);
        assert_eq!((queued.pid, queued.int, queued.ptr), (12, 2, 0x1_0000_0002));
        let timer = SignalfdSiginfo::from(&SigInfo::timer(Signal::SIGALRM, 7, 2, 9));
        assert_eq!((timer.tid, timer.overrun, timer.int, timer.pid), (7, 2, 9, 0));
        let killed = SignalfdSiginfo::from(&SigInfo::from_process(Signal::SIGTERM, si::USER, 12, 1000, 99));
        assert_eq!((killed.pid, killed.ptr), (12, 0));
        let fault = SignalfdSiginfo::from(&SigInfo::fault(Signal::SIGSEGV, 1, 0x1000));
        assert_eq!((fault.addr, fault.pid), (0x1000, 0));
    }
}
