//! `runsc help`: the list of system calls and platforms, or a command's flags.

use std::io::Write;

use abi::table::{ENTRIES, Support};
use anyhow::{Result, bail};
use clap::CommandFactory;

use crate::cli::{Cli, HelpArgs};
use crate::sandbox::host_calls::{Check, HOST_CALLS};
use crate::sandbox::socket_calls::SOCKET_CALLS;
use crate::sandbox::unix_calls::{LISTEN_CALLS, UNIX_CALLS};

/// Prints help on a topic.
pub(crate) fn run(args: &HelpArgs) -> Result<u8> {
    let mut cli = Cli::command();
    match args.topic.as_deref() {
        None => print!("{}", cli.render_long_help()),
        Some("syscalls") => syscalls(&args.format)?,
        Some("host-calls") => host_calls(&args.format)?,
        Some("platforms") => {
            println!("systrap  seccomp trap and shared memory (default)");
            println!("ptrace   portable and slow");
        }
        Some(name) => match cli.find_subcommand_mut(name) {
            Some(command) => print!("{}", command.render_long_help()),
            None => bail!("no help on {name:?}; topics are syscalls, host-calls, platforms and the commands"),
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
    let lines: Vec<String> = match format {
        "table" => {
            rows.map(|(number, name, (level, note))| format!("{number:3}  {name:24} {level:8} {note}")).collect()
        }
        "csv" => {
            let rows = rows.map(|(number, name, (level, note))| format!("{number},{name},{level},\"{note}\""));
            ["number,name,support,note".to_owned()].into_iter().chain(rows).collect()
        }
        "json" => {
            let rows: Vec<_> = rows
                .map(|(number, name, (level, note))| {
                    serde_json::json!({"number": number, "name": name, "support": level, "note": note})
                })
                .collect();
            vec![serde_json::to_string_pretty(&rows)?]
        }
        other => bail!("unknown format {other:?}; use table, csv or json"),
    };
    print_lines(&lines);
    Ok(())
}

/// A call that a process of a sandbox may make on the host.
#[derive(serde::Serialize)]
struct HostCall {
    process: &'static str,
    /// Where on one platform only.
    platform: Option<&'static str>,
    number: i64,
    name: &'static str,
    /// Arguments that may have these values only.
    values: Vec<(u8, Vec<u64>)>,
    why: &'static str,
}

/// All that filters let through: of the sentry, its stubs and the gofer.
fn listed_host_calls() -> Vec<HostCall> {
    use sentry_platform::host_calls::{PTRACE, SYSTRAP, of_ptrace_stubs, of_systrap_stubs};
    let name = |number: i64| abi::table::entry(number.cast_unsigned()).map_or("(own)", |entry| entry.name);
    let row = |process, platform, number, values, why| HostCall {
        process,
        platform,
        number,
        name: name(number),
        values,
        why,
    };
    let mut rows = Vec::new();
    for call in HOST_CALLS {
        let values = call.checks.iter().filter_map(|check| match check {
            Check::In(at, values) => Some((*at, values.to_vec())),
            _ => None,
        });
        rows.push(row("sentry", None, call.nr, values.collect(), call.why));
    }
    for call in SOCKET_CALLS {
        rows.push(row("sentry with host sockets", None, call.nr, Vec::new(), call.why));
    }
    for call in UNIX_CALLS.iter().chain(LISTEN_CALLS) {
        rows.push(row("sentry with host-uds", None, call.nr, Vec::new(), call.why));
    }
    for (platform, calls) in [("systrap", SYSTRAP), ("ptrace", PTRACE)] {
        for call in calls {
            let values = call.args.iter().map(|(at, values)| (*at, values.to_vec())).collect();
            rows.push(row("sentry", Some(platform), call.nr, values, call.why));
        }
    }
    rows.extend(of_systrap_stubs().map(|(nr, why)| row("stub", Some("systrap"), nr, Vec::new(), why)));
    rows.extend(of_ptrace_stubs().map(|(nr, why)| row("stub", Some("ptrace"), nr, Vec::new(), why)));
    use gofer::host_calls::{BIND_CALLS, SOCKET_CALLS as CONNECT_CALLS};
    let of_gofer = gofer::host_calls::HOST_CALLS.iter().map(|call| ("gofer", call));
    let with_sockets = CONNECT_CALLS.iter().chain(BIND_CALLS).map(|call| ("gofer with host-uds", call));
    rows.extend(of_gofer.chain(with_sockets).map(|(who, call)| row(who, None, call.number, Vec::new(), call.why)));
    rows
}

fn host_calls(format: &str) -> Result<()> {
    let rows = listed_host_calls();
    let place = |row: &HostCall| row.platform.unwrap_or("");
    let lines: Vec<String> = match format {
        "table" => {
            let line = |row: &HostCall| format!("{:6} {:7} {:20} {}", row.process, place(row), row.name, row.why);
            rows.iter().map(line).collect()
        }
        "csv" => {
            let line =
                |row: &HostCall| format!("{},{},{},{},\"{}\"", row.process, place(row), row.number, row.name, row.why);
            ["process,platform,number,name,why".to_owned()].into_iter().chain(rows.iter().map(line)).collect()
        }
        "json" => vec![serde_json::to_string_pretty(&rows)?],
        other => bail!("unknown format {other:?}; use table, csv or json"),
    };
    print_lines(&lines);
    Ok(())
}

/// Prints; a reader that has read enough may be gone.
fn print_lines(lines: &[String]) {
    let _ = std::io::stdout().write_all((lines.join("\n") + "\n").as_bytes());
}
