//! `runsc wait`.

use anyhow::{Result, bail};
use sentry::control::protocol::{Reply, Request};

use crate::cli::{Global, WaitArgs};
use crate::client::Client;
use crate::sandbox::wait::exit_code;
use crate::state::Container;

/// Waits, and prints the exit status.
pub(crate) fn run(global: &Global, args: &WaitArgs) -> Result<u8> {
    let container = Container::find(global, &args.id)?;
    let pid = args.pid.or(args.rootpid).filter(|pid| *pid != 1);
    match Client::connect(&container)?.call(&Request::Wait(pid))? {
        Reply::Exited(status) => {
            println!("{}", serde_json::json!({ "id": args.id, "exitStatus": exit_code(status) }));
            Ok(0)
        }
        Reply::NoProcess => bail!("no such process in container {:?}", args.id),
        other => bail!("the sandbox gave a wrong answer: {other:?}"),
    }
}
