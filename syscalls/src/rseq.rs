//! `rseq`.

use abi::{SysError, UserAddr};
use sentry::{Current, Outcome};

/// Serves `rseq(2)`.
pub fn rseq(cur: &mut Current, area: UserAddr, len: u32, flags: u32, signature: u32) -> Outcome<'_> {
    Outcome::block(async move {
        sentry::task::rseq::rseq(cur, area, len, flags, signature).await.map_err(SysError::Errno)?;
        Ok(0)
    })
}
