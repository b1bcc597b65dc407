//! `xtask view`: what tools of the host find that enter a container's mount namespace (`--host-view`).
//!
//! One program works on the container's files from inside and, having entered the namespace, from outside: it must print the
//! same. Then, what is so from outside only.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::Common;
use crate::bad_input::processes;
use crate::bundles::{busybox_rootfs, plain};
use crate::caller::wait_for_none;
use crate::host::{Ended, first_difference, run as run_command};
use crate::setup::{need, root, runsc, workspace};
use crate::tally::Tally;

/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Ids of a container that has its own.
const FIRST_ID: u32 = 200_000;

/// What `view only` says.
const ONLY: &str = "\
execute: Permission denied
a device: Permission denied
a device of one's own: Permission denied
a socket: 0
a FIFO without a writer: 0
and its writer: 0
/proc/self/comm: No such file or directory
leave a file: 17
another's file: Permission denied
another's directory: Permission denied
";

/// A container with files of all kinds.
struct Container {
    runsc: PathBuf,
    dir: tempfile::TempDir,
    platform: String,
    flags: Vec<String>,
    /// The sentry, once it runs.
    pid: u64,
}

/// Runs all checks.
pub(crate) fn run(common: &Common, tally: &mut Tally) -> Result<()> {
    root("entering mount namespaces needs it")?;
    need(&[("gcc", "gcc"), ("/usr/include/stdio.h", "libc6-dev"), ("/bin/busybox", "busybox-static")])?;
    ensure!(Path::new("/dev/fuse").exists(), "there is no /dev/fuse: modprobe fuse");
    for platform in &common.platform {
        let mut check = |name: &str, test: &dyn Fn() -> Result<()>| {
            let name = format!("{name} on {platform}");
            if common.filter.as_deref().is_none_or(|f| name.contains(f)) {
                tally.check(&name, test().err().map(|error| format!("{error:#}")));
            }
        };
        let container = |flags: &[&str], change: &dyn Fn(&mut Value)| start(common, platform, flags, change);
        for overlay in ["none", "root:self", "root:memory"] {
            let flags = [&format!("--overlay2={overlay}"), "--host-view=on"];
            check(&format!("files with --overlay2={overlay}"), &|| container(&flags, &|_| {})?.same(0));
        }
        check("files of a container with ids of its own", &|| container(&["--host-view=on"], &own_ids)?.same(FIRST_ID));
        check("what is so from outside only", &|| container(&["--host-view=on"], &|_| {})?.only());
        check("a view for Podman", &|| container(&[], &podman)?.is_there(true));
        check("none for others", &|| container(&[], &|_| {})?.is_there(false));
        check("none where it is off", &|| container(&["--host-view=off"], &podman)?.is_there(false));
        check("a sandbox that is killed while somebody looks", &|| container(&["--host-view=on"], &|_| {})?.killed());
    }
    Ok(())
}

fn own_ids(config: &mut Value) {
    let map = json!([{"containerID": 0, "hostID": FIRST_ID, "size": 65536}]);
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
    if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
        namespaces.push(json!({"type": "user"}));
    }
}

fn podman(config: &mut Value) {
    config["annotations"] = json!({"io.container.manager": "libpod"});
}

fn start(common: &Common, platform: &str, flags: &[&str], change: &dyn Fn(&mut Value)) -> Result<Container> {
    let dir = tempfile::Builder::new().prefix("runsc-view").tempdir().context("make a directory")?;
    // A name of its own: other sandboxes of this machine are none of this suite's business.
    let own = dir.path().join("runsc");
    fs::copy(runsc(common)?, &own).context("copy runsc")?;
    let rootfs = dir.path().join("rootfs");
    busybox_rootfs(&rootfs)?;
    let program = rootfs.join("bin/view");
    let source = workspace().join("tests/view/view.c");
    let mut gcc = Command::new("gcc");
    gcc.args(["-O1", "-Wall", "-static", "-o"]).arg(&program).arg(&source);
    let ended = run_command(&mut gcc, LIMIT)?;
    ensure!(ended.code == 0, "{} doesn't compile: {}", source.display(), ended.complaint());
    fs::copy(&program, dir.path().join("view")).context("copy the program")?;
    for (name, text) in [("volume", "of the host\n"), ("read-only", "")] {
        fs::create_dir(dir.path().join(name)).context("make a directory to mount")?;
        fs::write(dir.path().join(name).join("of-the-host"), text).context("fill it")?;
    }
    let mut config = plain("echo first >/memory/first; while :; do sleep 1; done");
    let volume = |name: &str, options: &[&str]| {
        let (destination, source) = (format!("/{name}"), dir.path().join(name));
        json!({"destination": destination, "type": "bind", "source": source, "options": options})
    };
    let memory = json!({"destination": "/memory", "type": "tmpfs", "source": "tmpfs"});
    let dev = json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs"});
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.extend([volume("volume", &["bind"]), volume("read-only", &["bind", "ro"]), memory, dev]);
    }
    change(&mut config);
    if config["linux"]["uidMappings"].is_array() {
        let mut chown = Command::new("chown");
        chown.args(["-hR", &format!("{FIRST_ID}:{FIRST_ID}")]).arg(&rootfs).arg(dir.path().join("volume"));
        ensure!(run_command(&mut chown, LIMIT)?.code == 0, "the rootfs's owner can't be changed");
        let mut open = Command::new("chmod");
        open.arg("0755").arg(dir.path());
        ensure!(run_command(&mut open, LIMIT)?.code == 0, "the directory can't be opened up");
    }
    fs::write(dir.path().join("config.json"), config.to_string()).context("write config.json")?;
    let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let mut container = Container { runsc: own, dir, platform: platform.to_owned(), flags, pid: 0 };
    let bundle = container.dir.path().display().to_string();
    container.create(&bundle)?;
    container.runsc(&["start", "c"])?;
    let state: Value = serde_json::from_slice(&container.runsc(&["state", "c"])?.stdout).context("read its state")?;
    container.pid = state["pid"].as_u64().context("its pid")?;
    // Until its first process has done what is looked for.
    container.runsc(&["exec", "c", "/bin/sh", "-c", "until [ -s /memory/first ]; do sleep 0.01; done"])?;
    Ok(container)
}

