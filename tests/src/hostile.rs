//! `xtask hostile`: guest programs that attack. The sandbox may kill the attacker; it may not crash, hang, leak or
//! harm another guest process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::Common;
use crate::bad_input::processes;
use crate::host::{Ended, Place, run as run_command};
use crate::setup::{need, output, runsc, workspace};
use crate::tally::Tally;

/// A bystander works beside the attack and a fresh process after it; both must be served as if nothing were.
const STAGE: &str = r#"(i=0; while [ $i -lt 10 ]; do i=$((i+1)); sleep 0.05; echo x > /dev/null; done; echo bystander lives) &
RUNSC_HOSTILE_INSIDE=1 "$1" > /dev/null 2>&1; code=$?
wait
[ $code -eq 77 ] && echo "broken attack"
echo "fresh $(echo process | tr a-z A-Z)""#;

/// Runs each attack on each platform.
pub(crate) fn run(common: &Common, tally: &mut Tally) -> Result<()> {
    need(&[("gcc", "gcc"), ("/usr/include/stdio.h", "libc6-dev")])?;
    let runsc = runsc(common)?;
    for attack in build(common)? {
        let name = attack.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for platform in &common.platform {
            let problem = one(Place::sandbox(&runsc, platform), &runsc, &attack)?;
            tally.check(&format!("{name} on {platform}"), problem);
            if name == "sockets" {
                let problem = one(Place::sandbox(&runsc, platform).with("--network=host"), &runsc, &attack)?;
                tally.check(&format!("{name} of the host on {platform}"), problem);
            }
        }
    }
    Ok(())
}

fn build(common: &Common) -> Result<Vec<PathBuf>> {
    let out = output("hostile")?;
    let source = workspace().join("tests/hostile");
    let mut built = Vec::new();
    for entry in fs::read_dir(&source).with_context(|| format!("read {}", source.display()))? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let wanted = common.filter.as_deref().is_none_or(|f| name.contains(f));
        if path.extension().is_none_or(|e| e != "c") || name == "deny" || !wanted {
            continue;
        }
        let program = out.join(&name);
        let mut gcc = Command::new("gcc");
        gcc.args(["-O1", "-Wall", "-static", "-pthread", "-o"]).arg(&program).arg(&path);
        let ended = run_command(&mut gcc, Duration::from_secs(60))?;
        if ended.code != 0 {
            bail!("{} doesn't compile: {}", path.display(), ended.complaint());
        }
        built.push(program);
    }
    built.sort();
    Ok(built)
}

fn one(place: Place, runsc: &Path, attack: &Path) -> Result<Option<String>> {
    let before = processes(runsc);
    let words = ["/bin/sh".into(), "-c".into(), STAGE.into(), "sh".into(), attack.into()];
    let ended = run_command(&mut place.command(&words), Duration::from_secs(60))?;
    std::thread::sleep(Duration::from_millis(100));
    let left = processes(runsc).difference(&before).count();
    Ok(judge(&ended, left))
}

fn judge(ended: &Ended, left: usize) -> Option<String> {
    let said = String::from_utf8_lossy(&ended.stdout);
    if ended.code == -1 {
        return Some(format!("the sandbox hangs; it printed `{}`", said.trim()));
    }
    if said.contains("broken attack") {
        return Some("the attack could not be mounted".to_owned());
    }
    for wanted in ["bystander lives", "fresh PROCESS"] {
        if !said.contains(wanted) {
            return Some(format!("no `{wanted}`, exit status {}; stderr: {}", ended.code, ended.complaint()));
        }
    }
    if String::from_utf8_lossy(&ended.stderr).contains("panicked") {
        return Some(format!("the sentry panicked: {}", ended.complaint()));
    }
    (left > 0).then(|| format!("{left} processes left behind"))
}
