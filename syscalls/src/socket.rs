//! `socket`, `connect`, `accept`, `sendto`, `recvfrom`, `sendmsg`, `recvmsg`, `shutdown`, `bind`, `listen`, `getsockname`,
//! `getpeername`, `socketpair`, `accept4`, `recvmmsg`, `sendmmsg`.
//!
//! The order of checks is Linux's (`net/socket.c`). Sockets themselves never wait: [`send::SendJob`] and
//! [`recv::RecvJob`] try once, and wait in a future where that is asked for.

mod control;
mod message;
mod name;
mod paths;
mod recv;
mod send;

use std::sync::Arc;
use std::time::{Duration, Instant};

use abi::flags::{OpenFlags, Ready};
use abi::time::Timespec;
use abi::{Errno, Fd, Restart, SysError, UserAddr, UserRef};
use sentry::mm::IovecList;
use sentry::task::Caps as TaskCaps;
use sentry::vfs::{FdFlags, File};
use sentry::wait::WaitError;
use sentry::{Current, Outcome, SysResult, Task};
use sentry_fs::IoFlags;
use sentry_net::uapi::{MsgFlags, SockType};
use sentry_net::{Caller, Caps, FileRef, Shutdown, Socket, SocketFile, SocketInode, Ucred};
use sentry_sync::WaitQueue;

pub(crate) use name::{read_addr, write_addr};
use paths::Paths;
use recv::RecvJob;
use send::SendJob;

/// What may make a wait worth another try, whatever it waits for.
const ENDED: Ready = Ready::ERR.union(Ready::HUP).union(Ready::RDHUP);

/// A socket found by descriptor.
pub(crate) struct Found {
    pub(crate) socket: Arc<dyn Socket>,
    pub(crate) nonblocking: bool,
}

/// Finds a socket: `EBADF`, `ENOTSOCK`.
pub(crate) fn find(cur: &Current, fd: Fd) -> Result<Found, Errno> {
    let file = cur.task.files.load().get_io(fd)?;
    of_file(&file)
}

fn of_file(file: &File) -> Result<Found, Errno> {
    let socket = Arc::clone(&file.ops).as_any().downcast::<SocketFile>().map_err(|_| Errno::ENOTSOCK)?;
    Ok(Found { socket: Arc::clone(socket.socket()), nonblocking: file.nonblocking() })
}

/// Serves `read(2)` and its kin on a socket.
pub(crate) fn read<'a>(cur: &'a mut Current, file: &File, flags: IoFlags, list: IovecList) -> Outcome<'a> {
    if list.iter().all(|iovec| iovec.len == 0) {
        return Outcome::Done(Ok(0));
    }
    match of_file(file) {
        Ok(found) => {
            let job = RecvJob::new(found, nowait(flags), list).data_last(true);
            job.run(cur, |_, received| value(received.len))
        }
        Err(errno) => Outcome::Done(Err(errno.into())),
    }
}

/// Serves `write(2)` and its kin on a socket.
pub(crate) fn write<'a>(cur: &'a mut Current, file: &File, flags: IoFlags, list: IovecList) -> Outcome<'a> {
    match of_file(file) {
        Ok(found) => SendJob::new(found, nowait(flags), None, Vec::new(), list).run(cur),
        Err(errno) => Outcome::Done(Err(errno.into())),
    }
}

fn nowait(flags: IoFlags) -> MsgFlags {
    if flags.contains(IoFlags::NOWAIT) { MsgFlags::DONTWAIT } else { MsgFlags::empty() }
}

