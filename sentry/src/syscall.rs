//! What a system-call handler is and what it answers.

use abi::table::{Entry, TABLE_LEN};
use abi::{Errno, SysError};
use sentry_platform::BoxFuture;

use crate::Current;

/// Result of a call: the value for `rax`, or an error.
pub type SysResult = Result<u64, SysError>;

/// What a handler answers.
pub enum Outcome<'a> {
    /// The call is over.
    Done(SysResult),
    /// The call must wait or ask the platform for something slow.
    Block(BoxFuture<'a, SysResult>),
    /// The call has set the registers itself (`rt_sigreturn`, a successful `execve`) or will never return (`exit`).
    NoReturn,
}

impl<'a> Outcome<'a> {
    /// Wraps a future.
    pub fn block(future: impl Future<Output = SysResult> + Send + 'a) -> Outcome<'a> {
        Outcome::Block(Box::pin(future))
    }
}

/// A type that a handler may return.
pub trait IntoOutcome<'a> {
    /// Converts to the common form.
    fn into_outcome(self) -> Outcome<'a>;
}

impl<'a> IntoOutcome<'a> for Outcome<'a> {
    fn into_outcome(self) -> Outcome<'a> {
        self
    }
}

impl<'a> IntoOutcome<'a> for SysResult {
    fn into_outcome(self) -> Outcome<'a> {
        Outcome::Done(self)
    }
}

impl<'a> IntoOutcome<'a> for Result<u64, Errno> {
    fn into_outcome(self) -> Outcome<'a> {
        Outcome::Done(self.map_err(SysError::Errno))
    }
}

impl<'a> IntoOutcome<'a> for Result<(), Errno> {
    fn into_outcome(self) -> Outcome<'a> {
        Outcome::Done(self.map(|()| 0).map_err(SysError::Errno))
    }
}

impl<'a> IntoOutcome<'a> for Result<(), SysError> {
    fn into_outcome(self) -> Outcome<'a> {
        Outcome::Done(self.map(|()| 0))
    }
}

impl<'a> IntoOutcome<'a> for Result<abi::Fd, Errno> {
    fn into_outcome(self) -> Outcome<'a> {
        // Descriptors handed out are never negative.
        Outcome::Done(self.map(|fd| u64::from(fd.0.cast_unsigned())).map_err(SysError::Errno))
    }
}

impl<'a> IntoOutcome<'a> for Result<abi::Pid, Errno> {
    fn into_outcome(self) -> Outcome<'a> {
        Outcome::Done(self.map(|pid| i64::from(pid.0).cast_unsigned()).map_err(SysError::Errno))
    }
}

/// Serves one call: argument registers in.
pub type Handler = for<'a> fn(&'a mut Current, &[u64; 6]) -> Outcome<'a>;

/// One slot of the dispatch table.
#[derive(Clone, Copy)]
pub struct Slot {
    /// The declaration.
    pub entry: &'static Entry,
    /// What serves it.
    pub handler: Handler,
}

/// The dispatch table, by system-call number; `None` for numbers that Linux doesn't define.
pub type SyscallTable = [Option<Slot>; TABLE_LEN];
