//! `/proc/PID/limits`.

use std::fmt::Write as _;

use crate::proc::source::TaskView;
use crate::synth::Text;

/// Name and unit, in the order of the resource numbers.
const LIMITS: [(&str, &str); 16] = [
    ("Max cpu time", "seconds"),
    ("Max file size", "bytes"),
    ("Max data size", "bytes"),
    ("Max stack size", "bytes"),
    ("Max core file size", "bytes"),
    ("Max resident set", "bytes"),
    ("Max processes", "processes"),
    ("Max open files", "files"),
    ("Max locked memory", "bytes"),
    ("Max address space", "bytes"),
    ("Max file locks", "locks"),
    ("Max pending signals", "signals"),
    ("Max msgqueue size", "bytes"),
    ("Max nice priority", ""),
    ("Max realtime priority", ""),
    ("Max realtime timeout", "us"),
];

pub(super) fn render(task: &dyn TaskView) -> Text {
    let number = |value: u64| if value == u64::MAX { "unlimited".to_owned() } else { value.to_string() };
    let mut text = format!("{:<25} {:<20} {:<20} {:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    for ((name, unit), limit) in LIMITS.into_iter().zip(task.limits()?) {
        // Writing to a string can't fail.
        let _ = write!(text, "{name:<25} {:<20} {:<20} ", number(limit.cur), number(limit.max));
        if unit.is_empty() {
            text.push('\n');
        } else {
            let _ = writeln!(text, "{unit:<10}");
        }
    }
    Ok(text.into_bytes())
}
