//! `mq_open`, `mq_unlink`, `mq_timedsend`, `mq_timedreceive`, `mq_notify`, `mq_getsetattr`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use abi::flags::{OpenFlags, Ready};
use abi::signal::{SigInfo, Signal, si};
use abi::time::Timespec;
use abi::types::NAME_MAX;
use abi::{Errno, Fd, Restart, SysError, UserAddr, UserRef};
use sentry::task::{Caps, Cred, Resource};
use sentry::vfs::File;
use sentry::vfs::perm::Access;
use sentry::wait::WaitError;
use sentry::{Current, Outcome, SysResult};
use sentry_fs::FileOps;
use sentry_fs::mqueue::{MessageQueue, Notice, PRIO_MAX};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::read_write::attempt;
use crate::timer::SigEvent;
use crate::{at, io};

const DEFAULT_MESSAGES: i64 = 10;
const DEFAULT_SIZE: i64 = 8192;
/// `HARD_MSGMAX` and `HARD_MSGSIZEMAX`, for the privileged.
const HARD_MESSAGES: i64 = 65536;
const HARD_SIZE: i64 = 16 << 20;
/// What Linux charges for a message besides its bytes.
const MESSAGE_COST: u64 = 128;

const SIGEV_SIGNAL: i32 = 0;
const SIGEV_NONE: i32 = 1;

/// `struct mq_attr`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MqAttr {
    flags: i64,
    maxmsg: i64,
    msgsize: i64,
    curmsgs: i64,
    reserved: [i64; 4],
}

fn read_name(cur: &Current, name: UserAddr) -> Result<Vec<u8>, Errno> {
    let name = cur.mem.read_path(name)?;
    if name.is_empty() {
        return Err(Errno::ENOENT);
    }
    if name.len() > NAME_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    if name.contains(&b'/') || name == b"." || name == b".." { Err(Errno::EACCES) } else { Ok(name) }
}

/// Serves `mq_open(2)`. The descriptor is close-on-exec, always.
pub fn mq_open(cur: &mut Current, name: UserAddr, oflag: u32, mode: u32, attr: UserRef<MqAttr>) -> Result<Fd, Errno> {
    let attr = cur.mem.read_opt(attr)?;
    let flags = OpenFlags::from_bits_retain(oflag);
    let name = read_name(cur, name)?;
    let kernel = Arc::clone(cur.kernel());
    let queue = match kernel.vfs.queues.get(&name) {
        Some(_) if flags.contains(OpenFlags::CREAT | OpenFlags::EXCL) => return Err(Errno::EEXIST),
        Some(queue) => {
            check_open(&cur.task.cred.load(), &queue, oflag)?;
            queue
        }
        None if !flags.contains(OpenFlags::CREAT) => return Err(Errno::ENOENT),
        None => {
            let queue = make(cur, mode, attr)?;
            let privileged = cur.task.cred.load().has(Caps::SYS_RESOURCE);
            kernel.vfs.queues.insert(&name, Arc::clone(&queue), privileged)?;
            queue
        }
    };
    let keep = OpenFlags::NONBLOCK | OpenFlags::from_bits_retain(OpenFlags::ACCMODE);
    at::install(cur, File::new(queue, None, flags & keep), OpenFlags::CLOEXEC)
}

fn check_open(cred: &Cred, queue: &MessageQueue, oflag: u32) -> Result<(), Errno> {
    let want = match oflag & OpenFlags::ACCMODE {
        0 => Access::READ,
        1 => Access::WRITE,
        2 => Access::READ | Access::WRITE,
        _ => return Err(Errno::EINVAL),
    };
    let class = if queue.uid == cred.fsuid {
        queue.perm >> 6
    } else if cred.in_group(queue.gid) {
        queue.perm >> 3
    } else {
        queue.perm
    };
    let allowed = class & want.bits() == want.bits() || cred.has(Caps::DAC_OVERRIDE);
    if allowed { Ok(()) } else { Err(Errno::EACCES) }
}

