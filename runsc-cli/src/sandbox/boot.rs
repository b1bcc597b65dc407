//! The sentry process.

use anyhow::Result;

/// Boots the guest kernel and works until the sandbox ends.
pub(crate) fn main() -> Result<u8> {
    anyhow::bail!("the kernel has no root file system yet")
}