/// Runs `act` with the caller as sockets see it.
pub(crate) fn as_caller<R>(cur: &Current, act: impl FnOnce(&Caller<'_>) -> R) -> R {
    let cred = cur.task.cred.load();
    let mut caps = Caps::empty();
    caps.set(Caps::NET_BIND_SERVICE, cred.has(TaskCaps::NET_BIND_SERVICE));
    caps.set(Caps::NET_ADMIN, cred.has(TaskCaps::NET_ADMIN));
    caps.set(Caps::NET_RAW, cred.has(TaskCaps::NET_RAW));
    caps.set(Caps::UNLIMITED_IN_FLIGHT, cred.has(TaskCaps::SYS_RESOURCE) || cred.has(TaskCaps::SYS_ADMIN));
    let paths = Paths::new(cur);
    act(&Caller {
        cred: Ucred { pid: cur.process().pid.0, uid: cred.euid, gid: cred.egid },
        caps,
        nofile: cur.process().limit(sentry::task::Resource::Nofile),
        paths: &paths,
        socket_of,
    })
}

/// Returns the socket behind a file in flight.
fn socket_of(file: &FileRef) -> Option<Arc<dyn Socket>> {
    let file = file.downcast_ref::<File>()?;
    let socket = Arc::clone(&file.ops).as_any().downcast::<SocketFile>().ok()?;
    Some(Arc::clone(socket.socket()))
}

/// The end of a wait of so long; `None` waits for ever.
fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

/// The longest pause between two attempts at what nobody tells of: each doubles, so that many who wait ask seldom.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Waits as [`Task::wait`] does; where nobody tells when to try again, also tries after each pause.
async fn wait_in_turns<T>(
    task: &Task,
    queue: &WaitQueue,
    interest: u32,
    end: Option<Instant>,
    mut pause: Option<Duration>,
    mut attempt: impl FnMut() -> Option<T>,
) -> Result<T, WaitError> {
    loop {
        let next = pause.and_then(|pause| Instant::now().checked_add(pause));
        let next = next.filter(|next| end.is_none_or(|end| *next < end));
        match task.wait(queue, interest, next.or(end), &mut attempt).await {
            Err(WaitError::TimedOut) if next.is_some() => pause = pause.map(|pause| LONGEST_PAUSE.min(pause * 2)),
            waited => return waited,
        }
    }
}

/// What an interrupted wait answers: calls with a timeout aren't restarted.
fn interrupted(timeout: Option<Duration>) -> SysError {
    if timeout.is_some() { Errno::EINTR.into() } else { Restart::Sys.into() }
}

/// Splits the second argument of `socket(2)` and the flags of `accept4(2)`: `EINVAL` for unknown bits.
fn creation_flags(flags: u32) -> Result<(OpenFlags, FdFlags), Errno> {
    if flags & !(SockType::CLOEXEC | SockType::NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let mut open = OpenFlags::RDWR;
    open.set(OpenFlags::NONBLOCK, flags & SockType::NONBLOCK != 0);
    let mut own = FdFlags::empty();
    own.set(FdFlags::CLOEXEC, flags & SockType::CLOEXEC != 0);
    Ok((open, own))
}

/// Opens a socket at the lowest free descriptor.
fn install(cur: &Current, socket: Arc<dyn Socket>, flags: (OpenFlags, FdFlags)) -> Result<Fd, Errno> {
    let inode = SocketInode::new(socket.core());
    let file = File::new(SocketFile::new(socket), Some(inode), flags.0);
    cur.task.files.load().install(file, flags.1, 0, cur.process().fd_limit())
}

/// Serves `socket(2)`.
pub fn socket(cur: &mut Current, domain: i32, kind: u32, protocol: i32) -> Result<Fd, Errno> {
    let flags = creation_flags(kind & !SockType::MASK)?;
    let socket = as_caller(cur, |caller| {
        let ns = &cur.kernel().net;
        ns.socket(caller, domain, kind & SockType::MASK, protocol)
    })?;
    install(cur, socket, flags)
}

/// Serves `socketpair(2)`.
pub fn socketpair(cur: &mut Current, domain: i32, kind: u32, protocol: i32, sv: UserAddr) -> Result<u64, Errno> {
    let flags = creation_flags(kind & !SockType::MASK)?;
    let (a, b) = as_caller(cur, |caller| {
        let ns = &cur.kernel().net;
        ns.socketpair(caller, domain, kind & SockType::MASK, protocol)
    })?;
    let first = install(cur, a, flags)?;
    let files = cur.task.files.load_full();
    let second = match install(cur, b, flags) {
        Ok(second) => second,
        Err(errno) => {
            drop(files.remove(first));
            return Err(errno);
        }
    };
    let written = cur.mem.write(UserRef::<[i32; 2]>::new(sv), &[first.0, second.0]);
    if written.is_err() {
        drop(files.remove(first));
        drop(files.remove(second));
    }
    written.map(|()| 0)
}

/// Serves `bind(2)`.
pub fn bind(cur: &mut Current, sockfd: Fd, addr: UserAddr, addrlen: u32) -> Result<(), Errno> {
    let found = find(cur, sockfd)?;
    let addr = read_addr(cur, addr, addrlen)?;
    as_caller(cur, |caller| found.socket.bind(caller, &addr))
}

/// Serves `listen(2)`.
pub fn listen(cur: &mut Current, sockfd: Fd, backlog: i32) -> Result<(), Errno> {
    let found = find(cur, sockfd)?;
    as_caller(cur, |caller| found.socket.listen(caller, backlog))
}

/// Serves `connect(2)`.
pub fn connect(cur: &mut Current, sockfd: Fd, addr: UserAddr, addrlen: u32) -> Outcome<'_> {
    let found = match connect_args(cur, sockfd, addr, addrlen) {
        Ok(found) => found,
        Err(errno) => return Outcome::Done(Err(errno.into())),
    };
    let (found, addr) = found;
    let first = try_connect(cur, &found, &addr);
    if found.nonblocking || !is_pending(first) {
        return Outcome::Done(first.map(|()| 0).map_err(SysError::Errno));
    }
    // A connect that is over at once says so when it is asked again.
    let second = try_connect(cur, &found, &addr);
    if !is_pending(second) {
        return Outcome::Done(second.map(|()| 0).map_err(SysError::Errno));
    }
    Outcome::block(async move {
        let timeout = found.socket.core().opts.lock().sndtimeo;
        let task = Arc::clone(&cur.task);
        let queue = found.socket.core().wait.clone();
        let interest = (Ready::OUT | ENDED).bits();
        let mut attempt = || Some(try_connect(cur, &found, &addr)).filter(|result| !is_pending(*result));
        let pause = found.socket.pause();
        match wait_in_turns(&task, &queue, interest, deadline(timeout), pause, &mut attempt).await {
            Ok(result) => result.map(|()| 0).map_err(SysError::Errno),
            Err(WaitError::Interrupted) => Err(interrupted(timeout)),
            // TCP goes on trying; a unix socket gives up.
            Err(WaitError::TimedOut) if first == Err(Errno::EAGAIN) => Err(Errno::EAGAIN.into()),
            Err(WaitError::TimedOut) => Err(Errno::EINPROGRESS.into()),
        }
    })
}

fn connect_args(cur: &Current, sockfd: Fd, addr: UserAddr, addrlen: u32) -> Result<(Found, message::Addr), Errno> {
    cur.task.files.load().get_io(sockfd)?;
    let addr = read_addr(cur, addr, addrlen)?;
    Ok((find(cur, sockfd)?, addr))
}

fn try_connect(cur: &mut Current, found: &Found, addr: &[u8]) -> Result<(), Errno> {
    as_caller(cur, |caller| found.socket.connect(caller, addr))
}

fn is_pending(result: Result<(), Errno>) -> bool {
    matches!(result, Err(Errno::EAGAIN | Errno::EINPROGRESS | Errno::EALREADY))
}

/// Serves `accept(2)`.
pub fn accept(cur: &mut Current, sockfd: Fd, addr: UserAddr, addrlen: UserAddr) -> Outcome<'_> {
    accept4(cur, sockfd, addr, addrlen, 0)
}

