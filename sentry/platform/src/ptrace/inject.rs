//! Host calls made *in* a stub, by a stopped thread of it: registers are pointed at the code page, the thread is resumed
//! until the `int3` there. Its registers are not put back, since every start of a guest sets them all.

use std::sync::Arc;

use abi::Errno;

use super::host;
use super::layout::{CMPXCHG, CMPXCHG_END, SYSCALL_END};
use super::tracees::{Report, Thread, Tracees};
use crate::regs::{USER_CS, USER_SS};
use crate::{Death, PlatformError, Registers};

/// `eflags` with which code of ours runs: interrupts on, nothing else.
const PLAIN_EFLAGS: u64 = 0x202;
/// How often a call that a kick made return early is tried again.
const RETRIES: usize = 8;

/// Why an injected call has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InjectError {
    /// The host refused the call.
    Errno(Errno),
    /// The code faulted.
    Fault,
    /// The thread is gone.
    Dead(Death),
}

impl InjectError {
    /// Returns the error number that stands for it.
    pub(super) fn errno(self) -> Errno {
        match self {
            InjectError::Errno(errno) => errno,
            InjectError::Fault => Errno::EFAULT,
            InjectError::Dead(_) => Errno::ESRCH,
        }
    }

    /// Turns it into a failure of the platform while it did `what`.
    pub(super) fn platform(self, what: &'static str) -> PlatformError {
        match self {
            InjectError::Dead(_) => PlatformError::Dead(what),
            other => PlatformError::Host {
                what,
                errno: other.errno(),
                hint: "check the host's limits on processes and memory",
            },
        }
    }
}

impl From<Errno> for InjectError {
    fn from(errno: Errno) -> InjectError {
        InjectError::Errno(errno)
    }
}

/// How a run of injected code ended.
struct Outcome {
    rax: u64,
    child: Option<i32>,
    kicked: bool,
}

impl Tracees {
    /// Makes one host call in a stub.
    pub(super) fn syscall(&self, thread: &Thread, number: libc::c_long, args: [u64; 6]) -> Result<u64, InjectError> {
        self.syscall_with_child(thread, number, args).map(|(value, _)| value)
    }

    /// Makes a thread in the same address space (`flags` with `CLONE_THREAD`) or a copy of the process, and adopts it.
    pub(super) fn clone(&self, thread: &Thread, flags: libc::c_int) -> Result<Arc<Thread>, InjectError> {
        let args = [u64::from(flags.cast_unsigned()), 0, 0, 0, 0, 0];
        let (_, child) = self.syscall_with_child(thread, libc::SYS_clone, args)?;
        let tid = child.ok_or(InjectError::Dead(Death::Protocol("the host reported no child")))?;
        let pid = if flags & libc::CLONE_THREAD != 0 { thread.pid } else { tid };
        let child = self.adopt(pid, tid);
        loop {
            match self.wait_for(&child) {
                Report::Stop(status) if libc::WSTOPSIG(status) == libc::SIGSTOP => return Ok(child),
                Report::Stop(_) => host::cont(tid)?,
                Report::Death(death) => return Err(InjectError::Dead(death)),
            }
        }
    }

    /// Atomically replaces the word at `addr` by `new` if it equals `old`; returns the word found.
    pub(super) fn compare_exchange(&self, thread: &Thread, addr: u64, old: u32, new: u32) -> Result<u64, InjectError> {
        let mut regs = plain_regs(self.code + CMPXCHG);
        regs.rdi = addr;
        regs.rsi = u64::from(new);
        regs.rax = u64::from(old);
        let outcome = self.run(thread, &regs, self.code + CMPXCHG_END)?;
        Ok(outcome.rax & u64::from(u32::MAX))
    }

    /// Makes a stopped thread end by itself; its end is reported later.
    pub(super) fn begin_exit(&self, tid: i32) -> Result<(), Errno> {
        let mut regs = plain_regs(self.code);
        regs.rax = libc::SYS_exit.cast_unsigned();
        host::set_regs(tid, &regs)?;
        host::cont(tid)
    }

    fn syscall_with_child(
        &self,
        thread: &Thread,
        number: libc::c_long,
        args: [u64; 6],
    ) -> Result<(u64, Option<i32>), InjectError> {
        let mut regs = plain_regs(self.code);
        regs.rax = number.cast_unsigned();
        [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9] = args;
        let mut tries = 0;
        loop {
            let outcome = self.run(thread, &regs, self.code + SYSCALL_END)?;
            match error_of(outcome.rax) {
                None => return Ok((outcome.rax, outcome.child)),
                Some(Errno::EINTR) if outcome.kicked && tries < RETRIES => tries += 1,
                Some(errno) => return Err(InjectError::Errno(errno)),
            }
        }
    }

    /// Runs code of ours in a stopped thread until it comes by `end`.
    fn run(&self, thread: &Thread, regs: &Registers, end: u64) -> Result<Outcome, InjectError> {
        let mut outcome = Outcome { rax: 0, child: None, kicked: false };
        self.resume(thread, || host::set_regs(thread.tid, regs))?;
        loop {
            self.resume(thread, || host::cont(thread.tid))?;
            let status = match self.wait_for(thread) {
                Report::Stop(status) => status,
                Report::Death(death) => return Err(InjectError::Dead(death)),
            };
            match (libc::WSTOPSIG(status), status >> 16) {
                (libc::SIGTRAP, 0) => {
                    let now = host::get_regs(thread.tid)?;
                    if now.rip == end {
                        outcome.rax = now.rax;
                        return Ok(outcome);
                    }
                }
                (libc::SIGTRAP, _event) => outcome.child = Some(host::event_child(thread.tid)?),
                (libc::SIGSEGV | libc::SIGBUS, _) if host::get_siginfo(thread.tid)?.si_code > 0 => {
                    return Err(InjectError::Fault);
                }
                (host::KICK, _) => outcome.kicked = true,
                // Whatever else somebody on the host sent: not for the guest, and not for us.
                _ => {}
            }
        }
    }

    /// Performs a ptrace request; where the thread turns out to be gone, says how it went.
    fn resume(&self, thread: &Thread, request: impl Fn() -> Result<(), Errno>) -> Result<(), InjectError> {
        match request() {
            Ok(()) => Ok(()),
            Err(Errno::ESRCH) => match thread.report(None) {
                Some(Report::Death(death)) => Err(InjectError::Dead(death)),
                _ => Err(InjectError::Dead(Death::Protocol("the stub is not stopped"))),
            },
            Err(errno) => Err(InjectError::Errno(errno)),
        }
    }
}

/// Returns the error in the result of a raw host call.
fn error_of(value: u64) -> Option<Errno> {
    let value = value.cast_signed();
    if !(-4095..0).contains(&value) {
        return None;
    }
    i32::try_from(-value).ok().map(Errno::from_raw)
}

fn plain_regs(rip: u64) -> Registers {
    Registers { rip, eflags: PLAIN_EFLAGS, cs: USER_CS, ss: USER_SS, orig_rax: u64::MAX, ..Registers::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_page_of_values_is_an_error() {
        assert_eq!(error_of(0), None);
        assert_eq!(error_of((-1_i64).cast_unsigned()), Some(Errno::EPERM));
        assert!(error_of((-4095_i64).cast_unsigned()).is_some());
        assert_eq!(error_of((-4096_i64).cast_unsigned()), None);
    }
}
