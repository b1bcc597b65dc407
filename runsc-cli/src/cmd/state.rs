//! `runsc state`.

use anyhow::Result;

use crate::cli::{Global, IdArgs};
use crate::state::Container;

/// Prints the state.
pub(crate) fn run(global: &Global, args: &IdArgs) -> Result<u8> {
    let container = Container::find(global, &args.id)?;
    let record = container.load()?;
    let status = container.status(&record);
    println!("{}", serde_json::to_string_pretty(&Container::state_json(&record, status))?);
    Ok(0)
}
