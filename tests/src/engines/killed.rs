//! Docker's daemon, its containerd, shims and the processes of containers killed, and no room for the state, by a script that has
//! a daemon of its own for each runtime.

use std::path::Path;

use anyhow::Result;

use super::{DOCKER, compare, image};
use crate::setup::need;
use crate::tally::Tally;

/// Runs the script with both runtimes.
pub(super) fn run(runsc: &Path, work: &Path, tally: &mut Tally) -> Result<()> {
    need(DOCKER)?;
    let tar = image(work)?;
    let environment = |runtime: &str| {
        vec![
            ("RUNTIME", runtime.to_owned()),
            ("PROGRAM", runsc.display().to_string()),
            ("IMAGE", tar.display().to_string()),
        ]
    };
    compare("killed", work, &environment("runc"), &environment("runsc"), tally)
}
