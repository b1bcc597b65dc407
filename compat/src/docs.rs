//! The page on system calls that is made from the table.

use std::fmt::Write as _;

use abi::table::{ENTRIES, Support};

/// Markdown with one row for each system call.
pub fn syscalls() -> String {
    let served = ENTRIES.iter().filter(|e| e.support == Support::Full).count();
    let partial = ENTRIES.iter().filter(|e| matches!(e.support, Support::Partial(_))).count();
    let missing = ENTRIES.len() - served - partial;
    let mut text = String::from("# System calls\n\n");
    text.push_str(
        "Made by `cargo xtask docs` from the table in `syscalls/abi`; which cases test a call and how they fare ",
    );
    text.push_str("is in the report of `cargo xtask compat`.\n\n");
    let _ = writeln!(text, "{served} supported, {partial} partial, {missing} missing.\n");
    text.push_str("| nr | call | support | handler | note |\n| --- | --- | --- | --- | --- |\n");
    for entry in &ENTRIES {
        let (support, note) = match entry.support {
            Support::Full => ("supported", String::new()),
            Support::Partial(why) => ("partial", why.to_owned()),
            Support::Missing(errno, why) => ("missing", format!("{}: {why}", errno.name())),
        };
        let family = if entry.family == "none" { String::new() } else { format!("`{}.rs`", entry.family) };
        let note = note.replace('|', "/");
        let _ = writeln!(text, "| {} | {} | {support} | {family} | {note} |", entry.number, entry.name);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_call_has_a_row() {
        let text = super::syscalls();
        assert!(text.contains("| 0 | read | "));
        assert_eq!(
            text.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| nr")).count(),
            abi::table::ENTRIES.len() + 1
        );
    }
}
