//! `runsc debug`.

use std::ffi::OsString;

use anyhow::{Result, bail};

use crate::cli::{DebugArgs, Global, PsArgs};
use crate::client::Client;
use crate::state::Container;

/// Prints what was asked for of a running sandbox.
pub(crate) fn run(global: &Global, args: &DebugArgs) -> Result<u8> {
    if !args.counters && !args.ps {
        bail!("debug: say what to show: --counters, --ps");
    }
    if args.ps {
        let rest = Vec::<OsString>::new();
        super::ps::run(global, &PsArgs { format: "table".to_owned(), id: args.id.clone(), rest })?;
    }
    if args.counters {
        let container = Container::find(global, &args.id)?;
        for (name, count) in Client::connect(&container)?.counters()? {
            println!("{name:<28} {count}");
        }
    }
    Ok(0)
}
