//! The dispatch table, made from the one declaration of all calls.

use std::sync::atomic::{AtomicBool, Ordering};

use abi::table::{ENTRIES, TABLE_LEN};
use abi::{Errno, FromArg};
use sentry::Current;
use sentry::syscall::{IntoOutcome, Outcome, Slot, SyscallTable};

/// Answers for a call that isn't served with the error of a kernel that lacks the feature; logs it once per sandbox.
fn missing<'a>(cur: &mut Current, number: u32, name: &str, errno: Errno) -> Outcome<'a> {
    static LOGGED: [AtomicBool; TABLE_LEN] = [const { AtomicBool::new(false) }; TABLE_LEN];
    if !LOGGED[number as usize].swap(true, Ordering::Relaxed) {
        tracing::warn!(task = ?cur.task, name, ?errno, "unsupported system call");
    }
    Outcome::Done(Err(errno.into()))
}

macro_rules! handler {
    (missing($errno:ident, $why:literal) $number:literal $name:ident($($arg:ident),*)) => {
        |cur, _args| missing(cur, $number, stringify!($name), Errno::$errno)
    };
    (full $family:ident $number:literal $name:ident($($arg:ident),*)) => {
        |cur, args| {
            let [$($arg,)* ..] = *args;
            crate::$family::$name(cur, $(FromArg::from_arg($arg)),*).into_outcome()
        }
    };
    (partial($why:literal) $family:ident $number:literal $name:ident($($arg:ident),*)) => {
        handler!(full $family $number $name($($arg),*))
    };
}

macro_rules! dispatch {
    ($($number:literal $name:ident($($arg:ident: $kind:expr),*) = $support:ident $(($($why:tt)*))? $($family:ident)?;)*) => {
        const HANDLERS: &[sentry::syscall::Handler] =
            &[$(handler!($support $(($($why)*))? $($family)? $number $name($($arg),*))),*];
    };
}

abi::syscall_table!(dispatch);

/// Every call by number.
pub static TABLE: SyscallTable = {
    let mut table: SyscallTable = [None; TABLE_LEN];
    let mut at = 0;
    while at < ENTRIES.len() {
        table[ENTRIES[at].number as usize] = Some(Slot { entry: &ENTRIES[at], handler: HANDLERS[at] });
        at += 1;
    }
    table
};
