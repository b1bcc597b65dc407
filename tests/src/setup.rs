//! Brings what the suites need: Debian packages, the built `runsc`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

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

fn apt_get(args: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn apt(args: &[&str]) -> Result<()> {
    let output = apt_get(args).output().context("run apt-get (this suite sets itself up on Debian only)")?;
    if !output.status.success() {
        bail!("apt-get {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Brings a directory of a Debian package's upstream source, named below `top`; returns what stands for `top`.
///
/// # Errors
/// Fails when the machine's mirrors don't serve the source, or when it has no such directory.
pub(crate) fn source(package: &str, top: &str, inside: &str) -> Result<PathBuf> {
    let place = output("source")?.join(package);
    let tree = place.join("tree");
    if tree.join(inside).exists() {
        return Ok(tree);
    }
    for dir in ["parts", "lists/partial", "download", "tree"] {
        fs::create_dir_all(place.join(dir)).context("make a directory for a source package")?;
    }
    source_lists(&place.join("parts"))?;
    let lists = format!("Dir::State::Lists={}", place.join("lists").display());
    let parts = format!("Dir::Etc::SourceParts={}", place.join("parts").display());
    let own = ["-qq", "-o", "Dir::Etc::SourceList=/dev/null", "-o", &parts, "-o", &lists];
    let fetch = |args: &[&str]| {
        let output = apt_get(&[&own, args].concat()).current_dir(place.join("download")).output();
        let output = output.context("run apt-get (this suite sets itself up on Debian only)")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    };
    let help = || format!("can't fetch the source of {package}: it needs a mirror with Debian's sources (deb-src)");
    fetch(&["update"]).with_context(help)?;
    fetch(&["source", "--download-only", "--tar-only", package]).with_context(help)?;
    let found = fs::read_dir(place.join("download"))?.flatten().map(|e| e.path());
    let archive = found.into_iter().find(|p| p.to_string_lossy().contains(".orig.tar")).with_context(help)?;
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(&archive).arg("-C").arg(&tree).arg("--wildcards").arg(format!("*/{top}/{inside}/*"));
    tar.arg(format!("--strip-components={}", 1 + Path::new(top).components().count()));
    let status = tar.status().context("run tar")?;
    ensure!(status.success() && tree.join(inside).exists(), "{} has no {top}/{inside}", archive.display());
    Ok(tree)
}

/// The machine's own package sources, turned into those of source packages.
fn source_lists(parts: &Path) -> Result<()> {
    let dir = fs::read_dir("/etc/apt/sources.list.d").map(|d| d.flatten().map(|e| e.path()).collect::<Vec<_>>());
    for path in dir.unwrap_or_default().into_iter().chain([PathBuf::from("/etc/apt/sources.list")]) {
        let kind = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let turn = |line: &str| match line.strip_prefix("deb ") {
            Some(rest) => format!("deb-src {rest}\n"),
            None if line.starts_with("Types:") => "Types: deb-src\n".to_owned(),
            None => format!("{line}\n"),
        };
        if matches!(kind.as_str(), "list" | "sources") {
            let name = path.file_name().context("a list of sources")?;
            fs::write(parts.join(name), text.lines().map(turn).collect::<String>())
                .context("write a list of sources")?;
        }
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
