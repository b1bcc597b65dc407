//! One file per command.

mod do_;
mod help;
mod run;
mod spec;

use anyhow::Result;

use crate::cli::{Command, Global};
use crate::sandbox;

/// Runs a command; returns the exit status.
pub(crate) fn run(global: &Global, command: Command) -> Result<u8> {
    match command {
        Command::Do(args) => do_::run(global, &args),
        Command::Run(args) => run::run(global, &args),
        Command::Spec(args) => spec::run(&args),
        Command::Help(args) => help::run(&args),
        Command::Version => {
            println!("runsc version {}", env!("CARGO_PKG_VERSION"));
            println!("spec: 1.2.1");
            Ok(0)
        }
        Command::Boot => sandbox::boot::main(),
        Command::Gofer => sandbox::serve::main(),
    }
}
