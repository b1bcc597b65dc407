//! `xtask programs`: scripts of real programs, run natively and in the sandbox and compared byte for byte.
//!
//! A script under `programs/` makes its own scratch directory and prints only what must be the same everywhere. Its
//! head says what it takes: `# shell: PATH`, `# needs: PROGRAM=PACKAGE …`, and `# heavy: WHY` when a quick run leaves it
//! out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::Common;
use crate::host::{Ended, Place, first_difference, run as run_command};
use crate::setup::{need, output, root, runsc, workspace};
use crate::tally::Tally;

/// Runs every script, and a Debian root file system as a bundle; `quick` leaves out that and what is heavy.
pub(crate) fn run(common: &Common, quick: bool, tally: &mut Tally) -> Result<()> {
    let runsc = runsc(common)?;
    for script in scripts(common)?.iter().filter(|s| !quick || !s.heavy || common.filter.is_some()) {
        tally.suite(&script.name(), |t| compare(common, &runsc, script, t));
    }
    if !quick && common.filter.as_deref().is_none_or(|f| "debootstrap".contains(f)) {
        tally.suite("debootstrap", |t| debootstrap(common, &runsc, t));
    }
    Ok(())
}

/// One script and what its head says.
struct Script {
    path: PathBuf,
    shell: String,
    needs: Vec<(String, String)>,
    /// Takes long, or needs large packages: left out of a quick run.
    heavy: bool,
}

impl Script {
    fn read(path: PathBuf) -> Result<Self> {
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let head = |key: &str| text.lines().find_map(|l| l.strip_prefix(key)).map(str::trim);
        let shell = head("# shell:").unwrap_or("/bin/sh").to_owned();
        let needs = head("# needs:").unwrap_or_default().split_whitespace();
        let needs = needs.filter_map(|n| n.split_once('=')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
        let heavy = head("# heavy:").is_some();
        Ok(Self { path, shell, needs, heavy })
    }

    fn name(&self) -> String {
        self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

fn scripts(common: &Common) -> Result<Vec<Script>> {
    let dir = workspace().join("tests/programs");
    let mut found = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("read {}", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "sh") {
            found.push(Script::read(path)?);
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    if let Some(filter) = &common.filter {
        found.retain(|s| s.name().contains(filter.as_str()));
    }
    Ok(found)
}

fn compare(common: &Common, runsc: &Path, script: &Script, tally: &mut Tally) -> Result<()> {
    let needs: Vec<(&str, &str)> = script.needs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    need(&needs)?;
    let limit = Duration::from_secs(common.limit);
    let natively = || Place::native().script(&script.shell, &script.path, limit);
    let native = natively()?;
    if native.code != 0 || native.stdout.is_empty() {
        bail!("the script itself fails natively with {}: {}", native.code, native.complaint());
    }
    for platform in &common.platform {
        let once = || Place::sandbox(runsc, platform).script(&script.shell, &script.path, limit);
        let mut difference = problem(&native, &once()?);
        if let Some(first) = &difference {
            // A loaded machine may change the order of what runs side by side, natively too: what differs twice is no accident.
            println!("{} on {platform} differs, once more: {first}", script.name());
            difference = problem(&natively()?, &once()?);
        }
        tally.check(&format!("{} on {platform}", script.name()), difference);
    }
    Ok(())
}

fn problem(native: &Ended, sandbox: &Ended) -> Option<String> {
    if native.stdout == sandbox.stdout && native.code == sandbox.code {
        return None;
    }
    let mut why = String::new();
    if sandbox.code == -1 {
        why.push_str("took too long; ");
    } else if native.code != sandbox.code {
        why.push_str(&format!("exit status {} instead of {}; ", sandbox.code, native.code));
    }
    if native.stdout != sandbox.stdout {
        why.push_str(&first_difference(&native.stdout, &sandbox.stdout));
    }
    Some(format!("{why}; stderr: {}", sandbox.complaint()))
}

/// Makes a minimal Debian tree once, then runs a script in it by chroot and by `runsc run`.
fn debootstrap(common: &Common, runsc: &Path, tally: &mut Tally) -> Result<()> {
    root("debootstrap makes a root file system")?;
    need(&[("debootstrap", "debootstrap")])?;
    let bundle = output("debian")?;
    let rootfs = bundle.join("rootfs");
    if !rootfs.join("etc/debian_version").exists() {
        let limit = Duration::from_secs(900);
        let mut command = Command::new("debootstrap");
        command.args(["--variant=minbase", "bookworm"]).arg(&rootfs);
        let ended = run_command(&mut command, limit)?;
        if ended.code != 0 {
            let said = String::from_utf8_lossy(&ended.stdout).lines().last().unwrap_or_default().to_owned();
            let _ = fs::remove_dir_all(&rootfs);
            bail!("debootstrap fails: {said} {}; it needs a Debian mirror", ended.complaint());
        }
    }
    let path = workspace().join("tests/programs/inside/debian.sh");
    let script = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let limit = Duration::from_secs(common.limit);
    let env = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
    let mut chroot = Command::new("chroot");
    chroot.arg(&rootfs).args(["/usr/bin/env", "-i", env, "/bin/sh", "-c", &script]);
    let native = run_command(&mut chroot, limit)?;
    let capabilities = [
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETFCAP",
        "SYS_CHROOT",
        "AUDIT_WRITE",
    ]
    .map(|name| format!("CAP_{name}"));
    let config = serde_json::json!({
        "ociVersion": "1.0.2",
        "process": {
            "args": ["/bin/sh", "-c", script], "env": [env], "cwd": "/", "user": { "uid": 0, "gid": 0 },
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
        },
        "root": { "path": "rootfs" },
        "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
        "linux": { "namespaces": [{ "type": "pid" }, { "type": "mount" }] },
    });
    fs::write(bundle.join("config.json"), config.to_string()).context("write config.json")?;
    for platform in &common.platform {
        let state = tempfile::tempdir().context("make a state directory")?;
        let mut command = Command::new(runsc);
        command.arg("--root").arg(state.path()).arg(format!("--platform={platform}"));
        command.args(["run", "--bundle"]).arg(&bundle).arg(format!("debian-{platform}-{}", std::process::id()));
        let ended = run_command(&mut command, limit)?;
        tally.check(&format!("debootstrap on {platform}"), problem(&native, &ended));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_has_a_head_and_parses() {
        let common = Common { runsc: None, platform: Vec::new(), filter: None, limit: 1 };
        let scripts = scripts(&common).expect("readable");
        assert!(scripts.len() >= 8);
        assert!(scripts.iter().all(|s| !s.needs.is_empty()));
    }
}
