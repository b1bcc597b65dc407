//! `runsc events`.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cli::{EventsArgs, Global};
use crate::state::{Container, HostProcess, Record};

/// Prints figures once, or figures and events until the container ends.
pub(crate) fn run(global: &Global, args: &EventsArgs) -> Result<u8> {
    let container = Container::find(global, &args.id)?;
    let record = container.load()?;
    if !record.sentry.is_some_and(HostProcess::lives) {
        bail!("container not running: {:?}", args.id);
    }
    let interval = interval(&args.interval)?;
    let mut kills = oom_kills(&record);
    loop {
        if !args.stats && oom_kills(&record) > kills {
            kills = oom_kills(&record);
            print(&serde_json::json!({ "type": "oom", "id": record.id }));
        }
        let data = record.cgroup.as_ref().map_or_else(|| serde_json::json!({}), |cgroup| cgroup.stats());
        print(&serde_json::json!({ "type": "stats", "id": record.id, "data": data }));
        if args.stats {
            return Ok(0);
        }
        std::thread::sleep(interval);
        if !record.sentry.is_some_and(HostProcess::lives) {
            return Ok(0);
        }
    }
}

fn print(event: &serde_json::Value) {
    println!("{event}");
}

fn oom_kills(record: &Record) -> u64 {
    record.cgroup.as_ref().map_or(0, |cgroup| cgroup.oom_kills())
}

/// Parses seconds, or what runc takes: "500ms", "5s", "1m".
fn interval(text: &str) -> Result<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().with_context(|| format!("parsing the interval {text:?}"))?;
    let interval = match unit {
        "ms" => Duration::from_millis(number),
        "" | "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        _ => bail!("unknown unit in the interval {text:?}; use ms, s or m"),
    };
    if interval.is_zero() {
        bail!("the interval must be longer than 0");
    }
    Ok(interval)
}

#[cfg(test)]
mod tests {
    use super::interval;

    #[test]
    fn intervals_have_units() {
        assert_eq!(interval("5").unwrap().as_secs(), 5);
        assert_eq!(interval("250ms").unwrap().as_millis(), 250);
        for bad in ["", "s", "0s", "-1", "5h"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }
}
