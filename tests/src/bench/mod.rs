//! `xtask bench`: what the sandbox costs, natively, in ours and in peers, interleaved in one run.
//!
//! [`items`] is the list of what is measured and what it should be, [`competitor`] who is measured, [`gauge`] takes one
//! sample, [`idle`] those of a sandbox that does nothing, [`report`] makes the table and the JSON of them, [`plot`] the
//! picture. Each sample is a process (or sandbox) of its own with a time limit: one that crashes or hangs is reported as
//! failed and costs nothing but itself. Within a round everyone is measured once, one after the other, so that what else
//! the machine does falls on all of them.

mod competitor;
mod gauge;
mod idle;
mod items;
mod plot;
mod report;
mod samples;

use std::path::Path;

use anyhow::{Result, bail};

use crate::Common;
use crate::setup::{need, output, root, runsc};
use competitor::{Competitor, Kind};
use gauge::Gauge;
use items::{ITEMS, What};
use samples::Samples;

/// Rounds of an item that takes many seconds.
const SLOW_ROUNDS: usize = 3;

const NEEDS: &[(&str, &str)] = &[
    ("gcc", "gcc"),
    ("/usr/include/stdio.h", "libc6-dev"),
    ("busybox", "busybox-static"),
    ("runc", "runc"),
    ("redis-server", "redis-server"),
    ("redis-benchmark", "redis-tools"),
    ("/usr/bin/python3", "python3-minimal"),
];

/// Measures, prints and keeps.
pub(crate) fn run(common: &Common, peers: &[std::path::PathBuf], rounds: usize, at: Option<&Path>) -> Result<()> {
    need(NEEDS)?;
    root("runc needs it")?;
    let out = match at {
        Some(at) => at.to_path_buf(),
        None => output("bench")?,
    };
    std::fs::create_dir_all(&out)?;
    let all = Competitor::all(&runsc(common)?, &common.platform, peers)?;
    let chosen: Vec<_> = ITEMS.iter().filter(|i| common.filter.as_deref().is_none_or(|f| i.name.contains(f))).collect();
    if chosen.is_empty() {
        bail!("no item has that in its name; the names are in tests/src/bench/items.rs");
    }
    let mut gauge = Gauge::new(&output("bench")?, common.limit.min(120))?;
    if chosen.iter().any(|item| matches!(item.what, What::DockerRun)) {
        gauge.start_docker(&all)?;
    }
    let mut samples = Samples::new(&all);
    for (number, item) in chosen.iter().enumerate() {
        eprintln!("[{}/{}] {}", number + 1, chosen.len(), item.name);
        let rounds = if item.slow { rounds.min(SLOW_ROUNDS) } else { rounds.max(1) };
        for _ in 0..rounds {
            for who in all.iter().filter(|who| takes_part(who, &item.what)) {
                // Who has failed would most likely only cost the time limit again.
                if !samples.has_failed(item.name, &who.name) {
                    samples.add(item.name, &who.name, gauge.sample(who, item));
                }
            }
        }
        // Kept after each item: an interrupted run is not lost.
        report::keep(&samples, &chosen, &out)?;
    }
    report::print(&samples, &chosen);
    report::print_against_runc(&samples, &chosen);
    plot::draw(&samples, &chosen, &out.join("bench.svg"))?;
    println!("kept in {} and bench.svg beside it", out.join("bench.json").display());
    match samples.failures_of("ours") {
        0 => Ok(()),
        failed => bail!("{failed} items failed in ours"),
    }
}

fn takes_part(who: &Competitor, what: &What) -> bool {
    match (&who.kind, what) {
        (Kind::Native, What::RunBundle | What::DockerRun | What::IdleCpu | What::IdlePss | What::IdleDo) => false,
        (Kind::Native | Kind::Runsc { .. }, _) => true,
        (Kind::Runc, what) => matches!(what, What::RunBundle | What::DockerRun | What::IdlePss),
    }
}