/// Serves `accept4(2)`.
pub fn accept4(cur: &mut Current, sockfd: Fd, addr: UserAddr, addrlen: UserAddr, flags: u32) -> Outcome<'_> {
    let checked = creation_flags(flags).and_then(|flags| {
        let found = find(cur, sockfd)?;
        let room = cur.task.files.load().has_room(cur.process().fd_limit());
        if room { Ok((flags, found)) } else { Err(Errno::EMFILE) }
    });
    let (flags, found) = match checked {
        Ok(checked) => checked,
        Err(errno) => return Outcome::Done(Err(errno.into())),
    };
    match found.socket.accept() {
        Err(Errno::EAGAIN) if !found.nonblocking => {}
        accepted => {
            return Outcome::Done(
                accepted.and_then(|new| accepted_fd(cur, new, flags, addr, addrlen)).map_err(SysError::Errno),
            );
        }
    }
    Outcome::block(async move {
        let timeout = found.socket.core().opts.lock().rcvtimeo;
        let queue = found.socket.core().wait.clone();
        let interest = (Ready::IN | ENDED).bits();
        let attempt = || match found.socket.accept() {
            Err(Errno::EAGAIN) => None,
            accepted => Some(accepted),
        };
        match cur.task.wait(&queue, interest, deadline(timeout), attempt).await {
            Ok(accepted) => Ok(accepted_fd(cur, accepted?, flags, addr, addrlen)?),
            Err(WaitError::Interrupted) => Err(interrupted(timeout)),
            Err(WaitError::TimedOut) => Err(Errno::EAGAIN.into()),
        }
    })
}

