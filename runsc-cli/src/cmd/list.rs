//! `runsc list`.

use anyhow::{Result, bail};

use crate::cli::{Global, ListArgs};
use crate::state::Container;

/// Prints all containers.
pub(crate) fn run(global: &Global, args: &ListArgs) -> Result<u8> {
    let containers = Container::all(global)?;
    if args.quiet {
        containers.iter().for_each(|container| println!("{}", container.id));
        return Ok(0);
    }
    // One that is gone by now, or was never created completely, has no record.
    let records = containers.iter().filter_map(|container| Some((container, container.load().ok()?)));
    let states: Vec<_> =
        records.map(|(container, record)| Container::state_json(&record, container.status(&record))).collect();
    match args.format.as_str() {
        "json" => println!("{}", serde_json::to_string(&states)?),
        "table" | "text" => {
            println!("{:<20} {:<10} {:<10} {:<30} {:<22} OWNER", "ID", "PID", "STATUS", "BUNDLE", "CREATED");
            for state in states {
                let text = |key: &str| state[key].as_str().unwrap_or_default().to_owned();
                let (id, status, bundle) = (text("id"), text("status"), text("bundle"));
                println!(
                    "{id:<20} {:<10} {status:<10} {bundle:<30} {:<22} {}",
                    state["pid"].as_i64().unwrap_or_default(),
                    text("created"),
                    text("owner")
                );
            }
        }
        other => bail!("unknown format {other:?}; use table or json"),
    }
    Ok(0)
}
