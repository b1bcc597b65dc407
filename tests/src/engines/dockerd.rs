//! A daemon of Docker's without networks, which knows some runtimes and the image `busy`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Map, json};
use tempfile::TempDir;

use super::daemon::Daemon;
use super::{COMMON, DOCKER, image, shell};
use crate::setup::need;

/// A runtime: its name for Docker, its program and its flags.
pub(crate) type Runtime = (String, PathBuf, Vec<String>);

/// Starts one in a directory; returns it with its socket. The image is made there, too.
pub(super) fn start(work: &Path, runtimes: impl Iterator<Item = Runtime>) -> Result<(Daemon, String)> {
    let tar = image(work)?;
    let socket = format!("unix://{}", work.join("sock").display());
    let config = work.join("daemon.json");
    let entry = |(name, path, flags): Runtime| (name, json!({ "path": path, "runtimeArgs": flags }));
    let runtimes: Map<_, _> = runtimes.map(entry).collect();
    fs::write(&config, json!({ "runtimes": runtimes }).to_string()).context("write daemon.json")?;
    let mut command = Command::new("dockerd");
    command.arg("--data-root").arg(work.join("data")).arg("--exec-root").arg(work.join("exec"));
    command.arg("--pidfile").arg(work.join("pid")).args(["-H", &socket]).arg("--config-file").arg(&config);
    command.args(["--storage-driver=vfs", "--iptables=false", "--ip6tables=false", "--bridge=none"]);
    let daemon = Daemon::start(command, &work.join("log"), &format!("docker -H {socket} version"))?;
    shell(&format!("docker -H {socket} import {} busy", tar.display()))?;
    Ok((daemon, socket))
}

/// One for whoever only wants to run containers.
pub(crate) struct Dockerd {
    _daemon: Daemon,
    socket: String,
    /// Goes after the daemon.
    _work: TempDir,
}

impl Dockerd {
    /// Starts one; Docker's own runtime is `runc`.
    pub(crate) fn start(runtimes: impl Iterator<Item = Runtime>) -> Result<Dockerd> {
        need(COMMON)?;
        need(DOCKER)?;
        let work = tempfile::Builder::new().prefix("runsc-docker-").tempdir().context("make a directory")?;
        let (daemon, socket) = start(work.path(), runtimes)?;
        Ok(Dockerd { _daemon: daemon, socket, _work: work })
    }

    /// The command line that runs a program of the image in a container of its own.
    pub(crate) fn run(&self, runtime: &str, program: &str) -> Command {
        let mut command = Command::new("docker");
        command.args(["-H", &self.socket, "run", "--rm", "--network", "none", "--runtime", runtime, "busy", program]);
        command
    }
}
