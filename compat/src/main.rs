//! `compat`: runs the cases natively and in the sandbox and writes the matrix.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use compat::compare::difference;
use compat::compile::{Programs, build, output_dir, source_dir};
use compat::expect::Expectations;
use compat::plan::{Case, cases, filter};
use compat::report::{Report, Verdict};
use compat::run::{Limits, Outcome, Ran, Target, batch};

/// Runs small programs natively and in the sandbox and compares what they print, return and leave behind.
#[derive(Parser)]
struct Options {
    /// Only cases whose name, family or system call matches, or, as `=NAME`, the case of that name; may be repeated.
    #[arg(long, short)]
    filter: Vec<String>,
    /// Platforms to run on.
    #[arg(long, value_delimiter = ',', default_value = "systrap,ptrace")]
    platform: Vec<String>,
    /// The `runsc` to test.
    #[arg(long)]
    runsc: Option<PathBuf>,
    /// A global flag for `runsc`, as in `--runsc-flag=--debug`; may be repeated.
    #[arg(long, allow_hyphen_values = true)]
    runsc_flag: Vec<String>,
    /// Processes at a time.
    #[arg(long, short, default_value_t = 2)]
    jobs: usize,
    /// Only prove the cases on the host.
    #[arg(long)]
    native_only: bool,
    /// Seconds for one case.
    #[arg(long, default_value_t = 10)]
    timeout: u32,
    /// One sandbox for each case instead of one for each batch of a family.
    #[arg(long)]
    each: bool,
    /// Cases in one sandbox at most.
    #[arg(long, default_value_t = 40)]
    batch: usize,
    /// Which build of the cases to run.
    #[arg(long, value_enum, default_value_t = Linked::Dynamic)]
    linked: Linked,
    /// Print what each case printed natively.
    #[arg(long)]
    show: bool,
    /// Only list the cases.
    #[arg(long)]
    list: bool,
    /// The file of explained differences.
    #[arg(long)]
    expectations: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Linked {
    Dynamic,
    Static,
    StaticPie,
}

type Results = BTreeMap<String, Ran>;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("compat: {e:#}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    let out = output_dir();
    let programs = build(&out, options.jobs)?;
    let all = cases(&programs.dynamic)?;
    let expectations_path =
        options.expectations.clone().unwrap_or_else(|| source_dir().join("..").join("expectations.txt"));
    let expectations = Expectations::read(&expectations_path)?;
    if let Some(stray) = expectations.cases().find(|e| !all.iter().any(|c| c.name == *e)) {
        bail!("{} names {stray}, which is no case", expectations_path.display());
    }
    let chosen = filter(all, &options.filter);
    if chosen.is_empty() {
        bail!("no case matches {:?}", options.filter);
    }
    if options.list {
        for case in &chosen {
            println!("{:<12} {:<32} {}", case.family, case.name, case.calls.join(" "));
        }
        println!("{} cases", chosen.len());
        return Ok(true);
    }
    if !rustix::process::geteuid().is_root() {
        bail!("the cases switch users and make device nodes: run this as root (for instance with sudo)");
    }
    let program = program(&programs, options.linked);
    let (native, broken) = prove(options, program, &chosen)?;
    if options.show {
        show(&chosen, &native);
    }
    let platforms = if options.native_only { Vec::new() } else { options.platform.clone() };
    let mut report = Report { cases: chosen, platforms, broken, verdicts: BTreeMap::new() };
    if !options.native_only {
        let runsc = runsc(options)?;
        for platform in &options.platform {
            let target =
                Target::Sandbox { runsc: runsc.clone(), platform: platform.clone(), flags: options.runsc_flag.clone() };
            let verdicts = judge(options, &target, platform, program, &report.cases, &native, &expectations)?;
            report.verdicts.insert(platform.clone(), verdicts);
        }
    }
    report.write(&out)?;
    summarize(&report, &out, options.filter.is_empty());
    Ok(report.failures() == 0)
}

fn program(programs: &Programs, linked: Linked) -> &Path {
    match linked {
        Linked::Dynamic => &programs.dynamic,
        Linked::Static => &programs.fixed,
        Linked::StaticPie => &programs.pie,
    }
}

fn runsc(options: &Options) -> Result<PathBuf> {
    if let Some(path) = &options.runsc {
        return path.canonicalize().with_context(|| format!("--runsc {}", path.display()));
    }
    let target = output_dir().parent().map(Path::to_path_buf).unwrap_or_default();
    let built = [target.join("release/runsc"), target.join("debug/runsc")];
    let newest = built.iter().filter(|p| p.exists()).max_by_key(|p| fs::metadata(p).and_then(|m| m.modified()).ok());
    newest.cloned().context("no runsc built: run `cargo build --release -p runsc-cli`, or give --runsc PATH")
}

/// Runs every case twice natively, in two kinds of directory; gives the results and the cases that are broken.
fn prove(
    options: &Options,
    program: &Path,
    chosen: &[Case],
) -> Result<(BTreeMap<String, Outcome>, BTreeMap<String, String>)> {
    let first = Target::Native("/tmp".into());
    let memory = Path::new("/dev/shm");
    let second = Target::Native(if memory.is_dir() { memory.into() } else { "/tmp".into() });
    let one = all(options, &first, program, chosen);
    let two = all(options, &second, program, chosen);
    let (mut good, mut broken) = (BTreeMap::new(), BTreeMap::new());
    for case in chosen {
        let name = &case.name;
        let verdict = match (one.get(name), two.get(name)) {
            (Some(Ran::Done(a)), Some(b)) => match difference(a, b) {
                Some(how) => Err(format!("two native runs differ:\n{how}")),
                None if a.how == "timeout" => Err(format!("native run timed out:\n{}", a.stdout)),
                None if a.how == "exit:99" => Err(format!("native preparation failed:\n{}", a.stdout)),
                None if a.stdout.is_empty() => Err("prints nothing natively".to_owned()),
                None => Ok(a.clone()),
            },
            (Some(Ran::Lost(why)), _) => Err(format!("native run lost: {why}")),
            _ => bail!("case {name} was not run"),
        };
        match verdict {
            Ok(outcome) => drop(good.insert(name.clone(), outcome)),
            Err(why) => drop(broken.insert(name.clone(), why)),
        }
    }
    Ok((good, broken))
}

/// Runs all cases on one target, some batches at a time.
fn all(options: &Options, target: &Target, program: &Path, chosen: &[Case]) -> Results {
    let mut families: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for case in chosen {
        families.entry(&case.family).or_default().push(case.name.clone());
    }
    let each = options.each && matches!(target, Target::Sandbox { .. });
    let size = if each { 1 } else { options.batch.max(1) };
    let batches: Vec<&[String]> = families.values().flat_map(|names| names.chunks(size)).collect();
    let limits = Limits { case_seconds: options.timeout };
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Results::new());
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                while let Some(names) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let done = batch(target, program, names, limits);
                    if let Ok(mut results) = results.lock() {
                        results.extend(done);
                    }
                }
            });
        }
    });
    results.into_inner().unwrap_or_default()
}

