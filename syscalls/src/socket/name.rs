//! Socket addresses in and out of guest memory.

use abi::{Errno, UserAddr, UserRef};
use sentry::Current;
use sentry_net::addr::STORAGE_LEN;
use smallvec::SmallVec;

use super::message::Addr;

/// Copies an address in: `EINVAL` beyond 128 bytes, `EFAULT`. The family judges the rest.
pub(crate) fn read_addr(cur: &Current, addr: UserAddr, len: u32) -> Result<Addr, Errno> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len > STORAGE_LEN {
        return Err(Errno::EINVAL);
    }
    let mut raw: Addr = SmallVec::from_elem(0, len);
    cur.mem.read_bytes(addr, &mut raw)?;
    Ok(raw)
}

/// Copies an address out, cut to the guest's room, and its whole length: `EINVAL` for a negative room.
pub(crate) fn write_addr(cur: &Current, name: &[u8], addr: UserAddr, lenp: UserAddr) -> Result<(), Errno> {
    let lenp = UserRef::<i32>::new(lenp);
    let room = usize::try_from(cur.mem.read(lenp)?).map_err(|_| Errno::EINVAL)?;
    cur.mem.write_bytes(addr, &name[..name.len().min(room)])?;
    cur.mem.write(lenp, &i32::try_from(name.len()).unwrap_or(i32::MAX))
}
