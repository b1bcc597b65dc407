//! proc: what the kernel and its tasks look like as text, in Linux's own formats (`man 5 proc`).
//!
//! [`ProcFs`] is the file system. Everything it shows comes from the kernel through the traits in [`source`]; nothing is
//! kept here but the boot id. What isn't served has no file at all.

mod root;
pub mod source;
mod sysctl;
pub mod system;
mod task;
#[cfg(test)]
mod tests;

mod text;

use std::sync::Arc;

use abi::Errno;
use abi::types::Statfs;

use crate::synth::{Node, SynthFs};
use crate::{CachePolicy, FileSystem, InodeRef};
use root::Root;
pub use source::{KernelView, TaskView};
pub(crate) use text::{mask, mask_list};

/// `PROC_SUPER_MAGIC`.
const MAGIC: i64 = 0x9fa0;

/// The file system of `/proc`.
pub struct ProcFs(SynthFs);

impl std::fmt::Debug for ProcFs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProcFs")
    }
}

impl ProcFs {
    /// Shows a kernel. `boot_id` identifies the sandbox (`/proc/sys/kernel/random/boot_id`): 16 random bytes.
    pub fn new(view: Arc<dyn KernelView>, boot_id: [u8; 16]) -> ProcFs {
        ProcFs::with_sysctls(view, boot_id, &[])
    }

    /// The same with settings below `/proc/sys` that hold something else than by default: paths and values.
    pub fn with_sysctls(view: Arc<dyn KernelView>, boot_id: [u8; 16], set: &[(String, String)]) -> ProcFs {
        ProcFs(SynthFs::new("proc", MAGIC, Node::dir(0o555, Root::new(view, boot_id, set))))
    }
}

impl FileSystem for ProcFs {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn root(&self) -> InodeRef {
        self.0.root()
    }

    fn statfs(&self) -> Result<Statfs, Errno> {
        self.0.statfs()
    }

    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Never
    }
}
