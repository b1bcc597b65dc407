//! One message queue.

use std::collections::VecDeque;
use std::sync::Arc;

use abi::Errno;
use sentry_sync::{Level, Mutex, Notify, WaitQueue};

use super::MSGMNB;
use crate::ipc::{Perm, RawPerm, now};
use crate::task::{Caps, Cred};
use crate::wait::Waiter;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Type, above 0.
    pub kind: i64,
    /// Content.
    pub data: Box<[u8]>,
}

/// Which message is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The oldest.
    Any,
    /// The oldest of this type.
    Is(i64),
    /// The oldest of any other type (`MSG_EXCEPT`).
    IsNot(i64),
    /// The oldest of the lowest type, if that is not above this.
    UpTo(i64),
    /// A copy of the message at this place (`MSG_COPY`).
    Copy(i64),
}

impl Selection {
    fn takes(self, kind: i64) -> bool {
        match self {
            Selection::Any | Selection::Copy(_) => true,
            Selection::Is(wanted) => kind == wanted,
            Selection::IsNot(unwanted) => kind != unwanted,
            Selection::UpTo(highest) => kind <= highest,
        }
    }

    /// Finds the place of the message meant.
    fn find(self, messages: &VecDeque<Message>) -> Option<usize> {
        match self {
            Selection::Copy(at) => usize::try_from(at).ok().filter(|at| *at < messages.len()),
            Selection::UpTo(_) => {
                let meant = messages.iter().enumerate().filter(|(_, message)| self.takes(message.kind));
                meant.min_by_key(|(at, message)| (message.kind, *at)).map(|(at, _)| at)
            }
            _ => messages.iter().position(|message| self.takes(message.kind)),
        }
    }
}

type Outcome = Result<Message, Errno>;

struct Receiver {
    key: u64,
    selection: Selection,
    max: Option<usize>,
    pid: i32,
    outcome: Arc<Mutex<Option<Outcome>>>,
    waiter: Arc<Waiter>,
}

impl Receiver {
    fn end(self, outcome: Outcome) {
        *self.outcome.lock() = Some(outcome);
        self.waiter.notify(0);
    }
}

struct State {
    perm: Perm,
    messages: VecDeque<Message>,
    bytes: usize,
    most_bytes: usize,
    stime: i64,
    rtime: i64,
    ctime: i64,
    last_sender: i32,
    last_receiver: i32,
    removed: bool,
    next_key: u64,
    receivers: Vec<Receiver>,
}

/// A message queue.
pub struct MsgQueue {
    state: Mutex<State>,
    /// Woken when there is more room.
    room: WaitQueue,
}

/// What `msgctl(IPC_STAT)` tells.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct MsgStat {
    pub perm: Perm,
    pub messages: usize,
    pub bytes: usize,
    pub most_bytes: usize,
    pub stime: i64,
    pub rtime: i64,
    pub ctime: i64,
    pub last_sender: i32,
    pub last_receiver: i32,
}

/// What a receiver gets at once.
pub(super) enum Received {
    Message(Message),
    Waits(Sleeper),
}

/// Who waits for a message; dropping it ends that.
pub(super) struct Sleeper {
    queue: Arc<MsgQueue>,
    key: u64,
    outcome: Arc<Mutex<Option<Outcome>>>,
}

impl Sleeper {
    /// Takes the outcome once there is one.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.outcome.lock().take()
    }

    /// Stops waiting, and takes the outcome if there has just come one.
    pub(super) fn withdraw(&self) -> Option<Outcome> {
        self.queue.state.lock().receivers.retain(|receiver| receiver.key != self.key);
        self.outcome()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.withdraw();
    }
}

fn too_long(message: &Message, max: Option<usize>) -> bool {
    max.is_some_and(|max| message.data.len() > max)
}

impl MsgQueue {
    pub(super) fn new(perm: Perm) -> MsgQueue {
        let state = State {
            perm,
            messages: VecDeque::new(),
            bytes: 0,
            most_bytes: MSGMNB,
            stime: 0,
            rtime: 0,
            ctime: now(),
            last_sender: 0,
            last_receiver: 0,
            removed: false,
            next_key: 0,
            receivers: Vec::new(),
        };
        MsgQueue { state: Mutex::new(Level::IpcObject, state), room: WaitQueue::new() }
    }

