//! The `runsc` command line: an OCI runtime for untrusted workloads, a drop-in for gVisor's `runsc`.
//!
//! [`cli`] declares commands and flags, `cmd` holds one file per command, `sandbox` creates the processes of a sandbox
//! and is what runs inside them. Exit status: the program's own, 128 + N if signal N killed it, 128 for failures of the
//! runtime itself.

#![forbid(unsafe_code)]

mod cgroup;
mod cli;
mod client;
mod cmd;
mod compat_flags;
mod hooks;
mod log;
mod oci;
mod passed;
mod sandbox;
mod state;
mod terminal;
mod user;

use std::process::ExitCode;

/// Exit status for failures of the runtime itself.
const FAILURE: u8 = 128;

/// What is wrong with a command line, without the advice that follows it.
fn one_line(text: &str) -> String {
    let said = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
    let words: Vec<&str> = said.split_whitespace().collect();
    format!("{}; see `runsc help`", words.join(" "))
}

/// Returns what the processes of a sandbox run, which are started without flags: to make the parser of the command line
/// takes half a millisecond and half a megabyte.
fn internal() -> Option<fn() -> anyhow::Result<u8>> {
    let mut args = std::env::args_os().skip(1);
    let (command, None) = (args.next()?, args.next()) else { return None };
    match command.to_str()? {
        "boot" => Some(sandbox::boot::main),
        "gofer" => Some(sandbox::serve::main),
        _ => None,
    }
}

fn main() -> ExitCode {
    if let Some(work) = internal() {
        return work().map_or_else(
            |error| {
                log::tell(&error);
                ExitCode::from(FAILURE)
            },
            ExitCode::from,
        );
    }
    let parsed = match cli::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help goes to stdout with status 0, a mistake to stderr in one line.
            if !error.use_stderr() {
                let _ = error.print();
                return ExitCode::SUCCESS;
            }
            let text = one_line(&error.to_string());
            eprintln!("runsc: {text}");
            if let (Some(path), format) = cli::log_flags(std::env::args_os()) {
                log::record(&path, format, &text);
            }
            return ExitCode::from(FAILURE);
        }
    };
    log::start(&parsed.global, parsed.command.name());
    if !parsed.global.ignored.is_empty() {
        tracing::warn!(flags = parsed.global.ignored.join(" "), "flags of gVisor that have no effect here");
    }
    match terminal::part_with_directories().and_then(|()| cmd::run(&parsed.global, parsed.command)) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            log::fatal(&parsed.global, &error);
            ExitCode::from(FAILURE)
        }
    }
}
