//! What a sandbox costs that does nothing: a program inside sleeps or waits for input, and every process that is there for
//! it on the host is counted.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::competitor::Competitor;
use crate::host::kill;

/// How long a sandbox has for its start.
const START: Duration = Duration::from_secs(2);
/// How long it has for its end.
const END: Duration = Duration::from_secs(10);
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
        let mut found = descendants(self.child.id());
        if found.is_empty() {
            bail!("the idle sandbox has no process besides its command line");
        }
        found.insert(self.child.id());
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

/// Proportional set size of all processes of an idle `do`, in MB.
pub(super) fn command(who: &Competitor) -> Result<f64> {
    let mut sleeper = Sleeper::start(who)?;
    memory(&sleeper.processes()?)
}

/// The same of a detached container whose shell waits for words; of that no command line is left.
pub(super) fn container(who: &Competitor, bundle: &Path, name: &str) -> Result<f64> {
    // What loses its parent comes to this process.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).context("become a subreaper")?;
    let before = descendants(std::process::id());
    let (stdin, words) = std::io::pipe().context("make a pipe")?;
    let mut command = who.runtime("run");
    command.arg("--detach").arg("--bundle").arg(bundle).arg(name);
    let started = command.stdin(stdin).stdout(Stdio::null()).stderr(Stdio::null()).status().context("start it")?;
    drop(command);
    let measured = if started.success() {
        std::thread::sleep(START);
        let found: BTreeSet<u32> = descendants(std::process::id()).difference(&before).copied().collect();
        memory(&found)
    } else {
        Err(anyhow::anyhow!("it could not be started: {started}"))
    };
    for words in [["kill", name, "KILL"].as_slice(), &["delete", "--force", name]] {
        let mut command = who.runtime(words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        finish(command, &before)?;
    }
    drop(words);
    measured
}

/// Runs a command that ends a container, and takes notice of the ends of what has lost its parent meanwhile: some runtimes
/// wait for that. What has failed to start can't be ended: its status doesn't matter.
fn finish(mut command: Command, before: &BTreeSet<u32>) -> Result<()> {
    let mut child = command.spawn().context("end the idle container")?;
    let deadline = Instant::now() + END;
    while child.try_wait().context("wait for its end")?.is_none() {
        if Instant::now() > deadline {
            kill(&mut child);
            bail!("the idle container doesn't end");
        }
        for id in descendants(std::process::id()).difference(before).filter(|id| **id != child.id()) {
            let id = i32::try_from(*id).ok().and_then(rustix::process::Pid::from_raw);
            // Those that are not our own children, or live, are none of our business.
            let _ = id.map(|id| rustix::process::waitpid(Some(id), rustix::process::WaitOptions::NOHANG));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn memory(processes: &BTreeSet<u32>) -> Result<f64> {
    if processes.is_empty() {
        bail!("there is no process of the idle sandbox");
    }
    let mut total = 0.0;
    for id in processes {
        total += pss(*id).with_context(|| format!("no memory of process {id} to be seen"))?;
    }
    Ok(total / 1024.0)
}

/// Everything that descends from a process.
fn descendants(of: u32) -> BTreeSet<u32> {
    let parents = parents();
    let mut found = BTreeSet::new();
    loop {
        let is_new = |&&(id, parent): &&(u32, u32)| (parent == of || found.contains(&parent)) && !found.contains(&id);
        let more: Vec<u32> = parents.iter().filter(is_new).map(|(id, _)| *id).collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
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
