//! `xtask host-calls`: which calls sentry, stubs and gofer really make on the host, beside what their filters allow
//! (`runsc help host-calls`). A rule that no suite uses is a failure unless its reason says when it is used.
//!
//! The host's tracing (`tracefs`) tells of every call that has passed the filters; processes are told apart by the names of
//! their threads. A rule that is missing shows otherwise: the process dies and names the call.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::Common;
use crate::setup::{root, runsc};
use crate::tally::Tally;

const TRACEFS: &str = "/sys/kernel/tracing";

/// How a reason begins that says that no suite comes to use a rule.
const SELDOM: &str = "seldom: ";

/// Names of threads, or how they begin, and whose they are. The command line is none of them.
const THREADS: &[(&str, &str)] = &[
    ("runsc-boot", "sentry"),
    ("reactor", "sentry"),
    ("control", "sentry"),
    ("async-io", "sentry"),
    ("blocking-", "sentry"),
    ("worker", "sentry"),
    ("runsc-gofer", "gofer"),
    ("gofer-", "gofer"),
    ("stub", "stub"),
];

/// One row of `runsc help host-calls`.
#[derive(Debug, Deserialize)]
struct Allowed {
    process: String,
    platform: Option<String>,
    number: i64,
    name: String,
    /// Arguments that may have these values only.
    values: Vec<(usize, Vec<u64>)>,
    why: String,
}

