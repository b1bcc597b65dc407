//! Hooks of config.json: programs of the host that are told the container's state on standard input.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::Hook;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::state::wait_for_exit;

/// Most bytes of what a failing hook says that go into the error.
const SAID_MAX: usize = 1024;

/// Runs hooks one after the other; the first that fails ends this.
pub(crate) fn run(kind: &str, hooks: Option<&Vec<Hook>>, state: &serde_json::Value) -> Result<()> {
    for (index, hook) in hooks.into_iter().flatten().enumerate() {
        run_one(hook, state).with_context(|| format!("running {kind} hook {index}, {}", hook.path().display()))?;
    }
    Ok(())
}

/// Runs hooks whose failure changes nothing: it is logged.
pub(crate) fn run_all(kind: &str, hooks: Option<&Vec<Hook>>, state: &serde_json::Value) {
    for hook in hooks.into_iter().flatten() {
        if let Err(error) = run_one(hook, state) {
            tracing::warn!("{kind} hook {}: {error:#}", hook.path().display());
        }
    }
}

fn run_one(hook: &Hook, state: &serde_json::Value) -> Result<()> {
    ensure!(hook.path().is_absolute(), "its path is not absolute");
    let mut command = Command::new(hook.path());
    if let Some((name, rest)) = hook.args().as_deref().unwrap_or_default().split_first() {
        command.arg0(name).args(rest);
    }
    command.env_clear();
    command.envs(hook.env().iter().flatten().filter_map(|entry| entry.split_once('=')));
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context("starting it")?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook need not read it.
        let _ = stdin.write_all(state.to_string().as_bytes());
    }
    let limit = hook.timeout().and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    let said = child.stderr.take().map(|mut stderr| {
        std::thread::spawn(move || {
            let mut said = Vec::new();
            // As much as was said until the error.
            let _ = stderr.read_to_end(&mut said);
            said
        })
    });
    let status = wait(&mut child, limit)?;
    if status.success() {
        return Ok(());
    }
    let said = said.and_then(|thread| thread.join().ok()).unwrap_or_default();
    let said = String::from_utf8_lossy(said.get(..SAID_MAX).unwrap_or(&said)).trim().replace('\n', " ");
    bail!("{status}, stderr: {said}")
}

fn wait(child: &mut Child, limit: Option<Duration>) -> Result<std::process::ExitStatus> {
    let Some(limit) = limit else { return child.wait().context("waiting for it") };
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("it has no process id")?;
    // Ours to wait for, so the number is its own.
    let process = pidfd_open(pid, PidfdFlags::empty()).context("waiting for it")?;
    wait_for_exit(&process, limit);
    if let Some(status) = child.try_wait().context("waiting for it")? {
        return Ok(status);
    }
    let _ = child.kill();
    let _ = child.wait();
    bail!("it takes longer than {} s", limit.as_secs());
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::HookBuilder;

    use super::*;

    fn shell(script: &str) -> Hook {
        let args = vec!["named".to_owned(), "-c".to_owned(), script.to_owned()];
        let env = vec!["KEY=value".to_owned()];
        HookBuilder::default().path("/bin/sh").args(args).env(env).timeout(5).build().unwrap()
    }

    #[test]
    fn a_hook_gets_the_state_its_name_and_its_environment_only() {
        let state = serde_json::json!({"id": "x"});
        run("test", Some(&vec![shell(r#"read s; test "$s$0$KEY$HOME" = '{"id":"x"}namedvalue'"#)]), &state).unwrap();
        let error = run("test", Some(&vec![shell("echo no luck >&2; exit 3")]), &state).unwrap_err();
        assert!(format!("{error:#}").contains("no luck"), "{error:#}");
    }

    #[test]
    fn a_hook_is_stopped_when_its_time_is_over() {
        let mut hook = shell("exec sleep 60");
        hook.set_timeout(Some(1));
        assert!(run("test", Some(&vec![hook]), &serde_json::Value::Null).is_err());
    }
}
