//! `xtask bench`: start-up time, memory of an idle sandbox and single operations, beside runc and another runsc.
//!
//! Everything measured is measured for each competitor in turn within one round, so that what else the machine does
//! falls on all of them. Medians and ratios are printed and kept as JSON.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::Common;
use crate::bad_input::processes;
use crate::host::{Place, kill, run as run_command};
use crate::setup::{need, output, root, runsc, workspace};

type Samples = BTreeMap<String, BTreeMap<String, Vec<f64>>>;

/// Who is measured.
struct Competitor {
    name: String,
    kind: Kind,
}

enum Kind {
    Native,
    Runsc(PathBuf, String),
    Runc(PathBuf),
}

/// Measures and prints.
pub(crate) fn run(common: &Common, peer: Option<&Path>, runs: usize) -> Result<()> {
    need(&[("gcc", "gcc"), ("/usr/include/stdio.h", "libc6-dev"), ("busybox", "busybox-static"), ("runc", "runc")])?;
    root("runc needs it")?;
    let out = output("bench")?;
    let runsc = runsc(common)?;
    let mut all = vec![
        Competitor { name: "native".into(), kind: Kind::Native },
        Competitor { name: "runc".into(), kind: Kind::Runc(bundle(&out)?) },
    ];
    for platform in &common.platform {
        let name = format!("ours {platform}");
        all.push(Competitor { name, kind: Kind::Runsc(runsc.clone(), platform.clone()) });
    }
    if let Some(peer) = peer {
        let peer = peer.canonicalize().with_context(|| format!("--peer {}", peer.display()))?;
        all.push(Competitor { name: "peer".into(), kind: Kind::Runsc(peer, "systrap".into()) });
    }
    let mut samples = Samples::new();
    for round in 0..runs.max(1) {
        for competitor in &all {
            add(&mut samples, "start /bin/true, ms", &competitor.name, start_up(competitor, round)?);
        }
    }
    for competitor in all.iter().filter(|c| matches!(c.kind, Kind::Runsc(..))) {
        for (what, value) in idle_memory(competitor)? {
            add(&mut samples, &what, &competitor.name, value);
        }
    }
    let program = micro(&out)?;
    for _ in 0..3 {
        for competitor in all.iter().filter(|c| !matches!(c.kind, Kind::Runc(_))) {
            for (item, value) in operations(competitor, &program)? {
                add(&mut samples, &format!("{item}, ns"), &competitor.name, value);
            }
        }
    }
    report(&samples, &all, &out)
}