/// Calls seen, by process and number: the values of each argument, of which there may be no more than [`VALUES`].
type Seen = BTreeMap<(&'static str, i64), [BTreeSet<u64>; 6]>;

const VALUES: usize = 256;

/// Runs suites of every sort under tracing, and compares.
pub(crate) fn run(common: &Common, tally: &mut Tally) -> Result<()> {
    root("the host's tracing needs it")?;
    let runsc = runsc(common)?;
    let common = &Common { runsc: Some(runsc.clone()), ..common.clone() };
    let listed = Command::new(&runsc).args(["help", "host-calls", "--format=json"]).output().context("run runsc")?;
    let allowed: Vec<Allowed> = serde_json::from_slice(&listed.stdout).context("read the list of host calls")?;
    let tracing = Tracing::start()?;
    tally.suite("files of the host", |t| write_files(&runsc, common, t));
    tally.suite("compat", |t| crate::matrix::run(common, &[], t));
    tally.suite("bundles", |t| crate::bundles::run(common, t));
    tally.suite("caller", |t| crate::caller::run(common, t));
    tally.suite("special files", |t| crate::special::run(common, t));
    tally.suite("hostile", |t| crate::hostile::run(common, t));
    tally.suite("programs", |t| crate::programs::run(common, true, t));
    let seen = tracing.stop()?;
    println!("== host calls");
    // Sockets on the host are the business of a suite of their own.
    for row in allowed.iter().filter(|row| THREADS.iter().any(|(_, process)| *process == row.process)) {
        let place = row.platform.as_deref().map(|p| format!(" on {p}")).unwrap_or_default();
        tally.check(&format!("{}{place}: {}", row.process, row.name), unused(row, &seen));
    }
    for (process, number) in unlisted(&allowed, &seen) {
        tally.check(&format!("{process}: call {number}"), Some("made and not in the table".to_owned()));
    }
    Ok(())
}

/// `uretprobe` and `uprobe`, which hosts let pass whatever a filter says (Linux 6.12 and later); outside of a probe they do
/// nothing but fail.
const PROBES: [i64; 2] = [335, 336];

/// What the first stub does before its filter is there: on systrap `rt_sigaction`, `capset` and `setrlimit`, on ptrace `getppid`
/// (does its sentry live?), `getpid` and `kill` (it stops itself).
const FIRST_STEPS: [i64; 6] = [13, 126, 160, 110, 39, 62];

/// What has been made and no row allows. What the gofer's first thread does before its filter is there doesn't count. The
/// suites have sockets of the host made, too, for which sentries have further rows.
fn unlisted(allowed: &[Allowed], seen: &Seen) -> Vec<(&'static str, i64)> {
    let rows = |row: &Allowed, who: &str| {
        row.process.strip_prefix(who).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    let listed = |who: &str, nr: i64| allowed.iter().any(|row| rows(row, who) && row.number == nr);
    let early = |who: &str, nr: i64| who == "gofer" || who == "stub" && FIRST_STEPS.contains(&nr);
    let counts = |(who, nr): &(&str, i64)| !early(who, *nr) && !PROBES.contains(nr) && !listed(who, *nr);
    seen.keys().copied().filter(counts).collect()
}

/// Changes files of the host: the other suites leave their trees as they are.
fn write_files(runsc: &Path, common: &Common, tally: &mut Tally) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("runsc-writes").tempdir().context("make a directory")?;
    let program = crate::posture::build("writes.c", dir.path())?;
    for platform in &common.platform {
        let mut command = Command::new(runsc);
        command.arg(format!("--platform={platform}")).args(["do", "--volume"]).arg(dir.path());
        command.arg(&program).arg(dir.path());
        let ended = crate::host::run(&mut command, Duration::from_secs(20))?;
        let problem = (ended.code != 0).then(|| format!("exit status {}: {}", ended.code, ended.complaint()));
        tally.check(&format!("written on {platform}"), problem);
    }
    Ok(())
}

/// What of a rule nobody has used.
fn unused(row: &Allowed, seen: &Seen) -> Option<String> {
    let values = seen.iter().find(|((who, nr), _)| *who == row.process && *nr == row.number).map(|(_, values)| values);
    // The number of no call: the sentry answers it, and the host never comes to make it.
    let seldom = row.why.starts_with(SELDOM) || row.number >= 0x1000;
    let Some(values) = values else {
        return (!seldom).then(|| format!("never made ({})", row.why));
    };
    let missing: Vec<String> = row
        .values
        .iter()
        .flat_map(|(at, wanted)| wanted.iter().map(move |value| (at, value & 0xffff_ffff)))
        .filter(|(at, value)| values.get(**at).is_some_and(|seen| seen.len() < VALUES && !seen.contains(value)))
        .map(|(at, value)| format!("argument {at} was never {value:#x}"))
        .collect();
    (!missing.is_empty() && !seldom).then(|| missing.join(", "))
}

/// An instance of the host's tracing of our own, and the thread that reads it.
struct Tracing {
    dir: PathBuf,
    done: Arc<AtomicBool>,
    reader: std::thread::JoinHandle<Result<Seen>>,
}

impl Tracing {
    fn start() -> Result<Tracing> {
        if !Path::new(TRACEFS).join("instances").exists() {
            let mounted = Command::new("mount").args(["-t", "tracefs", "tracefs", TRACEFS]).status();
            anyhow::ensure!(mounted.is_ok_and(|s| s.success()), "this host has no tracefs (CONFIG_FTRACE)");
        }
        let dir = Path::new(TRACEFS).join(format!("instances/runsc-{}", std::process::id()));
        fs::create_dir(&dir).context("make an instance of the host's tracing")?;
        let event = dir.join("events/raw_syscalls/sys_enter");
        let filter: Vec<String> = THREADS.iter().map(|(name, _)| format!("comm ~ \"{name}*\"")).collect();
        let filter =
            Filter { file: event.join("filter"), text: format!("({})", filter.join(" || ")), counts: BTreeMap::new() };
        let set = |path: PathBuf, value: &str| fs::write(&path, value).with_context(|| format!("{}", path.display()));
        set(dir.join("buffer_size_kb"), "16384")?;
        set(filter.file.clone(), &filter.text)?;
        set(event.join("enable"), "1")?;
        let done = Arc::new(AtomicBool::new(false));
        let (pipe, stop) = (dir.join("trace_pipe"), Arc::clone(&done));
        let reader = std::thread::spawn(move || read(&pipe, &stop, filter));
        Ok(Tracing { dir, done, reader })
    }

    fn stop(self) -> Result<Seen> {
        self.done.store(true, Ordering::SeqCst);
        let seen = self.reader.join().map_err(|_| anyhow::anyhow!("the reader of the host's tracing panicked"))?;
        let lost = fs::read_dir(self.dir.join("per_cpu")).into_iter().flatten().flatten().filter_map(|cpu| {
            let stats = fs::read_to_string(cpu.path().join("stats")).ok()?;
            stats.lines().find_map(|l| l.strip_prefix("overrun: "))?.trim().parse::<u64>().ok()
        });
        println!("note: the host's tracing lost {} events", lost.sum::<u64>());
        fs::remove_dir(&self.dir).context("remove the instance of the host's tracing")?;
        seen
    }
}

/// What the host is to tell of. Calls that come all the time are left out after a while, so that seldom ones aren't lost.
struct Filter {
    file: PathBuf,
    text: String,
    counts: BTreeMap<i64, u32>,
}

impl Filter {
    /// Enough of one call.
    const ENOUGH: u32 = 30_000;

    fn count(&mut self, number: i64) -> Result<()> {
        /// `ioctl`: the requests that matter are lost among others.
        const NEVER: i64 = 16;
        let count = self.counts.entry(number).or_default();
        *count += 1;
        if *count != Self::ENOUGH || number == NEVER {
            return Ok(());
        }
        self.text += &format!(" && id != {number}");
        fs::write(&self.file, &self.text).context("change the filter of the host's tracing")
    }
}

/// Collects calls until told to stop and nothing more is there.
fn read(pipe: &Path, stop: &AtomicBool, mut filter: Filter) -> Result<Seen> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::open(pipe, flags, rustix::fs::Mode::empty()).context("open the host's tracing")?;
    let mut pipe = BufReader::with_capacity(1 << 16, fs::File::from(file));
    let mut seen = Collection::default();
    let mut line = Vec::new();
    loop {
        match pipe.by_ref().read_until(b'\n', &mut line) {
            Ok(_) if line.ends_with(b"\n") => {
                if let Some(number) = record(&String::from_utf8_lossy(&line), &mut seen) {
                    filter.count(number)?;
                }
                line.clear();
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if stop.load(Ordering::SeqCst) {
                    return Ok(seen.finish());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("read the host's tracing"),
        }
    }
}

/// What is collected.
#[derive(Default)]
struct Collection {
    seen: Seen,
    /// Of each stub thread the numbers of its calls.
    stubs: BTreeMap<String, BTreeSet<i64>>,
}

impl Collection {
    /// Returns all but the calls of first stubs: those set themselves up before they have a filter, and do nothing later.
    fn finish(mut self) -> Seen {
        const SECCOMP: i64 = 317;
        for calls in self.stubs.into_values().filter(|calls| !calls.contains(&SECCOMP)) {
            for number in calls {
                self.seen.entry(("stub", number)).or_default();
            }
        }
        self.seen
    }
}

/// Takes note of one line and returns the call's number: `name-tid [cpu] flags time: sys_enter: NR 1 (a, b, c, d, e, f)`.
fn record(line: &str, into: &mut Collection) -> Option<i64> {
    let (head, call) = line.split_once("sys_enter: NR ")?;
    let (_, process) = THREADS.iter().find(|(name, _)| head.trim_start().starts_with(name))?;
    let (number, arguments) = call.split_once(" (")?;
    let number = number.parse::<i64>().ok()?;
    if *process == "stub" {
        let thread = head.split_whitespace().next()?;
        into.stubs.entry(thread.to_owned()).or_default().insert(number);
        return Some(number);
    }
    let values = into.seen.entry((process, number)).or_default();
    let arguments = arguments.trim_end().trim_end_matches(')').split(", ");
    for (place, argument) in values.iter_mut().zip(arguments) {
        if let (true, Ok(value)) = (place.len() < VALUES, u64::from_str_radix(argument, 16)) {
            // What the filters look at.
            place.insert(value & 0xffff_ffff);
        }
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_hosts_tracing_is_understood() {
        let mut seen = Collection::default();
        let line =
            "     runsc-boot-1234    [001] .....   99.1: sys_enter: NR 16 (5, ffffffff00005401, 7ffe, 0, 0, 1f)\n";
        record(line, &mut seen);
        record("            bash-99      [000] .....   99.2: sys_enter: NR 1 (1, 2, 3, 4, 5, 6)\n", &mut seen);
        record("            stub-7       [000] .....   99.2: sys_enter: NR 9 (1, 2, 3, 4, 5, 6)\n", &mut seen);
        record("            stub-8       [000] .....   99.2: sys_enter: NR 13 (1, 2, 3, 4, 5, 6)\n", &mut seen);
        record("            stub-8       [000] .....   99.2: sys_enter: NR 317 (1, 2, 3, 4, 5, 6)\n", &mut seen);
        let seen = seen.finish();
        let values = seen.get(&("sentry", 16)).expect("seen");
        assert_eq!(values[1], BTreeSet::from([0x5401]));
        assert_eq!(values[5], BTreeSet::from([0x1f]));
        assert_eq!(seen.keys().copied().collect::<Vec<_>>(), [("sentry", 16), ("stub", 9)]);
    }
}
