//! `struct timespec` and its relatives. Seconds are signed and nanoseconds must lie in 0..10^9.

use std::time::Duration;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Errno;

/// Nanoseconds in a second.
pub const NSEC_PER_SEC: i64 = 1_000_000_000;

/// `struct timespec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timespec {
    /// Seconds.
    pub sec: i64,
    /// Nanoseconds, 0..10^9 when valid.
    pub nsec: i64,
}

impl Timespec {
    /// Builds one from a count of nanoseconds.
    pub fn from_nanos(nanos: i64) -> Timespec {
        Timespec { sec: nanos.div_euclid(NSEC_PER_SEC), nsec: nanos.rem_euclid(NSEC_PER_SEC) }
    }

    /// Converts to nanoseconds, saturating at the ends of `i64` as the kernel's `ktime_t` does.
    pub fn nanos(self) -> i64 {
        self.sec.saturating_mul(NSEC_PER_SEC).saturating_add(self.nsec)
    }

    /// Checks what the kernel's `timespec64_valid` checks.
    pub fn validate(self) -> Result<Timespec, Errno> {
        if self.sec < 0 || !(0..NSEC_PER_SEC).contains(&self.nsec) { Err(Errno::EINVAL) } else { Ok(self) }
    }

    /// Converts a valid, non-negative time to a duration.
    pub fn duration(self) -> Result<Duration, Errno> {
        let valid = self.validate()?;
        let nsec = u32::try_from(valid.nsec).map_err(|_| Errno::EINVAL)?;
        Ok(Duration::new(valid.sec.unsigned_abs(), nsec))
    }
}

impl From<Duration> for Timespec {
    fn from(duration: Duration) -> Timespec {
        Timespec {
            sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
            nsec: i64::from(duration.subsec_nanos()),
        }
    }
}

/// `struct timeval`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timeval {
    /// Seconds.
    pub sec: i64,
    /// Microseconds, 0..10^6 when valid.
    pub usec: i64,
}

impl Timeval {
    /// Builds one from a count of nanoseconds, rounding down.
    pub fn from_nanos(nanos: i64) -> Timeval {
        let time = Timespec::from_nanos(nanos);
        Timeval { sec: time.sec, usec: time.nsec / 1000 }
    }
}

/// `struct itimerspec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Itimerspec {
    /// Period; zero for a single expiration.
    pub interval: Timespec,
    /// First expiration; zero disarms.
    pub value: Timespec,
}

/// `struct itimerval`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Itimerval {
    /// Period; zero for a single expiration.
    pub interval: Timeval,
    /// First expiration; zero disarms.
    pub value: Timeval,
}
