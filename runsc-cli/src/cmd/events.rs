//! `runsc events`.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cgroup::{Cgroup, OomWatch};
use crate::cli::{EventsArgs, Global};
use crate::state::{Container, Record};

/// Prints figures once, or figures and events until the container ends.
pub(crate) fn run(global: &Global, args: &EventsArgs) -> Result<u8> {
    let container = Container::find(global, &args.id)?;
    let record = container.load()?;
    let sentry = record.sentry.filter(|sentry| sentry.lives());
    let Some(sentry) = sentry else { bail!("container not running: {:?}", args.id) };
    let interval = interval(&args.interval)?;
    if args.stats {
        print_stats(&record)?;
        return Ok(0);
    }
    // Before the first figures, so that none is missed.
    let mut seen = oom_kills(&record);
    let watch = record.cgroup.as_ref().map(Cgroup::watch_oom).and_then(|watch| {
        watch
            .inspect_err(|error| tracing::warn!("kills for want of memory are looked for at intervals only: {error}"))
            .ok()
    });
    let end = sentry.end().context("watching the container")?;
    loop {
        print_stats(&record)?;
        let next = Instant::now() + interval;
        while let Some(left) = next.checked_duration_since(Instant::now()) {
            let mut fds = vec![PollFd::new(&end, PollFlags::IN)];
            fds.extend(watch.as_ref().map(|watch| PollFd::new(watch, PollFlags::IN)));
            match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => bail!("waiting for events: {error}"),
            }
            let ended = !fds[0].revents().is_empty();
            watch.iter().for_each(OomWatch::clear);
            let kills = oom_kills(&record);
            for _ in seen..kills {
                print(&serde_json::json!({ "type": "oom", "id": record.id }))?;
            }
            seen = kills.max(seen);
            if ended || !sentry.lives() {
                return Ok(0);
            }
        }
    }
}

fn print_stats(record: &Record) -> Result<()> {
    let data = record.cgroup.as_ref().map_or_else(|| serde_json::json!({}), Cgroup::stats);
    print(&serde_json::json!({ "type": "stats", "id": record.id, "data": data }))
}

fn print(event: &serde_json::Value) -> Result<()> {
    writeln!(std::io::stdout(), "{event}").context("printing an event")
}

fn oom_kills(record: &Record) -> u64 {
    record.cgroup.as_ref().map_or(0, Cgroup::oom_kills)
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
