//! `runsc ps`.

use anyhow::{Result, bail};

use crate::cli::{Global, PsArgs};
use crate::client::Client;
use crate::state::Container;

/// Prints the processes: for people those inside, by the ids that they have there; for engines, which look them up on the
/// host, the processes that run the sandbox.
pub(crate) fn run(global: &Global, args: &PsArgs) -> Result<u8> {
    let container = Container::find(global, &args.id)?;
    let record = container.load()?;
    match args.format.as_str() {
        "json" => {
            let sentry = record.sentry.filter(|sentry| sentry.lives());
            let Some(sentry) = sentry else { bail!("container not running: {:?}", args.id) };
            let mut pids = vec![sentry.pid];
            pids.extend(children(sentry.pid));
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

/// The children of a process: the sentry is the parent of all processes that run guest code.
fn children(pid: i32) -> Vec<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// The time of day, in UTC, at which a process of this age was started.
fn start_time(age_ms: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let started = now.saturating_sub(age_ms / 1000);
    format!("{:02}:{:02}", started / 3600 % 24, started / 60 % 60)
}
