//! Debug logs and the error record that engines read.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

use crate::cli::{Global, LogFormat};

/// Opens the debug log where one is asked for, and sends all events of this process there.
pub(crate) fn start(global: &Global, command: &str) {
    let Some(pattern) = &global.debug_log else { return };
    if let Ok(file) = open(pattern, command) {
        install(file, global.debug);
    }
}

/// Opens the file that a `--debug-log` pattern names for a command.
pub(crate) fn open(pattern: &str, command: &str) -> std::io::Result<File> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut name = pattern.to_owned();
    if name.ends_with('/') {
        std::fs::create_dir_all(&name)?;
        name.push_str("runsc.log.%TIMESTAMP%.%COMMAND%.txt");
    }
    let name = name.replace("%TIMESTAMP%", &now.as_micros().to_string()).replace("%COMMAND%", command);
    File::options().create(true).append(true).open(name)
}

/// Sends all events of this process to a file: everything with `debug`, else warnings and worse.
pub(crate) fn install(file: File, debug: bool) {
    let level = if debug { Level::DEBUG } else { Level::WARN };
    let writer = Writer { file: Mutex::new(file), level, spans: AtomicU64::new(1) };
    // Fails only if a subscriber is there already, which then goes on.
    let _ = tracing::subscriber::set_global_default(writer);
}

/// Has a panic of this process end in the debug log.
pub(crate) fn log_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // No backtrace: naming its functions takes files, which a confined process is killed for asking for.
        tracing::error!("{panic}");
        default(panic);
    }));
}

/// Writes events as lines of text. Spans are accepted and not shown.
struct Writer {
    file: Mutex<File>,
    level: Level,
    spans: AtomicU64,
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        use std::fmt::Write;
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

impl Subscriber for Writer {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn new_span(&self, _attributes: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let meta = event.metadata();
        let (seconds, micros) = (now.as_secs(), now.subsec_micros());
        let mut line = Line(format!("{seconds}.{micros:06} {:5} {}:", meta.level(), meta.target()));
        event.record(&mut line);
        line.0.push('\n');
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Nowhere to report a failure of the log to.
        let _ = file.write_all(line.0.as_bytes());
    }

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}

/// Reports a failure of the runtime: one line on stderr, one record in `--log`.
pub(crate) fn fatal(global: &Global, error: &anyhow::Error) {
    let text = tell(error);
    if let Some(path) = &global.log {
        record(path, global.log_format, &text);
    }
}

/// Says in one line why the process ends.
pub(crate) fn tell(error: &anyhow::Error) -> String {
    let text = format!("{error:#}").replace('\n', " ");
    eprintln!("runsc: {text}");
    tracing::error!("{text}");
    text
}

/// Appends one error record to the file of `--log`.
pub(crate) fn record(path: &Path, format: LogFormat, text: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let record = match format {
        LogFormat::Text => format!("time={} level=error msg={text:?}\n", timestamp(now.as_secs())),
        LogFormat::Json => {
            let record = serde_json::json!({"msg": text, "level": "error", "time": timestamp(now.as_secs())});
            format!("{record}\n")
        }
    };
    let file = File::options().create(true).append(true).open(path);
    if let Err(error) = file.and_then(|mut file| file.write_all(record.as_bytes())) {
        eprintln!("runsc: writing --log {}: {error}", path.display());
    }
}

/// Returns the time as RFC 3339 in UTC.
pub(crate) fn now() -> String {
    timestamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

/// Formats seconds since 1970 as RFC 3339 in UTC.
fn timestamp(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Civil date from days, counted in eras of 400 years that begin on 1 March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    #[test]
    fn timestamps_are_civil_dates() {
        assert_eq!(super::timestamp(0), "1970-01-01T00:00:00Z");
        assert_eq!(super::timestamp(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(super::timestamp(1_763_695_621), "2025-11-21T03:27:01Z");
    }
}
