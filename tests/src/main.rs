//! Developer commands: `cargo xtask …`.
//!
//! Each suite is a module with a `run` that prints one line for each check and says how many failed; [`setup`] brings
//! what a suite needs, [`host`] runs commands natively and in the sandbox.

#![forbid(unsafe_code)]

mod adversity;
mod bad_fields;
mod bad_input;
mod bench;
mod bundles;
mod caller;
mod counters;
mod docs;
mod engines;
mod faults;
mod host;
mod host_calls;
mod hostile;
mod lint;
mod matrix;
mod passed;
mod posture;
mod programs;
mod pty;
mod python;
mod ratchet;
mod setup;
mod special;
mod stress;
mod tally;
mod view;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use tally::Tally;

/// Developer commands of the project.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What all suites take.
#[derive(Args, Clone)]
struct Common {
    /// The `runsc` to test; built when not given.
    #[arg(long, global = true)]
    runsc: Option<PathBuf>,
    /// Platforms to test on.
    #[arg(long, global = true, value_delimiter = ',', default_value = "systrap,ptrace")]
    platform: Vec<String>,
    /// Only checks whose name contains this.
    #[arg(long, global = true)]
    filter: Option<String>,
    /// Seconds that one program may take.
    #[arg(long, global = true, default_value_t = 300)]
    limit: u64,
}

#[derive(Subcommand)]
enum Command {
    /// Everything below but the benchmark.
    Test {
        /// Also what takes many minutes or starts daemons: heavy programs, debootstrap, CPython's tests, engines.
        #[arg(long)]
        all: bool,
    },
    /// The compatibility matrix; further arguments go to `compat`.
    Compat {
        /// Passed on.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Formatting, clippy and ratchets.
    Lint,
    /// The generated pages under `docs/`.
    Docs {
        /// Fail when they are stale instead of writing them.
        #[arg(long)]
        check: bool,
    },
    /// What the live processes of a sandbox may do.
    Posture,
    /// Real programs, natively and in the sandbox.
    Programs {
        /// Leave out debootstrap and the heavy scripts.
        #[arg(long)]
        quick: bool,
    },
    /// CPython's own tests, natively and in the sandbox.
    Python,
    /// OCI bundles, by runc and by `runsc run`.
    Bundles,
    /// Exit status, signals, descriptors, terminals, ordinary users.
    Caller,
    /// Sockets and FIFOs of the host in file trees.
    Special,
    /// Files as tools of the host see them that enter a container's mount namespace.
    View,
    /// Pieces of a sandbox that are killed.
    Faults,
    /// Broken bundles, missing things, refused rights.
    Badinput,
    /// Guest programs that attack.
    Hostile,
    /// What filters let sandboxes do on the host and no suite has them do; runs suites under the host's tracing.
    HostCalls,
    /// Docker, Podman and containerd, each with runc and with runsc.
    Engines,
    /// Operations, programs, start-up and footprint beside native and other runtimes.
    Bench {
        /// Another `runsc` to measure beside ours, gVisor's for instance; may be given again.
        #[arg(long)]
        peer: Vec<PathBuf>,
        /// Samples of each item; of the slow ones at most three.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Directory for `bench.json` and `bench.svg`.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Forks, execs, threads, signals, stops and kills at random.
    Stress {
        /// Minutes on each platform.
        #[arg(long, default_value_t = 3)]
        minutes: u64,
    },
    /// Counts that may only fall.
    Ratchet {
        /// Write the lower counts down.
        #[arg(long)]
        update: bool,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut tally = Tally::default();
    let result = run(&cli, &mut tally);
    if let Err(e) = &result {
        eprintln!("xtask: {e:#}");
    }
    if tally.total() > 0 {
        // Again at the end: the suites print thousands of lines.
        for failure in tally.failures() {
            println!("FAILED {failure}");
        }
        println!("{} passed, {} failed", tally.passed(), tally.failed());
    }
    if result.is_ok() && tally.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(cli: &Cli, tally: &mut Tally) -> Result<()> {
    let common = &cli.common;
    match &cli.command {
        Command::Test { all } => everything(common, !*all, tally),
        Command::Compat { rest } => matrix::run(common, rest, tally),
        Command::Lint => lint::run(tally),
        Command::Docs { check } => docs::run(*check, tally),
        Command::Posture => posture::run(common, tally),
        Command::Programs { quick } => programs::run(common, *quick, tally),
        Command::Python => python::run(common, tally),
        Command::Bundles => bundles::run(common, tally),
        Command::Caller => caller::run(common, tally),
        Command::Special => special::run(common, tally),
        Command::View => view::run(common, tally),
        Command::Faults => faults::run(common, tally),
        Command::Badinput => bad_input::run(common, tally),
        Command::Engines => engines::run(common, tally),
        Command::HostCalls => host_calls::run(common, tally),
        Command::Hostile => hostile::run(common, tally),
        Command::Bench { peer, rounds, out } => bench::run(common, peer, *rounds, out.as_deref()),
        Command::Stress { minutes } => stress::run(common, *minutes, tally),
        Command::Ratchet { update } => ratchet::run(*update, tally),
    }
}

/// Runs every suite; one that can't start counts as failed and the others go on.
fn everything(common: &Common, quick: bool, tally: &mut Tally) -> Result<()> {
    let runsc = setup::runsc(common)?;
    let common = &Common { runsc: Some(runsc), ..common.clone() };
    tally.suite("ratchet", |t| ratchet::run(false, t));
    tally.suite("docs", |t| docs::run(true, t));
    tally.suite("compat", |t| matrix::run(common, &[], t));
    tally.suite("posture", |t| posture::run(common, t));
    tally.suite("bad input", |t| bad_input::run(common, t));
    tally.suite("bundles", |t| bundles::run(common, t));
    tally.suite("caller", |t| caller::run(common, t));
    tally.suite("special files", |t| special::run(common, t));
    tally.suite("files from outside", |t| view::run(common, t));
    tally.suite("faults", |t| faults::run(common, t));
    tally.suite("hostile", |t| hostile::run(common, t));
    tally.suite("programs", |t| programs::run(common, quick, t));
    if !quick {
        tally.suite("engines", |t| engines::run(common, t));
        tally.suite("python", |t| python::run(common, t));
    }
    Ok(())
}
