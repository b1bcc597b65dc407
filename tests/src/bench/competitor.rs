//! Who is measured.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// One column of the table.
pub(super) struct Competitor {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// What kind of runtime it is.
pub(super) enum Kind {
    /// The host itself.
    Native,
    /// Ours, or gVisor's: the same command line.
    Runsc { program: PathBuf, flags: Vec<String> },
    /// The usual runtime, for start-up only.
    Runc,
}

impl Competitor {
    /// Native, ours on each platform, the peers, runc.
    pub(super) fn all(runsc: &Path, platforms: &[String], peers: &[PathBuf]) -> Result<Vec<Competitor>> {
        let mut all = vec![Competitor { name: "native".into(), kind: Kind::Native }];
        let flags = |platform: &str| vec![format!("--platform={platform}"), "--network=none".to_owned()];
        for platform in platforms {
            let kind = Kind::Runsc { program: runsc.to_path_buf(), flags: flags(platform) };
            all.push(Competitor { name: format!("ours {platform}"), kind });
        }
        for (number, peer) in peers.iter().enumerate() {
            let program = peer.canonicalize().with_context(|| format!("--peer {}", peer.display()))?;
            let name = if number == 0 { "peer".to_owned() } else { format!("peer {}", number + 1) };
            // A container of its own needs no cgroup, and this machine may refuse one.
            let flags = [flags("systrap"), vec!["--ignore-cgroups".to_owned()]].concat();
            all.push(Competitor { name, kind: Kind::Runsc { program, flags } });
        }
        all.push(Competitor { name: "runc".into(), kind: Kind::Runc });
        Ok(all)
    }

    /// The command line that runs these words there, with a small fixed environment.
    pub(super) fn command(&self, words: &[OsString]) -> Command {
        let mut command = match &self.kind {
            Kind::Native | Kind::Runc => Command::new(words.first().cloned().unwrap_or_default()),
            Kind::Runsc { program, flags } => {
                let mut command = Command::new(program);
                command.args(flags).arg("do").args(words.first());
                command
            }
        };
        command.args(words.iter().skip(1));
        quiet(&mut command);
        command
    }

    /// The command line that runs a bundle there under this name.
    pub(super) fn run(&self, bundle: &Path, name: &str) -> Command {
        let mut command = self.runtime("run");
        command.arg("--bundle").arg(bundle).arg(name);
        command
    }

    /// The command line of a runtime's subcommand.
    pub(super) fn runtime(&self, subcommand: &str) -> Command {
        let mut command = match &self.kind {
            Kind::Native | Kind::Runc => Command::new("runc"),
            Kind::Runsc { program, flags } => {
                let mut command = Command::new(program);
                command.args(flags);
                command
            }
        };
        command.arg(subcommand);
        quiet(&mut command);
        command
    }
}

fn quiet(command: &mut Command) {
    command.env_clear();
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("HOME", "/root").env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    command.current_dir("/");
}
