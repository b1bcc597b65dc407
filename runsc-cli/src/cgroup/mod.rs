//! Cgroups of the host: the sandbox as a whole is put into the one that config.json names, with its limits.
//!
//! [`v1`] and [`v2`] know the files of the two hierarchies; here is what they have in common. The guest's own processes
//! are processes of the host in that cgroup too (stubs), so limits of memory and processor time hold for them as they are.
//! The limit of processes holds in the guest; on the host it leaves room for the sandbox's own threads.

mod mounts;
mod stats;
mod v1;
mod v2;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

/// Processes and threads of the host that a sandbox needs besides those of its guests: gofer, workers, pooled stubs.
const OWN_TASKS: i64 = 64;

/// A sandbox's place in the host's cgroups.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Cgroup {
    /// A directory per controller.
    V1(v1::Cgroup),
    /// One directory.
    V2(v2::Cgroup),
}

impl Cgroup {
    /// Makes the cgroup and sets its limits. The path is below the root of each hierarchy.
    pub(crate) fn create(path: &str, resources: Option<&LinuxResources>) -> Result<Cgroup> {
        let path = path.trim_start_matches('/');
        if path.split('/').any(|part| part == "..") || path.is_empty() || path.contains('\0') {
            bail!("config.json: linux.cgroupsPath {path:?} is not a path below the root of the cgroups");
        }
        let mounts = mounts::read().context("finding the host's cgroups")?;
        let mut cgroup = match &mounts.v2 {
            Some(root) if mounts.v1.is_empty() => Cgroup::V2(v2::Cgroup::create(root, path)?),
            _ if !mounts.v1.is_empty() => Cgroup::V1(v1::Cgroup::create(&mounts.v1, path)?),
            _ => bail!("no cgroups are mounted on this host; use --ignore-cgroups to run without limits"),
        };
        if let Some(resources) = resources
            && let Err(error) = cgroup.apply(resources)
        {
            cgroup.remove();
            return Err(error);
        }
        Ok(cgroup)
    }

    /// Sets limits.
    pub(crate) fn apply(&mut self, resources: &LinuxResources) -> Result<()> {
        match self {
            Cgroup::V1(cgroup) => cgroup.apply(resources),
            Cgroup::V2(cgroup) => cgroup.apply(resources),
        }
    }

    /// Puts a process in.
    pub(crate) fn join(&self, pid: i32) -> io::Result<()> {
        self.dirs().iter().try_for_each(|dir| fs::write(dir.join("cgroup.procs"), pid.to_string()))
    }

    /// The directories.
    fn dirs(&self) -> Vec<&Path> {
        match self {
            Cgroup::V1(cgroup) => cgroup.dirs.values().map(PathBuf::as_path).collect(),
            Cgroup::V2(cgroup) => vec![&cgroup.dir],
        }
    }

    fn made(&self) -> &[PathBuf] {
        match self {
            Cgroup::V1(cgroup) => &cgroup.made,
            Cgroup::V2(cgroup) => &cgroup.made,
        }
    }

    /// Returns the processes in it, if it was made for this sandbox.
    pub(crate) fn own_processes(&self) -> Vec<i32> {
        let dirs = self.dirs();
        let own = dirs.iter().find(|dir| self.made().iter().any(|made| made == **dir));
        let text = own.and_then(|dir| fs::read_to_string(dir.join("cgroup.procs")).ok());
        text.unwrap_or_default().lines().filter_map(|line| line.trim().parse().ok()).collect()
    }

    /// Figures in the form of runc's `events`.
    pub(crate) fn stats(&self) -> serde_json::Value {
        match self {
            Cgroup::V1(cgroup) => stats::v1(cgroup),
            Cgroup::V2(cgroup) => stats::v2(cgroup),
        }
    }

    /// How many processes the host has killed in it for want of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let (file, key) = match self {
            Cgroup::V1(cgroup) => (cgroup.dirs.get("memory").map(|dir| dir.join("memory.oom_control")), "oom_kill"),
            Cgroup::V2(cgroup) => (Some(cgroup.dir.join("memory.events")), "oom_kill"),
        };
        file.map_or(0, |file| stats::keyed(&file, key))
    }

    /// Removes the directories that were made for it, as far as nobody else uses them. Its processes have ended; the host
    /// may need a moment to see that.
    pub(crate) fn remove(&self) {
        for dir in self.made().iter().rev() {
            for _ in 0..100 {
                match fs::remove_dir(dir) {
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy && is_empty(dir) => {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    // Other containers may be in a directory above our own.
                    _ => break,
                }
            }
        }
    }
}

/// Tells whether no other cgroup is below one.
fn is_empty(dir: &Path) -> bool {
    let Ok(mut entries) = fs::read_dir(dir) else { return true };
    !entries.any(|entry| entry.is_ok_and(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())))
}

/// Makes a directory and those above it below `root`; notes what wasn't there, from the top down.
fn make_dirs(root: &Path, path: &str, made: &mut Vec<PathBuf>, each: impl Fn(&Path) -> Result<()>) -> Result<PathBuf> {
    let mut dir = root.to_owned();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        dir.push(part);
        match fs::create_dir(&dir) {
            Ok(()) => {
                made.push(dir.clone());
                each(&dir)?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("making the cgroup {}", dir.display())),
        }
    }
    Ok(dir)
}

/// Writes one file of a cgroup.
fn write(dir: &Path, name: &str, value: impl std::fmt::Display) -> Result<()> {
    let path = dir.join(name);
    fs::write(&path, value.to_string()).with_context(|| format!("writing {value} to {}", path.display()))
}

/// The limit of processes as the host gets it.
fn pids_max(limit: i64) -> String {
    if limit <= 0 { "max".to_owned() } else { limit.saturating_add(OWN_TASKS).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_root() {
        for bad in ["../x", "a/../../b", "/", ""] {
            assert!(Cgroup::create(bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_limit_of_processes_is_max() {
        assert_eq!((pids_max(-1).as_str(), pids_max(0).as_str(), pids_max(10).as_str()), ("max", "max", "74"));
    }
}
