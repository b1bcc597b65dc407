//! Memory operations as the calls that a stub makes for them.

use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use abi::Errno;

use super::filter::private;
use super::layout::{call, field};
use super::shared::Shared;
use super::thread::ExpectedCall;
use crate::{MM_MAP_LEN, MemOp, WRITE_MOST};

/// One call of a batch.
#[derive(Clone, Debug)]
pub(super) struct RawOp {
    pub(super) nr: i64,
    pub(super) args: [u64; 6],
    /// Kept open while the call may need it.
    pub(super) file: Option<Arc<OwnedFd>>,
    /// What it writes, from a place that it is told when it is sent.
    pub(super) bytes: Option<Arc<[u8]>>,
}

impl RawOp {
    pub(super) fn new(nr: i64, args: [u64; 6]) -> RawOp {
        RawOp { nr, args, file: None, bytes: None }
    }

    /// Writes it to its place in a context.
    pub(super) fn write(&self, shared: &Shared, at: usize) {
        let place = field::OPS + at * field::OP_SIZE;
        shared.set(place, self.nr.cast_unsigned());
        for (number, arg) in self.args.iter().enumerate() {
            shared.set(place + 8 + number * 8, *arg);
        }
    }

    /// Returns what the host will ask about, where it does.
    pub(super) fn notified(&self) -> Option<ExpectedCall> {
        let file_map = self.nr == libc::SYS_mmap && self.args[3] & ANONYMOUS == 0;
        file_map.then(|| ExpectedCall { nr: self.nr, args: self.args, file: self.file.clone() })
    }
}

const _: () = assert!(WRITE_MOST <= field::WINDOW_LEN);

const ANONYMOUS: u64 = libc::MAP_ANONYMOUS as u64;
const FIXED: u64 = libc::MAP_FIXED as u64;
const NO_FILE: u64 = u64::MAX;
/// Flags that the filter lets through besides those two.
const ANONYMOUS_FLAGS: i32 = libc::MAP_SHARED
    | libc::MAP_PRIVATE
    | libc::MAP_GROWSDOWN
    | libc::MAP_NORESERVE
    | libc::MAP_POPULATE
    | libc::MAP_LOCKED
    | libc::MAP_STACK;
const FILE_FLAGS: i32 =
    libc::MAP_SHARED | libc::MAP_PRIVATE | libc::MAP_NORESERVE | libc::MAP_POPULATE | libc::MAP_LOCKED;

/// Arguments of the `prctl` that tells the host where the guest's arguments are.
pub(crate) fn describe(addr: u64) -> [u64; 6] {
    [SET_MM, SET_MM_MAP, addr, MM_MAP_LEN.into(), 0, 0]
}

pub(super) const SET_MM: u64 = libc::PR_SET_MM as u64;
pub(super) const SET_MM_MAP: u64 = libc::PR_SET_MM_MAP as u64;

