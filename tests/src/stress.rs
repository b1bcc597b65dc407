//! `xtask stress`: forks, execs, threads, signals, stops and kills at random for some minutes. The sandbox ends clean: every
//! status right, no process left, no hang.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::Common;
use crate::caller::wait_for_none;
use crate::host::{Place, run as run_command};
use crate::setup::{need, output, runsc, workspace};
use crate::tally::Tally;

/// Seconds of one sandbox's life.
const ROUND: u64 = 20;
/// Seconds that it may take longer.
const PATIENCE: u64 = 60;

/// Runs on each platform for this many minutes. A round's number is its seed.
pub(crate) fn run(common: &Common, minutes: u64, tally: &mut Tally) -> Result<()> {
    need(&[("gcc", "gcc"), ("/usr/include/stdio.h", "libc6-dev")])?;
    let program = output("stress")?.join("stress");
    let mut gcc = Command::new("gcc");
    gcc.args(["-O1", "-Wall", "-static", "-pthread", "-o"])
        .arg(&program)
        .arg(workspace().join("tests/stress/stress.c"));
    let ended = run_command(&mut gcc, Duration::from_secs(60))?;
    ensure!(ended.code == 0, "stress.c doesn't compile: {}", ended.complaint());
    // A name of its own: other sandboxes of this machine are none of this suite's business.
    let dir = tempfile::Builder::new().prefix("runsc-stress").tempdir().context("make a directory")?;
    let own = dir.path().join("runsc");
    fs::copy(runsc(common)?, &own).context("copy runsc")?;
    let own = own.canonicalize().context("find the copy")?;
    for platform in &common.platform {
        for round in 1..=(minutes * 60).div_ceil(ROUND) {
            let words = [program.clone().into(), ROUND.to_string().into(), round.to_string().into()];
            let mut command = Place::sandbox(&own, platform).command(&words);
            let ended = run_command(&mut command, Duration::from_secs(ROUND + PATIENCE))?;
            let said = String::from_utf8_lossy(&ended.stdout).trim().to_owned();
            let problem = match ended.code {
                0 => None,
                -1 => Some("it hangs".to_owned()),
                code => Some(format!("exit status {code}: {}", ended.complaint())),
            };
            let problem = problem.or_else(|| wait_for_none(&own));
            tally.check(&format!("{platform}, round {round}: {said}"), problem);
        }
    }
    Ok(())
}
