//! `xtask badinput`: what is wrong with a call of `runsc` is said in one line, with exit status 128, and nothing is
//! left behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::Common;
use crate::bad_fields;
use crate::host::{Ended, run as run_command};
use crate::setup::{need, output, root, runsc, workspace};
use crate::tally::Tally;

/// One wrong call.
struct Wrong {
    name: &'static str,
    /// Makes the bundle or other files in the directory given.
    prepare: fn(&Path) -> Result<()>,
    /// Arguments after the global flags; `@` is the directory.
    args: &'static [&'static str],
    /// What runs it: nothing, or a wrapper that takes rights away.
    wrapper: &'static [&'static str],
}

/// Cgroup of the bundles.
const CGROUP: &str = "runsc-bad-input";

const RUN: &[&str] = &["run", "--bundle", "@", "bad"];
const CREATE: &[&str] = &["create", "--bundle", "@", "bad"];
const PID_NOWHERE: &[&str] = &["create", "--bundle", "@", "--pid-file", "@/none/pid", "bad"];
const PID_DIRECTORY: &[&str] = &["create", "--bundle", "@", "--pid-file", "@/rootfs", "bad"];
const CONSOLE: &[&str] = &["create", "--bundle", "@", "--console-socket", "@/x", "bad"];
const PRESERVE: &[&str] = &["create", "--bundle", "@", "--preserve-fds", "40", "bad"];
const TRUE: &[&str] = &["do", "/bin/true"];

