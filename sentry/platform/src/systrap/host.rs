//! Host calls that no library offers in the form needed here.

use crate::counters::{Counter, count};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use abi::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{PidfdFlags, Signal};

const NOTIF_RECV: libc::c_ulong = 0xc050_2100;
const NOTIF_SEND: libc::c_ulong = 0xc018_2101;
const NOTIF_SET_FLAGS: libc::c_ulong = 0x4008_2104;
/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`, Linux 6.6.
const SYNC_WAKE_UP: libc::c_ulong = 1;
/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE`.
const CONTINUE: u32 = 1;

pub(super) fn last_errno() -> Errno {
    Errno::from(std::io::Error::last_os_error())
}

fn from_rustix(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}

/// A notification, as the host wrote it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notification {
    pub(super) id: u64,
    pub(super) tid: i32,
    pub(super) nr: i64,
    pub(super) args: [u64; 6],
}

/// Takes the next notification; `None` where its sender has died.
pub(super) fn receive(listener: BorrowedFd<'_>) -> Option<Notification> {
    // The host wants it zeroed.
    let data = libc::seccomp_data { nr: 0, arch: 0, instruction_pointer: 0, args: [0; 6] };
    let mut notif = libc::seccomp_notif { id: 0, pid: 0, flags: 0, data };
    // SAFETY: the request is given the struct that it fills.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_RECV, &raw mut notif) };
    (result == 0).then(|| Notification {
        id: notif.id,
        tid: notif.pid.cast_signed(),
        nr: i64::from(notif.data.nr),
        args: notif.data.args,
    })
}

/// What becomes of a call that was notified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It returns 0 without being made.
    Zero,
    /// The host performs it.
    Continue,
    /// It fails with ENOSYS, on which a stub gives up.
    Refuse,
}

/// Answers a notification. Its sender may have died, which doesn't matter.
pub(super) fn answer(listener: BorrowedFd<'_>, id: u64, answer: Answer) {
    let (error, flags) = match answer {
        Answer::Zero => (0, 0),
        Answer::Continue => (0, CONTINUE),
        Answer::Refuse => (-libc::ENOSYS, 0),
    };
    let mut response = libc::seccomp_notif_resp { id, val: 0, error, flags };
    // SAFETY: the request is given the struct that it reads.
    unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_SEND, &raw mut response) };
}

/// Lets notifications wake their reader on the sender's CPU, where the host can do that.
pub(super) fn set_sync_wake_up(listener: BorrowedFd<'_>) -> bool {
    // SAFETY: takes a number.
    unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_SET_FLAGS, SYNC_WAKE_UP) == 0 }
}

/// Waits until one of the descriptors can be read; returns which. A signal ends the wait.
pub(super) fn readable<const N: usize>(fds: [BorrowedFd<'_>; N], timeout: Option<Duration>) -> [bool; N] {
    let mut poll = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    let timeout = timeout.map(|time| Timespec {
        tv_sec: time.as_secs().min(1 << 30).cast_signed(),
        tv_nsec: time.subsec_nanos().into(),
    });
    if rustix::event::poll(&mut poll, timeout.as_ref()).is_err() {
        return [false; N];
    }
    poll.map(|fd| fd.revents().contains(PollFlags::IN))
}

/// Opens a pidfd of a child that can't have been reaped.
pub(super) fn pidfd_open(pid: i32) -> Result<OwnedFd, Errno> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or(Errno::ESRCH)?;
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(from_rustix)
}

/// Kills; a process that is dead already stays so.
pub(super) fn kill(pidfd: BorrowedFd<'_>) {
    let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
}

/// How a child has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    /// The signal that has ended it, if one has.
    pub(super) signal: Option<i32>,
    /// Most bytes that were resident at a time.
    pub(super) peak: u64,
    /// Its processor time.
    pub(super) time: Duration,
}

/// What is to become of a child that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// It stays.
    Look,
    /// It is removed.
    Reap,
}

/// Returns how a child has ended, if it has.
pub(super) fn wait(pidfd: BorrowedFd<'_>, how: Wait) -> Option<Ended> {
    /// `P_PIDFD`.
    const OF_PIDFD: i32 = 3;
    // `siginfo_t`, of which the signal, code and status count, and `struct rusage`, which
    // begins with two times in seconds and microseconds, then `ru_maxrss`.
    let (mut info, mut usage) = ([0_i32; 32], [0_u64; 18]);
    let options = match how {
        Wait::Look => libc::WEXITED | libc::WNOWAIT | libc::WNOHANG,
        Wait::Reap => libc::WEXITED | libc::WNOHANG,
    };
    let (info_at, usage_at) = (info.as_mut_ptr(), usage.as_mut_ptr());
    // SAFETY: the host fills the two, which are as large as its structs (128 and 144 bytes); the rest are numbers.
    let done = unsafe { libc::syscall(libc::SYS_waitid, OF_PIDFD, pidfd.as_raw_fd(), info_at, options, usage_at) } == 0;
    let [signo, _, code, _, _, _, status, ..] = info;
    (done && signo == libc::SIGCHLD).then(|| Ended {
        signal: matches!(code, libc::CLD_KILLED | libc::CLD_DUMPED).then_some(status),
        peak: usage[4].saturating_mul(1024),
        time: Duration::from_secs(usage[0] + usage[2]) + Duration::from_micros(usage[1] + usage[3]),
    })
}

/// Sends a signal to one thread.
pub(super) fn tgkill(pid: i32, tid: i32, signal: i32) -> bool {
    // SAFETY: takes numbers only.
    unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, signal) == 0 }
}

/// Copies from another process; returns what was copied before the first page that can't be read.
pub(super) fn read_memory(pid: i32, addr: u64, buf: &mut [u8]) -> usize {
    let len = buf.len();
    read_list(pid, &[place(addr, len)], buf)
}

/// Copies to another process; returns what was copied before the first page that can't be written.
pub(super) fn write_memory(pid: i32, addr: u64, buf: &[u8]) -> usize {
    write_list(pid, &[place(addr, buf.len())], buf)
}

/// Returns a place in another process as the host wants it.
pub(super) fn place(addr: u64, len: usize) -> RemoteIoVec {
    RemoteIoVec { base: addr as usize, len }
}

/// Copies from several places of another process; returns what was copied, perhaps less than could be.
pub(super) fn read_list(pid: i32, places: &[RemoteIoVec], buf: &mut [u8]) -> usize {
    count(Counter::CopiedByHost);
    process_vm_readv(Pid::from_raw(pid), &mut [IoSliceMut::new(buf)], places).unwrap_or(0)
}

/// Copies to several places of another process; returns what was copied, perhaps less than could be.
pub(super) fn write_list(pid: i32, places: &[RemoteIoVec], buf: &[u8]) -> usize {
    count(Counter::CopiedByHost);
    process_vm_writev(Pid::from_raw(pid), &[IoSlice::new(buf)], places).unwrap_or(0)
}

/// Gives the memory of a part of a file back to the host; it reads as zeros afterwards.
pub(super) fn punch_hole(file: &OwnedFd, offset: u64, len: u64) {
    use rustix::fs::FallocateFlags;
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    if let Err(error) = rustix::fs::fallocate(file.as_fd(), flags, offset, len) {
        tracing::warn!(%error, "a context's memory can't be given back");
    }
}
