//! How much memory the host's cgroups leave to the sandbox.

use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Less than this left is little: until the next look several processors may fill as much.
const LITTLE: u64 = 24 << 20;
/// How long what was seen counts.
const COUNTS_FOR: Duration = Duration::from_micros(500);

/// One limit, by the cgroup's own files: both hold a number, the second may say that there is none.
#[derive(Debug)]
pub struct MemoryLimit {
    /// `memory.usage_in_bytes` or `memory.current`.
    pub used: OwnedFd,
    /// `memory.limit_in_bytes` or `memory.max`.
    pub most: OwnedFd,
}

/// All limits that hold for the sandbox.
#[derive(Debug, Default)]
pub struct MemoryLimits {
    limits: Vec<MemoryLimit>,
    begin: OnceLock<Instant>,
    /// Until when the last look counts, in microseconds since `begin`, and in the lowest bit what was seen.
    seen: AtomicU64,
}

impl From<Vec<MemoryLimit>> for MemoryLimits {
    fn from(limits: Vec<MemoryLimit>) -> MemoryLimits {
        MemoryLimits { limits, ..MemoryLimits::default() }
    }
}

/// Reads a number; `None` where there is another word, or none any more.
fn number(file: &OwnedFd) -> Option<u64> {
    let mut text = [0; 32];
    let len = rustix::io::pread(file, &mut text, 0).ok()?;
    std::str::from_utf8(text.get(..len)?).ok()?.trim().parse().ok()
}

impl MemoryLimit {
    fn left(&self) -> Option<u64> {
        let most = number(&self.most)?;
        Some(most.saturating_sub(number(&self.used)?))
    }
}

impl MemoryLimits {
    /// Tells whether little memory is left. Takes a look every half a millisecond.
    pub(crate) fn is_tight(&self) -> bool {
        if self.limits.is_empty() {
            return false;
        }
        let now = self.begin.get_or_init(Instant::now).elapsed().as_micros() as u64;
        let seen = self.seen.load(Ordering::Relaxed);
        if now < seen >> 1 {
            return seen & 1 != 0;
        }
        let tight = self.look();
        let until = now + COUNTS_FOR.as_micros() as u64;
        self.seen.store(until << 1 | u64::from(tight), Ordering::Relaxed);
        tight
    }

    fn look(&self) -> bool {
        self.limits.iter().filter_map(MemoryLimit::left).any(|left| left < LITTLE)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(text: &str) -> OwnedFd {
        let fd = rustix::fs::memfd_create("limit", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let mut file = std::fs::File::from(fd);
        file.write_all(text.as_bytes()).unwrap();
        file.into()
    }

    fn limits(pairs: &[(&str, &str)]) -> MemoryLimits {
        let limit = |(used, most): &(&str, &str)| MemoryLimit { used: file(used), most: file(most) };
        pairs.iter().map(limit).collect::<Vec<_>>().into()
    }

    #[test]
    fn the_narrowest_limit_decides() {
        let roomy = ("1000\n", "9223372036854771712\n");
        assert!(!limits(&[]).is_tight());
        assert!(!limits(&[roomy]).is_tight());
        assert!(limits(&[roomy, ("60000000\n", "67108864\n")]).is_tight());
        // More may be in use than is allowed, when that was lowered.
        assert!(limits(&[("70000000\n", "67108864\n")]).is_tight());
    }

    #[test]
    fn what_has_no_limit_or_is_gone_leaves_room() {
        assert!(!limits(&[("60000000\n", "max\n"), ("", "67108864\n"), ("60000000", "")]).is_tight());
    }

    #[test]
    fn a_look_counts_for_a_while_and_not_longer() {
        let limits = limits(&[("60000000\n", "67108864\n")]);
        assert!(limits.is_tight());
        rustix::io::pwrite(&limits.limits[0].most, b"99999999\n", 0).unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        while limits.is_tight() {
            assert!(Instant::now() < until);
        }
    }
}