/// The wrong calls.
const WRONG: &[Wrong] = &[
    Wrong { name: "no bundle", prepare: nothing, args: &["run", "--bundle", "@/none", "bad"], wrapper: &[] },
    Wrong { name: "bundle is a file", prepare: file_x, args: &["run", "--bundle", "@/x", "bad"], wrapper: &[] },
    Wrong { name: "no config.json", prepare: nothing, args: RUN, wrapper: &[] },
    Wrong { name: "config.json is empty", prepare: |d| text(d, ""), args: RUN, wrapper: &[] },
    Wrong {
        name: "config.json is cut off",
        prepare: |d| text(d, "{\"ociVersion\": \"1.0.2\", \"pro"),
        args: RUN,
        wrapper: &[],
    },
    Wrong { name: "config.json is a list", prepare: |d| text(d, "[1, 2]"), args: RUN, wrapper: &[] },
    Wrong { name: "config.json is not UTF-8", prepare: not_utf8, args: RUN, wrapper: &[] },
    Wrong { name: "config.json is a directory", prepare: config_directory, args: RUN, wrapper: &[] },
    Wrong { name: "no process", prepare: |d| bundle(d, |c| drop(c.remove("process"))), args: RUN, wrapper: &[] },
    Wrong { name: "no arguments", prepare: |d| process(d, "args", json!([])), args: RUN, wrapper: &[] },
    Wrong { name: "program missing", prepare: |d| process(d, "args", json!(["/none"])), args: RUN, wrapper: &[] },
    Wrong { name: "program is a directory", prepare: |d| process(d, "args", json!(["/"])), args: RUN, wrapper: &[] },
    Wrong { name: "relative working directory", prepare: |d| process(d, "cwd", json!("x")), args: RUN, wrapper: &[] },
    Wrong { name: "no root", prepare: |d| bundle(d, |c| drop(c.remove("root"))), args: RUN, wrapper: &[] },
    Wrong { name: "rootfs missing", prepare: |d| set(d, "root", json!({"path": "none"})), args: RUN, wrapper: &[] },
    Wrong { name: "rootfs is a file", prepare: rootfs_file, args: RUN, wrapper: &[] },
    Wrong { name: "mount source missing", prepare: |d| mount(d, "bind", "/none"), args: RUN, wrapper: &[] },
    Wrong { name: "mount type unknown", prepare: |d| mount(d, "nosuchfs", "none"), args: RUN, wrapper: &[] },
    Wrong { name: "bad container id", prepare: good, args: &["run", "--bundle", "@", "../x"], wrapper: &[] },
    Wrong { name: "no container id", prepare: good, args: &["run", "--bundle", "@"], wrapper: &[] },
    Wrong { name: "pid file in no directory", prepare: good, args: PID_NOWHERE, wrapper: &[] },
    Wrong { name: "pid file is a directory", prepare: good, args: PID_DIRECTORY, wrapper: &[] },
    Wrong { name: "console socket without a terminal", prepare: good, args: CONSOLE, wrapper: &[] },
    Wrong { name: "no console socket", prepare: |d| process(d, "terminal", json!(true)), args: CONSOLE, wrapper: &[] },
    Wrong { name: "console socket is a file", prepare: console_file, args: CONSOLE, wrapper: &[] },
    Wrong {
        name: "terminal and nowhere to send it",
        prepare: |d| process(d, "terminal", json!(true)),
        args: CREATE,
        wrapper: &[],
    },
    Wrong { name: "descriptors that are not open", prepare: good, args: PRESERVE, wrapper: &[] },
    Wrong { name: "unknown platform", prepare: nothing, args: &["--platform=nope", "do", "/bin/true"], wrapper: &[] },
    Wrong { name: "unknown command", prepare: nothing, args: &["frobnicate"], wrapper: &[] },
    Wrong { name: "unknown flag", prepare: nothing, args: &["--frobnicate", "do", "/bin/true"], wrapper: &[] },
    Wrong { name: "do without a program", prepare: nothing, args: &["do"], wrapper: &[] },
    Wrong { name: "do with a missing program", prepare: nothing, args: &["do", "/none"], wrapper: &[] },
    Wrong {
        name: "do with a program that is no program",
        prepare: nothing,
        args: &["do", "/etc/passwd"],
        wrapper: &[],
    },
    Wrong { name: "namespaces refused", prepare: nothing, args: TRUE, wrapper: &["unshare,clone", "namespaces"] },
    Wrong { name: "seccomp refused", prepare: nothing, args: TRUE, wrapper: &["seccomp", "seccomp"] },
    Wrong {
        name: "ptrace refused",
        prepare: nothing,
        args: &["--platform=ptrace", "do", "/bin/true"],
        wrapper: &["ptrace", "ptrace"],
    },
    Wrong {
        name: "mount source unreadable",
        prepare: |d| mount(d, "bind", "/root/x"),
        args: RUN,
        wrapper: &["user", "user"],
    },
];

/// Runs every wrong call.
pub(crate) fn run(common: &Common, tally: &mut Tally) -> Result<()> {
    need(&[("gcc", "gcc"), ("/usr/include/stdio.h", "libc6-dev"), ("busybox", "busybox-static")])?;
    root("taking rights away needs them")?;
    let runsc = runsc(common)?;
    let wrapper = build_wrapper()?;
    for wrong in WRONG.iter().filter(|w| common.filter.as_deref().is_none_or(|f| w.name.contains(f))) {
        let problem = attempt(&runsc, &wrapper, wrong)?;
        tally.check(wrong.name, problem);
    }
    fields(common, &runsc, &wrapper, tally)
}

fn attempt(runsc: &Path, wrapper: &Path, wrong: &Wrong) -> Result<Option<String>> {
    let dir = tempfile::Builder::new().prefix("runsc-bad").tempdir().context("make a directory")?;
    let bundle = dir.path().join("bundle");
    fs::create_dir(&bundle).context("make a bundle")?;
    (wrong.prepare)(&bundle)?;
    open_up(dir.path())?;
    let (ended, left) = call(runsc, wrapper, wrong, dir.path())?;
    Ok(judge(&ended, &dir.path().join("log"), &dir.path().join("state"), left))
}

