//! `setsockopt`, `getsockopt`.

use abi::flags::OpenFlags;
use abi::{Errno, Fd, Pid, UserAddr, UserRef};
use sentry::Current;
use sentry_net::opts;
use sentry_net::uapi::{so, sol};

use crate::pidfd;
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
        sol::SOCKET if optname == so::PEERPIDFD => {
            let peer = found.socket.peer_cred().ok_or(Errno::ENODATA)?;
            let fd = pidfd::install(cur, Pid(peer.pid), false, OpenFlags::RDWR)?;
            return peer_pidfd(cur, fd, optval, lenp, room);
        }
        sol::SOCKET => opts::get(&*found.socket, optname, room)?,
        _ => found.socket.get_option(level, optname, room)?,
    };
    put(cur, &value, optval, lenp, room)
}

fn put(cur: &Current, value: &[u8], optval: UserAddr, lenp: UserRef<i32>, room: usize) -> Result<(), Errno> {
    let shown = &value[..value.len().min(room)];
    cur.mem.write_bytes(optval, shown)?;
    cur.mem.write_last(lenp, &i32::try_from(shown.len()).unwrap_or(i32::MAX))
}

/// Hands out a descriptor of the peer's process, or closes it where that can't be told.
fn peer_pidfd(cur: &Current, fd: Fd, optval: UserAddr, lenp: UserRef<i32>, room: usize) -> Result<(), Errno> {
    let value = fd.0.to_ne_bytes();
    let shown = value.len().min(room);
    let told = cur.mem.write_bytes(optval, &value[..shown]);
    // Not with the reply: by then the descriptor could not be taken back.
    let told = told.and_then(|()| cur.mem.write(lenp, &i32::try_from(shown).unwrap_or(i32::MAX)));
    if told.is_err() {
        let _ = cur.task.files.load().remove(fd);
    }
    told
}
