//! Makes the address space that an [`Image`] describes.

use std::sync::Arc;

use abi::Errno;
use sentry_platform::regs::{USER_CS, USER_SS};
use sentry_platform::{Context, ContextExt, MemOp, Platform, Registers};

use super::{Image, LoadError};
use crate::mm::Mm;

/// A program that is ready to run its first instruction.
pub struct Loaded {
    /// Its memory.
    pub mm: Arc<Mm>,
    /// Its first thread.
    pub context: Box<dyn Context>,
    /// That thread's registers.
    pub regs: Registers,
}

/// Flags at the start of a program: interrupts on, and the bit that is always set.
const START_EFLAGS: u64 = 0x202;

impl Image {
    /// Makes a new address space and fills it.
    ///
    /// # Errors
    /// [`LoadError::Refused`] where there is no room for another process, [`LoadError::Fatal`] where the program can't be
    /// mapped.
    pub async fn load(self, platform: &dyn Platform) -> Result<Loaded, LoadError> {
        let (space, mut context) = platform.new_process().await.map_err(|error| {
            tracing::warn!(%error, "the platform could not make an address space for a new program");
            LoadError::Refused(error.errno())
        })?;
        context.memory(&self.ops).await.map_err(|failure| {
            let op = self.ops.get(failure.index);
            tracing::debug!(errno = %failure.errno, ?op, "mapping a new program failed");
            LoadError::Fatal(failure.errno)
        })?;
        for (addr, bytes) in &self.writes {
            if space.write(*addr, bytes) != bytes.len() {
                return Err(LoadError::Fatal(Errno::EFAULT));
            }
        }
        if let Err(failure) = context.memory(&[MemOp::Describe { addr: self.description }]).await {
            tracing::debug!(errno = %failure.errno, "the host's ps won't show the program's arguments");
        }
        let mm = Mm::with_books(space, platform.vdso(), self.books, Some(self.exe.mapped()));
        let regs = Registers {
            rip: self.entry,
            rsp: self.sp,
            cs: USER_CS,
            ss: USER_SS,
            eflags: START_EFLAGS,
            orig_rax: u64::MAX,
            ..Registers::default()
        };
        Ok(Loaded { mm: Arc::new(mm), context, regs })
    }
}