fn add(samples: &mut Samples, item: &str, who: &str, value: f64) {
    samples.entry(item.to_owned()).or_default().entry(who.to_owned()).or_default().push(value);
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn start_up(competitor: &Competitor, round: usize) -> Result<f64> {
    let mut command = match &competitor.kind {
        Kind::Native => Command::new("/bin/true"),
        Kind::Runsc(runsc, platform) => Place::sandbox(runsc, platform).command(&["/bin/true".into()]),
        Kind::Runc(bundle) => {
            let mut c = Command::new("runc");
            c.args(["run", "--bundle"]).arg(bundle).arg(format!("bench-{}-{round}", std::process::id()));
            c
        }
    };
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let begin = Instant::now();
    let output = command.output().with_context(|| format!("start {}", competitor.name))?;
    let took = begin.elapsed();
    if !output.status.success() {
        bail!("{}: {}", competitor.name, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(took.as_secs_f64() * 1e3)
}

/// Proportional set size, in MB, of an idle sandbox with a shell inside: everything but the waiting command line, and
/// by itself that command line.
fn idle_memory(competitor: &Competitor) -> Result<Vec<(String, f64)>> {
    let Kind::Runsc(runsc, platform) = &competitor.kind else { return Ok(Vec::new()) };
    let before = processes(runsc);
    let mut command = Place::sandbox(runsc, platform).command(&["/bin/sh".into(), "-c".into(), "read x; exit".into()]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().context("start an idle sandbox")?;
    std::thread::sleep(Duration::from_millis(800));
    let ids: Vec<u32> = processes(runsc).difference(&before).copied().collect();
    let total: f64 = ids.iter().filter(|id| **id != child.id()).map(|id| pss(*id)).sum();
    let launcher = pss(child.id());
    drop(child.stdin.take());
    kill(&mut child);
    Ok(vec![("idle PSS without launcher, MB".into(), total), ("PSS of the launcher, MB".into(), launcher)])
}

fn pss(id: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("Pss:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

fn micro(out: &Path) -> Result<PathBuf> {
    let program = out.join("micro");
    let mut gcc = Command::new("gcc");
    gcc.args(["-O2", "-Wall", "-static", "-pthread", "-o"]).arg(&program).arg(workspace().join("tests/micro/micro.c"));
    let ended = run_command(&mut gcc, Duration::from_secs(60))?;
    if ended.code != 0 {
        bail!("micro.c doesn't compile: {}", ended.complaint());
    }
    Ok(program)
}

fn operations(competitor: &Competitor, program: &Path) -> Result<Vec<(String, f64)>> {
    let place = match &competitor.kind {
        Kind::Runsc(runsc, platform) => Place::sandbox(runsc, platform),
        _ => Place::native(),
    };
    let ended = run_command(&mut place.command(&[program.into()]), Duration::from_secs(120))?;
    if ended.code != 0 {
        eprintln!("{}: micro ends with {}: {}", competitor.name, ended.code, ended.complaint());
    }
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    let rows = text.lines().filter_map(|l| l.split_once(' '));
    Ok(rows.filter_map(|(name, ns)| Some((name.to_owned(), ns.trim().parse().ok()?))).collect())
}

fn bundle(out: &Path) -> Result<PathBuf> {
    let dir = out.join("bundle");
    fs::create_dir_all(dir.join("rootfs/bin")).context("make a rootfs")?;
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|p| Path::new(p).exists());
    fs::copy(busybox.context("find busybox")?, dir.join("rootfs/bin/true")).context("copy busybox")?;
    let _ = fs::remove_file(dir.join("config.json"));
    let status = Command::new("runc").arg("spec").current_dir(&dir).status().context("run runc spec")?;
    if !status.success() {
        bail!("runc spec fails");
    }
    let path = dir.join("config.json");
    let mut config: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path)?).context("config.json")?;
    if let Some(process) = config.get_mut("process").and_then(serde_json::Value::as_object_mut) {
        process.insert("args".into(), json!(["/bin/true"]));
        process.insert("terminal".into(), json!(false));
        process.remove("rlimits");
    }
    fs::write(&path, config.to_string()).context("write config.json")?;
    Ok(dir)
}

fn report(samples: &Samples, all: &[Competitor], out: &Path) -> Result<()> {
    let names: Vec<&str> = all.iter().map(|c| c.name.as_str()).collect();
    print!("{:<34}", "item");
    names.iter().for_each(|n| print!(" {n:>22}"));
    println!();
    let mut logs: BTreeMap<&str, (f64, usize)> = BTreeMap::new();
    for (item, by) in samples {
        print!("{item:<34}");
        let native = by.get("native").map(|v| median(v));
        for name in &names {
            let Some(value) = by.get(*name).map(|v| median(v)) else {
                print!(" {:>22}", "–");
                continue;
            };
            match native {
                Some(base) if base > 0.0 => {
                    print!(" {:>22}", format!("{value:.1} ({:.2}×)", value / base));
                    if item.ends_with(", ns") {
                        let entry = logs.entry(name).or_default();
                        *entry = (entry.0 + (value / base).ln(), entry.1 + 1);
                    }
                }
                _ => print!(" {value:>22.1}"),
            }
        }
        println!();
    }
    for (name, (sum, count)) in &logs {
        println!("geometric mean of {count} operations, {name}: {:.2}× native", (sum / *count as f64).exp());
    }
    let medians: BTreeMap<&String, BTreeMap<&String, f64>> =
        samples.iter().map(|(i, by)| (i, by.iter().map(|(n, v)| (n, median(v))).collect())).collect();
    let machine = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let machine = machine
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .unwrap_or_default()
        .trim_start_matches([' ', '\t', ':']);
    let text = serde_json::to_string_pretty(&json!({"machine": machine, "medians": medians, "samples": samples}))?;
    let path = out.join("bench.json");
    fs::write(&path, text).context("write bench.json")?;
    println!("kept in {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_median_ignores_outliers() {
        assert!((super::median(&[5.0, 1.0, 900.0]) - 5.0).abs() < f64::EPSILON);
    }
}
