//! The common suite on systrap.

mod common;

use sentry_platform::systrap::{Options, Systrap};

fn main() -> std::process::ExitCode {
    common::main(|| Systrap::new(Options::default()).expect("systrap works here"), &[])
}
