//! `mmap`, `mprotect`, `munmap`, `brk`, `mremap`, `msync`, `mincore`, `madvise`, `pkey_mprotect`.

use std::ops::Range;
use std::sync::Arc;

use abi::flags::{MapFlags, Prot};
use abi::{Errno, Fd, PAGE_SIZE, SysError, UserAddr};
use sentry::mm::{Begin, Begun, Books, FileMap, Limits, MapRequest, Plan, Touch, VmFlags};
use sentry::{Current, Outcome};

/// Plans a change of the caller's memory and has the host perform it.
pub(crate) fn change<'a>(
    cur: &'a mut Current,
    touch: Touch,
    plan: impl FnOnce(&mut Books, &Limits) -> Result<Plan, Errno> + Send + 'a,
) -> Outcome<'a> {
    let limits = Limits::of(&cur.task);
    match cur.mm.begin(&touch, move |books: &mut Books| plan(books, &limits)) {
        Begin::Over(result) => Outcome::Done(result.map_err(SysError::Errno)),
        Begin::Planned(begun) => perform(cur, begun, None),
        Begin::Busy(plan) => Outcome::block(async move {
            let mm = Arc::clone(&cur.mm);
            mm.change(cur.context.as_mut(), touch, plan).await.map_err(SysError::Errno)
        }),
    }
}

/// Has the host perform a change, on the way back to the guest where it can. The call returns `failed` if that fails, where
/// it has no error of its own.
fn perform(cur: &mut Current, begun: Begun, failed: Option<u64>) -> Outcome<'_> {
    match begun.later() {
        // The log is to tell what came of it.
        Some(value) if !cur.kernel().tracer.is_on() => cur.change_later(begun, value, failed),
        _ => Outcome::block(async move {
            let result = begun.finish(cur.context.as_mut()).await;
            result.or_else(|errno| failed.ok_or(SysError::Errno(errno)))
        }),
    }
}

/// Returns the addresses that a call names.
pub(crate) fn range(addr: UserAddr, len: usize) -> Range<u64> {
    addr.raw()..addr.raw().saturating_add(len as u64)
}

/// Serves `mmap(2)`.
pub fn mmap(
    cur: &mut Current,
    addr: UserAddr,
    length: usize,
    prot: u32,
    flags: u32,
    fd: Fd,
    offset: i64,
) -> Outcome<'_> {
    match map_request(cur, addr, length, prot, flags, fd, offset) {
        Ok(request) => change(cur, request.touch(), |books, limits| books.plan_map(request, limits)),
        Err(errno) => Outcome::Done(Err(errno.into())),
    }
}

fn map_request(
    cur: &Current,
    addr: UserAddr,
    length: usize,
    prot: u32,
    flags: u32,
    fd: Fd,
    offset: i64,
) -> Result<MapRequest, Errno> {
    let offset = offset.cast_unsigned();
    if !offset.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    let flags = MapFlags::from_bits_retain(flags);
    let file = if flags.contains(MapFlags::ANONYMOUS) {
        if flags.contains(MapFlags::HUGETLB) {
            // As on a machine whose pool of huge pages is empty.
            return Err(if length == 0 { Errno::EINVAL } else { Errno::ENOMEM });
        }
        None
    } else {
        let file = cur.task.files.load().get_io(fd)?;
        if flags.contains(MapFlags::HUGETLB) {
            return Err(Errno::EINVAL);
        }
        Some(FileMap::of(&file))
    };
    Ok(MapRequest {
        addr: addr.raw(),
        len: length as u64,
        prot: Prot::from_bits_retain(prot),
        flags,
        offset: if file.is_some() { offset } else { 0 },
        file,
        extra: VmFlags::empty(),
    })
}

/// Serves `mprotect(2)`.
pub fn mprotect(cur: &mut Current, addr: UserAddr, len: usize, prot: u32) -> Outcome<'_> {
    pkey_mprotect(cur, addr, len, prot, -1)
}

/// Serves `munmap(2)`.
pub fn munmap(cur: &mut Current, addr: UserAddr, length: usize) -> Outcome<'_> {
    change(cur, Touch::Change(range(addr, length)), move |books, _| books.plan_unmap(addr.raw(), length as u64))
}

/// Serves `brk(2)`.
pub fn brk(cur: &mut Current, addr: UserAddr) -> Outcome<'_> {
    let limits = Limits::of(&cur.task);
    let (wanted, old) = (addr.raw(), cur.mm.books().heap().end);
    let begun = match cur.mm.begin(&Touch::Change(old..wanted), |books| Ok(books.plan_break(wanted, &limits))) {
        Begin::Over(result) => return Outcome::Done(Ok(result.unwrap_or(old))),
        Begin::Planned(begun) => begun,
        Begin::Busy(_) => {
            return Outcome::block(async move {
                let mm = Arc::clone(&cur.mm);
                Ok(mm.set_break(cur.context.as_mut(), wanted, &limits).await)
            });
        }
    };
    perform(cur, begun, Some(old))
}

/// Serves `mremap(2)`.
pub fn mremap(
    cur: &mut Current,
    old_address: UserAddr,
    old_size: usize,
    new_size: usize,
    flags: u32,
    new_address: UserAddr,
) -> Outcome<'_> {
    let touch = Touch::ChangeBoth(range(old_address, old_size), range(new_address, new_size));
    change(cur, touch, move |books, limits| {
        let (old, new) = (old_size as u64, new_size as u64);
        books.plan_remap(old_address.raw(), old, new, flags, new_address.raw(), limits)
    })
}

/// Serves `msync(2)`.
pub fn msync(cur: &mut Current, addr: UserAddr, length: usize, flags: u32) -> Outcome<'_> {
    change(cur, Touch::Look(range(addr, length)), move |books, _| {
        books.plan_sync(addr.raw(), length as u64, flags.cast_signed())
    })
}

/// Serves `mincore(2)`.
pub fn mincore(cur: &mut Current, addr: UserAddr, length: usize, vec: UserAddr) -> Outcome<'_> {
    change(cur, Touch::Look(range(addr, length)), move |books, _| {
        books.plan_incore(addr.raw(), length as u64, vec.raw())
    })
}

/// Serves `madvise(2)`.
pub fn madvise(cur: &mut Current, addr: UserAddr, length: usize, advice: i32) -> Outcome<'_> {
    change(cur, Touch::Look(range(addr, length)), move |books, _| books.plan_advise(addr.raw(), length as u64, advice))
}

/// Serves `pkey_mprotect(2)`.
pub fn pkey_mprotect(cur: &mut Current, addr: UserAddr, len: usize, prot: u32, pkey: i32) -> Outcome<'_> {
    change(cur, Touch::Change(range(addr, len)), move |books, limits| {
        books.plan_protect(addr.raw(), len as u64, Prot::from_bits_retain(prot), pkey, limits)
    })
}
