//! `runsc delete`: a container and everything of it goes.

use anyhow::{Result, bail};

use super::create::END_LIMIT;
use crate::cli::{DeleteArgs, Global};
use crate::hooks;
use crate::state::{Container, HostProcess, Record, Status};

/// Removes the containers; the first failure is reported once all have been tried.
pub(crate) fn run(global: &Global, args: &DeleteArgs) -> Result<u8> {
    let mut failure = None;
    for id in &args.ids {
        if let Err(error) = delete(global, id, args.force) {
            failure = failure.or(Some(error));
        }
    }
    failure.map_or(Ok(0), Err)
}

fn delete(global: &Global, id: &str, force: bool) -> Result<()> {
    crate::state::check_id(id)?;
    let container = match Container::find(global, id) {
        Err(_) if force => return Ok(()),
        found => found?,
    };
    let _lock = match container.lock() {
        Err(_) if force && !container.dir().is_dir() => return Ok(()),
        lock => lock?,
    };
    let record = match container.load() {
        // Whoever created it was killed before there was anything to clean up.
        Err(_) if force => return container.remove(),
        record => record?,
    };
    let status = container.status(&record);
    if !force && !matches!(status, Status::Stopped | Status::Created | Status::Creating) {
        bail!("cannot delete container {id:?} that is not stopped: {}", status.name());
    }
    finish(&container, &record);
    Ok(())
}

/// Removes a container that has been started or created, and runs its last hooks.
pub(super) fn finish(container: &Container, record: &Record) {
    clean(container, record);
    let state = Container::state_json(record, Status::Stopped);
    hooks::run_all("poststop", record.hooks.as_ref().and_then(|hooks| hooks.poststop().as_ref()), &state);
}

/// Ends what is left of a container's processes, and removes its cgroup and state.
pub(super) fn clean(container: &Container, record: &Record) {
    let processes = [record.sentry, record.gofer];
    processes.into_iter().flatten().for_each(HostProcess::kill);
    for process in processes.into_iter().flatten() {
        if !process.wait_for_end(END_LIMIT) {
            tracing::warn!(pid = process.pid, "a process of the container doesn't end");
        }
    }
    if let Some(cgroup) = &record.cgroup {
        // What was started and not noted yet.
        for pid in cgroup.own_processes() {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        cgroup.remove();
    }
    if let Err(error) = container.remove() {
        tracing::warn!("{error:#}");
    }
}
