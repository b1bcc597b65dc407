//! `runsc create`: a container whose first process waits for its start.
//!
//! The process that stands for the container on the host (`--pid-file`, the state's pid) is the sentry: it lives exactly as
//! long as the container, exits with the status of its first process, its death takes everything in its pid namespace
//! along, and its network namespace is the container's. An engine's shim, which the sentry becomes a child of when this
//! command ends, waits for it as for any container.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::Spec;

use crate::cgroup::Cgroup;
use crate::cli::{CreateArgs, Global, PassArgs};
use crate::passed::Passed;
use crate::sandbox::config::SandboxConfig;
use crate::sandbox::control::{self, FromSandbox, ToSandbox};
use crate::sandbox::launch::{self, Sandbox};
use crate::sandbox::{network, view};
use crate::state::{Container, HostProcess, Lock, Record, Status};
use crate::{client, hooks, oci, terminal};

/// Creates the container.
pub(crate) fn run(global: &Global, args: &CreateArgs) -> Result<u8> {
    // Before anything else is opened that could be mistaken for them.
    let passed = Passed::new(args.preserve_fds, &PassArgs { exec_fd: -1, ..PassArgs::default() })?;
    let (mut draft, sandbox) = create(global, args, passed, Life::Detached)?;
    draft.leave(&sandbox)?;
    Ok(0)
}

/// How long a sandbox lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// As long as the command line that starts it.
    Foreground,
    /// As long as its first process.
    Detached,
}

/// A container that is being created: dropped before it is complete, it leaves nothing.
pub(super) struct Draft {
    pub(super) container: Container,
    pub(super) record: Record,
    _lock: Lock,
    complete: bool,
}

impl Draft {
    /// Leaves the container to itself.
    pub(super) fn leave(&mut self, sandbox: &Sandbox) -> Result<()> {
        control::send(sandbox.control.as_fd(), &ToSandbox::Detach)?;
        self.complete = true;
        Ok(())
    }

    /// Lets others at the container.
    pub(super) fn unlock(mut self) -> (Container, Record) {
        self.complete = true;
        (self.container.clone(), self.record.clone())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.complete {
            super::delete::clean(&self.container, &self.record);
        }
    }
}

/// Creates a container whose first process waits for its start.
pub(super) fn create(global: &Global, args: &CreateArgs, passed: Passed, life: Life) -> Result<(Draft, Sandbox)> {
    let created = try_create(global, args, passed, life);
    if let (Err(error), Some(path)) = (&created, &args.user_log) {
        crate::log::record(path, global.log_format, &format!("{error:#}"));
    }
    created
}

fn try_create(global: &Global, args: &CreateArgs, passed: Passed, life: Life) -> Result<(Draft, Sandbox)> {
    let (bundle, spec) = oci::read_bundle(&args.bundle)?;
    let global = &global.overridden(spec.annotations().iter().flatten())?;
    let mut config = oci::convert(global, &bundle, &spec, &args.id)?;
    config.waits = true;
    let extra = passed.give(&mut config.process);
    config.detached = life == Life::Detached;
    // In the foreground the terminal is the caller's own.
    let console = if config.detached { console_socket(&config, args)? } else { None };
    let (container, lock) = Container::new(global, &args.id)?;
    let record = new_record(&args.id, &bundle, &spec);
    let mut draft = Draft { container, record, _lock: lock, complete: false };
    draft.container.save(&draft.record)?;
    draft.record.cgroup = cgroup(global, &spec, &args.id)?;
    draft.container.save(&draft.record)?;
    let size = spec.process().as_ref().and_then(|process| process.console_size());
    let size = size.and_then(|size| Some((u16::try_from(size.height()).ok()?, u16::try_from(size.width()).ok()?)));
    let console = console.map(|socket| terminal::make(socket, size)).transpose()?;
    config.console = console.is_some();
    let listener = client::listener(&draft.container)?;
    let sandbox = start(global, config, &mut draft, &spec, console, listener, extra)?;
    wait_until_created(&sandbox)?;
    prefer_guests([sandbox.sentry.pid, sandbox.gofer.pid]);
    draft.record.gofer = HostProcess::new(sandbox.gofer.pid);
    draft.container.save(&draft.record)?;
    if let Some(path) = &args.pid_file {
        write_pid_file(path, sandbox.sentry.pid)?;
    }
    Ok((draft, sandbox))
}