fn accepted_fd(
    cur: &Current,
    socket: Arc<dyn Socket>,
    flags: (OpenFlags, FdFlags),
    addr: UserAddr,
    addrlen: UserAddr,
) -> Result<u64, Errno> {
    // From here on the file owns the connection: an error closes it.
    let file = SocketFile::new(Arc::clone(&socket));
    if !addr.is_null() {
        let name = socket.accepted_name()?;
        write_addr(cur, name.bytes(), addr, addrlen)?;
    }
    let file = File::new(file, Some(SocketInode::new(socket.core())), flags.0);
    let fd = cur.task.files.load().install(file, flags.1, 0, cur.process().fd_limit())?;
    u64::try_from(fd.0).map_err(|_| Errno::EMFILE)
}

/// Serves `shutdown(2)`.
pub fn shutdown(cur: &mut Current, sockfd: Fd, how: i32) -> Result<(), Errno> {
    let found = find(cur, sockfd)?;
    found.socket.shutdown(Shutdown::from_raw(how)?)
}

/// Serves `getsockname(2)`.
pub fn getsockname(cur: &mut Current, sockfd: Fd, addr: UserAddr, addrlen: UserAddr) -> Result<(), Errno> {
    let name = find(cur, sockfd)?.socket.local_name()?;
    write_addr(cur, name.bytes(), addr, addrlen)
}

/// Serves `getpeername(2)`.
pub fn getpeername(cur: &mut Current, sockfd: Fd, addr: UserAddr, addrlen: UserAddr) -> Result<(), Errno> {
    let name = find(cur, sockfd)?.socket.peer_name()?;
    write_addr(cur, name.bytes(), addr, addrlen)
}

/// Serves `sendto(2)`.
pub fn sendto(
    cur: &mut Current,
    sockfd: Fd,
    buf: UserAddr,
    len: usize,
    flags: u32,
    dest_addr: UserAddr,
    addrlen: u32,
) -> Outcome<'_> {
    let job = sentry::usermem::UserMem::one_iovec(buf, len).and_then(|list| {
        let found = find(cur, sockfd)?;
        let to = if dest_addr.is_null() { None } else { Some(read_addr(cur, dest_addr, addrlen)?) };
        Ok(SendJob::new(found, MsgFlags::from_bits_retain(flags), to, Vec::new(), list))
    });
    match job {
        Ok(job) => job.run(cur),
        Err(errno) => Outcome::Done(Err(errno.into())),
    }
}

/// Serves `recvfrom(2)`.
pub fn recvfrom(
    cur: &mut Current,
    sockfd: Fd,
    buf: UserAddr,
    len: usize,
    flags: u32,
    src_addr: UserAddr,
    addrlen: UserAddr,
) -> Outcome<'_> {
    let job = sentry::usermem::UserMem::one_iovec(buf, len)
        .and_then(|list| Ok(RecvJob::new(find(cur, sockfd)?, MsgFlags::from_bits_retain(flags), list)));
    match job {
        Ok(job) => job.data_last(src_addr.is_null()).run(cur, move |cur, received| {
            if !src_addr.is_null() {
                let from = received.from.as_ref().map_or(&[][..], |from| from.bytes());
                write_addr(cur, from, src_addr, addrlen)?;
            }
            Ok(received.len as u64)
        }),
        Err(errno) => Outcome::Done(Err(errno.into())),
    }
}

/// Serves `sendmsg(2)`.
pub fn sendmsg(cur: &mut Current, sockfd: Fd, msg: UserAddr, flags: u32) -> Outcome<'_> {
    match message::outgoing(cur, sockfd, msg, MsgFlags::from_bits_retain(flags)) {
        Ok(job) => job.run(cur),
        Err(errno) => Outcome::Done(Err(errno.into())),
    }
}

