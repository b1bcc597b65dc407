//! `runsc run`: a container from an OCI bundle, in the foreground, or left to itself once it runs.

use anyhow::Result;

use super::create::{Life, create};
use super::{delete, start};
use crate::cli::{Global, RunArgs};
use crate::passed::Passed;
use crate::sandbox::wait;

/// Creates and starts the container; in the foreground also waits for its first process and removes it.
pub(crate) fn run(global: &Global, args: &RunArgs) -> Result<u8> {
    // Before anything else is opened that could be mistaken for them.
    let passed = Passed::new(args.create.preserve_fds, &args.pass)?;
    if args.detach {
        let (mut draft, sandbox) = create(global, &args.create, passed, Life::Detached)?;
        start::begin(&draft.container, &mut draft.record)?;
        draft.leave(&sandbox)?;
        return Ok(0);
    }
    let signals = wait::block_signals()?;
    let (mut draft, sandbox) = create(global, &args.create, passed, Life::Foreground)?;
    start::begin(&draft.container, &mut draft.record)?;
    let (container, record) = draft.unlock();
    let status = wait::wait(sandbox, &signals);
    if !args.keep {
        let lock = container.lock();
        delete::finish(&container, &record);
        drop(lock);
    }
    status
}
