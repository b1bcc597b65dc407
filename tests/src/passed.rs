//! Descriptors that `runsc run` and `runsc exec` give to the first process: `--pass-fd`, `--exec-fd`, `--preserve-fds`. Called by
//! `xtask caller`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::bundles::{busybox_rootfs, plain};
use crate::host::{Ended, run as run_command};
use crate::tally::Tally;

const LIMIT: Duration = Duration::from_secs(30);

/// Name, redirections, flags, what is run inside, its status, and what is printed.
const CASES: &[(&str, &str, &str, &str, i32, &str)] = &[
    ("a file by another number", "7<in", "--pass-fd 7:5", "cat <&5; read x <&7", 1, "from the host\n"),
    ("by the same number", "7<in", "--pass-fd=7", "cat <&7", 0, "from the host\n"),
    ("several, one of them twice", "7<in 9>out", "--pass-fd 7:3 --pass-fd 7:4 --pass-fd 9:12", "cat <&4 >&12", 0, ""),
    ("in place of a standard stream", "7<in", "--pass-fd 7:0", "cat", 0, "from the host\n"),
    ("a pipe", "7< <(echo through a pipe)", "--pass-fd 7:3", "cat <&3", 0, "through a pipe\n"),
    (
        "beside preserved ones",
        "3<in 7<in",
        "--preserve-fds=1 --pass-fd 7:9",
        "read a <&3; read b <&9; echo $a, $b",
        0,
        "from the host, from the host\n",
    ),
    ("one that isn't open", "", "--pass-fd 99:3", "true", 128, "--pass-fd: descriptor 99 isn't open"),
    (
        "one place twice",
        "7<in",
        "--pass-fd 7:5 --pass-fd 7:5",
        "true",
        128,
        "descriptor 5 of the process is given twice",
    ),
    ("a program", "7<program", "--exec-fd 7", "0", 0, "named /bin/sh, with 3 arguments"),
    (
        "a program and a descriptor",
        "7<program 8<in",
        "--exec-fd=7 --pass-fd 8:3",
        "0",
        0,
        "named /bin/sh, with 3 arguments",
    ),
    ("a program that may not be executed", "7<in", "--exec-fd 7", "0", 128, "permission denied"),
    ("a script as a program", "7<script", "--exec-fd 7", "0", 128, "no such file or directory"),
    ("no program", "7<.", "--exec-fd 7", "0", 128, "--exec-fd=7: the program is no regular file"),
    ("a program that can't be read", "7>>program", "--exec-fd 7", "0", 128, "not open for reading"),
    ("a program that can be written", "7<>program", "--exec-fd 7", "0", 128, "not open for reading alone"),
    ("a directory", "7</", "--pass-fd 7:5", "true", 128, "--pass-fd: passing descriptor 7: it is a directory"),
    ("a preserved directory", "3</", "--preserve-fds 1", "true", 128, "--preserve-fds: passing descriptor 3: it is"),
    ("a directory as standard input", "0</", "", "ls -a /proc/self/fd/0/; cat; echo $?", 0, ": Is a directory\n"),
    ("a directory as standard input is the host's no more", "0</", "", "ls /proc/self/fd/0/ | wc -l", 0, "0\n"),
    ("no descriptor for a program", "", "--exec-fd 77", "0", 128, "--exec-fd: descriptor 77 isn't open"),
];

const PROGRAM: &str = r#"#include <stdio.h>
int main(int count, char **words) { printf("named %s, with %d arguments\n", words[0], count); return 0; }
"#;

struct Stage<'a> {
    runsc: &'a Path,
    platform: &'a str,
    dir: PathBuf,
}

/// Runs all cases, as first processes and as executed ones.
pub(crate) fn run(runsc: &Path, platform: &str, wanted: &dyn Fn(&str) -> bool, tally: &mut Tally) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("runsc-passed").tempdir().context("make a directory")?;
    let stage = Stage { runsc, platform, dir: dir.path().to_owned() };
    stage.prepare()?;
    let id = format!("passed-{}", std::process::id());
    fs::write(stage.dir.join("config.json"), plain("sleep 100").to_string()).context("write config.json")?;
    // It keeps the descriptors of its caller: no pipe of ours, whose end we would wait for.
    let mut start = stage.command(&format!("run --detach {id}"), "");
    let started = start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    ensure!(started.context("start a container")?.success(), "no container to execute in on {platform}");
    for (name, redirections, flags, script, code, text) in CASES {
        let cases =
            [("run", format!("run {flags} {id}-own")), ("exec", format!("exec {flags} {id} /bin/sh -c '{script}'"))];
        for (way, words) in cases {
            let name = format!("{way}: {name} on {platform}");
            if !wanted(&name) {
                continue;
            }
            fs::write(stage.dir.join("config.json"), plain(script).to_string()).context("write config.json")?;
            let ended = run_command(&mut stage.command(&words, redirections), LIMIT)?;
            tally.check(&name, problem(&stage, &ended, redirections, *code, text));
        }
    }
    run_command(&mut stage.command(&format!("delete --force {id}"), ""), LIMIT)?;
    Ok(())
}

fn problem(stage: &Stage<'_>, ended: &Ended, redirections: &str, code: i32, text: &str) -> Option<String> {
    let said = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    if ended.code != code || !said.contains(text) {
        return Some(format!("status {} instead of {code}, and {said:?} instead of {text:?}", ended.code));
    }
    let out = redirections.contains("9>out").then(|| fs::read_to_string(stage.dir.join("out")).unwrap_or_default());
    out.filter(|out| out != "from the host\n").map(|out| format!("the file outside holds {out:?}"))
}

impl Stage<'_> {
    fn prepare(&self) -> Result<()> {
        busybox_rootfs(&self.dir.join("rootfs"))?;
        fs::write(self.dir.join("in"), "from the host\n").context("write a file")?;
        fs::write(self.dir.join("script"), "#!/bin/sh\necho ran\n").context("write a script")?;
        fs::write(self.dir.join("program.c"), PROGRAM).context("write a program")?;
        let mut gcc = Command::new("gcc");
        gcc.args(["-O1", "-static", "-o", "program", "program.c"]).current_dir(&self.dir);
        let ended = run_command(&mut gcc, LIMIT)?;
        ensure!(ended.code == 0, "a program doesn't compile: {}", ended.complaint());
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(self.dir.join("script"), executable).context("make a script executable")
    }

    /// `runsc` with these words and redirections of the shell.
    fn command(&self, words: &str, redirections: &str) -> Command {
        let (runsc, platform) = (self.runsc.display(), self.platform);
        let mut command = Command::new("bash");
        command.arg("-c").arg(format!("exec {runsc} --root state --platform={platform} {words} {redirections}"));
        command.current_dir(&self.dir);
        command
    }
}
