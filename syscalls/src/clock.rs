//! `clock_gettime`, `clock_getres`, `clock_settime`, `settimeofday`, `adjtimex`, `clock_adjtime`.

use abi::time::{Timespec, Timeval};
use abi::{Errno, UserRef};
use sentry::Current;
use sentry::time::Clock;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Resolution of the coarse clocks: a tick of the usual 250 Hz kernel.
const COARSE_NANOS: i64 = 4_000_000;

/// Serves `clock_gettime(2)`.
pub fn clock_gettime(cur: &mut Current, clock: i32, tp: UserRef<Timespec>) -> Result<(), Errno> {
    let now = Clock::from_id(&cur.task, clock)?.now(&cur.task)?;
    cur.mem.write_last(tp, &now)
}

/// Serves `clock_getres(2)`.
pub fn clock_getres(cur: &mut Current, clock: i32, res: UserRef<Timespec>) -> Result<(), Errno> {
    Clock::from_id(&cur.task, clock)?;
    let nanos = if matches!(clock, 5 | 6) { COARSE_NANOS } else { 1 };
    cur.mem.write_opt_last(res, &Timespec::from_nanos(nanos))
}

/// Serves `clock_settime(2)`: the sandbox can't set the host's clock.
pub fn clock_settime(cur: &mut Current, clock: i32, tp: UserRef<Timespec>) -> Result<(), Errno> {
    let clock = Clock::from_id(&cur.task, clock)?;
    cur.mem.read(tp)?.validate()?;
    match clock {
        Clock::Realtime => Err(Errno::EPERM),
        _ => Err(Errno::EINVAL),
    }
}

/// Serves `settimeofday(2)`: the sandbox can't set the host's clock.
pub fn settimeofday(cur: &mut Current, tv: UserRef<Timeval>, tz: UserRef<[i32; 2]>) -> Result<(), Errno> {
    if let Some(time) = cur.mem.read_opt(tv)?
        && (!(0..=1_000_000).contains(&time.usec) || time.sec < 0)
    {
        return Err(Errno::EINVAL);
    }
    cur.mem.read_opt(tz)?;
    Err(Errno::EPERM)
}

/// `struct timex`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timex {
    modes: u32,
    pad0: u32,
    offset: i64,
    freq: i64,
    maxerror: i64,
    esterror: i64,
    status: i32,
    pad1: u32,
    constant: i64,
    precision: i64,
    tolerance: i64,
    time: Timeval,
    tick: i64,
    rest: [i64; 14],
}

const STA_UNSYNC: i32 = 0x40;
const TIME_ERROR: u64 = 5;

/// Serves `adjtimex(2)`: reads what an unsynchronised clock reports, sets nothing.
pub fn adjtimex(cur: &mut Current, buf: UserRef<Timex>) -> Result<u64, Errno> {
    let asked = cur.mem.read(buf)?;
    if asked.modes != 0 {
        return Err(Errno::EPERM);
    }
    let mut state = Timex::new_zeroed();
    state.maxerror = 16_000_000;
    state.esterror = 16_000_000;
    state.status = STA_UNSYNC;
    state.constant = 2;
    state.precision = 1;
    state.tolerance = 32_768_000;
    state.time = Timeval::from_nanos(sentry::time::realtime().nanos());
    state.tick = 10_000;
    cur.mem.write(buf, &state)?;
    Ok(TIME_ERROR)
}

/// Serves `clock_adjtime(2)`.
pub fn clock_adjtime(cur: &mut Current, clock: i32, buf: UserRef<Timex>) -> Result<u64, Errno> {
    match Clock::from_id(&cur.task, clock)? {
        Clock::Realtime => adjtimex(cur, buf),
        _ => Err(Errno::EOPNOTSUPP),
    }
}
