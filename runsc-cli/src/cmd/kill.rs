//! `runsc kill`: a signal for a container.

use anyhow::{Context, Result, bail};
use sentry::control::protocol::{Reply, Request, Target};

use crate::cli::{Global, KillArgs};
use crate::client::Client;
use crate::state::{Container, Status};

/// Sends the signal.
pub(crate) fn run(global: &Global, args: &KillArgs) -> Result<u8> {
    let number = signal_number(&args.signal)?;
    let container = Container::find(global, &args.id)?;
    let record = container.load()?;
    let target = match (args.all, args.pid, args.pgid) {
        (true, ..) => Target::All,
        (_, Some(pid), _) => Target::Process(pid),
        (_, _, Some(pgid)) => Target::Group(pgid),
        _ => Target::Init,
    };
    let sent = Client::connect(&container).and_then(|client| client.call(&Request::Signal { target, number }));
    match sent {
        Ok(Reply::Done) => Ok(0),
        Ok(Reply::NoProcess) => bail!("no such process in container {:?}", args.id),
        Ok(other) => bail!("the sandbox gave a wrong answer: {other:?}"),
        // Engines signal all processes of a container that has ended, to be sure.
        Err(_) if target == Target::All && container.status(&record) == Status::Stopped => Ok(0),
        Err(error) if number == libc::SIGKILL && matches!(target, Target::Init | Target::All) => match record.sentry {
            // A sandbox that doesn't answer.
            Some(sentry) if sentry.lives() => {
                sentry.kill();
                Ok(0)
            }
            _ => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// Parses a signal: a number, or a name with or without SIG.
fn signal_number(text: &str) -> Result<i32> {
    if let Ok(number) = text.parse::<i32>() {
        if (0..=64).contains(&number) {
            return Ok(number);
        }
        bail!("there is no signal {number}");
    }
    let name = text.to_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some(offset) = name.strip_prefix("RTMIN+").and_then(|offset| offset.parse::<i32>().ok()) {
        // As the C library counts, which keeps two for itself.
        return Ok(34 + offset).and_then(|number| {
            if (34..=64).contains(&number) { Ok(number) } else { bail!("there is no signal {text:?}") }
        });
    }
    let found =
        (1..=31).filter_map(abi::signal::Signal::new).find(|signal| signal.name().trim_start_matches("SIG") == name);
    found.map(abi::signal::Signal::number).with_context(|| format!("there is no signal {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::signal_number;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [("9", 9), ("KILL", 9), ("SIGTERM", 15), ("sigusr1", 10), ("RTMIN+1", 35), ("0", 0)] {
            assert_eq!(signal_number(text).unwrap(), number, "{text}");
        }
        for text in ["", "SIGNOTHING", "65", "-1", "RTMIN+99"] {
            assert!(signal_number(text).is_err(), "{text}");
        }
    }
}