fn make(cur: &Current, mode: u32, attr: Option<MqAttr>) -> Result<Arc<MessageQueue>, Errno> {
    let cred = cur.task.cred.load();
    let (messages, size) = attr.map_or((DEFAULT_MESSAGES, DEFAULT_SIZE), |attr| (attr.maxmsg, attr.msgsize));
    let privileged = cred.has(Caps::SYS_RESOURCE);
    let most = if privileged { (HARD_MESSAGES, HARD_SIZE) } else { (DEFAULT_MESSAGES, DEFAULT_SIZE) };
    if !(1..=most.0).contains(&messages) || !(1..=most.1).contains(&size) {
        return Err(Errno::EINVAL);
    }
    let (messages, size) = (messages.unsigned_abs(), size.unsigned_abs());
    let cost = messages.saturating_mul(size.saturating_add(MESSAGE_COST));
    if cost > cur.process().limit(Resource::Msgqueue) {
        return Err(Errno::EMFILE);
    }
    let perm = mode & 0o777 & !cur.task.fs.load().umask();
    let count = usize::try_from(messages).map_err(|_| Errno::EINVAL)?;
    let size = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
    Ok(MessageQueue::new(count, size, (cred.fsuid, cred.fsgid), perm))
}

/// Serves `mq_unlink(2)`: the names lie in a sticky directory.
pub fn mq_unlink(cur: &mut Current, name: UserAddr) -> Result<(), Errno> {
    let name = read_name(cur, name)?;
    let queues = &cur.kernel().vfs.queues;
    let queue = queues.get(&name).ok_or(Errno::ENOENT)?;
    let cred = cur.task.cred.load();
    if queue.uid != cred.fsuid && cred.fsuid != 0 && !cred.has(Caps::FOWNER) {
        return Err(Errno::EPERM);
    }
    queues.remove(&name).map(drop).ok_or(Errno::ENOENT)
}

fn queue_of(cur: &Current, fd: Fd) -> Result<(Arc<File>, Arc<MessageQueue>), Errno> {
    let file = io::file_of(cur, fd)?;
    let ops: Arc<dyn FileOps> = Arc::clone(&file.ops);
    let queue = ops.as_any().downcast().map_err(|_| Errno::EBADF)?;
    Ok((file, queue))
}

/// Reads an absolute time of the real-time clock.
fn deadline(cur: &Current, at: UserRef<Timespec>) -> Result<Option<Instant>, Errno> {
    let Some(time) = cur.mem.read_opt(at)? else { return Ok(None) };
    let until = time.duration()?;
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let now = Timespec { sec: now.tv_sec, nsec: now.tv_nsec }.duration().unwrap_or(Duration::ZERO);
    Ok(Instant::now().checked_add(until.saturating_sub(now)))
}

fn ended(error: WaitError) -> SysError {
    error.or(Restart::Sys, Errno::ETIMEDOUT)
}

/// Serves `mq_timedsend(2)`.
pub fn mq_timedsend(
    cur: &mut Current,
    mqdes: Fd,
    msg_ptr: UserAddr,
    msg_len: usize,
    msg_prio: u32,
    abs_timeout: UserRef<Timespec>,
) -> Outcome<'_> {
    let until = attempt!(deadline(cur, abs_timeout));
    if msg_prio >= PRIO_MAX {
        return Outcome::Done(Err(Errno::EINVAL.into()));
    }
    let (file, queue) = attempt!(queue_of(cur, mqdes));
    if !file.flags().writable() {
        return Outcome::Done(Err(Errno::EBADF.into()));
    }
    if msg_len > queue.max_size {
        return Outcome::Done(Err(Errno::EMSGSIZE.into()));
    }
    let mut message = vec![0; msg_len];
    attempt!(cur.mem.read_bytes(msg_ptr, &mut message));
    match queue.send(&message, msg_prio) {
        Err(Errno::EAGAIN) if !file.nonblocking() => Outcome::block(async move {
            let Some(room) = queue.wait_queue() else { return Err(Errno::EBADF.into()) };
            let task = Arc::clone(&cur.task);
            let attempt = || queue.send(&message, msg_prio).ok();
            task.wait(&room, Ready::WRITABLE.bits(), until, attempt).await.map(|()| 0).map_err(ended)
        }),
        result => Outcome::Done(result.map(|()| 0).map_err(SysError::Errno)),
    }
}

