//! `membarrier`.

use std::sync::Arc;

use abi::SysError;
use sentry::{Current, Outcome};
use sentry_platform::MemOp;

/// Serves `membarrier(2)`: guest threads are host threads, so the host's own barrier is the real one.
pub fn membarrier(cur: &mut Current, cmd: i32, flags: u32, cpu_id: i32) -> Outcome<'_> {
    Outcome::block(async move {
        let mm = Arc::clone(&cur.mm);
        let op = MemOp::Membarrier { cmd, flags, cpu: cpu_id };
        mm.host_op(cur.context.as_mut(), op).await.map_err(SysError::Errno)
    })
}
