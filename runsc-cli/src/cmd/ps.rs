//! `runsc ps`.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use crate::cli::{Global, PsArgs};
use crate::client::Client;
use crate::state::Container;

/// Prints the processes: for people those inside, by the ids that they have there; for engines, which look them up on the
/// host, those of the host that run the code of these: what the host's `ps` says of them are the guest's arguments.
pub(crate) fn run(global: &Global, args: &PsArgs) -> Result<u8> {
    let container = Container::find(global, &args.id)?;
    let record = container.load()?;
    match args.format.as_str() {
        "json" => {
            let sentry = record.sentry.filter(|sentry| sentry.lives());
            let Some(sentry) = sentry else { bail!("container not running: {:?}", args.id) };
            let on_host = on_host(sentry.pid);
            let inside = Client::connect(&container)?.processes()?;
            let mut pids: Vec<i32> = inside.iter().filter_map(|one| on_host.get(&one.host_pid)).copied().collect();
            // Children that share their parent's memory (vfork) share its process, too.
            pids.sort_unstable();
            pids.dedup();
            println!("{}", serde_json::to_string(&pids)?);
        }
        "table" => {
            println!("UID       PID       PPID      C         TTY       STIME     TIME      CMD");
            for process in Client::connect(&container)?.processes()? {
                let seconds = process.cpu_ms / 1000;
                let share = (process.cpu_ms * 100).checked_div(process.age_ms).unwrap_or(0);
                println!(
                    "{:<9} {:<9} {:<9} {share:<9} {:<9} {:<9} {:<9} {}",
                    process.uid,
                    process.pid,
                    process.ppid,
                    if process.terminal { "pts/0" } else { "?" },
                    start_time(process.age_ms),
                    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
                    process.comm
                );
            }
        }
        other => bail!("unknown format {other:?}; use table or json"),
    }
    Ok(0)
}

/// The processes that run guest code, the sentry's children: their ids by those that they have in the sentry's pid namespace.
fn on_host(sentry: i32) -> BTreeMap<i32, i32> {
    let children = std::fs::read_to_string(format!("/proc/{sentry}/task/{sentry}/children")).unwrap_or_default();
    let ids = children.split_whitespace().filter_map(|word| {
        let pid: i32 = word.parse().ok()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
        Some((ids.split_whitespace().next_back()?.parse().ok()?, pid))
    });
    ids.collect()
}

/// The time of day, in UTC, at which a process of this age was started.
fn start_time(age_ms: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let started = now.saturating_sub(age_ms / 1000);
    format!("{:02}:{:02}", started / 3600 % 24, started / 60 % 60)
}