impl Container {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.runsc);
        command.arg("--root").arg(self.dir.path().join("state")).arg(format!("--platform={}", self.platform));
        command.args(&self.flags);
        command
    }

    /// The container keeps the streams: nobody may wait for their end.
    fn create(&self, bundle: &str) -> Result<()> {
        let complaint = self.dir.path().join("complaint");
        let mut command = self.command();
        command.args(["create", "--bundle", bundle, "c"]).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(&complaint).context("make a file")?);
        let status = command.status().context("start runsc")?;
        let said = fs::read_to_string(&complaint).unwrap_or_default();
        ensure!(status.success(), "runsc create: {status}: {said}");
        Ok(())
    }

    fn runsc(&self, words: &[&str]) -> Result<Ended> {
        let ended = run_command(self.command().args(words), LIMIT)?;
        ensure!(ended.code == 0, "runsc {}: {}", words.join(" "), ended.complaint());
        Ok(ended)
    }

    fn enter(&self, words: &[&str]) -> Result<Ended> {
        let mut command = Command::new(self.dir.path().join("view"));
        command.arg("enter").arg(self.pid.to_string()).args(words);
        run_command(&mut command, LIMIT)
    }

    /// Compares inside and outside, where ids are higher by `first`.
    fn same(&self, first: u32) -> Result<()> {
        for place in ["/", "/volume", "/memory"] {
            let (one, two) = (format!("{place}/one"), format!("{place}/two"));
            let make = format!("mkdir {one} {two}");
            self.runsc(&["exec", "c", "/bin/sh", "-c", &make])?;
            let inside = self.runsc(&["exec", "c", "/bin/view", "same", &one])?;
            let outside = self.enter(&["same", &two, &first.to_string()])?;
            ensure!(outside.code == 0, "from outside, in {place}: {}", outside.complaint());
            let inside = String::from_utf8_lossy(&inside.stdout).replace(&one, "DIR");
            let outside = String::from_utf8_lossy(&outside.stdout).replace(&two, "DIR");
            ensure!(
                inside == outside,
                "in {place}: inside and outside differ: {}",
                first_difference(inside.as_bytes(), outside.as_bytes())
            );
            // What one has made the other removes.
            self.runsc(&["exec", "c", "/bin/rm", "-r", &one, &two])?;
        }
        Ok(())
    }

    fn only(&self) -> Result<()> {
        let ended = self.enter(&["only", ""])?;
        let said = String::from_utf8_lossy(&ended.stdout);
        ensure!(ended.code == 0 && said == ONLY, "it says {said:?}; {}", ended.complaint());
        let left = self.runsc(&["exec", "c", "/bin/cat", "/memory/left"])?;
        ensure!(left.stdout == b"left by the host\n", "the guest reads {:?}", String::from_utf8_lossy(&left.stdout));
        Ok(())
    }

    fn is_there(&self, expected: bool) -> Result<()> {
        let mounts = fs::read_to_string(format!("/proc/{}/mounts", self.pid)).context("read its mounts")?;
        let found = mounts.lines().any(|line| line.starts_with("runsc / fuse rw,nosuid,nodev,noexec,"));
        ensure!(found == expected, "its mounts are {mounts:?}");
        let said = self.enter(&["same", "/memory"])?.stdout;
        let works = String::from_utf8_lossy(&said).contains("mkdir: 0\n");
        ensure!(works == expected, "who enters sees {:?}", String::from_utf8_lossy(&said));
        Ok(())
    }

    /// The sandbox dies while somebody reads and writes its files: they fail, and nothing is left.
    fn killed(&self) -> Result<()> {
        let mut command = Command::new(self.dir.path().join("view"));
        command.arg("enter").arg(self.pid.to_string()).args(["same", "/memory"]);
        let kill = std::thread::spawn({
            let pid = self.pid.to_string();
            move || {
                std::thread::sleep(Duration::from_millis(30));
                Command::new("kill").args(["-KILL", &pid]).status()
            }
        });
        let ended = run_command(&mut command, LIMIT)?;
        let killed = kill.join().ok().context("the thread that kills")?.context("kill the sentry")?;
        ensure!(killed.success(), "the sentry could not be killed");
        ensure!(ended.code == 0, "who looked ended with {}: {}", ended.code, ended.complaint());
        ensure!(wait_for_none(&self.runsc).is_none(), "processes are left");
        Ok(())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if !processes(&self.runsc).is_empty() || self.dir.path().join("state/c").exists() {
            let _ = self.runsc(&["delete", "--force", "c"]);
        }
    }
}