/// Calls `runsc`; returns how it ended and what it has left on the host.
fn call(runsc: &Path, wrapper: &Path, wrong: &Wrong, dir: &Path) -> Result<(Ended, Option<String>)> {
    let (state, bundle, log) = (dir.join("state"), dir.join("bundle"), dir.join("log"));
    let before = (processes(runsc), mounts()?);
    let mut command = match wrong.wrapper.first() {
        None => Command::new(runsc),
        Some(kind) => {
            let mut c = Command::new(wrapper);
            c.arg(kind).arg(runsc);
            c
        }
    };
    command.arg("--root").arg(&state).arg("--log").arg(&log);
    command.args(wrong.args.iter().map(|a| a.replace('@', &bundle.to_string_lossy())));
    let ended = run_command(&mut command, Duration::from_secs(20))?;
    std::thread::sleep(Duration::from_millis(50));
    let left: Vec<u32> = processes(runsc).difference(&before.0).copied().collect();
    let left = match left.as_slice() {
        [] if mounts()? != before.1 => Some("the mounts have changed".to_owned()),
        [] => cgroup_left().map(|dir| format!("the cgroup {} is left behind", dir.display())),
        left => Some(format!("processes left behind: {left:?}")),
    };
    Ok((ended, left))
}

/// The mounts in our directories; others come and go for reasons of their own.
fn mounts() -> Result<String> {
    let text = fs::read_to_string("/proc/self/mounts").context("read the mounts")?;
    Ok(text.lines().filter(|line| line.contains("runsc")).collect())
}

/// Where the good bundle's cgroup is, in any hierarchy.
fn cgroup_left() -> Option<PathBuf> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").ok()?;
    let dirs = hierarchies.filter_map(|entry| Some(entry.ok()?.path().join(CGROUP)));
    dirs.chain([Path::new("/sys/fs/cgroup").join(CGROUP)]).find(|dir| dir.exists())
}

/// Tries every wrong document, and those that are too much.
fn fields(common: &Common, runsc: &Path, wrapper: &Path, tally: &mut Tally) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("runsc-bad").tempdir().context("make a directory")?;
    let bundle = dir.path().join("bundle");
    fs::create_dir(&bundle).context("make a bundle")?;
    good(&bundle)?;
    open_up(dir.path())?;
    let config = bundle.join("config.json");
    let text = fs::read_to_string(&config).context("read config.json")?;
    let document: Value = serde_json::from_str(&text).context("parse config.json")?;
    bad_fields::check(&document, &config)?;
    let wanted = |name: &str| common.filter.as_deref().is_none_or(|filter| name.contains(filter));
    let call_of = |name| Wrong { name, prepare: nothing, args: RUN, wrapper: &[] };
    let (log, state) = (dir.path().join("log"), dir.path().join("state"));
    for (name, wrong) in bad_fields::documents(&document)?.into_iter().filter(|(name, _)| wanted(name)) {
        fs::write(&config, wrong.to_string()).context("write config.json")?;
        let _ = fs::remove_file(&log);
        let (ended, left) = call(runsc, wrapper, &call_of("field"), dir.path())?;
        tally.check(&name, judge(&ended, &log, &state, left));
    }
    for (name, much) in bad_fields::huge(&document).into_iter().filter(|(name, _)| wanted(name)) {
        fs::write(&config, much.to_string()).context("write config.json")?;
        let _ = fs::remove_file(&log);
        let (ended, left) = call(runsc, wrapper, &call_of(name), dir.path())?;
        let files = fs::read_dir(&state).map(Iterator::count).unwrap_or(0);
        let left = left.or_else(|| (files > 0).then(|| format!("{files} files left in the state directory")));
        tally.check(name, if ended.code == 0 { left } else { judge(&ended, &log, &state, left) });
    }
    Ok(())
}

