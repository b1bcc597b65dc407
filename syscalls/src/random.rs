//! `getrandom`.

use abi::types::MAX_RW_COUNT;
use abi::{Errno, UserAddr};
use rustix::rand::{GetRandomFlags, getrandom as host_getrandom};
use sentry::Current;

const GRND_NONBLOCK: u32 = 1;
const GRND_RANDOM: u32 = 2;
const GRND_INSECURE: u32 = 4;
const CHUNK: usize = 4096;

/// Serves `getrandom(2)`.
pub fn getrandom(cur: &mut Current, buf: UserAddr, len: usize, flags: u32) -> Result<u64, Errno> {
    let known = GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE;
    if flags & !known != 0 || flags & (GRND_RANDOM | GRND_INSECURE) == GRND_RANDOM | GRND_INSECURE {
        return Err(Errno::EINVAL);
    }
    let len = len.min(MAX_RW_COUNT);
    let mut chunk = [0; CHUNK];
    let mut done = 0;
    while done < len {
        let want = CHUNK.min(len - done);
        let got = host_getrandom(&mut chunk[..want], GetRandomFlags::empty())
            .map_err(|error| Errno::from_raw(error.raw_os_error()))?;
        let written = cur.mem.write_partial(buf.wrapping_add(done as u64), &chunk[..got]);
        done += written;
        if written < got {
            break;
        }
    }
    if done == 0 && len > 0 { Err(Errno::EFAULT) } else { Ok(done as u64) }
}
