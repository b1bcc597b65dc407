//! `membarrier`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::{Errno, SysError};
use sentry::{Current, Outcome};
use sentry_platform::MemOp;

const PRIVATE_EXPEDITED: i32 = 1 << 3;
const PRIVATE_EXPEDITED_SYNC_CORE: i32 = 1 << 5;
const PRIVATE_EXPEDITED_RSEQ: i32 = 1 << 7;
/// The commands that register, each for the one before it.
const REGISTER: i32 = 1 << 2 | 1 << 4 | 1 << 6 | 1 << 8;
const GET_REGISTRATIONS: i32 = 1 << 9;
const FLAG_CPU: u32 = 1;

/// Returns what `GET_REGISTRATIONS` tells: those for other barriers of a process show as one for the plain one, too,
/// though that isn't allowed by them (kernel: `membarrier_register_private_expedited`).
fn shown(registered: i32) -> i32 {
    let special = (PRIVATE_EXPEDITED_SYNC_CORE | PRIVATE_EXPEDITED_RSEQ) << 1;
    if registered & special != 0 { registered | PRIVATE_EXPEDITED << 1 } else { registered }
}

/// Serves `membarrier(2)`: guest threads are host threads, so the host's own barrier is the real one. What is registered
/// is kept here, since the platform registers for itself as well.
pub fn membarrier(cur: &mut Current, cmd: i32, flags: u32, cpu_id: i32) -> Outcome<'_> {
    let registered = cur.mm.barriers.load(Ordering::SeqCst);
    let sound = flags == 0 || (cmd == PRIVATE_EXPEDITED_RSEQ && flags == FLAG_CPU);
    match cmd {
        GET_REGISTRATIONS if sound => return Outcome::Done(Ok(u64::from(shown(registered).cast_unsigned()))),
        PRIVATE_EXPEDITED | PRIVATE_EXPEDITED_SYNC_CORE | PRIVATE_EXPEDITED_RSEQ
            if sound && registered & cmd << 1 == 0 =>
        {
            return Outcome::Done(Err(Errno::EPERM.into()));
        }
        _ => {}
    }
    Outcome::block(async move {
        let mm = Arc::clone(&cur.mm);
        let op = MemOp::Membarrier { cmd, flags, cpu: cpu_id };
        let result = mm.host_op(cur.context.as_mut(), op).await.map_err(SysError::Errno)?;
        // The commands are single bits: the host has refused anything else.
        let registered = mm.barriers.fetch_or(cmd & REGISTER, Ordering::SeqCst) | cmd & REGISTER;
        mm.space().let_barrier(registered);
        Ok(result)
    })
}