fn judge(ended: &Ended, log: &Path, state: &Path, left: Option<String>) -> Option<String> {
    let said = String::from_utf8_lossy(&ended.stderr);
    let lines: Vec<&str> = said.lines().filter(|l| !l.trim().is_empty()).collect();
    if ended.code != 128 {
        return Some(format!("exit status {} instead of 128; stderr: {}", ended.code, ended.complaint()));
    }
    if lines.len() != 1 {
        return Some(format!("{} lines on stderr instead of one: {}", lines.len(), ended.complaint()));
    }
    if lines.iter().any(|l| l.contains("panicked")) {
        return Some(format!("a panic: {}", ended.complaint()));
    }
    if !fs::read_to_string(log).is_ok_and(|t| !t.trim().is_empty()) {
        return Some("nothing in the file of --log".to_owned());
    }
    if left.is_some() {
        return left;
    }
    let files = fs::read_dir(state).map(Iterator::count).unwrap_or(0);
    (files > 0).then(|| format!("{files} files left in the state directory"))
}

/// Ids of the processes whose program is this one.
pub(crate) fn processes(program: &Path) -> BTreeSet<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeSet::new() };
    let ids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|exe| exe == program)).collect()
}

/// The program that runs another with fewer rights.
pub(crate) fn build_wrapper() -> Result<PathBuf> {
    let out = output("badinput")?.join("deny");
    let source = workspace().join("tests/hostile/deny.c");
    let mut gcc = Command::new("gcc");
    let ended = run_command(gcc.args(["-O1", "-Wall", "-o"]).arg(&out).arg(source), Duration::from_secs(60))?;
    anyhow::ensure!(ended.code == 0, "deny.c doesn't compile: {}", ended.complaint());
    Ok(out)
}

/// Lets an ordinary user read the directory, so that only what a case is about is refused.
fn open_up(dir: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).context("open up the directory")
}

fn nothing(_: &Path) -> Result<()> {
    Ok(())
}

fn text(dir: &Path, config: &str) -> Result<()> {
    fs::write(dir.join("config.json"), config).context("write config.json")
}

fn file_x(dir: &Path) -> Result<()> {
    fs::write(dir.join("x"), "").context("write x")
}

fn console_file(dir: &Path) -> Result<()> {
    process(dir, "terminal", json!(true))?;
    file_x(dir)
}

fn not_utf8(dir: &Path) -> Result<()> {
    fs::write(dir.join("config.json"), b"{\"\xff\xfe\": 1}").context("write config.json")
}

fn config_directory(dir: &Path) -> Result<()> {
    fs::create_dir(dir.join("config.json")).context("make config.json")
}

fn rootfs_file(dir: &Path) -> Result<()> {
    file_x(dir)?;
    set(dir, "root", json!({"path": "x"}))
}

fn good(dir: &Path) -> Result<()> {
    bundle(dir, |_| ())
}

fn set(dir: &Path, key: &str, value: Value) -> Result<()> {
    bundle(dir, |c| drop(c.insert(key.to_owned(), value)))
}

fn process(dir: &Path, key: &str, value: Value) -> Result<()> {
    bundle(dir, |c| {
        if let Some(p) = c.get_mut("process").and_then(Value::as_object_mut) {
            p.insert(key.to_owned(), value);
        }
    })
}

fn mount(dir: &Path, kind: &str, source: &str) -> Result<()> {
    set(dir, "mounts", json!([{"destination": "/mnt", "type": kind, "source": source, "options": ["rbind"]}]))
}

/// Writes a bundle that would run `true` but for the change.
fn bundle(dir: &Path, change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> Result<()> {
    fs::create_dir_all(dir.join("rootfs/bin")).context("make a rootfs")?;
    fs::copy("/bin/busybox", dir.join("rootfs/bin/true"))
        .or_else(|_| fs::copy("/usr/bin/busybox", dir.join("rootfs/bin/true")))
        .context("copy busybox")?;
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": {"args": ["/bin/true"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "network"}], "cgroupsPath": format!("/{CGROUP}")},
    });
    if let Some(map) = config.as_object_mut() {
        change(map);
    }
    text(dir, &config.to_string())
}
