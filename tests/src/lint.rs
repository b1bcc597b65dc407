//! `xtask lint`: formatting, clippy, ratchets.

use std::process::Command;

use anyhow::{Context, Result};

use crate::ratchet;
use crate::setup::workspace;
use crate::tally::Tally;

/// Runs the linters over the workspace.
pub(crate) fn run(tally: &mut Tally) -> Result<()> {
    cargo(&["fmt", "--all", "--check"], "fmt", tally)?;
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], "clippy", tally)?;
    ratchet::run(false, tally)
}

fn cargo(args: &[&str], name: &str, tally: &mut Tally) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo).args(args).current_dir(workspace()).status().context("run cargo")?;
    tally.check(name, (!status.success()).then(|| format!("cargo {} fails", args.join(" "))));
    Ok(())
}
