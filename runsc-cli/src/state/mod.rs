//! Containers on disk: a directory each below `--root`.
//!
//! `ROOT/ID/` holds `state.json` (a [`Record`], replaced as a whole), `lock` (held by whoever changes the container) and
//! `control.sock` (the sentry listens on it). Commands that only look take no lock. Whatever crashes where, the directory
//! is there until `delete` has ended the processes and removed the cgroup that the record names; a record without a live
//! sentry is a stopped container.

mod host_process;
mod lock;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::Hooks;
use sentry::control::protocol::SandboxStatus;
use serde::{Deserialize, Serialize};

use crate::cgroup::Cgroup;
use crate::cli::Global;
use crate::client::Client;

pub(crate) use host_process::{HostProcess, wait_for_exit};
pub(crate) use lock::Lock;

/// Version of the OCI runtime specification.
pub(crate) const OCI_VERSION: &str = "1.2.1";

/// What is known of a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Its name.
    pub(crate) id: String,
    /// Its bundle.
    pub(crate) bundle: PathBuf,
    /// Root file system on the host.
    pub(crate) rootfs: PathBuf,
    /// Annotations of config.json.
    pub(crate) annotations: BTreeMap<String, String>,
    /// When it was created, RFC 3339.
    pub(crate) created: String,
    /// Who created it.
    pub(crate) owner: String,
    /// Its first process has been started.
    pub(crate) started: bool,
    /// The sentry; its end is the container's.
    pub(crate) sentry: Option<HostProcess>,
    /// The gofer.
    pub(crate) gofer: Option<HostProcess>,
    /// What it was put into.
    pub(crate) cgroup: Option<Cgroup>,
    /// Hooks that are still to run.
    pub(crate) hooks: Option<Hooks>,
}

/// How a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// A container's directory.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    pub(crate) id: String,
    dir: PathBuf,
}

/// Accepts what gVisor and runc accept as a container id.
pub(crate) fn check_id(id: &str) -> Result<()> {
    let valid = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if id.is_empty() || id.len() > 255 || id == "." || id == ".." || !id.chars().all(valid) {
        bail!("invalid container id {id:?}: use letters, digits, _ + - and .");
    }
    Ok(())
}

/// The directory of all containers.
pub(crate) fn root(global: &Global) -> PathBuf {
    let own = || {
        let user = rustix::process::geteuid();
        match std::env::var_os("XDG_RUNTIME_DIR") {
            _ if crate::user::is_host_root() => PathBuf::from("/var/run/runsc"),
            Some(dir) => PathBuf::from(dir).join("runsc"),
            None => std::env::temp_dir().join(format!("runsc-{}", user.as_raw())),
        }
    };
    global.root.clone().unwrap_or_else(own)
}

/// Makes the directory of all containers. One that somebody else has made, who could change what is in it, is refused.
fn make_root(root: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o711).create(root);
    made.with_context(|| format!("making the state directory {}", root.display()))?;
    let found = fs::metadata(root).with_context(|| format!("looking at {}", root.display()))?;
    let trusted = [0, rustix::process::geteuid().as_raw()];
    if !trusted.contains(&found.uid()) || found.mode() & 0o002 != 0 {
        bail!("the state directory {} belongs to somebody else; choose another with --root", root.display());
    }
    Ok(())
}

impl Container {
    fn at(global: &Global, id: &str) -> Result<Container> {
        check_id(id)?;
        Ok(Container { id: id.to_owned(), dir: root(global).join(id) })
    }

    /// Claims a name. Fails where it is taken.
    pub(crate) fn new(global: &Global, id: &str) -> Result<(Container, Lock)> {
        let container = Container::at(global, id)?;
        make_root(&root(global))?;
        match fs::DirBuilder::new().mode(0o700).create(&container.dir) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                bail!("container with given ID already exists: {id:?}; choose another, or remove it with `delete`")
            }
            Err(error) => return Err(error).with_context(|| format!("making {}", container.dir.display())),
        }
        let lock = Lock::take(&container.dir);
        let lock = lock.inspect_err(|_| drop(fs::remove_dir(&container.dir)))?;
        Ok((container, lock))
    }

    /// Finds a container.
    pub(crate) fn find(global: &Global, id: &str) -> Result<Container> {
        let container = Container::at(global, id)?;
        if !container.dir.is_dir() {
            return Err(missing(id));
        }
        Ok(container)
    }

    /// Returns all containers, by name.
    pub(crate) fn all(global: &Global) -> Result<Vec<Container>> {
        let root = root(global);
        let entries = match fs::read_dir(&root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("reading {}", root.display())),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut found: Vec<Container> = names.filter_map(|name| Container::find(global, &name).ok()).collect();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }

    /// The directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Keeps others from changing the container; waits for those that do.
    pub(crate) fn lock(&self) -> Result<Lock> {
        let lock = Lock::take(&self.dir);
        // Deleted while we waited.
        lock.map_err(|error| if self.dir.is_dir() { error } else { missing(&self.id) })
    }

    /// Reads the record.
    pub(crate) fn load(&self) -> Result<Record> {
        let path = self.dir.join("state.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!("container {:?} was never created completely; remove it with `delete --force`", self.id)
            }
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        serde_json::from_slice(&text).with_context(|| format!("parsing {}", path.display()))
    }

    /// Replaces the record.
    pub(crate) fn save(&self, record: &Record) -> Result<()> {
        let (path, new) = (self.dir.join("state.json"), self.dir.join("state.json.new"));
        let write = || -> std::io::Result<()> {
            let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&serde_json::to_vec(record)?)?;
            fs::rename(&new, &path)
        };
        write().with_context(|| format!("writing {}", path.display()))
    }

    /// Removes the directory: the container is no more.
    pub(crate) fn remove(&self) -> Result<()> {
        fs::remove_dir_all(&self.dir).with_context(|| format!("removing {}", self.dir.display()))
    }

    /// Asks how the container is.
    pub(crate) fn status(&self, record: &Record) -> Status {
        if !record.sentry.is_some_and(HostProcess::lives) {
            let creating = record.sentry.is_none() && Lock::is_taken(&self.dir);
            return if creating { Status::Creating } else { Status::Stopped };
        }
        match Client::connect(self).and_then(|client| client.status()) {
            Ok(SandboxStatus::Created) => Status::Created,
            Ok(SandboxStatus::Running) => Status::Running,
            Ok(SandboxStatus::Paused) => Status::Paused,
            // It may have ended while being asked.
            Err(_) if !record.sentry.is_some_and(HostProcess::lives) => Status::Stopped,
            Err(_) if record.started => Status::Running,
            Err(_) => Status::Created,
        }
    }

    /// The state that hooks get and `state` prints.
    pub(crate) fn state_json(record: &Record, status: Status) -> serde_json::Value {
        let pid = match status {
            Status::Stopped => 0,
            _ => record.sentry.map_or(0, |process| process.pid),
        };
        serde_json::json!({
            "ociVersion": OCI_VERSION,
            "id": record.id,
            "pid": pid,
            "status": status.name(),
            "bundle": record.bundle,
            "rootfs": record.rootfs,
            "created": record.created,
            "annotations": record.annotations,
            "owner": record.owner,
        })
    }
}

fn missing(id: &str) -> anyhow::Error {
    anyhow::anyhow!("container {id:?} does not exist")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_within_the_directory() {
        for good in ["a", "web-1.2_x+y", "0123456789abcdef"] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "../a", "a b", "a\n", "ä", &"x".repeat(256)] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
    }
}
