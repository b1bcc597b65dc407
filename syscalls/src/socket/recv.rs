//! [`RecvJob`]: one receive, over as many tries as it takes.

use std::sync::Arc;

use abi::flags::Ready;
use abi::{Errno, SysError};
use sentry::mm::{IovecList, UserDst};
use sentry::wait::WaitError;
use sentry::{Current, Outcome, SysResult};
use sentry_fs::IoDst;
use sentry_net::uapi::MsgFlags;
use sentry_net::{Incoming, Received};

use super::message::skip;
use super::{ENDED, Found, deadline, interrupted};

/// A receive under way.
pub(super) struct RecvJob {
    found: Found,
    flags: MsgFlags,
    list: IovecList,
    /// What has been received so far.
    got: Option<Received>,
    /// The call ends with the data and returns their number.
    data_last: bool,
}

impl RecvJob {
    /// Prepares a receive; nothing is taken yet.
    pub(super) fn new(found: Found, flags: MsgFlags, list: IovecList) -> RecvJob {
        RecvJob { found, flags, list, got: None, data_last: false }
    }

    /// The call ends with the data, unless it has to wait, and returns their number.
    pub(super) fn data_last(self, last: bool) -> RecvJob {
        RecvJob { data_last: last, ..self }
    }

    fn blocking(&self) -> bool {
        !self.found.nonblocking && !self.flags.contains(MsgFlags::DONTWAIT)
    }

    /// Bytes with which a blocking stream receive is content.
    fn target(&self, room: usize) -> usize {
        if self.flags.contains(MsgFlags::WAITALL) {
            room
        } else {
            self.found.socket.core().opts.lock().rcvlowat.min(room)
        }
    }

    /// Receives what is there now. `None` where the rest must wait.
    fn attempt(&mut self, cur: &mut Current) -> Option<Result<(), Errno>> {
        let mut flags = self.flags;
        flags.set(MsgFlags::DONTWAIT, !self.blocking());
        loop {
            // One that may have to go on receiving doesn't end with these.
            let leading = if self.data_last && self.target(2) <= 1 { UserDst::leading(cur, &self.list) } else { 0 };
            let mut dst = UserDst::new(&cur.mem, &self.list).to_be_last(leading);
            let room = dst.remaining();
            let result = self.found.socket.recv(&mut Incoming { flags, dst: &mut dst });
            if !dst.has_left() {
                cur.release_memory();
            }
            match result {
                Ok(more) => {
                    let (len, open) = (more.len, more.more);
                    let got = match &mut self.got {
                        None => self.got.insert(more),
                        Some(got) => {
                            got.len += len;
                            got.flags |= more.flags;
                            got.control.extend(more.control);
                            got
                        }
                    };
                    let total = got.len;
                    let content = self.target(room + total - len);
                    if len == 0 || !open || len >= room || total >= content {
                        return Some(Ok(()));
                    }
                    skip(&mut self.list, len);
                }
                Err(Errno::EAGAIN) if self.blocking() => return None,
                Err(Errno::EAGAIN) if self.got.is_some() => return Some(Ok(())),
                Err(errno) if self.got.is_some() => {
                    // Reported by the next call.
                    if errno != Errno::EFAULT {
                        self.found.socket.core().set_error(errno);
                    }
                    return Some(Ok(()));
                }
                Err(errno) => return Some(Err(errno)),
            }
        }
    }

    /// Receives; waits in a future where that is asked for. `end` copies out what comes with the data.
    pub(super) fn run<'a>(
        mut self,
        cur: &'a mut Current,
        end: impl FnOnce(&mut Current, Received) -> SysResult + Send + 'a,
    ) -> Outcome<'a> {
        match self.attempt(cur) {
            Some(Ok(())) => {
                let got = self.got.unwrap_or_default();
                Outcome::Done(end(cur, got))
            }
            Some(Err(errno)) => Outcome::Done(Err(errno.into())),
            None => Outcome::block(async move {
                let got = self.wait(cur).await?;
                end(cur, got)
            }),
        }
    }

    /// Receives, waiting as asked.
    pub(super) async fn finish(mut self, cur: &mut Current) -> Result<Received, SysError> {
        match self.attempt(cur) {
            Some(Ok(())) => Ok(self.got.unwrap_or_default()),
            Some(Err(errno)) => Err(errno.into()),
            None => self.wait(cur).await,
        }
    }

    async fn wait(mut self, cur: &mut Current) -> Result<Received, SysError> {
        let timeout = self.found.socket.core().opts.lock().rcvtimeo;
        self.data_last = false;
        let task = Arc::clone(&cur.task);
        let queue = self.found.socket.core().wait.clone();
        let interest = (Ready::IN | ENDED).bits();
        let waited = task.wait(&queue, interest, deadline(timeout), || self.attempt(cur)).await;
        match (waited, self.got) {
            (Ok(Ok(())), got) => Ok(got.unwrap_or_default()),
            (Ok(Err(errno)), None) => Err(errno.into()),
            (_, Some(got)) => Ok(got),
            (Err(WaitError::Interrupted), None) => Err(interrupted(timeout)),
            (Err(WaitError::TimedOut), None) => Err(Errno::EAGAIN.into()),
        }
    }
}
