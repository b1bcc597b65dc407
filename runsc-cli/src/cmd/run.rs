//! `runsc run`: a container from an OCI bundle, in the foreground, or left to itself once it runs.

use anyhow::{Context, Result};

use crate::cli::{Global, RunArgs};
use crate::sandbox::{launch, wait};
use crate::state::{self, Container};
use crate::{oci, terminal};

/// Creates the container, waits for its first process and removes it.
pub(crate) fn run(global: &Global, args: &RunArgs) -> Result<u8> {
    if args.detach {
        return detached(global, args);
    }
    let args = &args.create;
    state::check_id(&args.id)?;
    let (bundle, spec) = oci::read_bundle(&args.bundle)?;
    let config = oci::convert(global, &bundle, &spec, &args.id)?;
    let signals = wait::block_signals()?;
    let sandbox = launch::launch(global, config, launch::Extras::default())?;
    if let Some(path) = &args.pid_file {
        let written = std::fs::write(path, sandbox.sentry.pid.to_string());
        if let Err(error) = written {
            wait::abandon(&sandbox);
            return Err(error).with_context(|| format!("writing the pid file {}", path.display()));
        }
    }
    wait::wait(sandbox, &signals)
}

/// Creates and starts the container.
fn detached(global: &Global, args: &RunArgs) -> Result<u8> {
    let extra = terminal::preserved(args.create.preserve_fds)?;
    super::create::create(global, &args.create, extra)?;
    let container = Container::find(global, &args.create.id)?;
    if let Err(error) = super::start::start(&container) {
        // Nobody else will.
        let _lock = container.lock()?;
        super::delete::clean(&container, &container.load()?);
        return Err(error);
    }
    Ok(0)
}
