//! Clocks of the guest: the host's, read through the vDSO.

use abi::time::Timespec;
use rustix::time::{ClockId, clock_gettime};

/// Returns the wall-clock time.
pub fn realtime() -> Timespec {
    read(ClockId::Realtime)
}

/// Returns the monotonic time; the vDSO gives the guest the same.
pub fn monotonic() -> Timespec {
    read(ClockId::Monotonic)
}

fn read(clock: ClockId) -> Timespec {
    let time = clock_gettime(clock);
    Timespec { sec: time.tv_sec, nsec: time.tv_nsec }
}