/// Serves `mq_timedreceive(2)`; the result is the length.
pub fn mq_timedreceive(
    cur: &mut Current,
    mqdes: Fd,
    msg_ptr: UserAddr,
    msg_len: usize,
    msg_prio: UserRef<u32>,
    abs_timeout: UserRef<Timespec>,
) -> Outcome<'_> {
    let until = attempt!(deadline(cur, abs_timeout));
    let (file, queue) = attempt!(queue_of(cur, mqdes));
    if !file.flags().readable() {
        return Outcome::Done(Err(Errno::EBADF.into()));
    }
    if msg_len < queue.max_size {
        return Outcome::Done(Err(Errno::EMSGSIZE.into()));
    }
    match queue.receive() {
        Err(Errno::EAGAIN) if !file.nonblocking() => Outcome::block(async move {
            let Some(arrival) = queue.wait_queue() else { return Err(Errno::EBADF.into()) };
            let task = Arc::clone(&cur.task);
            queue.receivers.fetch_add(1, Ordering::SeqCst);
            let received = task.wait(&arrival, Ready::READABLE.bits(), until, || queue.receive().ok()).await;
            queue.receivers.fetch_sub(1, Ordering::SeqCst);
            hand_out(cur, received.map_err(ended)?, msg_ptr, msg_prio)
        }),
        Err(errno) => Outcome::Done(Err(errno.into())),
        Ok(received) => Outcome::Done(hand_out(cur, received, msg_ptr, msg_prio)),
    }
}

fn hand_out(cur: &Current, (message, priority): (Vec<u8>, u32), at: UserAddr, prio: UserRef<u32>) -> SysResult {
    cur.mem.write_opt(prio, &priority)?;
    cur.mem.write_bytes(at, &message)?;
    Ok(message.len() as u64)
}

/// Serves `mq_notify(2)`. `SIGEV_THREAD`, which glibc builds on a netlink socket, isn't served.
pub fn mq_notify(cur: &mut Current, mqdes: Fd, sevp: UserRef<SigEvent>) -> Result<(), Errno> {
    let process = Arc::clone(cur.process());
    let Some(event) = cur.mem.read_opt(sevp)? else {
        queue_of(cur, mqdes)?.1.unnotify(process.pid);
        return Ok(());
    };
    let signal = match event.notify {
        SIGEV_NONE => None,
        SIGEV_SIGNAL => Some(Signal::new(event.signo).ok_or(Errno::EINVAL)?),
        _ => return Err(Errno::EINVAL),
    };
    let (_, queue) = queue_of(cur, mqdes)?;
    let (pid, uid) = (process.pid, cur.task.cred.load().ruid);
    let kernel = Arc::downgrade(cur.kernel());
    let weak = Arc::downgrade(&process);
    let deliver = Box::new(move || {
        if let (Some(signal), Some(kernel), Some(process)) = (signal, kernel.upgrade(), weak.upgrade()) {
            let info = SigInfo::from_process(signal, si::MESGQ, pid.0, uid, event.value);
            // A full queue of signals loses the notice, as on Linux.
            let _ = sentry::signal::send::to_process(&kernel, &process, info);
        }
    });
    queue.notify(Notice { process: pid, shown: (event.notify, event.signo), deliver })
}

/// Serves `mq_getsetattr(2)`: only `O_NONBLOCK` may change.
pub fn mq_getsetattr(
    cur: &mut Current,
    mqdes: Fd,
    newattr: UserRef<MqAttr>,
    oldattr: UserRef<MqAttr>,
) -> Result<(), Errno> {
    let new = cur.mem.read_opt(newattr)?;
    let nonblock = i64::from(OpenFlags::NONBLOCK.bits());
    if new.is_some_and(|new| new.flags & !nonblock != 0) {
        return Err(Errno::EINVAL);
    }
    let (file, queue) = queue_of(cur, mqdes)?;
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let old = MqAttr {
        flags: if file.nonblocking() { nonblock } else { 0 },
        maxmsg: number(queue.max_messages),
        msgsize: number(queue.max_size),
        curmsgs: number(queue.len()),
        reserved: [0; 4],
    };
    if let Some(new) = new {
        let flags = if new.flags != 0 { OpenFlags::NONBLOCK } else { OpenFlags::empty() };
        file.set_flags(flags, OpenFlags::NONBLOCK);
    }
    cur.mem.write_opt(oldattr, &old)
}
