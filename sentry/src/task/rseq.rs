//! Restartable sequences (`rseq(2)`, kernel: `kernel/rseq.c`).
//!
//! Guest threads are host threads, so the guest's area is registered with the host, which writes the CPU numbers and
//! aborts critical sections at preemption and migration. The kernel remembers the registration for the answers to
//! further calls, and aborts a section itself where the platform stops guest code without the host's doing so.

use abi::signal::{SigInfo, Signal};
use abi::{Errno, UserAddr, UserRef};
use sentry_platform::{Death, Event, MemOp};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Current;
use crate::mm::TASK_SIZE;
use crate::signal::send;

/// The only flag of the call.
const UNREGISTER: u32 = 1;
/// Size and alignment of the area as it was first published.
const ORIGINAL_SIZE: u32 = 32;
/// Where in the area the address of the current section's description stands.
const SECTION: u64 = 8;

/// A thread's registered area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rseq {
    addr: u64,
    len: u32,
    signature: u32,
}

/// `struct rseq_cs`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Section {
    version: u32,
    flags: u32,
    start: u64,
    length: u64,
    abort: u64,
}

impl Section {
    /// Tells whether `rip` is inside; `None` where the description makes no sense.
    fn covers(&self, rip: u64) -> Option<bool> {
        let end = self.start.checked_add(self.length)?;
        let inside = |at: u64| at.wrapping_sub(self.start) < self.length;
        let sound = self.start < TASK_SIZE && end < TASK_SIZE && self.abort < TASK_SIZE;
        (sound && self.version == 0 && self.flags == 0 && !inside(self.abort)).then(|| inside(rip))
    }
}

/// Registers or, with the flag, unregisters an area of the calling thread.
pub async fn rseq(cur: &mut Current, addr: UserAddr, len: u32, flags: u32, signature: u32) -> Result<(), Errno> {
    let asked = Rseq { addr: addr.raw(), len, signature };
    let same = |known: &Rseq| known.addr == asked.addr && known.len == len;
    if flags & UNREGISTER != 0 {
        let known = cur.rseq.filter(|known| flags == UNREGISTER && same(known)).ok_or(Errno::EINVAL)?;
        if known.signature != signature {
            return Err(Errno::EPERM);
        }
        host(cur, asked, UNREGISTER).await?;
        cur.rseq = None;
        return Ok(());
    }
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    if let Some(known) = cur.rseq {
        return Err(match known.signature == signature {
            _ if !same(&known) => Errno::EINVAL,
            true => Errno::EBUSY,
            false => Errno::EPERM,
        });
    }
    if len < ORIGINAL_SIZE || !asked.addr.is_multiple_of(ORIGINAL_SIZE.into()) {
        return Err(Errno::EINVAL);
    }
    // The host would take an area among the stub's own memory.
    let end = asked.addr.checked_add(len.into()).ok_or(Errno::EFAULT)?;
    if end > cur.kernel().platform.user_range().end {
        return Err(Errno::EFAULT);
    }
    cur.rseq_later(asked, asked.op(0));
    Ok(())
}

/// Ends the registration of a thread that gives up memory which others go on using: the host must not write there once
/// they have been told that the thread is gone.
pub(super) async fn leave(cur: &mut Current) {
    let Some(known) = cur.rseq.take() else { return };
    if cur.mm.is_shared() {
        // Fails where the area is gone, and then the host writes nothing either.
        let _ = host(cur, known, UNREGISTER).await;
    }
}

async fn host(cur: &mut Current, area: Rseq, flags: u32) -> Result<u64, Errno> {
    let mm = std::sync::Arc::clone(&cur.mm);
    mm.host_op(cur.context.as_mut(), area.op(flags)).await
}

impl Rseq {
    fn op(&self, flags: u32) -> MemOp {
        MemOp::Rseq { addr: self.addr, len: self.len, flags, signature: self.signature }
    }
}

/// Aborts the critical section that the thread was stopped in, where the platform hasn't. A section that can't be read,
/// or whose abort handler lacks the signature, is a SIGSEGV.
pub(super) fn after_event(cur: &mut Current, event: &Event) {
    let Some(area) = cur.rseq else { return };
    if matches!(event, Event::Syscall | Event::Dead(_)) || cur.context.aborts_rseq() {
        return;
    }
    if abort(cur, area).is_err() {
        send::force(&cur.task, SigInfo::from_kernel(Signal::SIGSEGV));
    }
}

/// Tells whether the host may have ended the thread for what stands in its area: its answer to a section that can't be
/// aborted is a SIGSEGV, which nothing catches, as the abort is due again when that is delivered.
pub(super) fn explains(cur: &Current, death: Death) -> bool {
    cur.rseq.is_some() && death == Death::Signal(Signal::SIGSEGV.number())
}

fn abort(cur: &mut Current, area: Rseq) -> Result<(), Errno> {
    let slot: UserRef<u64> = UserRef::new(UserAddr::new(area.addr).wrapping_add(SECTION));
    let at = cur.mem.read(slot)?;
    if at == 0 {
        return Ok(());
    }
    let section: Section = cur.mem.read(UserRef::new(UserAddr::new(at)))?;
    if section.covers(cur.regs().rip).ok_or(Errno::EINVAL)? {
        let signature: u32 = cur.mem.read(UserRef::new(UserAddr::new(section.abort.wrapping_sub(4))))?;
        if signature != area.signature {
            return Err(Errno::EINVAL);
        }
        cur.regs().rip = section.abort;
    }
    cur.mem.write(slot, &0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: Section = Section { version: 0, flags: 0, start: 0x1000, length: 0x10, abort: 0x2000 };

    #[test]
    fn a_section_covers_its_instructions() {
        assert_eq!(SOUND.covers(0xfff), Some(false));
        assert_eq!(SOUND.covers(0x1000), Some(true));
        assert_eq!(SOUND.covers(0x100f), Some(true));
        assert_eq!(SOUND.covers(0x1010), Some(false));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for section in [
            Section { version: 1, ..SOUND },
            Section { flags: 1, ..SOUND },
            Section { abort: 0x1008, ..SOUND },
            Section { length: u64::MAX, ..SOUND },
            Section { start: TASK_SIZE, ..SOUND },
            Section { abort: TASK_SIZE, ..SOUND },
        ] {
            assert_eq!(section.covers(0x1000), None, "{section:?}");
        }
    }
}
