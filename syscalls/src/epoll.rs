//! `epoll_create`, `epoll_create1`, `epoll_ctl`, `epoll_wait`, `epoll_pwait`, `epoll_pwait2`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use abi::flags::{OpenFlags, Ready};
use abi::signal::SigSet;
use abi::time::Timespec;
use abi::{Errno, Fd, SysError, UserRef};
use sentry::vfs::File;
use sentry::wait::WaitError;
use sentry::{Current, Outcome, SysResult};
use sentry_fs::FileOps;
use sentry_fs::epoll::{Epoll, EpollEvent};

use crate::at;
use crate::poll::{read_mask, restore_mask, swap_mask};
use crate::read_write::attempt;

const EPOLL_CTL_ADD: i32 = 1;
const EPOLL_CTL_DEL: i32 = 2;
const EPOLL_CTL_MOD: i32 = 3;
/// Bytes of `struct epoll_event`, which is packed.
const EVENT_SIZE: usize = 12;
/// `EP_MAX_EVENTS`.
const MAX_EVENTS: usize = i32::MAX as usize / EVENT_SIZE;

/// Serves `epoll_create(2)`.
pub fn epoll_create(cur: &mut Current, size: i32) -> Result<Fd, Errno> {
    if size <= 0 {
        return Err(Errno::EINVAL);
    }
    epoll_create1(cur, 0)
}

/// Serves `epoll_create1(2)`.
pub fn epoll_create1(cur: &mut Current, flags: u32) -> Result<Fd, Errno> {
    let flags = OpenFlags::from_bits_retain(flags);
    if !OpenFlags::CLOEXEC.contains(flags) {
        return Err(Errno::EINVAL);
    }
    at::install(cur, File::new(Epoll::new(), None, flags | OpenFlags::RDWR), flags)
}

fn epoll_of(file: &File) -> Result<Arc<Epoll>, Errno> {
    let ops: Arc<dyn FileOps> = Arc::clone(&file.ops);
    ops.as_any().downcast().map_err(|_| Errno::EINVAL)
}

/// Serves `epoll_ctl(2)`.
pub fn epoll_ctl(cur: &mut Current, epfd: Fd, op: i32, fd: Fd, event: UserRef<[u8; EVENT_SIZE]>) -> Result<(), Errno> {
    let event = if op == EPOLL_CTL_DEL { None } else { Some(EpollEvent::from_bytes(cur.mem.read(event)?)) };
    let files = cur.task.files.load();
    let set = files.get_io(epfd)?;
    let file = files.get_io(fd)?;
    if file.ops.wait_queue().is_none() {
        return Err(Errno::EPERM);
    }
    let epoll = epoll_of(&set)?;
    if Arc::ptr_eq(&set, &file) {
        return Err(Errno::EINVAL);
    }
    match (op, event) {
        (EPOLL_CTL_ADD, Some(event)) => epoll.add(fd, &file.ops, event),
        (EPOLL_CTL_MOD, Some(event)) => epoll.modify(fd, &file.ops, event),
        (EPOLL_CTL_DEL, _) => epoll.remove(fd, &file.ops),
        _ => Err(Errno::EINVAL),
    }
}

/// What a wait was asked for.
struct Request {
    epoll: Arc<Epoll>,
    events: UserRef<[u8; EVENT_SIZE]>,
    max: usize,
}

fn request(cur: &Current, epfd: Fd, events: UserRef<[u8; EVENT_SIZE]>, max: i32) -> Result<Request, Errno> {
    let max = usize::try_from(max).ok().filter(|max| (1..=MAX_EVENTS).contains(max)).ok_or(Errno::EINVAL)?;
    if !sentry::mm::access_ok(events.addr().raw(), (max * EVENT_SIZE) as u64) {
        return Err(Errno::EFAULT);
    }
    let file = cur.task.files.load().get_io(epfd)?;
    Ok(Request { epoll: epoll_of(&file)?, events, max })
}