/// Checks that the container has a terminal exactly if there is a socket to send it to.
fn console_socket<'a>(config: &SandboxConfig, args: &'a CreateArgs) -> Result<Option<&'a Path>> {
    match (&args.console_socket, config.process.terminal) {
        (Some(socket), true) => Ok(Some(socket)),
        (None, false) => Ok(None),
        (None, true) => bail!("config.json asks for a terminal: say with --console-socket where to send it"),
        (Some(_), false) => bail!("--console-socket is given, and config.json asks for no terminal"),
    }
}

fn new_record(id: &str, bundle: &Path, spec: &Spec) -> Record {
    let owner = rustix::process::getuid().as_raw();
    Record {
        id: id.to_owned(),
        bundle: bundle.to_owned(),
        rootfs: spec.root().as_ref().map(|root| oci::absolute(bundle, root.path())).unwrap_or_default(),
        annotations: spec.annotations().clone().unwrap_or_default().into_iter().collect(),
        created: crate::log::now(),
        owner: if owner == 0 { "root".to_owned() } else { owner.to_string() },
        started: false,
        sentry: None,
        gofer: None,
        cgroup: None,
        hooks: spec.hooks().clone(),
    }
}

/// Makes the cgroup that config.json names, or one of our choice where it sets limits without naming one.
fn cgroup(global: &Global, spec: &Spec, id: &str) -> Result<Option<Cgroup>> {
    if global.ignore_cgroups {
        return Ok(None);
    }
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let path = match linux.and_then(|linux| linux.cgroups_path().as_ref()) {
        Some(path) => path.to_str().context("config.json: linux.cgroupsPath is not UTF-8")?.to_owned(),
        None if resources.is_none() => return Ok(None),
        None if global.systemd_cgroup => format!(":runsc:{id}"),
        None => format!("runsc/{id}"),
    };
    let made = match global.systemd_cgroup {
        true => Cgroup::of_systemd(&path, spec.annotations().iter().flatten()),
        false => Cgroup::create(&path, resources),
    };
    match made {
        Ok(cgroup) => Ok(Some(cgroup)),
        Err(error) if !crate::user::is_host_root() => {
            tracing::warn!("running without limits: {error:#}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn start(
    global: &Global,
    mut config: SandboxConfig,
    draft: &mut Draft,
    spec: &Spec,
    console: Option<OwnedFd>,
    listener: OwnedFd,
    extra: Vec<OwnedFd>,
) -> Result<Sandbox> {
    let doors = match &draft.record.cgroup {
        // An ordinary user's container does without limits where it must, which only the way below can tell.
        Some(cgroup) if crate::user::is_host_root() => cgroup.doors().context("opening the cgroup")?,
        _ => Vec::new(),
    };
    let cgroup = RefCell::new(draft.record.cgroup.clone());
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let first = Cell::new(true);
    let oom = spec.process().as_ref().and_then(|process| process.oom_score_adj());
    let before_program = |pid: i32| {
        if let Some(adjustment) = oom {
            match std::fs::write(format!("/proc/{pid}/oom_score_adj"), adjustment.to_string()) {
                // Ordinary users can't better their standing.
                Err(error) if crate::user::is_host_root() => {
                    let text = format!("setting the host's oom score of the sandbox to {adjustment}: {error}");
                    return Err(std::io::Error::other(text));
                }
                _ => {}
            }
        }
        if !doors.is_empty() {
            return Ok(());
        }
        let mut cgroup = cgroup.borrow_mut();
        match cgroup.as_mut().map(|cgroup| if first.take() { cgroup.start(pid, resources) } else { cgroup.join(pid) }) {
            // As above: an ordinary user's container does without limits where it must.
            Some(Err(error)) if !crate::user::is_host_root() => {
                tracing::warn!("running without limits: {error:#}");
                *cgroup = None;
                Ok(())
            }
            Some(Err(error)) => Err(std::io::Error::other(format!("{error:#}"))),
            _ => Ok(()),
        }
    };
    let sentry = Cell::new(None);
    let (container, record) = (&draft.container, &draft.record);
    let namespaces_made = |pid: i32| {
        sentry.set(HostProcess::new(pid));
        let record = Record { sentry: sentry.get(), ..record.clone() };
        container.save(&record)?;
        let state = Container::state_json(&record, Status::Creating);
        let Some(given) = spec.hooks().as_ref() else { return Ok(()) };
        hooks::run("prestart", given.prestart().as_ref(), &state)?;
        hooks::run("createRuntime", given.create_runtime().as_ref(), &state)?;
        hooks::run("createContainer", given.create_container().as_ref(), &state)
    };
    let (network, mode) = network::choose(global.network, spec)?;
    config.network = mode;
    let extras = launch::Extras {
        console: console.as_ref().map(AsFd::as_fd),
        listener: Some(listener),
        extra,
        network,
        ids: spec.linux().as_ref().map(oci::ids).transpose()?.flatten(),
        view: view::wanted(global.host_view, spec.annotations().as_ref()),
        before_program: &before_program,
        joins: &doors,
        gofer_last: spec.hooks().is_some(),
        namespaces_made: &namespaces_made,
    };
    let sandbox = launch::launch(global, config, extras);
    draft.record.sentry = sentry.get();
    if cgroup.borrow().is_none()
        && let Some(unused) = draft.record.cgroup.take()
    {
        unused.remove();
    }
    sandbox
}

/// Waits until the first process is made.
fn wait_until_created(sandbox: &Sandbox) -> Result<()> {
    match control::receive(&sandbox.control)? {
        Some(FromSandbox::Created) => Ok(()),
        Some(FromSandbox::Failed(text)) => bail!("{}", crate::sandbox::wait::words(sandbox).unwrap_or(text)),
        Some(other) => bail!("the sandbox gave a wrong answer: {other:?}"),
        None => bail!("the sentry has ended without a word{}", crate::sandbox::wait::cause(sandbox.sentry.pid)),
    }
}

/// Makes the host take the guest's processes before these when memory is short: all others end with them. The stubs have
/// what config.json says, since they come of the sentry as it was before this.
fn prefer_guests(own: [i32; 2]) {
    for pid in own {
        let path = format!("/proc/{pid}/oom_score_adj");
        let lowered = std::fs::read_to_string(&path).and_then(|text| match text.trim().parse().map(below) {
            Ok(Some(score)) => std::fs::write(&path, score.to_string()),
            _ => Ok(()),
        });
        if let Err(error) = lowered {
            // Ordinary users can't better their standing.
            tracing::debug!(pid, %error, "the sandbox's own processes are as likely to be killed as the guest's");
        }
    }
}

/// Returns a score half of the scale lower, as far as that spares nobody altogether.
fn below(score: i32) -> Option<i32> {
    /// One more spares a process altogether (`man 5 proc_pid_oom_score_adj`).
    const LEAST: i32 = -999;
    (score > LEAST).then(|| (score - 500).max(LEAST))
}

/// Writes a process id so that whoever sees the file sees the whole of it.
pub(super) fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let name = path.file_name().context("the path of the pid file names no file")?;
    let mut new = std::ffi::OsString::from(".");
    new.push(name);
    let new = path.with_file_name(new);
    let write = || std::fs::write(&new, pid.to_string()).and_then(|()| std::fs::rename(&new, path));
    write().with_context(|| format!("writing the pid file {}", path.display()))
}

/// How long processes may take to end once they are killed.
pub(super) const END_LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sandboxes_own_processes_stand_better_and_are_never_spared_altogether() {
        assert_eq!([0, 1000, -498, -600, -998].map(below), [-500, 500, -998, -999, -999].map(Some));
        // Nothing is to be gained.
        assert_eq!([-999, -1000].map(below), [None, None]);
    }
}
