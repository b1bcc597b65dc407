//! `runsc help`: the list of system calls and platforms, or a command's flags.

use abi::table::{ENTRIES, Support};
use anyhow::{Result, bail};
use clap::CommandFactory;

use crate::cli::{Cli, HelpArgs};

/// Prints help on a topic.
pub(crate) fn run(args: &HelpArgs) -> Result<u8> {
    let mut cli = Cli::command();
    match args.topic.as_deref() {
        None => print!("{}", cli.render_long_help()),
        Some("syscalls") => syscalls(&args.format)?,
        Some("platforms") => {
            println!("systrap  seccomp trap and shared memory (default)");
            println!("ptrace   portable and slow");
        }
        Some(name) => match cli.find_subcommand_mut(name) {
            Some(command) => print!("{}", command.render_long_help()),
            None => bail!("no help on {name:?}; topics are syscalls, platforms and the commands"),
        },
    }
    Ok(0)
}

fn support(support: Support) -> (&'static str, String) {
    match support {
        Support::Full => ("full", String::new()),
        Support::Partial(why) => ("partial", why.to_owned()),
        Support::Missing(errno, why) => ("missing", format!("{}: {why}", errno.name())),
    }
}

fn syscalls(format: &str) -> Result<()> {
    let rows = ENTRIES.iter().map(|entry| (entry.number, entry.name, support(entry.support)));
    match format {
        "table" => rows.for_each(|(number, name, (level, note))| println!("{number:3}  {name:24} {level:8} {note}")),
        "csv" => {
            println!("number,name,support,note");
            rows.for_each(|(number, name, (level, note))| println!("{number},{name},{level},\"{note}\""));
        }
        "json" => {
            let rows: Vec<_> = rows
                .map(|(number, name, (level, note))| {
                    serde_json::json!({"number": number, "name": name, "support": level, "note": note})
                })
                .collect();
            println!("{}", serde_json::to_string_pretty(&rows)?);
        }
        other => bail!("unknown format {other:?}; use table, csv or json"),
    }
    Ok(())
}
