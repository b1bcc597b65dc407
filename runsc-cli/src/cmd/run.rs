//! `runsc run`: a container from an OCI bundle, in the foreground.

use anyhow::{Context, Result, bail};

use crate::cli::{Global, RunArgs};
use crate::oci;
use crate::sandbox::{launch, wait};

/// Creates the container, waits for its first process and removes it.
pub(crate) fn run(global: &Global, args: &RunArgs) -> Result<u8> {
    check_id(&args.id)?;
    let config = oci::read_bundle(global, &args.bundle, &args.id)?;
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

/// Accepts what gVisor and runc accept as a container id.
fn check_id(id: &str) -> Result<()> {
    let valid = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if id.is_empty() || id == "." || id == ".." || !id.chars().all(valid) {
        bail!("invalid container id {id:?}: use letters, digits, _ + - and .");
    }
    Ok(())
}
