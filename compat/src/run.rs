//! Runs batches of cases on a target and takes their framed results apart.
//!
//! The case runner prints `#CASE name` before and `#END name how OUT ERR LEFT` after each case, followed by that many
//! bytes of standard output, standard error and manifest. A batch that ends, or stalls, inside a case costs that
//! case only: the rest is run in another process.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Serialize;

/// Where cases are run.
#[derive(Debug, Clone)]
pub enum Target {
    /// On the host, with scratch space in this directory.
    Native(PathBuf),
    /// By `runsc do` on the named platform.
    Sandbox {
        /// The binary.
        runsc: PathBuf,
        /// Value of `--platform`.
        platform: String,
        /// Further global flags.
        flags: Vec<String>,
    },
}

/// What a case did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// `exit:N`, `signal:N` or `timeout`.
    pub how: String,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// The manifest of its directory.
    pub left: String,
}

/// The result of trying to run a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Ran {
    /// It ended by itself or by its own time limit.
    Done(Outcome),
    /// The process that ran it died or stalled; the text says how.
    Lost(String),
}

impl Ran {
    /// True when the program came to an end by itself.
    pub fn ended(&self) -> bool {
        matches!(self, Self::Done(outcome) if outcome.how != "timeout")
    }
}

/// Limits of a run.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Seconds that one case may take.
    pub case_seconds: u32,
}

/// Runs the named cases one after the other, with as few processes as possible.
pub fn batch(target: &Target, program: &Path, names: &[String], limits: Limits) -> Vec<(String, Ran)> {
    let mut results = Vec::new();
    let mut rest = names;
    while !rest.is_empty() {
        let before = results.len();
        let ending = match attempt(target, program, rest, limits, &mut results) {
            Ok(ending) => ending,
            Err(e) => format!("{e:#}"),
        };
        let done = results.len() - before;
        rest = &rest[done.min(rest.len())..];
        if let Some((name, others)) = rest.split_first() {
            results.push((name.clone(), Ran::Lost(ending)));
            rest = others;
        }
    }
    results
}

fn command(target: &Target, program: &Path, names: &[String], limits: Limits) -> Command {
    let seconds = limits.case_seconds.to_string();
    let mut args: Vec<OsString> = vec!["run".into(), "-t".into(), seconds.into()];
    let mut command = match target {
        Target::Native(base) => {
            args.extend(["-d".into(), base.into()]);
            Command::new(program)
        }
        Target::Sandbox { runsc, platform, flags } => {
            let mut command = Command::new(runsc);
            command.args(flags).arg(format!("--platform={platform}")).arg("do").arg(program);
            command
        }
    };
    command.args(args).args(names).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    command
}

/// Runs one process; pushes what it completed, says how it ended.
fn attempt(
    target: &Target,
    program: &Path,
    names: &[String],
    limits: Limits,
    results: &mut Vec<(String, Ran)>,
) -> Result<String> {
    let mut child = command(target, program, names, limits).spawn().context("start the case runner")?;
    let out = pump(child.stdout.take());
    let err = pump(child.stderr.take());
    let stall = Duration::from_secs(u64::from(limits.case_seconds) + 5);
    let mut parser = Parser::default();
    let mut last = Instant::now();
    let stalled = loop {
        match out.recv_timeout(Duration::from_millis(200)) {
            Ok(bytes) => {
                parser.feed(&bytes);
                let fresh = parser.take();
                if !fresh.is_empty() || !parser.buffer.is_empty() {
                    last = Instant::now();
                }
                results.extend(fresh.into_iter().map(|(n, o)| (n, Ran::Done(o))));
            }
            Err(RecvTimeoutError::Disconnected) => break false,
            Err(RecvTimeoutError::Timeout) if last.elapsed() > stall => break true,
            Err(RecvTimeoutError::Timeout) => {}
        }
    };
    let ending = if stalled { "stalled and was killed".to_owned() } else { String::new() };
    let status = end(&mut child, stalled);
    let said: Vec<u8> = std::iter::from_fn(|| err.recv_timeout(Duration::from_millis(300)).ok()).flatten().collect();
    let said = String::from_utf8_lossy(&said);
    let tail: Vec<&str> = said.lines().rev().take(12).collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    Ok(format!("runner {ending}{status}; stderr: {}", tail.join("\n")).trim().to_owned())
}

/// Ends the process group and waits for its leader.
fn end(child: &mut Child, kill: bool) -> String {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if kill && let Some(group) = group {
        let _ = kill_process_group(group, Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = kill_process_group(group, Signal::KILL);
    }
    match child.wait() {
        Ok(status) => format!(" ({status})"),
        Err(e) => format!(" (wait: {e})"),
    }
}

fn pump(stream: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    if let Some(mut stream) = stream {
        std::thread::spawn(move || {
            let mut buf = vec![0; 1 << 16];
            while let Ok(n) = stream.read(&mut buf) {
                if n == 0 || send.send(buf[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
    }
    receive
}

/// Takes the framed stream apart.
#[derive(Default)]
struct Parser {
    buffer: Vec<u8>,
}

impl Parser {
    fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Every result that is complete.
    fn take(&mut self) -> Vec<(String, Outcome)> {
        let mut done = Vec::new();
        while let Some((used, result)) = next(&self.buffer) {
            done.extend(result);
            self.buffer.drain(..used);
        }
        done
    }
}

/// One line, and what follows an `#END` line; `None` while incomplete.
fn next(bytes: &[u8]) -> Option<(usize, Option<(String, Outcome)>)> {
    let eol = bytes.iter().position(|b| *b == b'\n')?;
    let line = String::from_utf8_lossy(&bytes[..eol]).into_owned();
    let Some((name, how, lengths)) = end_line(&line) else {
        return Some((eol + 1, None));
    };
    let total = lengths.iter().try_fold(1usize, |sum, n| sum.checked_add(*n))?;
    let body = bytes.get(eol + 1..)?.get(..total)?;
    let (out, rest) = body.split_at(lengths[0]);
    let (err, rest) = rest.split_at(lengths[1]);
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    let outcome = Outcome { how, stdout: text(out), stderr: text(err), left: text(&rest[..lengths[2]]) };
    Some((eol + 1 + total, Some((name, outcome))))
}

fn end_line(line: &str) -> Option<(String, String, [usize; 3])> {
    let mut words = line.strip_prefix("#END ")?.split(' ');
    let name = words.next()?.to_owned();
    let how = words.next()?.to_owned();
    let mut number = || words.next()?.parse().ok();
    Some((name, how, [number()?, number()?, number()?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_arriving_in_pieces_is_put_together() {
        let mut parser = Parser::default();
        let text = b"#CASE a\n#END a exit:0 3 1 2\nabceLL\n#CASE b\n#END b signal:9 0 0 0\n\n";
        let mut got = Vec::new();
        for byte in text {
            parser.feed(&[*byte]);
            got.extend(parser.take());
        }
        assert_eq!(got.len(), 2);
        assert_eq!((got[0].1.stdout.as_str(), got[0].1.stderr.as_str(), got[0].1.left.as_str()), ("abc", "e", "LL"));
        assert_eq!((got[1].0.as_str(), got[1].1.how.as_str()), ("b", "signal:9"));
    }

    #[test]
    fn a_length_beyond_all_memory_waits_instead_of_panicking() {
        let mut parser = Parser::default();
        parser.feed(b"#END a exit:0 18446744073709551615 1 2\nabc");
        assert!(parser.take().is_empty());
    }
}
