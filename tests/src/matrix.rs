//! `xtask compat`: the compatibility matrix, run by the `compat` program.

use std::fmt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::Common;
use crate::setup::{need, root, runsc, workspace};
use crate::tally::Tally;

/// Builds and runs `compat`, and takes its verdicts into the tally.
pub(crate) fn run(common: &Common, rest: &[String], tally: &mut Tally) -> Result<()> {
    need(&[("gcc", "gcc"), ("/usr/include/stdio.h", "libc6-dev"), ("unshare", "util-linux"), ("ip", "iproute2")])?;
    root("the cases switch users and make device nodes")?;
    if rest.is_empty() && common.filter.is_none() {
        let sockets = ["socket", "epoll", "poll"].iter().flat_map(|f| ["--filter", f]).map(str::to_owned);
        matrix(common, Network::Host, &sockets.collect::<Vec<_>>(), tally)?;
    }
    let filter = common.filter.iter().flat_map(|f| ["--filter".to_owned(), f.clone()]);
    matrix(common, Network::Own, &filter.chain(rest.iter().cloned()).collect::<Vec<_>>(), tally)
}

/// Whose sockets the cases use.
#[derive(Clone, Copy)]
enum Network {
    /// The sandbox's.
    Own,
    /// The host's, in a network namespace that has a loopback only, for the native run too.
    Host,
}

/// `compat` with `arguments`, on all platforms or, given one, on that.
fn command(common: &Common, network: Network, platform: Option<&str>, arguments: &[String]) -> Result<Command> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = match network {
        Network::Own => Command::new(cargo),
        Network::Host => {
            let mut command = Command::new("unshare");
            command.args(["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]).arg(cargo);
            command
        }
    };
    command.args(["run", "--quiet", "--package", "compat", "--bin", "compat", "--"]).current_dir(workspace());
    if !arguments.iter().any(|a| a == "--native-only" || a == "--list") {
        command.arg("--runsc").arg(runsc(common)?);
        command.arg("--platform").arg(platform.map_or_else(|| common.platform.join(","), str::to_owned));
    }
    if matches!(network, Network::Host) {
        command.arg("--runsc-flag=--network=host");
    }
    command.args(arguments);
    Ok(command)
}

fn matrix(common: &Common, network: Network, arguments: &[String], tally: &mut Tally) -> Result<()> {
    let mut command = command(common, network, None, arguments)?;
    let output = command.stderr(Stdio::inherit()).output().context("run compat")?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    let what = match network {
        Network::Own => "compat",
        Network::Host => "compat with --network=host",
    };
    let Some((mut passed, failed)) = text.lines().find_map(closing) else {
        let problem = (!output.status.success()).then(|| format!("ended with {} and no verdict", output.status));
        if problem.is_some() || !arguments.iter().any(|a| a == "--list") {
            tally.check(what, problem);
        }
        return Ok(());
    };
    let bad: Vec<_> = text.lines().filter_map(Bad::read).collect();
    let mut failures = Vec::new();
    if bad.len() != failed {
        failures.push(format!("{what}: {failed} failed, {} were named", bad.len()));
    }
    for (nth, bad) in bad.into_iter().enumerate() {
        if nth < RETRIES && once_more(common, network, &bad)? {
            println!("{bad} agrees when it runs alone: the first difference was one of timing");
            passed += 1;
        } else {
            failures.push(format!("{what}: {bad}"));
        }
    }
    tally.add(passed, failures);
    Ok(())
}

/// Most cases that are given a second run: more is no matter of timing.
const RETRIES: usize = 12;

/// A case that `compat` reports as failed.
struct Bad<'a> {
    /// `DIFFERS`, `LOST` (its sandbox died), `UNEXPECTED` or, of the native run, `BROKEN`.
    verdict: &'a str,
    /// None: the native run.
    platform: Option<&'a str>,
    case: &'a str,
}

impl<'a> Bad<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let mut words = line.split(' ');
        let verdict = words.next()?;
        let platform = match verdict {
            "DIFFERS" | "LOST" | "UNEXPECTED" => Some(words.next()?),
            "BROKEN" => None,
            _ => return None,
        };
        Some(Self { verdict, platform, case: words.next()?.trim_end_matches(':') })
    }
}

impl fmt::Display for Bad<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.verdict, self.platform.unwrap_or("native"), self.case)
    }
}

/// Whether the case passes alone, on a machine that is then idle. A sandbox that died is never excused.
fn once_more(common: &Common, network: Network, bad: &Bad<'_>) -> Result<bool> {
    if matches!(bad.verdict, "LOST" | "UNEXPECTED") {
        return Ok(false);
    }
    let alone = ["--filter".to_owned(), format!("={}", bad.case)];
    let mut command = command(common, network, bad.platform, &alone)?;
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

    #[test]
    fn failed_cases_are_read() {
        let read = |line| super::Bad::read(line).map(|bad| bad.to_string());
        assert_eq!(read("DIFFERS systrap pipes"), Some("DIFFERS systrap pipes".into()));
        assert_eq!(read("UNEXPECTED ptrace a: listed"), Some("UNEXPECTED ptrace a".into()));
        assert_eq!(read("BROKEN a: killed"), Some("BROKEN native a".into()));
        assert_eq!(read("- stdout differs"), None);
    }
}