    /// Returns the queue that is woken when there is more room.
    pub(super) fn room(&self) -> &WaitQueue {
        &self.room
    }

    /// Checks wanted access: `EACCES`.
    pub fn check(&self, cred: &Cred, wanted: u32) -> Result<(), Errno> {
        self.state.lock().perm.check(cred, wanted)
    }

    pub(super) fn check_owner(&self, cred: &Cred) -> Result<(), Errno> {
        self.state.lock().perm.check_owner(cred)
    }

    /// Takes the message for a receiver or the queue: `EAGAIN` where there is no room, with the message left.
    pub(super) fn send(&self, cred: &Cred, pid: i32, message: &mut Option<Message>) -> Result<(), Errno> {
        let mut ended: Vec<(Receiver, Outcome)> = Vec::new();
        {
            let mut state = self.state.lock();
            state.perm.check(cred, 0o222)?;
            if state.removed {
                return Err(Errno::EIDRM);
            }
            let Some(sent) = message.as_ref() else { return Ok(()) };
            let fits = state.bytes + sent.data.len() <= state.most_bytes && state.messages.len() < state.most_bytes;
            if !fits {
                return Err(Errno::EAGAIN);
            }
            let Some(sent) = message.take() else { return Ok(()) };
            state.last_sender = pid;
            state.stime = now();
            state.hand_over(sent, &mut ended);
        }
        ended.into_iter().for_each(|(receiver, outcome)| receiver.end(outcome));
        Ok(())
    }

    /// Takes a message, or begins to wait for one: `EACCES`, `EIDRM`, `E2BIG`, `ENOMSG`.
    pub(super) fn receive(
        self: &Arc<Self>,
        cred: &Cred,
        pid: i32,
        selection: Selection,
        max: Option<usize>,
        nowait: bool,
        waiter: &Arc<Waiter>,
    ) -> Result<Received, Errno> {
        let mut state = self.state.lock();
        state.perm.check(cred, 0o444)?;
        if state.removed {
            return Err(Errno::EIDRM);
        }
        let Some(at) = selection.find(&state.messages) else {
            if nowait {
                return Err(Errno::ENOMSG);
            }
            let key = state.next_key;
            state.next_key += 1;
            let outcome = Arc::new(Mutex::new(Level::Leaf, None));
            let receiver =
                Receiver { key, selection, max, pid, outcome: Arc::clone(&outcome), waiter: Arc::clone(waiter) };
            state.receivers.push(receiver);
            return Ok(Received::Waits(Sleeper { queue: Arc::clone(self), key, outcome }));
        };
        if too_long(&state.messages[at], max) {
            return Err(Errno::E2BIG);
        }
        if matches!(selection, Selection::Copy(_)) {
            return Ok(Received::Message(state.messages[at].clone()));
        }
        let Some(message) = state.messages.remove(at) else { return Err(Errno::ENOMSG) };
        state.bytes -= message.data.len();
        state.last_receiver = pid;
        state.rtime = now();
        drop(state);
        self.room.wake(!0);
        Ok(Received::Message(message))
    }

    /// Ends the queue: who waits gets `EIDRM`.
    pub(super) fn end(&self) {
        let receivers = {
            let mut state = self.state.lock();
            state.removed = true;
            state.messages.clear();
            state.bytes = 0;
            std::mem::take(&mut state.receivers)
        };
        receivers.into_iter().for_each(|receiver| receiver.end(Err(Errno::EIDRM)));
        self.room.wake(!0);
    }

    /// Returns owner, mode, fill and times.
    pub fn stat(&self) -> MsgStat {
        let state = self.state.lock();
        MsgStat {
            perm: state.perm,
            messages: state.messages.len(),
            bytes: state.bytes,
            most_bytes: state.most_bytes,
            stime: state.stime,
            rtime: state.rtime,
            ctime: state.ctime,
            last_sender: state.last_sender,
            last_receiver: state.last_receiver,
        }
    }

    pub(super) fn set(&self, cred: &Cred, perm: &RawPerm, most_bytes: u64) -> Result<(), Errno> {
        let most_bytes = usize::try_from(most_bytes).unwrap_or(usize::MAX);
        {
            let mut state = self.state.lock();
            state.perm.check_owner(cred)?;
            if most_bytes > MSGMNB && !cred.has(Caps::SYS_RESOURCE) {
                return Err(Errno::EPERM);
            }
            state.perm.update(perm)?;
            state.most_bytes = most_bytes;
            state.ctime = now();
        }
        self.room.wake(!0);
        Ok(())
    }
}

