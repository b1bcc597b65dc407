//! Docker's networks, with a daemon whose network namespace stands for the host's: its bridges and rules of address
//! translation are none of this machine's business.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::daemon::Daemon;
use super::{DOCKER, compare, image, shell};
use crate::setup::need;
use crate::tally::Tally;

const TOOLS: &[(&str, &str)] = &[
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("curl", "curl"),
];

/// Runs the script with both runtimes.
pub(super) fn run(runsc: &Path, work: &Path, tally: &mut Tally) -> Result<()> {
    need(DOCKER)?;
    need(TOOLS)?;
    let tar = image(work)?;
    let config = serde_json::json!({
        "runtimes": {
            "runsc": { "path": runsc },
            "runsc-host": { "path": runsc, "runtimeArgs": ["--network=host"] },
            "runc-host": { "path": "runc" },
        }
    });
    let config_file = work.join("daemon.json");
    fs::write(&config_file, config.to_string()).context("write the daemon's configuration")?;
    let socket = format!("unix://{}", work.join("sock").display());
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh", "dockerd"]);
    command.arg("--config-file").arg(&config_file);
    command.arg("--data-root").arg(work.join("data")).arg("--exec-root").arg(work.join("exec"));
    command.arg("--pidfile").arg(work.join("pid")).args(["-H", &socket]).arg("--storage-driver=vfs");
    let client = format!("docker -H {socket}");
    let _daemon = Daemon::start(command, &work.join("log"), &format!("{client} version"))?;
    let pid = fs::read_to_string(work.join("pid")).context("read the daemon's process id")?;
    let host = format!("nsenter --net --target {}", pid.trim());
    shell(&format!("{client} import {} busy", tar.display()))?;
    let environment = |runtime: &str| {
        vec![
            ("DOCKER", client.clone()),
            ("DOCKER_HOST", socket.clone()),
            ("RUNTIME", runtime.to_owned()),
            ("HOST", host.clone()),
        ]
    };
    compare("network", work, &environment("runc"), &environment("runsc"), tally)
}