fn judge(
    options: &Options,
    target: &Target,
    platform: &str,
    program: &Path,
    chosen: &[Case],
    native: &BTreeMap<String, Outcome>,
    expectations: &Expectations,
) -> Result<BTreeMap<String, Verdict>> {
    let proven: Vec<Case> = chosen.iter().filter(|c| native.contains_key(&c.name)).cloned().collect();
    let results = all(options, target, program, &proven);
    let mut verdicts = BTreeMap::new();
    for case in &proven {
        let (Some(native), Some(ran)) = (native.get(&case.name), results.get(&case.name)) else {
            bail!("case {} was not run on {platform}", case.name);
        };
        let verdict = Verdict::new(native, ran, expectations.reason(&case.name, platform));
        verdicts.insert(case.name.clone(), verdict);
    }
    Ok(verdicts)
}

fn show(chosen: &[Case], native: &BTreeMap<String, Outcome>) {
    for case in chosen {
        if let Some(o) = native.get(&case.name) {
            println!("=== {} ({})\n{}{}--- {}\n{}", case.name, case.family, o.stdout, o.stderr, o.how, o.left);
        }
    }
}

fn summarize(report: &Report, out: &Path, whole: bool) {
    for (case, why) in &report.broken {
        println!("BROKEN {case}: {why}");
    }
    for platform in &report.platforms {
        let Some(verdicts) = report.verdicts.get(platform) else { continue };
        for (case, verdict) in verdicts {
            match verdict {
                Verdict::Differs(how) => print!("DIFFERS {platform} {case}\n{how}"),
                Verdict::Lost(how) => print!("LOST {platform} {case}\n{how}"),
                Verdict::Unexpected => println!("UNEXPECTED {platform} {case}: listed as differing, but passes"),
                Verdict::Same | Verdict::Explained(_) => {}
            }
        }
    }
    println!("report: {}", out.join("report.md").display());
    let untested = report.untested();
    if !report.platforms.is_empty() && whole && !untested.is_empty() {
        println!("served but untested: {}", untested.join(" "));
    }
    let checks = report.broken.len() + report.verdicts.values().map(BTreeMap::len).sum::<usize>();
    let checks = if report.platforms.is_empty() { report.cases.len() } else { checks };
    println!("compat: {} passed, {} failed", checks - report.failures(), report.failures());
}