/// Translates an operation. What the filter would refuse (and thereby kill the stub) is refused here.
pub(super) fn translate(op: &MemOp, user: &Range<u64>) -> Result<RawOp, Errno> {
    let inside = |addr: u64, len: u64| {
        let fits = addr.checked_add(len).is_some_and(|end| end <= user.end);
        if fits { Ok(()) } else { Err(Errno::EINVAL) }
    };
    let raw = |nr: i64, args: [u64; 6]| Ok(RawOp::new(nr, args));
    match *op {
        MemOp::MapAnonymous { addr, len, prot, flags } => {
            inside(addr, len)?;
            if flags & !ANONYMOUS_FLAGS.cast_unsigned() != 0 {
                return Err(Errno::EINVAL);
            }
            let flags = u64::from(flags) | FIXED | ANONYMOUS;
            raw(libc::SYS_mmap, [addr, len, prot.bits().into(), flags, NO_FILE, 0])
        }
        MemOp::MapFile { addr, len, prot, flags, ref file, offset } => {
            inside(addr, len)?;
            if flags & !FILE_FLAGS.cast_unsigned() != 0 {
                return Err(Errno::EINVAL);
            }
            let fd = u64::from(file.as_raw_fd().cast_unsigned());
            let args = [addr, len, prot.bits().into(), u64::from(flags) | FIXED, fd, offset];
            Ok(RawOp { file: Some(Arc::clone(file)), ..RawOp::new(libc::SYS_mmap, args) })
        }
        MemOp::Unmap { addr, len } => {
            inside(addr, len)?;
            raw(libc::SYS_munmap, [addr, len, 0, 0, 0, 0])
        }
        MemOp::Protect { addr, len, prot } => {
            inside(addr, len)?;
            raw(libc::SYS_mprotect, [addr, len, prot.bits().into(), 0, 0, 0])
        }
        MemOp::Remap { old, old_len, new, new_len, flags } => {
            inside(old, old_len)?;
            inside(new, new_len)?;
            let moving = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED).cast_unsigned();
            let flags = if old == new { flags } else { flags | moving };
            raw(libc::SYS_mremap, [old, old_len, new_len, flags.into(), new, 0])
        }
        MemOp::Advise { addr, len, advice } => {
            inside(addr, len)?;
            raw(libc::SYS_madvise, [addr, len, u64::from(advice.cast_unsigned()), 0, 0, 0])
        }
        MemOp::Sync { addr, len, flags } => {
            inside(addr, len)?;
            raw(libc::SYS_msync, [addr, len, u64::from(flags.cast_unsigned()), 0, 0, 0])
        }
        MemOp::Lock { addr, len, flags } => {
            inside(addr, len)?;
            raw(libc::SYS_mlock2, [addr, len, flags.into(), 0, 0, 0])
        }
        MemOp::Unlock { addr, len } => {
            inside(addr, len)?;
            raw(libc::SYS_munlock, [addr, len, 0, 0, 0, 0])
        }
        MemOp::Membarrier { cmd, flags, cpu } => {
            let (cmd, cpu) = (u64::from(cmd.cast_unsigned()), u64::from(cpu.cast_unsigned()));
            raw(libc::SYS_membarrier, [cmd, flags.into(), cpu, 0, 0, 0])
        }
        MemOp::Rseq { addr, len, flags, signature } => {
            inside(addr, len.into())?;
            raw(libc::SYS_rseq, [addr, len.into(), flags.into(), signature.into(), 0, 0])
        }
        MemOp::CompareExchange { addr, old, new } => {
            inside(addr, 4)?;
            raw(call::COMPARE_EXCHANGE, [addr, old.into(), new.into(), 0, 0, 0])
        }
        MemOp::Write { addr, ref bytes } => {
            inside(addr, bytes.len() as u64)?;
            if bytes.len() > WRITE_MOST {
                return Err(Errno::EINVAL);
            }
            let args = [addr, 0, bytes.len() as u64, 0, 0, 0];
            Ok(RawOp { bytes: Some(Arc::clone(bytes)), ..RawOp::new(call::WRITE, args) })
        }
        MemOp::StoreByte { addr, byte } => {
            inside(addr, 1)?;
            raw(call::STORE_BYTE, [addr, byte.into(), 0, 0, 0, 0])
        }
        MemOp::Mincore { addr, len, vec } => {
            inside(addr, len)?;
            inside(vec, 0)?;
            raw(libc::SYS_mincore, [addr, len, vec, 0, 0, 0])
        }
        MemOp::FutexWake { addr, count, bitset } => {
            inside(addr, 4)?;
            raw(libc::SYS_futex, [addr, private(libc::FUTEX_WAKE_BITSET), count.into(), 0, 0, bitset.into()])
        }
        MemOp::FutexRequeue { addr, wake, requeue, to, expected } => {
            inside(addr, 4)?;
            inside(to, 4)?;
            let operation = if expected.is_some() { libc::FUTEX_CMP_REQUEUE } else { libc::FUTEX_REQUEUE };
            let value = expected.unwrap_or(0);
            raw(libc::SYS_futex, [addr, private(operation), wake.into(), requeue.into(), to, value.into()])
        }
        MemOp::Describe { addr } => {
            inside(addr, MM_MAP_LEN.into())?;
            raw(libc::SYS_prctl, describe(addr))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::flags::Prot;

    const USER: Range<u64> = 0x1_0000..0x7000_0000_0000;

    #[test]
    fn what_lies_outside_is_refused() {
        for (addr, len) in [(USER.end, 1), (USER.end - 0x1000, 0x2000), (u64::MAX, 2), (0, u64::MAX)] {
            assert_eq!(translate(&MemOp::Unmap { addr, len }, &USER).map(|_| ()), Err(Errno::EINVAL));
        }
        assert!(translate(&MemOp::Unmap { addr: USER.end - 0x1000, len: 0x1000 }, &USER).is_ok());
    }

    #[test]
    fn what_the_window_does_not_hold_is_refused() {
        let write = |len: usize| MemOp::Write { addr: 0x10_0000, bytes: vec![0; len].into() };
        assert!(translate(&write(WRITE_MOST), &USER).is_ok());
        assert_eq!(translate(&write(WRITE_MOST + 1), &USER).map(|_| ()), Err(Errno::EINVAL));
        let outside = MemOp::Write { addr: USER.end - 4, bytes: vec![0; 5].into() };
        assert_eq!(translate(&outside, &USER).map(|_| ()), Err(Errno::EINVAL));
    }

    #[test]
    fn flags_that_would_kill_the_stub_are_refused() {
        let flags = libc::MAP_HUGETLB.cast_unsigned();
        let op = MemOp::MapAnonymous { addr: 0x10_0000, len: 0x1000, prot: Prot::READ, flags };
        assert_eq!(translate(&op, &USER).map(|_| ()), Err(Errno::EINVAL));
    }
}
