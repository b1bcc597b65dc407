//! Cgroups of the host: the sandbox as a whole is put into the one that config.json names, with its limits.
//!
//! [`v1`] and [`v2`] know the files of the two hierarchies; here is what they have in common. [`systemd`] has them made and
//! owned by systemd, where the engine wants that. The guest's own processes
//! are processes of the host in that cgroup too (stubs), so limits of memory and processor time hold for them as they are.
//! The limit of processes holds in the guest; on the host it leaves room for the sandbox's own threads.

mod dbus;
pub(crate) mod limits;
mod mounts;
mod oom;
mod stats;
mod systemd;
mod v1;
mod v2;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::{LinuxHugepageLimit, LinuxResources};
use serde::{Deserialize, Serialize};

pub(crate) use oom::OomWatch;

/// Processes and threads of the host that a sandbox needs besides those of its guests: gofer, workers, pooled stubs.
const OWN_TASKS: i64 = 64;

/// A sandbox's place in the host's cgroups.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cgroup {
    place: Place,
    /// Made by systemd, with its first process.
    unit: Option<systemd::Unit>,
}

/// Where it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Place {
    /// A directory per controller.
    V1(v1::Cgroup),
    /// One directory.
    V2(v2::Cgroup),
}

/// What hierarchies the host has.
enum Host {
    V1(BTreeMap<String, PathBuf>),
    V2(PathBuf),
}

impl Host {
    fn look() -> Result<Host> {
        let mounts = mounts::read().context("finding the host's cgroups")?;
        match mounts.v2 {
            Some(root) if mounts.v1.is_empty() => Ok(Host::V2(root)),
            _ if !mounts.v1.is_empty() => Ok(Host::V1(mounts.v1)),
            _ => bail!("no cgroups are mounted on this host; use --ignore-cgroups to run without limits"),
        }
    }
}

impl Cgroup {
    /// Makes the cgroup and sets its limits. The path is below the root of each hierarchy.
    pub(crate) fn create(path: &str, resources: Option<&LinuxResources>) -> Result<Cgroup> {
        let path = path.trim_start_matches('/');
        if path.split('/').any(|part| part == "..") || path.is_empty() || path.contains('\0') {
            bail!("config.json: linux.cgroupsPath {path:?} is not a path below the root of the cgroups");
        }
        let place = match Host::look()? {
            Host::V2(root) => Place::V2(v2::Cgroup::create(&root, path)?),
            Host::V1(roots) => Place::V1(v1::Cgroup::create(&roots, path)?),
        };
        let mut cgroup = Cgroup { place, unit: None };
        if let Some(resources) = resources
            && let Err(error) = cgroup.write_limits(resources)
        {
            cgroup.remove();
            return Err(error);
        }
        Ok(cgroup)
    }

    /// Plans a cgroup that systemd is to make: `slice:prefix:name`. It is there once it is [started](Cgroup::start).
    /// Annotations may name further properties of its unit.
    pub(crate) fn of_systemd<'a>(
        path: &str,
        annotations: impl Iterator<Item = (&'a String, &'a String)>,
    ) -> Result<Cgroup> {
        let unit = systemd::Unit::new(path, annotations)?;
        let below = unit.path()?;
        let place = match Host::look()? {
            Host::V2(root) => Place::V2(v2::Cgroup::owned(root.join(below))),
            Host::V1(roots) => {
                let dirs = roots.into_iter().map(|(controller, root)| (controller, root.join(&below)));
                Place::V1(v1::Cgroup::owned(dirs.collect()))
            }
        };
        Ok(Cgroup { place, unit: Some(unit) })
    }

    /// Puts the first process in. What systemd makes is made for it, and gets its limits.
    pub(crate) fn start(&mut self, pid: i32, resources: Option<&LinuxResources>) -> Result<()> {
        if let Some(unit) = &self.unit {
            unit.start(pid, resources, matches!(self.place, Place::V2(_)))?;
            match &self.place {
                Place::V1(cgroup) => cgroup.make_missing()?,
                Place::V2(cgroup) => cgroup.turn_on_above(),
            }
            resources.map_or(Ok(()), |resources| self.write_limits(resources))?;
        }
        self.join(pid)
    }

    /// Sets other limits.
    pub(crate) fn update(&mut self, resources: &LinuxResources) -> Result<()> {
        if let Some(unit) = &self.unit {
            unit.update(resources, matches!(self.place, Place::V2(_)))?;
        }
        self.write_limits(resources)
    }

    fn write_limits(&mut self, resources: &LinuxResources) -> Result<()> {
        match &self.place {
            Place::V1(cgroup) => cgroup.apply(resources),
            Place::V2(cgroup) => cgroup.apply(resources),
        }
    }

    /// Opens the lists of tasks through which a process puts itself in, by writing `0`. The host moves it at once then; to
    /// move another process it waits until none is about to fork or end, some twenty milliseconds. Empty where the host
    /// knows no such way: the process is to be [put in](Cgroup::join).
    pub(crate) fn doors(&self) -> io::Result<Vec<OwnedFd>> {
        match &self.place {
            // What systemd makes isn't there before the process.
            _ if self.unit.is_some() => Ok(Vec::new()),
            Place::V1(cgroup) => {
                let lists = cgroup.dirs.values().map(|dir| fs::File::options().write(true).open(dir.join("tasks")));
                lists.map(|list| list.map(OwnedFd::from)).collect()
            }
            // By itself, too, only whole processes can be moved.
            Place::V2(_) => Ok(Vec::new()),
        }
    }

    /// Puts a process in.
    pub(crate) fn join(&self, pid: i32) -> Result<()> {
        self.dirs().iter().try_for_each(|dir| write(dir, "cgroup.procs", pid))
    }

    /// The directories.
    fn dirs(&self) -> Vec<&Path> {
        match &self.place {
            Place::V1(cgroup) => cgroup.dirs.values().map(PathBuf::as_path).collect(),
            Place::V2(cgroup) => vec![&cgroup.dir],
        }
    }

    fn made(&self) -> &[PathBuf] {
        match &self.place {
            Place::V1(cgroup) => &cgroup.made,
            Place::V2(cgroup) => &cgroup.made,
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
        match &self.place {
            Place::V1(cgroup) => stats::v1(cgroup),
            Place::V2(cgroup) => stats::v2(cgroup),
        }
    }

    /// Waits for the host to kill a process in it for want of memory.
    pub(crate) fn watch_oom(&self) -> io::Result<OomWatch> {
        OomWatch::new(self)
    }

    /// How many processes the host has killed in it for want of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let (file, key) = match &self.place {
            Place::V1(cgroup) => (cgroup.dirs.get("memory").map(|dir| dir.join("memory.oom_control")), "oom_kill"),
            Place::V2(cgroup) => (Some(cgroup.dir.join("memory.events")), "oom_kill"),
        };
        file.map_or(0, |file| stats::keyed(&file, key))
    }

    /// Removes the directories that were made for it, as far as nobody else uses them. Its processes have ended; the host
    /// may need a moment to see that.
    pub(crate) fn remove(&self) {
        if let Some(Err(error)) = self.unit.as_ref().map(systemd::Unit::stop) {
            tracing::warn!("having systemd stop a unit: {error:#}");
        }
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

/// The size of a huge page, as names of files have it.
fn huge_page(limit: &LinuxHugepageLimit) -> Result<&str> {
    let size = limit.page_size().as_str();
    let proper = !size.is_empty() && size.chars().all(|c| c.is_ascii_alphanumeric());
    ensure!(proper, "config.json: linux.resources.hugepageLimits has the page size {size:?}");
    Ok(size)
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
