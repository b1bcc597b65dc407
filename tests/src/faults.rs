//! `xtask faults`: any piece of a sandbox is killed at any time; nothing is left behind and the caller is told. And
//! a gofer that doesn't answer holds up only those that ask it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{Pid, Signal, kill_process};

use crate::Common;
use crate::bad_input::processes;
use crate::caller::wait_for_none;
use crate::setup::runsc;
use crate::tally::Tally;

/// Who is killed: the command line itself, or a process by its name.
const VICTIMS: &[&str] = &["runsc", "runsc-gofer", "runsc-boot"];

/// Milliseconds after which the blow falls: during start-up, and once the program runs.
const DELAYS: &[u64] = &[0, 1, 2, 3, 4, 6, 8, 10, 13, 16, 20, 25, 32, 40, 60, 100, 250];

/// How long the gofer rests.
const STALL: Duration = Duration::from_secs(4);

/// Moves to mounts of our own, which others on this machine don't change: what changes is a sandbox's doing then. An ordinary
/// user's sandboxes can't reach the host's mounts in the first place.
fn leave_the_hosts_mounts() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).context("make a mount namespace")?;
        let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", flags).context("keep others' mounts away")?;
    }
    Ok(())
}

/// Kills each victim after each delay on each platform.
pub(crate) fn run(common: &Common, tally: &mut Tally) -> Result<()> {
    leave_the_hosts_mounts()?;
    // A name of its own: other sandboxes of this machine are none of this suite's business.
    let dir = tempfile::Builder::new().prefix("runsc-faults").tempdir().context("make a directory")?;
    let own = dir.path().join("runsc-under-test");
    fs::copy(runsc(common)?, &own).context("copy runsc")?;
    let own = own.canonicalize().context("find the copy")?;
    for platform in &common.platform {
        for victim in VICTIMS {
            let name = format!("{victim} killed on {platform}");
            if common.filter.as_deref().is_some_and(|f| !name.contains(f)) {
                continue;
            }
            let mut problem = None;
            for delay in DELAYS {
                problem =
                    one(&own, dir.path(), platform, victim, *delay)?.map(|why| format!("after {delay} ms: {why}"));
                if problem.is_some() {
                    break;
                }
            }
            tally.check(&name, problem);
        }
    }
    // On ptrace the one thread that may serve guests is held up with them.
    let name = "a stalled gofer on systrap";
    if common.platform.iter().any(|platform| platform == "systrap")
        && common.filter.as_deref().is_none_or(|filter| name.contains(filter))
    {
        tally.check(name, stalled(&own)?);
    }
    if rustix::process::geteuid().is_root() && common.filter.as_deref().is_none_or(|f| "adversity".contains(f)) {
        crate::adversity::run(&own, dir.path(), tally)?;
    }
    Ok(())
}

/// Programs of the guest that wait for files; more than there are workers.
const WAITING: usize = 6;

