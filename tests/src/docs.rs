//! `xtask docs`: pages under `docs/` that are made from the sources.

use std::fs;

use anyhow::{Context, Result};

use crate::setup::workspace;
use crate::tally::Tally;

/// Writes `docs/syscalls.md`, or with `check` says whether it is current.
pub(crate) fn run(check: bool, tally: &mut Tally) -> Result<()> {
    let path = workspace().join("docs/syscalls.md");
    let fresh = compat::docs::syscalls();
    if check {
        let stale = fs::read_to_string(&path).ok().as_deref() != Some(fresh.as_str());
        tally.check("docs/syscalls.md is current", stale.then(|| "run `cargo xtask docs` and commit it".to_owned()));
        return Ok(());
    }
    fs::create_dir_all(workspace().join("docs")).context("create docs")?;
    fs::write(&path, fresh).with_context(|| format!("write {}", path.display()))?;
    println!("wrote docs/syscalls.md");
    Ok(())
}
