//! Runs commands natively and in the sandbox, with a time limit.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// How a command ended and what it printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Exit code, or 128 + signal as a shell shows it; -1 when the time was over.
    pub(crate) code: i32,
    /// Its standard output.
    pub(crate) stdout: Vec<u8>,
    /// Its standard error.
    pub(crate) stderr: Vec<u8>,
}

impl Ended {
    /// The last lines of standard error, for messages.
    pub(crate) fn complaint(&self) -> String {
        let text = String::from_utf8_lossy(&self.stderr);
        let tail: Vec<&str> = text.lines().rev().take(4).collect();
        tail.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

/// Runs the command to its end; kills its process group when the limit is over.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<Ended> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().with_context(|| format!("start {:?}", command.get_program()))?;
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let deadline = Instant::now() + limit;
    let code = match wait(&mut child, deadline)? {
        Some(status) => status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(-1),
        None => {
            kill(&mut child);
            -1
        }
    };
    Ok(Ended { code, stdout: stdout.join().unwrap_or_default(), stderr: stderr.join().unwrap_or_default() })
}

/// Waits for the end of a process, without a delay that a measurement would see; `None` when the time is over.
fn wait(child: &mut Child, deadline: Instant) -> Result<Option<ExitStatus>> {
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("the id of a process")?;
    let pidfd = pidfd_open(id, PidfdFlags::empty()).context("open a pidfd")?;
    loop {
        if let Some(status) = child.try_wait().context("wait")? {
            return Ok(Some(status));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let timeout = Timespec::try_from(left).context("a time limit")?;
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("wait"),
        }
    }
}

/// Ends a process group, politely first.
pub(crate) fn kill(child: &mut Child) {
    let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else { return };
    let _ = kill_process_group(group, Signal::TERM);
    let deadline = Instant::now() + Duration::from_secs(2);
    while Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = kill_process_group(group, Signal::KILL);
    let _ = child.wait();
}

fn drain(stream: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// A way to run a program: on the host, or by `runsc do`.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    runsc: Option<(PathBuf, String)>,
    flags: Vec<&'static str>,
}

impl Place {
    /// The host itself.
    pub(crate) fn native() -> Self {
        Self { runsc: None, flags: Vec::new() }
    }

    /// `runsc do` on a platform.
    pub(crate) fn sandbox(runsc: &Path, platform: &str) -> Self {
        Self { runsc: Some((runsc.to_path_buf(), platform.to_owned())), flags: Vec::new() }
    }

    /// The same with a further flag.
    pub(crate) fn with(mut self, flag: &'static str) -> Self {
        self.flags.push(flag);
        self
    }

    /// Name for messages.
    pub(crate) fn name(&self) -> &str {
        self.runsc.as_ref().map_or("native", |(_, platform)| platform)
    }

    /// The command line that runs these words there, with a small fixed environment.
    pub(crate) fn command(&self, words: &[OsString]) -> Command {
        let mut command = match &self.runsc {
            None => {
                let mut c = Command::new(words.first().cloned().unwrap_or_default());
                c.args(words.iter().skip(1));
                c
            }
            Some((runsc, platform)) => {
                let mut c = Command::new(runsc);
                c.arg(format!("--platform={platform}")).args(&self.flags);
                c.arg("do").args(words);
                c
            }
        };
        command.env_clear();
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", "/root").env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        command.current_dir("/");
        command
    }

    /// Runs a shell script file there.
    pub(crate) fn script(&self, shell: &str, path: &Path, limit: Duration) -> Result<Ended> {
        run(&mut self.command(&[shell.into(), path.into()]), limit)
    }
}

/// The first difference between two outputs, as one line.
pub(crate) fn first_difference(native: &[u8], sandbox: &[u8]) -> String {
    let (a, b) = (String::from_utf8_lossy(native), String::from_utf8_lossy(sandbox));
    let (mut a, mut b) = (a.lines(), b.lines());
    let mut number = 0;
    loop {
        number += 1;
        match (a.next(), b.next()) {
            (None, None) => return "outputs differ in their last byte".to_owned(),
            (x, y) if x == y => {}
            (x, y) => {
                return format!("line {number}: native `{}`, sandbox `{}`", x.unwrap_or("(end)"), y.unwrap_or("(end)"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_past_its_limit_is_killed() {
        let ended = run(Command::new("sleep").arg("30"), Duration::from_millis(100)).expect("runs");
        assert_eq!(ended.code, -1);
    }

    #[test]
    fn the_first_differing_line_is_named() {
        assert_eq!(first_difference(b"a\nb\n", b"a\nc\n"), "line 2: native `b`, sandbox `c`");
    }
}
