//! What a running container says of the ways that its calls take (`runsc debug --counters`).

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::bundles::{busybox_rootfs, plain};
use crate::host::{Ended, run as run_command};
use crate::tally::Tally;

/// Forks, waits and looks at files until it is killed.
const SCRIPT: &str = "while :; do /bin/true; test -e /etc/passwd; done";
/// Counts that such a program moves on systrap, whatever the machine is like.
const MOVED: [&str; 4] = ["calls_trapped", "events_found", "workers_parked", "copies_by_host"];

/// Reads the counters of a busy container twice: they grow.
pub(crate) fn run(runsc: &Path, platform: &str, tally: &mut Tally) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("runsc-counters").tempdir().context("make a directory")?;
    let bundle = dir.path().join("bundle");
    busybox_rootfs(&bundle.join("rootfs"))?;
    fs::write(bundle.join("config.json"), plain(SCRIPT).to_string()).context("write config.json")?;
    let id = format!("counters-{}", std::process::id());
    let command = |args: &[&str]| {
        let mut command = Command::new(runsc);
        command.arg(format!("--platform={platform}")).arg("--root").arg(dir.path().join("state")).args(args);
        command
    };
    let runsc = |args: &[&str]| run_command(&mut command(args), Duration::from_secs(30));
    // The container keeps the descriptors of its caller: no pipe of ours, whose end we would wait for.
    let mut start = command(&["run", "--detach", "--bundle", &bundle.to_string_lossy(), &id]);
    start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = start.status().context("start a container")?;
    let problem =
        if started.success() { grows(&runsc, platform, &id)? } else { Some(format!("it ends with {started}")) };
    tally.check(&format!("counters of a running container on {platform}"), problem);
    runsc(&["delete", "--force", &id])?;
    Ok(())
}

fn grows(runsc: &dyn Fn(&[&str]) -> Result<Ended>, platform: &str, id: &str) -> Result<Option<String>> {
    let read = || -> Result<(Ended, Vec<u64>)> {
        let ended = runsc(&["debug", "--counters", id])?;
        let text = String::from_utf8_lossy(&ended.stdout).into_owned();
        let of = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse().ok()
        };
        let counts = MOVED.iter().filter_map(|name| of(name)).collect();
        Ok((ended, counts))
    };
    let (ended, first) = read()?;
    if platform != "systrap" {
        // A platform that counts nothing says so with no lines.
        return Ok((ended.code != 0 || !ended.stdout.is_empty()).then(|| ended.complaint()));
    }
    if first.len() < MOVED.len() {
        return Ok(Some(format!("some of {MOVED:?} are missing: {}", ended.complaint())));
    }
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        let (_, now) = read()?;
        if now.len() == first.len() && now.iter().zip(&first).all(|(now, first)| now > first) {
            return Ok(None);
        }
        if Instant::now() > limit {
            return Ok(Some(format!("{MOVED:?} don't all grow: {first:?}, then {now:?}")));
        }
    }
}
