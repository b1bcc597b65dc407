//! `setsockopt`, `getsockopt`.

use abi::{Errno, Fd, UserAddr, UserRef};
use sentry::Current;
use sentry_net::opts;
use sentry_net::uapi::sol;

use crate::socket::{as_caller, find};

/// Longest option value that any option looks at, bytes.
const MAX_VALUE: usize = 256;
/// Length of an `int`: most options look no further.
const INT: usize = 4;

/// Serves `setsockopt(2)`.
pub fn setsockopt(
    cur: &mut Current,
    sockfd: Fd,
    level: i32,
    optname: i32,
    optval: UserAddr,
    optlen: u32,
) -> Result<(), Errno> {
    let found = find(cur, sockfd)?;
    let len = i32::from_ne_bytes(optlen.to_ne_bytes());
    let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    let mut value = [0; MAX_VALUE];
    let want = len.min(MAX_VALUE);
    let got = cur.mem.read_partial(optval, &mut value[..want]);
    if got < want.min(INT) {
        return Err(Errno::EFAULT);
    }
    let value = &value[..got];
    let result = as_caller(cur, |caller| match level {
        sol::SOCKET => opts::set(&*found.socket, caller, optname, value),
        _ => found.socket.set_option(caller, level, optname, value),
    });
    // A value that could be read only in part was too short for that reason.
    if got < want && result == Err(Errno::EINVAL) { Err(Errno::EFAULT) } else { result }
}

/// Serves `getsockopt(2)`.
pub fn getsockopt(
    cur: &mut Current,
    sockfd: Fd,
    level: i32,
    optname: i32,
    optval: UserAddr,
    optlen: UserAddr,
) -> Result<(), Errno> {
    let found = find(cur, sockfd)?;
    let lenp = UserRef::<i32>::new(optlen);
    let room = usize::try_from(cur.mem.read(lenp)?).map_err(|_| Errno::EINVAL)?;
    let value = match level {
        sol::SOCKET => opts::get(&*found.socket, optname, room)?,
        _ => found.socket.get_option(level, optname, room)?,
    };
    let shown = &value[..value.len().min(room)];
    cur.mem.write_bytes(optval, shown)?;
    cur.mem.write(lenp, &i32::try_from(shown.len()).unwrap_or(i32::MAX))
}
