//! What goes wrong around a container that is being created: no room for its state, and somebody who changes its root file
//! system meanwhile.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::json;

use crate::bad_input::processes;
use crate::bundles::{busybox_rootfs, plain};
use crate::host::run as run_command;
use crate::tally::Tally;

/// Kilobytes and inodes of a file system for the state. With enough of both the container is made.
const ROOM: &[(u32, u32)] =
    &[(4, 2), (4, 3), (4, 4), (4, 5), (4, 6), (4, 8), (8, 8), (16, 8), (1024, 2), (1024, 3), (1024, 4), (1024, 64)];

/// How often the root file system is changed under a starting container.
const RACES: usize = 25;

/// A mount that goes with its owner.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        // Whoever still uses it keeps it.
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// Runs both suites with a program that nobody else on the machine runs.
pub(crate) fn run(runsc: &Path, dir: &Path, tally: &mut Tally) -> Result<()> {
    let bundle = dir.join("bundle");
    busybox_rootfs(&bundle.join("rootfs"))?;
    fs::write(bundle.join("config.json"), plain("echo runs").to_string()).context("write config.json")?;
    tally.check("no room for the state", no_room(runsc, dir, &bundle)?);
    tally.check("the root file system changes meanwhile", changed(runsc, dir)?);
    Ok(())
}

fn no_room(runsc: &Path, dir: &Path, bundle: &Path) -> Result<Option<String>> {
    let place = dir.join("full");
    fs::create_dir(&place).context("make a directory")?;
    let mut made = 0;
    for (kilobytes, inodes) in ROOM {
        let options = std::ffi::CString::new(format!("size={kilobytes}k,nr_inodes={inodes}"))?;
        mount("full", &place, "tmpfs", MountFlags::empty(), Some(options.as_c_str())).context("mount a tmpfs")?;
        let _mounted = Mounted(place.clone());
        let before = processes(runsc);
        let root = place.join("state");
        let call = |words: &[&str]| {
            let mut command = Command::new(runsc);
            command.arg("--root").arg(&root).args(words);
            run_command(&mut command, Duration::from_secs(20))
        };
        // A container keeps its streams, and with them a pipe of ours.
        let said = dir.join("said");
        let line = "exec \"$0\" --root \"$1\" create --bundle \"$2\" full >/dev/null 2>\"$3\" </dev/null";
        let mut command = Command::new("sh");
        command.args(["-c", line]).arg(runsc).arg(&root).arg(bundle).arg(&said);
        let mut created = run_command(&mut command, Duration::from_secs(20))?;
        created.stderr = fs::read(&said).context("read what was said")?;
        let why = |what: String| Ok(Some(format!("with {kilobytes} KiB and {inodes} inodes: {what}")));
        if created.code == 0 {
            made += 1;
            let deleted = call(&["delete", "--force", "full"])?;
            if deleted.code != 0 {
                return why(format!("it can't be deleted: {}", deleted.complaint()));
            }
        } else if created.code != 128 || String::from_utf8_lossy(&created.stderr).lines().count() != 1 {
            return why(format!("exit status {}: {}", created.code, created.complaint()));
        }
        std::thread::sleep(Duration::from_millis(50));
        let left = processes(runsc).difference(&before).count();
        let states = fs::read_dir(&root).map_or(0, Iterator::count);
        if left > 0 || states > 0 {
            return why(format!("{left} processes and {states} states are left"));
        }
    }
    let expected = made > 0 && made < ROOM.len();
    Ok((!expected).then(|| format!("{made} of {} containers were made", ROOM.len())))
}

/// A directory of the image is exchanged again and again for a link out of it, while mounts and the working directory are
/// made below it on the host's own files: nothing may appear where the link leads.
fn changed(runsc: &Path, dir: &Path) -> Result<Option<String>> {
    let (bundle, victim) = (dir.join("raced"), dir.join("victim"));
    let rootfs = bundle.join("rootfs");
    busybox_rootfs(&rootfs)?;
    fs::create_dir(&victim).context("make a directory")?;
    fs::create_dir(rootfs.join("swap")).context("make a directory")?;
    std::os::unix::fs::symlink(&victim, rootfs.join("other")).context("make a link")?;
    let mut config = plain("echo x > /swap/file; mkdir /swap/dir; true");
    config["process"]["cwd"] = json!("/swap/deep/er");
    config["mounts"] = json!([
        {"destination": "/proc", "type": "proc"}, {"destination": "/swap/mount", "type": "tmpfs"},
        {"destination": "/swap/bind/file", "type": "bind", "source": "/etc/passwd", "options": ["bind"]},
    ]);
    config["linux"]["readonlyPaths"] = json!(["/swap/none"]);
    fs::write(bundle.join("config.json"), config.to_string()).context("write config.json")?;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // Both are there as long as the bundle is.
                let _ = renameat_with(CWD, rootfs.join("swap"), CWD, rootfs.join("other"), RenameFlags::EXCHANGE);
            }
        });
        let mut problem = None;
        for number in 0..RACES {
            let mut command = Command::new(runsc);
            command.arg("--root").arg(dir.join("state")).arg("--overlay2=none").args(["run", "--bundle"]);
            command.arg(&bundle).arg(format!("raced-{number}"));
            // Started or refused: both are fine.
            match run_command(&mut command, Duration::from_secs(20)) {
                Ok(ended) if ended.code == -1 => problem = Some("it does not end".to_owned()),
                Ok(_) => {}
                Err(error) => problem = Some(format!("{error:#}")),
            }
            let found = fs::read_dir(&victim).map_or(1, Iterator::count);
            if found > 0 {
                problem = Some(format!("{found} files appeared outside of the container"));
            }
            if problem.is_some() {
                break;
            }
        }
        over.store(true, Ordering::Relaxed);
        Ok(problem)
    })
}
