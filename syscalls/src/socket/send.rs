//! [`SendJob`]: one message on its way out, over as many tries as it takes.

use std::sync::Arc;

use abi::flags::Ready;
use abi::signal::{SigInfo, Signal, si};
use abi::{Errno, SysError};
use sentry::mm::{IovecList, UserSrc};
use sentry::signal::send;
use sentry::wait::WaitError;
use sentry::{Current, Outcome, SysResult};
use sentry_fs::IoSrc;
use sentry_net::uapi::{MsgFlags, SockType};
use sentry_net::{Control, Outgoing};

use super::message::{Addr, skip};
use super::{ENDED, Found, as_caller, deadline, interrupted, value, wait_in_turns};

/// A message to send.
pub(super) struct SendJob {
    found: Found,
    flags: MsgFlags,
    to: Option<Addr>,
    control: Vec<Control>,
    list: IovecList,
    sent: usize,
}

impl SendJob {
    /// Prepares a message; nothing is sent yet.
    pub(super) fn new(
        found: Found,
        flags: MsgFlags,
        to: Option<Addr>,
        control: Vec<Control>,
        list: IovecList,
    ) -> SendJob {
        SendJob { found, flags, to, control, list, sent: 0 }
    }

    fn blocking(&self) -> bool {
        !self.found.nonblocking && !self.flags.contains(MsgFlags::DONTWAIT)
    }

    /// Sends what can be sent now. `None` where more must wait.
    fn attempt(&mut self, cur: &mut Current) -> Option<Result<(), Errno>> {
        let mut flags = self.flags;
        flags.set(MsgFlags::DONTWAIT, !self.blocking());
        let stream = self.found.socket.core().kind == SockType::Stream;
        loop {
            let mut src = UserSrc::new(&cur.mem, &self.list);
            let control = std::mem::take(&mut self.control);
            let mut message = Outgoing { flags, to: self.to.as_deref(), control, src: &mut src };
            let result = as_caller(cur, |caller| self.found.socket.send(caller, &mut message));
            self.control = message.control;
            match result {
                Ok(sent) => {
                    self.sent += sent;
                    if !stream || src.remaining() == 0 || sent == 0 {
                        return Some(Ok(()));
                    }
                    skip(&mut self.list, sent);
                }
                Err(Errno::EAGAIN) if self.blocking() => return None,
                Err(_) if self.sent > 0 => return Some(Ok(())),
                Err(errno) => return Some(Err(errno)),
            }
        }
    }

    /// Sends; waits in a future where that is asked for.
    pub(super) fn run(mut self, cur: &mut Current) -> Outcome<'_> {
        match self.attempt(cur) {
            Some(result) => Outcome::Done(self.end(cur, result.map_err(SysError::Errno))),
            None => Outcome::block(async move { self.wait(cur).await }),
        }
    }

    /// Sends, waiting as asked; returns the bytes sent.
    pub(super) async fn finish(mut self, cur: &mut Current) -> SysResult {
        match self.attempt(cur) {
            Some(result) => self.end(cur, result.map_err(SysError::Errno)),
            None => self.wait(cur).await,
        }
    }

    async fn wait(&mut self, cur: &mut Current) -> SysResult {
        let timeout = self.found.socket.core().opts.lock().sndtimeo;
        let task = Arc::clone(&cur.task);
        let queue = self.found.socket.core().wait.clone();
        let interest = (Ready::OUT | ENDED).bits();
        let pause = self.to.as_ref().and_then(|_| self.found.socket.pause());
        let waited = wait_in_turns(&task, &queue, interest, deadline(timeout), pause, || self.attempt(cur)).await;
        let result = match waited {
            Ok(result) => result.map_err(SysError::Errno),
            Err(_) if self.sent > 0 => Ok(()),
            Err(WaitError::Interrupted) => Err(interrupted(timeout)),
            Err(WaitError::TimedOut) => Err(Errno::EAGAIN.into()),
        };
        self.end(cur, result)
    }

    /// Ends the call: a broken pipe comes with its signal.
    fn end(&self, cur: &Current, result: Result<(), SysError>) -> SysResult {
        let broken = result == Err(SysError::Errno(Errno::EPIPE));
        if broken && self.found.socket.raises_sigpipe() && !self.flags.contains(MsgFlags::NOSIGNAL) {
            let (pid, uid) = (cur.process().pid.0, cur.task.cred.load().ruid);
            let info = SigInfo::from_process(Signal::SIGPIPE, si::USER, pid, uid, 0);
            // A standard signal always finds room.
            let _ = send::to_task(&cur.task, info);
        }
        result.and_then(|()| value(self.sent))
    }
}
