//! Brings what the suites need: Debian packages, the built `runsc`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::Common;

/// Root of the workspace.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Directory for what suites build and report.
pub(crate) fn output(name: &str) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    let dir = target.join("xtask").join(name);
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir)
}

/// The `runsc` given, else a release build of this workspace.
pub(crate) fn runsc(common: &Common) -> Result<PathBuf> {
    if let Some(path) = &common.runsc {
        return path.canonicalize().with_context(|| format!("--runsc {}", path.display()));
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--package", "runsc-cli"])
        .current_dir(workspace())
        .status()
        .context("run cargo build")?;
    if !status.success() {
        bail!("runsc doesn't build: see the messages above");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    target.join("release/runsc").canonicalize().context("find the built runsc")
}

/// Makes sure that files or programs are there; installs the Debian packages of those that aren't.
///
/// Each need is a path, or the name of a program on the search path, with its package.
///
/// # Errors
/// Fails with the command to type when something is missing and can't be installed.
pub(crate) fn need(needs: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> = needs.iter().filter(|(what, _)| !present(what)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let command = format!("apt-get install -y {}", missing.join(" "));
    if !rustix::process::geteuid().is_root() {
        bail!("missing on this machine: run `sudo {command}` first");
    }
    println!("installing {}", missing.join(" "));
    apt(&["update", "-qq"])?;
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(&missing);
    apt(&install).with_context(|| format!("`{command}` failed: run it by hand to see why"))?;
    match needs.iter().find(|(what, _)| !present(what)) {
        None => Ok(()),
        Some((what, package)) => bail!("{what} is still missing after installing {package}"),
    }
}

fn apt(args: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .context("run apt-get (this suite sets itself up on Debian only)")?;
    if !output.status.success() {
        bail!("apt-get {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// True when the absolute path exists, or a program of that name is in a system directory.
fn present(what: &str) -> bool {
    if what.starts_with('/') {
        return Path::new(what).exists();
    }
    ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin"].iter().any(|d| Path::new(d).join(what).exists())
}

/// Fails unless run as root, with the way out.
pub(crate) fn root(why: &str) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    bail!("{why}: run this as root, for instance `sudo -E cargo xtask …`")
}
