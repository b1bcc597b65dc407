//! How much processor time a stub thread has used.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open, openat};

/// Where the host's figures are read.
#[derive(Debug)]
pub(crate) struct Figures {
    /// `/proc` of our own pid namespace, if it is there.
    proc: Option<OwnedFd>,
}

impl Figures {
    /// Opens `/proc`, unless it is missing or of another pid namespace.
    pub(crate) fn new() -> Figures {
        let own = std::fs::read_link("/proc/self").ok().and_then(|link| link.to_str()?.parse::<u32>().ok());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let proc = if own == Some(std::process::id()) { open("/proc", flags, Mode::empty()).ok() } else { None };
        Figures { proc }
    }

    /// Returns a thread's time on a processor. Where there is no `/proc` to ask, only the whole process' time is known,
    /// and stands for that of the leader: sums stay right.
    pub(crate) fn cpu_time(&self, pid: i32, tid: i32) -> Duration {
        if let Some(time) = self.schedstat(pid, tid) {
            return time;
        }
        if pid == tid { process_clock(pid) } else { Duration::ZERO }
    }

    /// Reads `schedstat` (kernel: `Documentation/scheduler/sched-stats.rst`): nanoseconds on a processor come first.
    fn schedstat(&self, pid: i32, tid: i32) -> Option<Duration> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat(self.proc.as_ref()?, format!("{pid}/task/{tid}/schedstat"), flags, Mode::empty()).ok()?;
        let mut text = [0; 96];
        let len = rustix::io::read(&file, &mut text).ok()?;
        let first = text.get(..len)?.split(|byte| *byte == b' ').next()?;
        let nanoseconds = std::str::from_utf8(first).ok()?.parse().ok()?;
        Some(Duration::from_nanos(nanoseconds))
    }
}

/// Reads the processor-time clock of a process (`man 3 clock_getcpuclockid`); zero once it is gone.
fn process_clock(pid: i32) -> Duration {
    /// `CPUCLOCK_SCHED`: the scheduler's nanoseconds.
    const SCHED: i32 = 2;
    let clock = (!pid).wrapping_shl(3) | SCHED;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one timespec.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Duration::ZERO;
    }
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sources_tell_of_work_done() {
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_millis(5) {
            std::hint::spin_loop();
        }
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(process_clock(own) > Duration::ZERO);
        let tid = super::super::host::gettid();
        assert!(Figures::new().schedstat(own, tid).is_none_or(|time| time > Duration::ZERO));
    }
}