/// Serves `recvmsg(2)`.
pub fn recvmsg(cur: &mut Current, sockfd: Fd, msg: UserAddr, flags: u32) -> Outcome<'_> {
    match message::incoming(cur, sockfd, msg, MsgFlags::from_bits_retain(flags)) {
        Ok((job, header)) => job.run(cur, move |cur, received| message::deliver(cur, &header, received)),
        Err(errno) => Outcome::Done(Err(errno.into())),
    }
}

/// Most messages in one call (`UIO_MAXIOV`).
const MAX_MESSAGES: u32 = 1024;

/// Serves `sendmmsg(2)`: the error of the first message, else how many were sent.
pub fn sendmmsg(cur: &mut Current, sockfd: Fd, msgvec: UserAddr, vlen: u32, flags: u32) -> Outcome<'_> {
    Outcome::block(async move {
        let flags = MsgFlags::from_bits_retain(flags);
        find(cur, sockfd)?;
        let mut sent = 0;
        for at in 0..vlen.min(MAX_MESSAGES) {
            let entry = message::entry(msgvec, at);
            let result = send_one(cur, sockfd, entry, flags).await;
            match result {
                Ok(()) => sent += 1,
                Err(error) if sent == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(sent)
    })
}

async fn send_one(cur: &mut Current, sockfd: Fd, entry: UserAddr, flags: MsgFlags) -> Result<(), SysError> {
    let job = message::outgoing(cur, sockfd, entry, flags)?;
    let len = job.finish(cur).await?;
    Ok(message::put_len(cur, entry, len)?)
}

/// Serves `recvmmsg(2)`. The timeout is looked at after each message only, as on Linux.
pub fn recvmmsg(
    cur: &mut Current,
    sockfd: Fd,
    msgvec: UserAddr,
    vlen: u32,
    flags: u32,
    timeout: UserAddr,
) -> Outcome<'_> {
    Outcome::block(async move {
        let mut flags = MsgFlags::from_bits_retain(flags);
        let timeout = UserRef::<Timespec>::new(timeout);
        let end = match cur.mem.read_opt(timeout)? {
            Some(time) => Some(span(time)?).map(|span| (Instant::now().checked_add(span), span)),
            None => None,
        };
        let found = find(cur, sockfd)?;
        found.socket.core().take_error()?;
        let wait_for_one = flags.contains(MsgFlags::WAITFORONE);
        flags.remove(MsgFlags::WAITFORONE);
        let mut count = 0;
        for at in 0..vlen.min(MAX_MESSAGES) {
            let entry = message::entry(msgvec, at);
            match recv_one(cur, sockfd, entry, flags).await {
                Ok(()) => count += 1,
                Err(error) if count == 0 => return Err(error),
                Err(SysError::Errno(errno)) if errno != Errno::EAGAIN && errno != Errno::EINTR => {
                    found.socket.core().set_error(errno);
                    break;
                }
                Err(_) => break,
            }
            if wait_for_one {
                flags |= MsgFlags::DONTWAIT;
            }
            if end.is_some_and(|(end, _)| end.is_some_and(|end| Instant::now() >= end)) {
                break;
            }
        }
        if let Some((Some(end), _)) = end {
            let left = end.saturating_duration_since(Instant::now());
            let nanos = i64::try_from(left.as_nanos()).unwrap_or(i64::MAX);
            cur.mem.write(timeout, &Timespec::from_nanos(nanos))?;
        }
        Ok(count)
    })
}

async fn recv_one(cur: &mut Current, sockfd: Fd, entry: UserAddr, flags: MsgFlags) -> Result<(), SysError> {
    let (job, header) = message::incoming(cur, sockfd, entry, flags)?;
    let received = job.finish(cur).await?;
    let len = message::deliver(cur, &header, received)?;
    Ok(message::put_len(cur, entry, len)?)
}

/// A time span of a guest: `EINVAL` where it isn't one.
fn span(time: Timespec) -> Result<Duration, Errno> {
    match (u64::try_from(time.sec), u32::try_from(time.nsec)) {
        (Ok(sec), Ok(nsec)) if nsec < 1_000_000_000 => Ok(Duration::new(sec, nsec)),
        _ => Err(Errno::EINVAL),
    }
}

/// A result for `rax`.
fn value(count: usize) -> SysResult {
    Ok(count as u64)
}

#[cfg(test)]
mod tests;
