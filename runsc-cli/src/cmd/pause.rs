//! `runsc pause` and `runsc resume`: the guest kernel stops its processes where they are; the host's freezer is not used.

use anyhow::{Result, bail};
use sentry::control::protocol::Request;

use crate::cli::{Global, IdArgs};
use crate::client::Client;
use crate::state::{Container, Status};

/// Stops the processes.
pub(crate) fn pause(global: &Global, args: &IdArgs) -> Result<u8> {
    change(global, args, Status::Running, &Request::Pause)
}

/// Lets them go on.
pub(crate) fn resume(global: &Global, args: &IdArgs) -> Result<u8> {
    change(global, args, Status::Paused, &Request::Resume)
}

fn change(global: &Global, args: &IdArgs, from: Status, request: &Request) -> Result<u8> {
    let container = Container::find(global, &args.id)?;
    let _lock = container.lock()?;
    let status = container.status(&container.load()?);
    if status != from {
        bail!("container not {}: {:?} is {}", from.name(), args.id, status.name());
    }
    Client::connect(&container)?.call(request)?;
    Ok(0)
}
