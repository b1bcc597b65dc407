//! What a sandbox costs that does nothing: a program inside sleeps, and everything it needs on the host is counted.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::competitor::Competitor;
use crate::host::kill;

/// How long a sandbox has for its start.
const START: Duration = Duration::from_secs(2);
/// How long the processor time is watched.
const WATCH: Duration = Duration::from_secs(10);

/// A sandbox with a sleeping program; ended on drop.
struct Sleeper {
    child: Child,
}

impl Sleeper {
    fn start(who: &Competitor) -> Result<Sleeper> {
        let mut command = who.command(&["/bin/sleep".into(), "120".into()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn().context("start an idle sandbox")?;
        std::thread::sleep(START);
        Ok(Sleeper { child })
    }

    /// The command line and everything that descends from it.
    fn processes(&mut self) -> Result<BTreeSet<u32>> {
        if let Some(status) = self.child.try_wait().context("wait for the idle sandbox")? {
            bail!("the idle sandbox has ended by itself: {status}");
        }
        let parents = parents();
        let mut found = BTreeSet::from([self.child.id()]);
        loop {
            let more: Vec<u32> = parents
                .iter()
                .filter(|(id, of)| found.contains(of) && !found.contains(id))
                .map(|(id, _)| *id)
                .collect();
            if more.is_empty() {
                break;
            }
            found.extend(more);
        }
        if found.len() < 2 {
            bail!("the idle sandbox has no process besides its command line");
        }
        Ok(found)
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

/// Processor time of all threads of an idle sandbox, in per cent of one CPU.
pub(super) fn cpu(who: &Competitor) -> Result<f64> {
    let mut sleeper = Sleeper::start(who)?;
    let processes = sleeper.processes()?;
    let before: u64 = processes.iter().map(|id| used(*id)).sum();
    let begin = Instant::now();
    std::thread::sleep(WATCH);
    let after: u64 = processes.iter().map(|id| used(*id)).sum();
    let took = begin.elapsed().as_nanos() as f64;
    sleeper.processes()?;
    Ok(after.saturating_sub(before) as f64 / took * 100.0)
}

/// Proportional set size of all processes of an idle sandbox, in MB.
pub(super) fn memory(who: &Competitor) -> Result<f64> {
    let mut sleeper = Sleeper::start(who)?;
    let mut total = 0.0;
    for id in sleeper.processes()? {
        total += pss(id).with_context(|| format!("no memory of process {id} to be seen"))?;
    }
    Ok(total / 1024.0)
}

/// Every process with its parent.
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.filter_map(|id| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name in brackets may hold anything.
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        Some((id, parent))
    })
    .collect()
}

/// Nanoseconds that the threads of a process have run.
fn used(id: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{id}/task")) else { return 0 };
    let times = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    times.sum()
}

/// Proportional set size of a process, in kB.
fn pss(id: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse().ok()
}
