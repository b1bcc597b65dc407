//! Makes the address space that an [`Image`] describes.

use std::sync::Arc;

use abi::Errno;
use sentry_platform::regs::{USER_CS, USER_SS};
use sentry_platform::{Context, ContextExt, MemOp, Registers, WRITE_MOST};

use super::{Image, LoadError};
use crate::Kernel;
use crate::mm::{Class, Mm, Prepared};

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
    /// Has the host perform the operations.
    async fn perform(&self, context: &mut dyn Context) -> Result<(), LoadError> {
        let Err(failure) = context.memory(&self.ops).await else { return Ok(()) };
        let op = self.ops.get(failure.index);
        if let Some(MemOp::Describe { .. }) = op {
            tracing::debug!(errno = %failure.errno, "the host's ps won't show the program's arguments");
            return Ok(());
        }
        tracing::debug!(errno = %failure.errno, ?op, "mapping a new program failed");
        Err(LoadError::Fatal(failure.errno))
    }

    /// Makes a new address space and fills it.
    ///
    /// # Errors
    /// [`LoadError::Refused`] where there is no room for another process, [`LoadError::Fatal`] where the program can't be
    /// mapped.
    pub async fn load(mut self, kernel: &Kernel, class: Class) -> Result<Loaded, LoadError> {
        let platform = kernel.platform.as_ref();
        let (space, mut context) = platform.new_process().await.map_err(|error| {
            tracing::warn!(%error, "the platform could not make an address space for a new program");
            LoadError::Refused(error.errno())
        })?;
        let mut prepared = match platform.patching() {
            Some(patching) => Prepared::new(&mut self.books, patching, &kernel.learned, class),
            None => Prepared::default(),
        };
        self.ops.append(&mut prepared.before);
        // Long arguments take a copy by the host, for which the memory must be there.
        if self.writes.iter().any(|(_, bytes)| bytes.len() > WRITE_MOST) {
            self.perform(context.as_mut()).await?;
            let mut writes = std::mem::take(&mut self.writes).into_iter();
            if !writes.all(|(addr, bytes)| space.write(addr, &bytes) == bytes.len()) {
                return Err(LoadError::Fatal(Errno::EFAULT));
            }
            self.ops.clear();
        }
        let writes = self.writes.drain(..).chain(prepared.writes.drain(..));
        self.ops.extend(writes.map(|(addr, bytes)| MemOp::Write { addr, bytes: bytes.into() }));
        self.ops.append(&mut prepared.after);
        self.ops.push(MemOp::Describe { addr: self.description });
        self.perform(context.as_mut()).await?;
        let mm = Mm::with_books(space, platform.vdso(), self.books, Some(self.exe.mapped())).with_patches(prepared);
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
