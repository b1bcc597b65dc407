//! `xtask posture`: what the live processes of a sandbox may do, compared with [`table`].
//!
//! A sandbox is started on each platform, as root and as an ordinary user; every thread of each of its processes must be
//! as its row says, and what no row knows is a failure.

mod descriptors;
mod mappings;
mod process;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::Common;
use crate::bad_input::processes;
use crate::caller::wait_for_none;
use crate::host::{Place, run as run_command};
use crate::setup::{need, root, runsc, workspace};
use crate::tally::Tally;
use process::Process;
use table::{RULES, Rule};

/// User and group of the caller that isn't root.
const USER: u32 = 1000;

/// Where a sandbox runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Setting<'a> {
    platform: &'a str,
    rootless: bool,
    /// With sockets of the host.
    host_network: bool,
    /// With a view for the host.
    view: bool,
}

impl Setting<'_> {
    fn name(self) -> String {
        let user = if self.rootless { ", ordinary user" } else { "" };
        let network = if self.host_network { ", host network" } else { "" };
        format!("{}{user}{network}{}", self.platform, if self.view { ", view" } else { "" })
    }
}

/// Starts a sandbox in each setting and looks at its processes.
pub(crate) fn run(common: &Common, tally: &mut Tally) -> Result<()> {
    root("reading other users' processes under /proc needs it")?;
    need(&[("gcc", "gcc"), ("/usr/include/stdio.h", "libc6-dev"), ("setpriv", "util-linux")])?;
    let dir = tempfile::Builder::new().prefix("runsc-posture").tempdir().context("make a directory")?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).context("open the directory up")?;
    // A name of its own: other sandboxes of this machine are none of this suite's business.
    let own = dir.path().join("runsc");
    fs::copy(runsc(common)?, &own).context("copy runsc")?;
    let own = own.canonicalize().context("find the copy")?;
    let guest = build("guest.c", dir.path())?;
    for platform in &common.platform {
        let plain = Setting { platform, rootless: false, host_network: false, view: false };
        let settings = [
            plain,
            Setting { rootless: true, ..plain },
            Setting { host_network: true, ..plain },
            Setting { rootless: true, host_network: true, ..plain },
            Setting { view: true, ..plain },
        ];
        for setting in settings {
            if common.filter.as_deref().is_none_or(|f| setting.name().contains(f)) {
                one(&own, &guest, setting, tally).with_context(|| setting.name())?;
            }
        }
    }
    Ok(())
}

/// Compiles a program of `tests/posture`.
pub(crate) fn build(source: &str, dir: &Path) -> Result<PathBuf> {
    let program = dir.join(source.trim_end_matches(".c"));
    let source = workspace().join("tests/posture").join(source);
    let mut gcc = Command::new("gcc");
    gcc.args(["-O1", "-Wall", "-static", "-pthread", "-o"]).arg(&program).arg(&source);
    let ended = run_command(&mut gcc, Duration::from_secs(60))?;
    ensure!(ended.code == 0, "{} doesn't compile: {}", source.display(), ended.complaint());
    Ok(program)
}

fn one(runsc: &Path, guest: &Path, setting: Setting<'_>, tally: &mut Tally) -> Result<()> {
    let mut sandbox = start(runsc, guest, setting)?;
    let ids = processes(runsc);
    look(setting, sandbox.id(), &ids, tally);
    // The blow that nothing can prepare for: what ties the others to the command line has to do.
    sandbox.kill().context("kill the command line")?;
    sandbox.wait().context("wait for the command line")?;
    let left = wait_for_none(runsc);
    tally.check(&format!("{}: all die with the command line", setting.name()), left);
    Ok(())
}

/// Starts a sandbox; returns when its program has all that it wants.
fn start(runsc: &Path, guest: &Path, setting: Setting<'_>) -> Result<Child> {
    let mut command = if setting.rootless {
        let user = USER.to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]).arg(runsc);
        let network = if setting.host_network { "host" } else { "sandbox" };
        command.args(["--rootless", "--network", network, &format!("--platform={}", setting.platform), "do"]);
        command.arg(guest);
        command.current_dir("/");
        command
    } else {
        let place = Place::sandbox(runsc, setting.platform);
        let place = if setting.host_network { place.with("--network=host") } else { place };
        let place = if setting.view { place.with("--host-view=on") } else { place };
        place.command(&[guest.into()])
    };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut sandbox = command.spawn().context("start a sandbox")?;
    let mut up = [0; 3];
    let said = sandbox.stdout.as_mut().context("its output")?.read_exact(&mut up);
    if said.is_err() {
        crate::host::kill(&mut sandbox);
    }
    said.context("the program in the sandbox does not come up")?;
    Ok(sandbox)
}

fn look(setting: Setting<'_>, launcher: u32, ids: &BTreeSet<u32>, tally: &mut Tally) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let of_launcher = mappings::executable(launcher);
    let named: Vec<(u32, &str)> = ids.iter().map(|id| (*id, role(*id, launcher))).collect();
    let sentry = named.iter().find(|(_, role)| *role == "sentry").map(|(id, _)| *id);
    for (id, role) in named {
        *seen.entry(role).or_default() += 1;
        let Some(rule) = RULES.iter().find(|r| r.role == role) else { continue };
        let process = Process { id, rule, setting, sentry, programs: &of_launcher };
        let problems = process.violations();
        // One that is ending holds nothing any more.
        if process.has_ended() {
            continue;
        }
        tally.check(
            &format!("{}: {role} {id}", setting.name()),
            (!problems.is_empty()).then(|| problems.into_iter().collect::<Vec<_>>().join("; ")),
        );
    }
    for Rule { role, least, .. } in RULES {
        let count = seen.get(role).copied().unwrap_or(0);
        let why = format!("{count} are running instead of {least}; seen: {seen:?}");
        tally.check(&format!("{}: {least} {role} or more", setting.name()), (count < *least).then_some(why));
    }
}

/// What a process is, by its command line: the launcher, the sentry (`boot`), the gofer, else a stub, which has unmapped
/// everything that it was started with.
fn role(id: u32, launcher: u32) -> &'static str {
    let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    match line.split(|byte| *byte == 0).next() {
        _ if id == launcher => "launcher",
        Some(b"runsc-gofer") => "gofer",
        Some(b"runsc-boot") => "sentry",
        _ => "stub",
    }
}
