//! POSIX message queues (`man 7 mq_overview`): the objects and their names.
//!
//! Nothing here waits: a full or empty queue says `EAGAIN`, and the system-call layer waits on the queue.

use std::any::Any;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use abi::flags::Ready;
use abi::{Errno, Pid};
use sentry_sync::{Level, Mutex, WaitQueue};

use crate::{FileOps, IoDst, IoFlags};

/// Priorities lie below this (`MQ_PRIO_MAX`).
pub const PRIO_MAX: u32 = 32768;

/// Most queues of an unprivileged user (`/proc/sys/fs/mqueue/queues_max`).
const QUEUES_MAX: usize = 256;

/// Whoever is told of the next message in an empty queue (`mq_notify(3)`).
pub struct Notice {
    /// The process that asked.
    pub process: Pid,
    /// Value of `sigev_notify` and the signal, as a read of the queue's file shows them.
    pub shown: (i32, i32),
    /// Tells it.
    pub deliver: Box<dyn FnOnce() + Send + Sync>,
}

#[derive(Default)]
struct State {
    messages: BTreeMap<(Reverse<u32>, u64), Vec<u8>>,
    sent: u64,
    bytes: usize,
    notice: Option<Notice>,
}

/// A message queue.
pub struct MessageQueue {
    /// Most messages.
    pub max_messages: usize,
    /// Most bytes of one message.
    pub max_size: usize,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub perm: u32,
    /// Receivers that are waiting: they get the message, nobody is notified.
    pub receivers: AtomicUsize,
    queue: WaitQueue,
    state: Mutex<State>,
}

impl MessageQueue {
    /// Makes an empty queue.
    pub fn new(max_messages: usize, max_size: usize, (uid, gid): (u32, u32), perm: u32) -> Arc<MessageQueue> {
        Arc::new(MessageQueue {
            max_messages,
            max_size,
            uid,
            gid,
            perm,
            receivers: AtomicUsize::new(0),
            queue: WaitQueue::new(),
            state: Mutex::new(Level::Socket, State::default()),
        })
    }

    /// Returns how many messages are in the queue.
    pub fn len(&self) -> usize {
        self.state.lock().messages.len()
    }

    /// Tells whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts a message in: `EAGAIN` where the queue is full. The caller has checked size and priority.
    pub fn send(&self, message: &[u8], priority: u32) -> Result<(), Errno> {
        let notice = {
            let mut state = self.state.lock();
            if state.messages.len() >= self.max_messages {
                return Err(Errno::EAGAIN);
            }
            let was_empty = state.messages.is_empty();
            state.sent += 1;
            let key = (Reverse(priority), state.sent);
            state.bytes += message.len();
            state.messages.insert(key, message.to_vec());
            if was_empty && self.receivers.load(Ordering::SeqCst) == 0 { state.notice.take() } else { None }
        };
        self.queue.wake(Ready::READABLE.bits());
        if let Some(notice) = notice {
            (notice.deliver)();
        }
        Ok(())
    }

    /// Takes the oldest message of the highest priority out: `EAGAIN` where there is none.
    pub fn receive(&self) -> Result<(Vec<u8>, u32), Errno> {
        let mut state = self.state.lock();
        let ((Reverse(priority), _), message) = state.messages.pop_first().ok_or(Errno::EAGAIN)?;
        state.bytes -= message.len();
        drop(state);
        self.queue.wake(Ready::WRITABLE.bits());
        Ok((message, priority))
    }

    /// Registers a notice: `EBUSY` where there is one.
    pub fn notify(&self, notice: Notice) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if state.notice.is_some() {
            return Err(Errno::EBUSY);
        }
        state.notice = Some(notice);
        Ok(())
    }

    /// Takes the notice of a process away, if it is that one's.
    pub fn unnotify(&self, process: Pid) {
        let mut state = self.state.lock();
        let gone = state.notice.take_if(|notice| notice.process == process);
        drop(state);
        drop(gone);
    }
}

impl FileOps for MessageQueue {
    fn read(&self, pos: &mut u64, _flags: IoFlags, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        let text = {
            let state = self.state.lock();
            let (notify, signal) = state.notice.as_ref().map_or((0, 0), |notice| notice.shown);
            let process = state.notice.as_ref().map_or(0, |notice| notice.process.0);
            format!("QSIZE:{:<10} NOTIFY:{notify:<5} SIGNO:{signal:<5} NOTIFY_PID:{process:<6}\n", state.bytes)
        };
        let from = usize::try_from(*pos).unwrap_or(usize::MAX).min(text.len());
        let put = dst.put(&text.as_bytes()[from..])?;
        *pos += put as u64;
        Ok(put)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn ready(&self) -> Ready {
        let count = self.len();
        let mut ready = Ready::empty();
        if count > 0 {
            ready |= Ready::READABLE;
        }
        if count < self.max_messages {
            ready |= Ready::WRITABLE;
        }
        ready
    }

    fn wait_queue(&self) -> Option<WaitQueue> {
        Some(self.queue.clone())
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// Queues by name.
pub struct QueueTable(Mutex<BTreeMap<Vec<u8>, Arc<MessageQueue>>>);

impl Default for QueueTable {
    fn default() -> QueueTable {
        QueueTable(Mutex::new(Level::Socket, BTreeMap::new()))
    }
}

impl QueueTable {
    /// Finds a queue.
    pub fn get(&self, name: &[u8]) -> Option<Arc<MessageQueue>> {
        self.0.lock().get(name).cloned()
    }

    /// Enters a queue: `EEXIST` where the name is taken, `ENOSPC` beyond what an unprivileged user may have.
    pub fn insert(&self, name: &[u8], queue: Arc<MessageQueue>, privileged: bool) -> Result<(), Errno> {
        let mut table = self.0.lock();
        if table.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        if table.len() >= QUEUES_MAX && !privileged {
            return Err(Errno::ENOSPC);
        }
        table.insert(name.to_vec(), queue);
        Ok(())
    }

    /// Takes a name out; the queue stays for those who have it open.
    pub fn remove(&self, name: &[u8]) -> Option<Arc<MessageQueue>> {
        self.0.lock().remove(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn higher_priorities_come_first_and_equal_ones_in_order() {
        let queue = MessageQueue::new(3, 16, (0, 0), 0o600);
        queue.send(b"a", 1).unwrap();
        queue.send(b"b", 5).unwrap();
        queue.send(b"c", 1).unwrap();
        assert_eq!(queue.send(b"d", 9), Err(Errno::EAGAIN));
        let order: Vec<_> = std::iter::from_fn(|| queue.receive().ok()).collect();
        assert_eq!(order, [(b"b".to_vec(), 5), (b"a".to_vec(), 1), (b"c".to_vec(), 1)]);
    }

    #[test]
    fn a_notice_is_delivered_once() {
        let queue = MessageQueue::new(3, 16, (0, 0), 0o600);
        let count = Arc::new(AtomicUsize::new(0));
        let told = Arc::clone(&count);
        let deliver = Box::new(move || {
            told.fetch_add(1, Ordering::SeqCst);
        });
        queue.notify(Notice { process: Pid(1), shown: (0, 10), deliver }).unwrap();
        let busy = queue.notify(Notice { process: Pid(2), shown: (0, 10), deliver: Box::new(|| ()) });
        assert_eq!(busy, Err(Errno::EBUSY));
        queue.send(b"a", 1).unwrap();
        queue.receive().unwrap();
        queue.send(b"b", 1).unwrap();
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
}
