//! How much processor time a stub thread has used.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open, openat};

use crate::{Resident, ThreadFigures};

/// Where a `/proc` of the sentry's own pid namespace may be mounted, if `/proc` itself is none: on a directory of that one that
/// every host has, so that both are unmounted by one call. Each such call waits for all processors of the host.
pub const PROC_OF_STUBS: &str = "/proc/fs";

/// Where the host's figures are read.
#[derive(Debug)]
pub(crate) struct Figures {
    /// `/proc` of our own pid namespace, if it is there.
    proc: Option<OwnedFd>,
}

impl Figures {
    /// Opens the `/proc` of the own pid namespace, if there is one.
    pub(crate) fn new() -> Figures {
        let own = std::process::id();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let shows_us = |place: &&str| {
            let link = std::fs::read_link(format!("{place}/self")).ok();
            link.and_then(|link| link.to_str()?.parse::<u32>().ok()) == Some(own)
        };
        let place = [PROC_OF_STUBS, "/proc"].into_iter().find(shows_us);
        Figures { proc: place.and_then(|place| open(place, flags, Mode::empty()).ok()) }
    }

    /// Returns a thread's time on a processor. Where there is no `/proc` to ask, only the whole process' time is known,
    /// and stands for that of the leader: sums stay right.
    pub(crate) fn cpu_time(&self, pid: i32, tid: i32) -> Duration {
        if let Some(time) = self.schedstat(pid, tid) {
            return time;
        }
        if pid == tid { process_clock(pid) } else { Duration::ZERO }
    }

    /// Returns all that is known of a thread. The host counts user and system time by ticks; they divide the exact time
    /// in proportion, as the host's own `getrusage` does.
    pub(crate) fn thread(&self, pid: i32, tid: i32) -> ThreadFigures {
        let time = self.cpu_time(pid, tid);
        let Some(stat) = self.read::<512>(&format!("{pid}/task/{tid}/stat")) else {
            return ThreadFigures { user: time, ..ThreadFigures::default() };
        };
        // The name, in parentheses, may hold anything.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let fields: Vec<u64> = fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
        // Numbered from 1 in proc_pid_stat(5), the state being 3.
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
        let (user, system) = (field(14), field(15));
        let system = match user.checked_add(system) {
            Some(ticks) if ticks > 0 => time.mul_f64(system as f64 / ticks as f64).min(time),
            _ => Duration::ZERO,
        };
        ThreadFigures { user: time - system, system, minor_faults: field(10), major_faults: field(12) }
    }

    /// Tells whether a thread of our own sleeps (states S and D of `proc_pid_stat(5)`). False where that can't be known.
    pub(crate) fn sleeps(&self, tid: i32) -> bool {
        let stat = self.read::<512>(&format!("{}/task/{tid}/stat", std::process::id()));
        stat.is_some_and(|stat| {
            matches!(stat.rsplit(')').next().unwrap_or_default().trim().chars().next(), Some('S' | 'D'))
        })
    }

    /// Returns what of a process is resident.
    pub(crate) fn resident(&self, pid: i32) -> Option<Resident> {
        let status = self.read::<4096>(&format!("{pid}/status"))?;
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kilobytes: Option<u64> = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
            kilobytes.unwrap_or(0).saturating_mul(1024)
        };
        Some(Resident {
            now: value("VmRSS"),
            peak: value("VmHWM"),
            anonymous: value("RssAnon"),
            file: value("RssFile"),
            shared: value("RssShmem"),
        })
    }

    /// Returns how many bytes of a process are resident, 0 once it is gone.
    pub(crate) fn resident_now(&self, pid: i32) -> u64 {
        self.open_statm(pid).as_ref().map_or(0, Figures::resident_in)
    }

    /// Opens what [`Figures::resident_in`] reads.
    pub(crate) fn open_statm(&self, pid: i32) -> Option<OwnedFd> {
        self.open(&format!("{pid}/statm"))
    }

    /// As [`Figures::resident_now`], of the process whose file was opened.
    pub(crate) fn resident_in(statm: &OwnedFd) -> u64 {
        let mut text = [0; 128];
        let len = rustix::io::pread(statm, &mut text, 0).unwrap_or(0);
        let text = std::str::from_utf8(&text[..len]).unwrap_or_default();
        let pages: Option<u64> = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
        pages.unwrap_or(0).saturating_mul(abi::PAGE_SIZE)
    }

    /// Opens a file in `/proc`.
    pub(super) fn open(&self, name: &str) -> Option<OwnedFd> {
        openat(self.proc.as_ref()?, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
    }

    /// Reads the beginning of a file in `/proc`.
    fn read<const N: usize>(&self, name: &str) -> Option<String> {
        let file = self.open(name)?;
        let mut text = [0; N];
        let len = rustix::io::read(&file, &mut text).ok()?;
        Some(String::from_utf8_lossy(text.get(..len)?).into_owned())
    }

    /// Reads `schedstat` (kernel: `Documentation/scheduler/sched-stats.rst`): nanoseconds on a processor come first.
    fn schedstat(&self, pid: i32, tid: i32) -> Option<Duration> {
        let text = self.read::<96>(&format!("{pid}/task/{tid}/schedstat"))?;
        let nanoseconds = text.split(' ').next()?.parse().ok()?;
        Some(Duration::from_nanos(nanoseconds))
    }
}

/// Reads the processor-time clock of a process (`man 3 clock_getcpuclockid`); zero once it is gone.
pub(crate) fn process_clock(pid: i32) -> Duration {
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
        let figures = Figures::new();
        if figures.proc.is_some() {
            let resident = figures.resident(own).unwrap();
            assert!(resident.now > 0 && resident.peak >= resident.anonymous);
            assert!(figures.resident_now(own) > 0);
            let before = figures.thread(own, tid).minor_faults;
            std::hint::black_box(vec![1_u8; 32 << 20]);
            assert!(figures.thread(own, tid).minor_faults > before);
        }
        assert!(figures.schedstat(own, tid).is_none_or(|time| time > Duration::ZERO));
    }
}