impl State {
    /// Gives a message to whoever waits for it, or keeps it.
    fn hand_over(&mut self, message: Message, ended: &mut Vec<(Receiver, Outcome)>) {
        let mut at = 0;
        while at < self.receivers.len() {
            if !self.receivers[at].selection.takes(message.kind) {
                at += 1;
                continue;
            }
            let receiver = self.receivers.remove(at);
            if too_long(&message, receiver.max) {
                ended.push((receiver, Err(Errno::E2BIG)));
                continue;
            }
            self.last_receiver = receiver.pid;
            self.rtime = now();
            ended.push((receiver, Ok(message)));
            return;
        }
        self.bytes += message.data.len();
        self.messages.push_back(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> Cred {
        Cred::new(1, 1, Vec::new(), Caps::empty())
    }

    fn queue() -> Arc<MsgQueue> {
        Arc::new(MsgQueue::new(Perm::new(1, 0, &user(), 0o600)))
    }

    fn message(kind: i64, data: &[u8]) -> Option<Message> {
        Some(Message { kind, data: data.into() })
    }

    fn take(queue: &Arc<MsgQueue>, selection: Selection) -> Outcome {
        match queue.receive(&user(), 3, selection, Some(4), true, &Waiter::new())? {
            Received::Message(message) => Ok(message),
            Received::Waits(_) => panic!("nobody waits here"),
        }
    }

    #[test]
    fn messages_are_selected_by_type() {
        let queue = queue();
        for (kind, data) in [(3, b"a"), (2, b"b"), (2, b"c"), (5, b"d")] {
            queue.send(&user(), 2, &mut message(kind, data)).unwrap();
        }
        assert_eq!(&*take(&queue, Selection::Copy(3)).unwrap().data, b"d");
        assert_eq!(take(&queue, Selection::Copy(4)), Err(Errno::ENOMSG));
        assert_eq!(&*take(&queue, Selection::UpTo(4)).unwrap().data, b"b");
        assert_eq!(&*take(&queue, Selection::IsNot(3)).unwrap().data, b"c");
        assert_eq!(&*take(&queue, Selection::Is(5)).unwrap().data, b"d");
        assert_eq!(&*take(&queue, Selection::Any).unwrap().data, b"a");
        assert_eq!(take(&queue, Selection::Any), Err(Errno::ENOMSG));
    }

    #[test]
    fn a_long_message_stays_unless_it_may_be_cut() {
        let queue = queue();
        queue.send(&user(), 2, &mut message(1, b"12345")).unwrap();
        assert_eq!(take(&queue, Selection::Any), Err(Errno::E2BIG));
        assert!(queue.receive(&user(), 3, Selection::Any, None, true, &Waiter::new()).is_ok());
        assert_eq!(queue.stat().bytes, 0);
    }

    #[test]
    fn a_full_queue_keeps_the_message_with_its_sender() {
        let queue = queue();
        queue.send(&user(), 2, &mut message(1, &[0; MSGMNB])).unwrap();
        let mut second = message(1, b"x");
        assert_eq!(queue.send(&user(), 2, &mut second), Err(Errno::EAGAIN));
        assert!(second.is_some());
    }

    #[test]
    fn a_waiting_receiver_gets_the_message_directly() {
        let queue = queue();
        let wait = |selection, max| match queue.receive(&user(), 3, selection, Some(max), false, &Waiter::new()) {
            Ok(Received::Waits(sleeper)) => sleeper,
            _ => panic!("there is no message"),
        };
        let (other, short, right) = (wait(Selection::Is(9), 9), wait(Selection::Any, 1), wait(Selection::Is(1), 9));
        queue.send(&user(), 2, &mut message(1, b"12")).unwrap();
        assert_eq!(other.outcome(), None);
        assert_eq!(short.outcome(), Some(Err(Errno::E2BIG)));
        assert_eq!(right.outcome().unwrap().unwrap().data.len(), 2);
        assert_eq!(queue.stat().messages, 0);
        queue.end();
        assert_eq!(other.withdraw(), Some(Err(Errno::EIDRM)));
    }
}
