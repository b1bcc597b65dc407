//! Daemons that live as long as a suite.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::host::{kill, run};

/// How long a daemon may take until it answers.
const LIMIT: Duration = Duration::from_secs(30);

/// A daemon in a process group of its own; it ends when this is dropped.
pub(super) struct Daemon(Child);

impl Daemon {
    /// Starts the daemon and waits until the command line `ready` succeeds.
    pub(super) fn start(mut command: Command, log: &Path, ready: &str) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("create {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        let name = command.get_program().to_string_lossy().into_owned();
        let mut daemon = Self(command.spawn().with_context(|| format!("start {name}"))?);
        let deadline = Instant::now() + LIMIT;
        loop {
            let asked = run(Command::new("sh").arg("-c").arg(ready), LIMIT)?;
            if asked.code == 0 {
                return Ok(daemon);
            }
            let ended = daemon.0.try_wait().context("wait")?.is_some();
            if ended || Instant::now() > deadline {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                let tail: Vec<&str> = said.lines().rev().take(3).collect();
                bail!("{name} doesn't answer: {} | {}", asked.complaint(), tail.join(" | "));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        kill(&mut self.0);
    }
}
