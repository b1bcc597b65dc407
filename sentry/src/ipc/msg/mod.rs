//! Message queues (`man 2 msgget`, `man 2 msgop`, `man 2 msgctl`; kernel: `ipc/msg.c`).
//!
//! A message that somebody waits for goes straight to whoever waits longest for one like it.

mod queue;

pub use queue::{Message, MsgQueue, MsgStat, Selection};

use std::fmt::Write;
use std::sync::Arc;

use abi::{Errno, Restart, SysError};
use sentry_sync::{Level, Mutex};

use super::ids::Found;
use super::{GetFlags, IdTable, Perm, RawPerm};
use crate::Current;
use crate::task::Cred;
use crate::wait::{Interruptible, Waiter};
use queue::Received;

/// Most queues (`MSGMNI`).
pub const MSGMNI: usize = 32_000;
/// Most bytes of a message (`MSGMAX`).
pub const MSGMAX: usize = 8192;
/// Most bytes of a queue, unless a privileged process sets more (`MSGMNB`).
pub const MSGMNB: usize = 16_384;

/// All message queues.
pub struct MsgTable(Mutex<IdTable<MsgQueue>>);

impl Default for MsgTable {
    fn default() -> MsgTable {
        MsgTable(Mutex::new(Level::Ipc, IdTable::new(MSGMNI)))
    }
}

impl MsgTable {
    /// Finds or makes a queue and returns its id (`msgget`).
    pub fn open(&self, cred: &Cred, key: i32, flags: GetFlags) -> Result<i32, Errno> {
        let mut queues = self.0.lock();
        match queues.look_up(key, flags)? {
            Found::Old(id, queue) => queue.check(cred, flags.0).map(|()| id),
            Found::New => queues.add(key, |_, seq| MsgQueue::new(Perm::new(key, seq, cred, flags.mode()))),
        }
    }

    /// Finds a queue: `EINVAL`.
    pub fn get(&self, id: i32) -> Result<Arc<MsgQueue>, Errno> {
        self.0.lock().get(id)
    }

    /// Finds a queue by index: `EINVAL`.
    pub fn get_by_index(&self, index: i32) -> Result<(i32, Arc<MsgQueue>), Errno> {
        self.0.lock().get_by_index(index)
    }

    /// Removes a queue; who waits for it gets `EIDRM`. `EINVAL`, `EPERM`.
    pub fn remove(&self, cred: &Cred, id: i32) -> Result<(), Errno> {
        let queue = {
            let mut queues = self.0.lock();
            let queue = queues.get(id)?;
            queue.check_owner(cred)?;
            queues.remove(id);
            queue
        };
        queue.end();
        Ok(())
    }

    /// Changes owner, mode and size of a queue (`IPC_SET`): `EINVAL`, `EPERM`.
    pub fn set(&self, cred: &Cred, id: i32, perm: &RawPerm, most_bytes: u64) -> Result<(), Errno> {
        self.get(id)?.set(cred, perm, most_bytes)
    }

    /// Returns the highest index in use, the number of queues, messages and bytes.
    pub fn usage(&self) -> (u32, usize, usize, usize) {
        let (highest, list) = {
            let queues = self.0.lock();
            (queues.highest_index(), queues.list())
        };
        let (mut messages, mut bytes) = (0, 0);
        for (_, queue) in &list {
            let stat = queue.stat();
            messages += stat.messages;
            bytes += stat.bytes;
        }
        (highest, list.len(), messages, bytes)
    }

    /// Renders `/proc/sysvipc/msg`.
    pub fn render(&self) -> Vec<u8> {
        let mut text = "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n".to_owned();
        let queues = self.0.lock().list();
        for (id, queue) in queues {
            let stat = queue.stat();
            let perm = stat.perm;
            // Writing to a string can't fail.
            let _ = writeln!(
                text,
                "{:10} {id:10}  {:4o}  {:10} {:10} {:5} {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10}",
                perm.key,
                perm.mode,
                stat.bytes,
                stat.messages,
                stat.last_sender,
                stat.last_receiver,
                perm.uid,
                perm.gid,
                perm.cuid,
                perm.cgid,
                stat.stime,
                stat.rtime,
                stat.ctime
            );
        }
        text.into_bytes()
    }
}

/// Sends a message, waiting for room unless `nowait` (`msgsnd`).
pub async fn send(cur: &mut Current, id: i32, message: Message, nowait: bool) -> Result<(), SysError> {
    let queue = cur.kernel().ipc.msgs.get(id)?;
    let task = Arc::clone(&cur.task);
    let mut message = Some(message);
    let attempt = || match queue.send(&task.cred.load(), task.process.pid.0, &mut message) {
        Err(Errno::EAGAIN) if !nowait => None,
        result => Some(result),
    };
    match task.wait(queue.room(), !0, None, attempt).await {
        Ok(result) => result.map_err(SysError::Errno),
        Err(error) => Err(error.or(Restart::NoHand, Errno::EAGAIN)),
    }
}

/// Takes a message, waiting for one unless `nowait` (`msgrcv`). One longer than `max` is `E2BIG` unless it may be cut.
pub async fn receive(
    cur: &mut Current,
    id: i32,
    selection: Selection,
    max: Option<usize>,
    nowait: bool,
) -> Result<Message, SysError> {
    let queue = cur.kernel().ipc.msgs.get(id)?;
    let task = Arc::clone(&cur.task);
    let waiter = Waiter::new();
    let sleeper = match queue.receive(&task.cred.load(), task.process.pid.0, selection, max, nowait, &waiter)? {
        Received::Message(message) => return Ok(message),
        Received::Waits(sleeper) => sleeper,
    };
    let ended = task.wait_for(&waiter, None, Interruptible::Signals, || sleeper.outcome()).await;
    match ended {
        Ok(outcome) => outcome.map_err(SysError::Errno),
        // The message may just have been faster than the signal.
        Err(error) => match sleeper.withdraw() {
            Some(outcome) => outcome.map_err(SysError::Errno),
            None => Err(error.or(Restart::NoHand, Errno::ENOMSG)),
        },
    }
}
