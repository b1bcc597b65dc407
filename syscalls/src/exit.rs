//! `exit`, `exit_group`.

use sentry::task::exit::exit_group as end_group;
use sentry::{Current, Outcome};

/// Serves `_exit(2)`: ends the calling thread only.
pub fn exit(cur: &mut Current, status: i32) -> Outcome<'_> {
    cur.task.request_exit((status & 0xff) << 8);
    Outcome::NoReturn
}

/// Serves `exit_group(2)`.
pub fn exit_group(cur: &mut Current, status: i32) -> Outcome<'_> {
    end_group(&cur.task, (status & 0xff) << 8);
    Outcome::NoReturn
}
