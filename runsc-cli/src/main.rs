//! The `runsc` command line: an OCI runtime for untrusted workloads, a drop-in for gVisor's `runsc`.
//!
//! [`cli`] declares commands and flags, `cmd` holds one file per command, `sandbox` creates the processes of a sandbox
//! and is what runs inside them. Exit status: the program's own, 128 + N if signal N killed it, 128 for failures of the
//! runtime itself.

#![forbid(unsafe_code)]

mod cli;
mod cmd;
mod log;
mod sandbox;

use std::process::ExitCode;

/// Exit status for failures of the runtime itself.
const FAILURE: u8 = 128;

fn main() -> ExitCode {
    let parsed = match cli::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version go to stdout with status 0, mistakes to stderr.
            let code = if error.use_stderr() { ExitCode::from(FAILURE) } else { ExitCode::SUCCESS };
            let _ = error.print();
            return code;
        }
    };
    log::start(&parsed.global, parsed.command.name());
    match cmd::run(&parsed.global, parsed.command) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            log::fatal(&parsed.global, &error);
            ExitCode::from(FAILURE)
        }
    }
}
