//! Commands of a container's life killed at any time: `delete --force` cleans what they leave.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::bad_input::processes;
use crate::host::run as run_command;
use crate::tally::Tally;

/// Milliseconds after which the blow falls.
const DELAYS: &[u64] = &[0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 22, 27, 33, 40];

/// What is killed: a command of the container's life.
const VICTIMS: &[&[&str]] = &[&["create"], &["run", "--detach"], &["run"]];

/// Kills each victim after each delay.
pub(super) fn run(runsc: &Path, bundle: &Path, work: &Path, tally: &mut Tally) -> Result<()> {
    let root = work.join("crash");
    let before = processes(runsc);
    for victim in VICTIMS {
        let mut problem = None;
        for delay in DELAYS {
            let mut command = Command::new(runsc);
            command.arg("--root").arg(&root).args(*victim).arg("--bundle").arg(bundle).arg("crashed");
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().context("start runsc")?;
            std::thread::sleep(Duration::from_millis(*delay));
            child.kill().context("kill runsc")?;
            child.wait().context("wait for runsc")?;
            let mut delete = Command::new(runsc);
            let deleted = run_command(
                delete.arg("--root").arg(&root).args(["delete", "--force", "crashed"]),
                Duration::from_secs(20),
            )?;
            problem = problem.or_else(|| match deleted.code {
                0 => left(runsc, &root, &before),
                code => Some(format!("delete ended with {code}: {}", deleted.complaint())),
            });
            problem =
                problem.map(|why| if why.starts_with("after") { why } else { format!("after {delay} ms: {why}") });
        }
        tally.check(&format!("crash: {} killed", victim.join(" ")), problem);
    }
    Ok(())
}

/// What is left, after a moment for processes to end.
fn left(runsc: &Path, root: &Path, before: &std::collections::BTreeSet<u32>) -> Option<String> {
    let deadline = Instant::now() + Duration::from_secs(3);
    loop {
        let live = processes(runsc).difference(before).count();
        let states = std::fs::read_dir(root).map_or(0, Iterator::count);
        if live == 0 && states == 0 {
            return None;
        }
        if Instant::now() > deadline {
            return Some(format!("{live} processes and {states} states are left"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
