//! `runsc start`: the first process of a created container begins.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::Hook;
use sentry::control::channel::document;
use sentry::control::protocol::{Reply, Request};

use crate::cli::{Global, IdArgs};
use crate::client::Client;
use crate::sandbox::config::ProcessConfig;
use crate::state::{Container, Record, Status};
use crate::{hooks, oci};

/// Starts the container.
pub(crate) fn run(global: &Global, args: &IdArgs) -> Result<u8> {
    start(&Container::find(global, &args.id)?)?;
    Ok(0)
}

fn start(container: &Container) -> Result<()> {
    let _lock = container.lock()?;
    let mut record = container.load()?;
    match container.status(&record) {
        Status::Created => {}
        Status::Stopped => bail!("cannot start a container that has stopped"),
        status => bail!("cannot start an already {} container", status.name()),
    }
    begin(container, &mut record)
}

/// Starts a created container that nobody else changes meanwhile.
pub(super) fn begin(container: &Container, record: &mut Record) -> Result<()> {
    let state = Container::state_json(record, Status::Created);
    let hooks = record.hooks.clone().unwrap_or_default();
    for hook in hooks.start_container().iter().flatten() {
        run_inside(container, record, hook, &state)
            .with_context(|| format!("running the startContainer hook {}", hook.path().display()))?;
    }
    // The program runs once the connection ends.
    let client = Client::connect(container)?;
    client.call(&Request::Start)?;
    record.started = true;
    container.save(record)?;
    drop(client);
    let state = Container::state_json(record, Status::Running);
    hooks::run_all("poststart", hooks.poststart().as_ref(), &state);
    Ok(())
}

/// Runs a startContainer hook: in the container, as its root.
fn run_inside(container: &Container, record: &Record, hook: &Hook, state: &serde_json::Value) -> Result<()> {
    let (_, spec) = oci::read_bundle(&record.bundle)?;
    let process = spec.process().as_ref().context("config.json has no \"process\"")?;
    let args = hook.args().clone().filter(|args| !args.is_empty());
    let mut args = args.unwrap_or_else(|| vec![hook.path().display().to_string()]);
    args[0] = hook.path().display().to_string();
    let config = ProcessConfig {
        args: args.into_iter().map(String::into_bytes).collect(),
        env: hook.env().clone().unwrap_or_default().into_iter().map(String::into_bytes).collect(),
        cwd: "/".to_owned(),
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        terminal: false,
        container: false,
        hook: true,
        ..oci::process(process)?
    };
    let document = document(&config).context("describing the hook")?;
    let stdin: OwnedFd = {
        let fd = rustix::fs::memfd_create("state", rustix::fs::MemfdFlags::CLOEXEC).context("making a memfd")?;
        let mut file = std::fs::File::from(fd);
        std::io::Write::write_all(&mut file, state.to_string().as_bytes())?;
        std::io::Seek::rewind(&mut file)?;
        file.into()
    };
    let null = std::fs::File::options().write(true).open("/dev/null").context("opening /dev/null")?;
    let client = Client::connect(container)?;
    client.call_with(&Request::Exec, &[document.as_fd(), stdin.as_fd(), null.as_fd(), null.as_fd()])?;
    match client.receive()?.body {
        Reply::Exited(0) => Ok(()),
        Reply::Exited(status) => bail!("it ended with status {}", crate::sandbox::wait::exit_code(status)),
        other => bail!("the sandbox gave a wrong answer: {other:?}"),
    }
}
