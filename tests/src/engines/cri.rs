//! Pods as Kubernetes makes them: containerd's plugin for the Container Runtime Interface, with runc and with runsc as runtime handlers,
//! the latter as `runsc install` writes it. Pods have a network by Debian's CNI plugins.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use super::daemon::Daemon;
use super::{CONTAINERD, compare, image, oci_image, shell};
use crate::setup::{need, workspace};
use crate::tally::Tally;

/// Where Debian has the CNI plugins.
const PLUGINS: &str = "/usr/lib/cni";
const NEEDS: &[(&str, &str)] = &[
    ("/usr/lib/cni/ptp", "containernetworking-plugins"),
    ("/usr/bin/python3", "python3"),
    ("/usr/lib/python3/dist-packages/grpc", "python3-grpcio"),
    ("iptables", "iptables"),
];

/// Runs the client with both handlers.
pub(super) fn run(runsc: &Path, work: &Path, tally: &mut Tally) -> Result<()> {
    need(CONTAINERD)?;
    need(NEEDS)?;
    image(work)?;
    let (busy, pause) = (work.join("oci.tar"), work.join("pause.tar"));
    oci_image(work, "busy", &["sh"], &busy)?;
    oci_image(work, "pause", &["sleep", "1000000"], &pause)?;
    let (socket, config) = (work.join("sock"), work.join("config.toml"));
    let networks = work.join("networks");
    fs::create_dir_all(&networks).context("make a directory")?;
    let addresses = json!({ "type": "host-local", "dataDir": work.join("addresses"), "subnet": "10.231.7.0/24" });
    let network = json!({ "cniVersion": "0.4.0", "name": "pods", "plugins": [{ "type": "ptp", "ipam": addresses }] });
    fs::write(networks.join("pods.conflist"), network.to_string()).context("write the network's configuration")?;
    let text = format!(
        r#"version = 2
root = "{0}/root"
state = "{0}/state"
[grpc]
  address = "{1}"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "docker.io/library/pause:latest"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{PLUGINS}"
    conf_dir = "{2}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"#,
        work.display(),
        socket.display(),
        networks.display(),
    );
    fs::write(&config, text).context("write containerd's configuration")?;
    let install = format!("{} install --engine containerd --config_file {}", runsc.display(), config.display());
    shell(&format!("{install} --cgroupdriver cgroupfs"))?;
    let mut command = Command::new("containerd");
    command.arg("-c").arg(&config);
    let client = format!("ctr -a {} -n k8s.io", socket.display());
    let _daemon = Daemon::start(command, &work.join("log"), &format!("{client} version"))?;
    for image in [&busy, &pause] {
        shell(&format!("{client} images import --snapshotter native {}", image.display()))?;
    }
    let environment = |handler: &str| {
        vec![
            ("CLIENT", workspace().join("tests/engines/cri.py").display().to_string()),
            ("SOCK", socket.display().to_string()),
            ("HANDLER", handler.to_owned()),
            ("IMAGE", "docker.io/library/busy:latest".to_owned()),
        ]
    };
    compare("cri", work, &environment("runc"), &environment("runsc"), tally)
}