/// While the gofer does not answer, what doesn't need it goes on; afterwards the rest does.
fn stalled(runsc: &Path) -> Result<Option<String>> {
    let script = format!(
        "read go; for i in {{1..{WAITING}}}; do (test -e /etc/no-such-file-$i; echo back) & done; \
         for i in {{1..200}}; do echo tick; done; echo ticked; wait"
    );
    let mut command = Command::new(runsc);
    command.args(["--platform=systrap", "do", "bash", "-c", &script]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("start runsc")?;
    let (mut input, output) = (child.stdin.take().context("stdin")?, child.stdout.take().context("stdout")?);
    let said = std::thread::spawn(move || {
        let ticked = BufReader::new(output).lines().map_while(Result::ok).map(|line| (Instant::now(), line));
        ticked.collect::<Vec<_>>()
    });
    let deadline = Instant::now() + Duration::from_secs(10);
    let gofer = loop {
        match find(runsc, child.id(), "runsc-gofer").and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            Some(gofer) => break gofer,
            None if Instant::now() > deadline => anyhow::bail!("no gofer within 10 s"),
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    // By then the shell has started and waits for its line.
    std::thread::sleep(Duration::from_secs(1));
    kill_process(gofer, Signal::STOP).context("stop the gofer")?;
    input.write_all(b"go\n").context("let the program go on")?;
    drop(input);
    std::thread::sleep(STALL);
    let resumed = Instant::now();
    kill_process(gofer, Signal::CONT).context("let the gofer go on")?;
    let code = child.wait().context("wait")?.code();
    let lines = said.join().map_err(|_| anyhow::anyhow!("reading the output failed"))?;
    let before = lines.iter().filter(|(at, _)| *at < resumed);
    let early = before.map(|(_, line)| line.as_str()).collect::<Vec<_>>();
    let back = lines.iter().filter(|(_, line)| line == "back").count();
    Ok(match (early.contains(&"ticked"), early.contains(&"back"), back, code) {
        (true, false, WAITING, Some(0)) => None,
        found => {
            Some(format!("went on without the gofer, opened a file without it, opened in the end, status: {found:?}"))
        }
    })
}

fn one(runsc: &Path, dir: &Path, platform: &str, victim: &str, delay: u64) -> Result<Option<String>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read the mounts")?;
    let state = dir.join("state");
    let said = dir.join("said");
    let stderr = fs::File::create(&said).context("make a file")?;
    let mut command = Command::new(runsc);
    command.arg("--root").arg(&state).arg(format!("--platform={platform}")).args(["do", "sleep", "100"]);
    let mut child = command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .context("start runsc")?;
    std::thread::sleep(Duration::from_millis(delay));
    let deadline = Instant::now() + Duration::from_secs(10);
    let target = loop {
        // The piece may not be there yet.
        if let Some(found) = find(runsc, child.id(), victim) {
            break found;
        }
        if Instant::now() > deadline || child.try_wait().context("wait")?.is_some() {
            return Ok(Some(format!("no process {victim} to kill")));
        }
    };
    if let Some(pid) = i32::try_from(target).ok().and_then(Pid::from_raw) {
        kill_process(pid, Signal::KILL).context("kill")?;
    }
    let code = loop {
        if let Some(status) = child.try_wait().context("wait")? {
            break status.code();
        }
        if Instant::now() > deadline {
            crate::host::kill(&mut child);
            return Ok(Some("the command line does not end".to_owned()));
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let text = fs::read_to_string(&said).unwrap_or_default();
    // Without a gofer the program may find that its files can't be read, and say so.
    let of_program = |line: &str| victim == "runsc-gofer" && line.starts_with("sleep: ");
    let own: Vec<&str> = text.lines().filter(|line| !of_program(line)).collect();
    if victim != "runsc" && (code != Some(128) || own.len() != 1 || !own[0].starts_with("runsc: ")) {
        return Ok(Some(format!("exit status {code:?}, stderr {text:?}")));
    }
    if let Some(left) = wait_for_none(runsc) {
        processes(runsc).into_iter().filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).for_each(|pid| {
            let _ = kill_process(pid, Signal::KILL);
        });
        return Ok(Some(left));
    }
    let files = fs::read_dir(&state).map(Iterator::count).unwrap_or(0);
    let changed = fs::read_to_string("/proc/self/mounts").context("read the mounts")? != mounts;
    Ok((files > 0 || changed).then(|| format!("{files} files of state; mounts changed: {changed}")))
}

/// Finds the command line itself, or a child of it by the first word of its command line.
fn find(runsc: &Path, cli: u32, name: &str) -> Option<u32> {
    if name == "runsc" {
        return Some(cli);
    }
    processes(runsc).into_iter().filter(|pid| *pid != cli).find(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let parent = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        line.split(|byte| *byte == 0).next() == Some(name.as_bytes()) && parent.contains(&format!("PPid:\t{cli}\n"))
    })
}
