//! Takes one sample.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::competitor::{Competitor, Kind};
use super::idle;
use super::items::{Item, What};
use crate::engines::Dockerd;
use crate::host::{Ended, run};
use crate::setup::workspace;

/// A server on a port of its own, asked until it answers, and one benchmark against it. `$1` is the command measured.
const REDIS: &str = "d=$(mktemp -d) && cd $d || exit 1
redis-server --port 16379 --save '' --appendonly no --daemonize no >log 2>&1 &
server=$!
n=0
until redis-cli -p 16379 ping >/dev/null 2>&1; do
    n=$((n+1)); [ $n -lt 200 ] || { tail -n 3 log >&2; exit 1; }
done
redis-benchmark -p 16379 -t $1 -n 20000 -c 20 --csv >rows || exit 1
kill $server
wait $server
cat rows";

/// What samples need.
pub(super) struct Gauge {
    ops: PathBuf,
    bundles: Bundles,
    limit: Duration,
    containers: AtomicUsize,
    docker: Option<Dockerd>,
}

impl Gauge {
    /// Compiles the operations and makes the bundle, both in this directory.
    pub(super) fn new(out: &Path, limit: u64) -> Result<Gauge> {
        let (ops, bundles) = (compile(out)?, Bundles::make(out)?);
        Ok(Gauge { ops, bundles, limit: Duration::from_secs(limit), containers: AtomicUsize::new(0), docker: None })
    }

    /// Starts a daemon of Docker's that knows these by their names.
    pub(super) fn start_docker(&mut self, all: &[Competitor]) -> Result<()> {
        let runtimes = all.iter().filter_map(|who| match &who.kind {
            Kind::Runsc { program, flags } => Some((runtime_name(who), program.clone(), flags.clone())),
            _ => None,
        });
        self.docker = Some(Dockerd::start(runtimes)?);
        Ok(())
    }

    /// A name that no container had before.
    fn new_name(&self) -> String {
        let number = self.containers.fetch_add(1, Ordering::Relaxed);
        format!("bench-{}-{number}", std::process::id())
    }

    /// Measures once, in the item's unit; why that failed otherwise.
    pub(super) fn sample(&self, who: &Competitor, item: &Item) -> Result<f64> {
        let ops: OsString = self.ops.clone().into();
        match &item.what {
            What::Operation { .. } => self.inner(who, &[ops, item.name.into()]),
            What::Program(times, words) => {
                let mut all = vec![ops, "run".into(), times.to_string().into()];
                all.extend(words.iter().map(OsString::from));
                Ok(self.inner(who, &all)? / 1e6)
            }
            What::Redis(command) => {
                let words = ["/bin/sh", "-c", REDIS, "redis", command].map(OsString::from);
                let ended = self.run(&mut who.command(&words))?;
                redis_time(&String::from_utf8_lossy(&ended.stdout))
            }
            What::DoTrue => self.whole(&mut who.command(&["/bin/true".into()])),
            What::RunBundle => self.whole(&mut who.run(&self.bundles.of_true, &self.new_name())),
            What::DockerRun => {
                let docker = self.docker.as_ref().context("Docker was not started")?;
                self.whole(&mut docker.run(&runtime_name(who), "true"))
            }
            What::IdleCpu => idle::cpu(who),
            What::IdlePss => idle::container(who, &self.bundles.of_shell, &self.new_name()),
            What::IdleDo => idle::command(who),
        }
    }

    /// Runs the C program there, which prints what it has measured.
    fn inner(&self, who: &Competitor, words: &[OsString]) -> Result<f64> {
        let ended = self.run(&mut who.command(words))?;
        let text = String::from_utf8_lossy(&ended.stdout);
        let value = text.lines().find_map(|line| line.strip_prefix("ns ")?.trim().parse().ok());
        value.with_context(|| format!("no figure in its output `{}`", text.trim()))
    }

    fn whole(&self, command: &mut Command) -> Result<f64> {
        let begin = Instant::now();
        self.run(command)?;
        Ok(begin.elapsed().as_secs_f64() * 1e3)
    }

    fn run(&self, command: &mut Command) -> Result<Ended> {
        let ended = run(command, self.limit)?;
        match ended.code {
            0 => Ok(ended),
            -1 => bail!("not finished after {} s", self.limit.as_secs()),
            code => bail!("exit status {code}: {}", ended.complaint()),
        }
    }
}

/// What Docker calls a competitor.
fn runtime_name(who: &Competitor) -> String {
    who.name.replace(' ', "-")
}

/// Microseconds for each request, from the line of redis-benchmark's CSV that isn't its heading.
fn redis_time(csv: &str) -> Result<f64> {
    let mut rates = csv.lines().filter_map(|line| line.split(',').nth(1)?.trim_matches('"').parse::<f64>().ok());
    match rates.next_back() {
        Some(rate) if rate > 0.0 => Ok(1e6 / rate),
        _ => bail!("no figure in redis-benchmark's output `{}`", csv.trim()),
    }
}

fn compile(out: &Path) -> Result<PathBuf> {
    let program = out.join("ops");
    let mut gcc = Command::new("gcc");
    gcc.args(["-O2", "-Wall", "-static", "-pthread", "-o"]).arg(&program);
    for source in ["main.c", "files.c", "waits.c", "tasks.c"] {
        gcc.arg(workspace().join("tests/bench").join(source));
    }
    let ended = run(&mut gcc, Duration::from_secs(60))?;
    if ended.code != 0 {
        bail!("tests/bench doesn't compile: {}", ended.complaint());
    }
    Ok(program)
}

/// Bundles with busybox in them.
struct Bundles {
    of_true: PathBuf,
    of_shell: PathBuf,
}

impl Bundles {
    fn make(out: &Path) -> Result<Bundles> {
        let make = |name: &str, program: &str| make_bundle(&out.join(name), program);
        Ok(Bundles { of_true: make("bundle", "true")?, of_shell: make("bundle-shell", "sh")? })
    }
}

/// Makes a bundle that runs this applet of busybox.
fn make_bundle(dir: &Path, program: &str) -> Result<PathBuf> {
    fs::create_dir_all(dir.join("rootfs/bin")).context("make a rootfs")?;
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|p| Path::new(p).exists());
    fs::copy(busybox.context("find busybox")?, dir.join("rootfs/bin").join(program)).context("copy busybox")?;
    let path = dir.join("config.json");
    let _ = fs::remove_file(&path);
    let status = Command::new("runc").arg("spec").current_dir(dir).status().context("run runc spec")?;
    if !status.success() {
        bail!("runc spec fails");
    }
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path)?).context("read config.json")?;
    if let Some(process) = config.get_mut("process").and_then(Value::as_object_mut) {
        process.insert("args".into(), json!([format!("/bin/{program}")]));
        process.insert("terminal".into(), json!(false));
        process.remove("rlimits");
    }
    fs::write(&path, config.to_string()).context("write config.json")?;
    Ok(dir.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_per_second_become_microseconds() {
        let csv = "\"test\",\"rps\",\"avg\"\n\"SET\",\"50000.00\",\"0.1\"\n";
        assert!((redis_time(csv).expect("a figure") - 20.0).abs() < 1e-9);
        assert!(redis_time("\"test\",\"rps\"\n").is_err());
    }
}
