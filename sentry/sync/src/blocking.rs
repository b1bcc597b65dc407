//! [`blocking`]: telling whoever counts on this thread that the host is about to hold it up.

use std::cell::Cell;

/// What a thread that others count on wants to know of itself.
#[derive(Clone, Copy, Debug)]
pub struct Duty {
    /// Called before something that may take long.
    pub leave: fn(),
    /// Called after it.
    pub resume: fn(),
}

thread_local! {
    static DUTY: Cell<Option<Duty>> = const { Cell::new(None) };
}

/// Has this thread's [`blocking`] tell of itself.
pub fn set_duty(duty: Duty) {
    DUTY.set(Some(duty));
}

/// Does something for which the host will make this thread wait: a read from a disk, `fsync`. What others expect of this
/// thread is done by another one meanwhile. Locks may be held, but none of [`crate::Level::Leaf`] or above. It costs some
/// hundred nanoseconds, so it is not for calls that return at once most times: those are noticed if they don't.
pub fn blocking<R>(body: impl FnOnce() -> R) -> R {
    let Some(duty) = DUTY.get() else { return body() };
    (duty.leave)();
    let result = body();
    (duty.resume)();
    result
}
