//! One file per command.

mod create;
mod debug;
mod delete;
mod do_;
mod events;
mod exec;
mod features;
mod help;
mod install;
mod kill;
mod list;
mod pause;
mod ps;
mod run;
mod spec;
mod start;
mod state;
mod update;
mod wait;

use anyhow::{Result, bail};

use crate::cli::{Command, Global};
use crate::sandbox;

/// Runs a command; returns the exit status.
pub(crate) fn run(global: &Global, command: Command) -> Result<u8> {
    match command {
        Command::Do(args) => do_::run(global, &args),
        Command::Run(args) => run::run(global, &args),
        Command::Create(args) => create::run(global, &args),
        Command::Start(args) => start::run(global, &args),
        Command::Exec(args) => exec::run(global, &args),
        Command::Kill(args) => kill::run(global, &args),
        Command::Delete(args) => delete::run(global, &args),
        Command::State(args) => state::run(global, &args),
        Command::List(args) => list::run(global, &args),
        Command::Ps(args) => ps::run(global, &args),
        Command::Debug(args) => debug::run(global, &args),
        Command::Events(args) => events::run(global, &args),
        Command::Pause(args) => pause::pause(global, &args),
        Command::Resume(args) => pause::resume(global, &args),
        Command::Wait(args) => wait::run(global, &args),
        Command::Update(args) => update::run(global, &args),
        Command::Checkpoint(_) | Command::Restore(_) => bail!("checkpoint and restore are not supported yet"),
        Command::Install(args) => install::install(global, &args),
        Command::Uninstall(args) => install::uninstall(global, &args),
        Command::Features => features::run(),
        Command::Spec(args) => spec::run(&args),
        Command::Help(args) => help::run(&args),
        Command::Version => {
            println!("runsc version {}", env!("CARGO_PKG_VERSION"));
            println!("spec: 1.2.1");
            Ok(0)
        }
        Command::Boot => sandbox::boot::main(),
        Command::ExecWait => exec::wait(),
        Command::Gofer => sandbox::serve::main(),
    }
}
