//! `xtask compat`: the compatibility matrix, run by the `compat` program.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::Common;
use crate::setup::{need, root, runsc, workspace};
use crate::tally::Tally;

/// Builds and runs `compat`, and takes its closing line into the tally.
pub(crate) fn run(common: &Common, rest: &[String], tally: &mut Tally) -> Result<()> {
    need(&[("gcc", "gcc"), ("/usr/include/stdio.h", "libc6-dev")])?;
    root("the cases switch users and make device nodes")?;
    let native_only = rest.iter().any(|r| r == "--native-only" || r == "--list");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet", "--package", "compat", "--bin", "compat", "--"]).current_dir(workspace());
    if !native_only {
        command.arg("--runsc").arg(runsc(common)?);
        command.arg("--platform").arg(common.platform.join(","));
    }
    if let Some(filter) = &common.filter {
        command.arg("--filter").arg(filter);
    }
    if rest.is_empty() && common.filter.is_none() {
        on_host_network(common, tally)?;
    }
    let output = command.args(rest).stderr(Stdio::inherit()).output().context("run compat")?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    let (mut passed, mut failed) = text.lines().find_map(closing).unwrap_or((0, usize::from(!output.status.success())));
    for (platform, case) in text.lines().filter_map(differing).take(RETRIES) {
        if once_more(common, platform, case)? {
            println!("{case} on {platform} agrees when it runs alone: the first difference was one of timing");
            passed += 1;
            failed -= 1;
        }
    }
    tally.add(passed, failed, "compat");
    Ok(())
}

/// Runs the cases of sockets with sockets of the host, in a network namespace that has a loopback only, as native.
fn on_host_network(common: &Common, tally: &mut Tally) -> Result<()> {
    need(&[("unshare", "util-linux"), ("ip", "iproute2")])?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]).arg(cargo);
    command.args(["run", "--quiet", "--package", "compat", "--bin", "compat", "--"]).current_dir(workspace());
    command.arg("--runsc").arg(runsc(common)?).arg("--platform").arg(common.platform.join(","));
    command.args(["--runsc-flag=--network=host", "--filter", "socket", "--filter", "epoll", "--filter", "poll"]);
    let output = command.stderr(Stdio::inherit()).output().context("run compat on the host's network")?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    let (passed, failed) = text.lines().find_map(closing).unwrap_or((0, 1));
    tally.add(passed, failed, "compat with --network=host");
    Ok(())
}

/// Most cases that are given a second run: more is no matter of timing.
const RETRIES: usize = 12;

/// Reads `DIFFERS PLATFORM CASE`; what was `LOST` is never excused.
fn differing(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("DIFFERS ")?.split_once(' ')
}

/// Runs one case alone, on a machine that is then idle.
fn once_more(common: &Common, platform: &str, case: &str) -> Result<bool> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet", "--package", "compat", "--bin", "compat", "--", "--runsc"]).arg(runsc(common)?);
    command.args(["--platform", platform, "--filter", &format!("={case}")]).current_dir(workspace());
    Ok(command.output().context("run compat again")?.status.success())
}

/// Reads `compat: N passed, M failed`.
fn closing(line: &str) -> Option<(usize, usize)> {
    let (passed, failed) = line.strip_prefix("compat: ")?.split_once(" passed, ")?;
    Some((passed.parse().ok()?, failed.strip_suffix(" failed")?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_closing_line_is_read() {
        assert_eq!(super::closing("compat: 12 passed, 3 failed"), Some((12, 3)));
        assert_eq!(super::closing("something else"), None);
    }
}
