//! The runtime's place in the TOML files of containerd and Podman: lines of our own between two marks, so that the rest of the
//! file stays as somebody has written it.

use std::path::Path;

use anyhow::{Result, bail, ensure};

use super::{read_text, replace};
use crate::cli::InstallArgs;

fn marks(runtime: &str) -> (String, String) {
    (
        format!("# Added by `runsc install`: {runtime}\n"),
        format!("# End of what `runsc install` has added: {runtime}\n"),
    )
}

/// Finds our lines: where they begin and end.
fn find(text: &str, runtime: &str) -> Option<(usize, usize)> {
    let (begin, end) = marks(runtime);
    let from = text.find(&begin)?;
    Some((from, from + text[from..].find(&end)? + end.len()))
}

fn without(text: &str, runtime: &str) -> Option<String> {
    let (from, to) = find(text, runtime)?;
    Some(format!("{}{}", text[..from].trim_end_matches('\n'), &text[to..]).trim_start().to_owned())
        .map(|text| if text.is_empty() || text.ends_with('\n') { text } else { text + "\n" })
}

/// Puts lines at the end of a file in place of those that were there; `first` begins a new file.
fn put(args: &InstallArgs, path: &Path, first: &str, table: &str, lines: &str) -> Result<()> {
    let runtime = &args.runtime;
    let proper = !runtime.is_empty() && runtime.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    ensure!(proper, "the name {runtime:?} of the runtime: use letters, digits, - and _");
    ensure!(
        args.arguments.is_empty(),
        "this engine passes no flags to a runtime; name a script that does so with --runtime"
    );
    let text = read_text(path)?;
    let text = match without(&text, runtime) {
        Some(_) if !args.clobber => {
            bail!("{} has a runtime {runtime:?} already; --clobber replaces it", path.display())
        }
        Some(text) => text,
        None => text,
    };
    ensure!(!text.contains(table), "{} has a runtime {runtime:?} that `runsc install` hasn't added", path.display());
    let text = if text.trim().is_empty() { first.to_owned() } else { text };
    let (begin, end) = marks(runtime);
    let gap = if text.is_empty() { "" } else { "\n" };
    replace(path, &format!("{text}{gap}{begin}{lines}{end}"))
}

/// Adds a runtime of containerd's CRI plugin, by way of the shim that containerd comes with.
pub(super) fn install_containerd(args: &InstallArgs, path: &Path, program: &str) -> Result<()> {
    let text = read_text(path)?;
    let version =
        text.lines().find_map(|line| line.split('#').next()?.trim().strip_prefix("version")?.trim().strip_prefix('='));
    let plugin = match version.map(str::trim) {
        Some("3") => "io.containerd.cri.v1.runtime",
        Some("1") => bail!("{} is of version 1: have `containerd config migrate` make it anew", path.display()),
        Some(_) => "io.containerd.grpc.v1.cri",
        None if text.trim().is_empty() => "io.containerd.grpc.v1.cri",
        None => bail!("{} says no version: put `version = 2` at its beginning", path.display()),
    };
    let table = format!("[plugins.\"{plugin}\".containerd.runtimes.{}]", args.runtime);
    let options = format!("[plugins.\"{plugin}\".containerd.runtimes.{}.options]", args.runtime);
    let systemd = match args.cgroup_driver.as_str() {
        "" => String::new(),
        driver => format!("  SystemdCgroup = {}\n", driver == "systemd"),
    };
    let lines = format!(
        "{table}\n  runtime_type = \"io.containerd.runc.v2\"\n  pod_annotations = [\"dev.gvisor.*\"]\n\
         {options}\n  BinaryName = {program:?}\n{systemd}"
    );
    put(args, path, "version = 2\n", &table, &lines)
}

/// Adds a runtime of Podman's.
pub(super) fn install_podman(args: &InstallArgs, path: &Path, program: &str) -> Result<()> {
    let table = "[engine.runtimes]";
    let manager = match args.cgroup_driver.as_str() {
        "" => String::new(),
        driver => format!("[engine]\ncgroup_manager = {driver:?}\n"),
    };
    let lines = format!("{manager}{table}\n{} = [{program:?}]\n", args.runtime);
    put(args, path, "", table, &lines)
}

/// Removes the runtime; tells whether there was one.
pub(super) fn uninstall(args: &InstallArgs, path: &Path) -> Result<bool> {
    let text = read_text(path)?;
    match without(&text, &args.runtime) {
        Some(rest) if rest.trim().is_empty() => std::fs::remove_file(path)?,
        Some(rest) => replace(path, &rest)?,
        None => return Ok(false),
    }
    Ok(true)
}