/// Hands out what is ready; `None` if nothing is.
fn collect(cur: &Current, request: &Request) -> Option<SysResult> {
    let found = request.epoll.collect(request.max);
    if found.is_empty() {
        return None;
    }
    let bytes: Vec<u8> = found.iter().flat_map(|event| event.to_bytes()).collect();
    let count = found.len() as u64;
    Some(cur.mem.write_bytes_last(request.events.addr(), &bytes).map(|()| count).map_err(SysError::Errno))
}

async fn wait(cur: &mut Current, request: Request, deadline: Option<Instant>) -> SysResult {
    let Some(queue) = request.epoll.wait_queue() else { return Err(Errno::EINVAL.into()) };
    let task = Arc::clone(&cur.task);
    let epoll = &request.epoll;
    let found = task
        .wait(&queue, Ready::READABLE.bits(), deadline, || {
            let found = epoll.collect(request.max);
            (!found.is_empty()).then_some(found)
        })
        .await;
    match found {
        Ok(found) => {
            let bytes: Vec<u8> = found.iter().flat_map(|event| event.to_bytes()).collect();
            cur.mem.write_bytes(request.events.addr(), &bytes)?;
            Ok(found.len() as u64)
        }
        Err(WaitError::TimedOut) => Ok(0),
        Err(WaitError::Interrupted) => Err(Errno::EINTR.into()),
    }
}

fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

fn millis(timeout: i32) -> Option<Duration> {
    u64::try_from(timeout).ok().map(Duration::from_millis)
}

/// Serves `epoll_wait(2)`.
pub fn epoll_wait(
    cur: &mut Current,
    epfd: Fd,
    events: UserRef<[u8; EVENT_SIZE]>,
    maxevents: i32,
    timeout: i32,
) -> Outcome<'_> {
    let request = attempt!(request(cur, epfd, events, maxevents));
    wait_or_not(cur, request, millis(timeout))
}

fn wait_or_not(cur: &mut Current, request: Request, timeout: Option<Duration>) -> Outcome<'_> {
    match collect(cur, &request) {
        Some(result) => Outcome::Done(result),
        None if timeout == Some(Duration::ZERO) => Outcome::Done(Ok(0)),
        None => Outcome::block(wait(cur, request, deadline(timeout))),
    }
}

fn wait_masked(cur: &mut Current, request: Request, timeout: Option<Duration>, mask: Option<SigSet>) -> Outcome<'_> {
    if mask.is_none() {
        return wait_or_not(cur, request, timeout);
    }
    Outcome::block(async move {
        swap_mask(cur, mask);
        let result = match collect(cur, &request) {
            Some(result) => result,
            None if timeout == Some(Duration::ZERO) => Ok(0),
            None => wait(cur, request, deadline(timeout)).await,
        };
        restore_mask(cur, matches!(result, Err(SysError::Errno(Errno::EINTR))));
        result
    })
}

/// Serves `epoll_pwait(2)`.
pub fn epoll_pwait(
    cur: &mut Current,
    epfd: Fd,
    events: UserRef<[u8; EVENT_SIZE]>,
    maxevents: i32,
    timeout: i32,
    sigmask: UserRef<SigSet>,
    sigsetsize: usize,
) -> Outcome<'_> {
    let mask = attempt!(read_mask(cur, sigmask, sigsetsize));
    let request = attempt!(request(cur, epfd, events, maxevents));
    wait_masked(cur, request, millis(timeout), mask)
}

/// Serves `epoll_pwait2(2)`.
pub fn epoll_pwait2(
    cur: &mut Current,
    epfd: Fd,
    events: UserRef<[u8; EVENT_SIZE]>,
    maxevents: i32,
    timeout: UserRef<Timespec>,
    sigmask: UserRef<SigSet>,
    sigsetsize: usize,
) -> Outcome<'_> {
    let timeout = match attempt!(cur.mem.read_opt(timeout)) {
        Some(time) => Some(attempt!(time.duration())),
        None => None,
    };
    let mask = attempt!(read_mask(cur, sigmask, sigsetsize));
    let request = attempt!(request(cur, epfd, events, maxevents));
    wait_masked(cur, request, timeout, mask)
}
