//! `mlock`, `munlock`, `mlockall`, `munlockall`, `mlock2`.

use abi::{Errno, UserAddr};
use sentry::mm::{MLOCK_ONFAULT, Touch};
use sentry::{Current, Outcome};

use crate::mmap::{change, range};

/// Serves `mlock(2)`.
pub fn mlock(cur: &mut Current, addr: UserAddr, len: usize) -> Outcome<'_> {
    change(cur, Touch::Look(range(addr, len)), move |books, limits| {
        books.plan_lock(addr.raw(), len as u64, false, limits)
    })
}

/// Serves `munlock(2)`.
pub fn munlock(cur: &mut Current, addr: UserAddr, len: usize) -> Outcome<'_> {
    change(cur, Touch::Look(range(addr, len)), move |books, _| books.plan_unlock(addr.raw(), len as u64))
}

/// Serves `mlockall(2)`.
pub fn mlockall(cur: &mut Current, flags: u32) -> Outcome<'_> {
    change(cur, Touch::Nothing, move |books, limits| books.plan_lock_all(flags, limits))
}

/// Serves `munlockall(2)`.
pub fn munlockall(cur: &mut Current) -> Outcome<'_> {
    change(cur, Touch::Nothing, |books, _| Ok(books.plan_unlock_all()))
}

/// Serves `mlock2(2)`.
pub fn mlock2(cur: &mut Current, addr: UserAddr, len: usize, flags: u32) -> Outcome<'_> {
    if flags & !MLOCK_ONFAULT != 0 {
        return Outcome::Done(Err(Errno::EINVAL.into()));
    }
    change(cur, Touch::Look(range(addr, len)), move |books, limits| {
        books.plan_lock(addr.raw(), len as u64, flags & MLOCK_ONFAULT != 0, limits)
    })
}
