//! What the kernel itself costs: system calls fed to it by a platform that runs no guest code.
//!
//! `cargo bench -p syscalls --bench kernel [-- ITEM]` prints nanoseconds, allocations, copies of guest memory, batches of
//! memory operations and workers woken per round of each item, and, where `strace` is installed, host calls. One worker;
//! copies are plain ones. `--count ITEM ROUNDS` only runs (for `perf` and `strace`).

mod items;
mod platform;
mod world;

use std::alloc::System;
use std::process::Command;
use std::sync::Arc;

use sentry::Current;
use sentry::task::Serving;
use sentry_sync::{Level, Mutex};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use items::{ITEMS, Item};
use platform::{Figures, Player, Report};
use world::World;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Returns how often memory was asked for.
pub(crate) fn allocations() -> u64 {
    let stats = ALLOCATOR.stats();
    (stats.allocations + stats.reallocations) as u64
}

const WARM: u64 = 200;

fn spawn(world: &World, cur: Current) {
    world.kernel.executor.spawn(Serving::new(Arc::clone(&cur.task), sentry::task::run(cur)));
}

fn run(item: &Item, rounds: u64) -> Figures {
    let mut world = World::new(1);
    let report = Arc::new(Report { kernel: Arc::clone(&world.kernel), figures: Mutex::new(Level::Leaf, None) });
    // Preparations are made by a thread of its own kind: its context never runs.
    let mut cur = world.thread(Player::silent());
    let scripts = (item.prepare)(&mut world, &mut cur);
    for (at, steps) in scripts.into_iter().enumerate() {
        let report = (at == 0).then(|| Arc::clone(&report));
        let mut player = match report {
            Some(report) => Player::new(steps, WARM, rounds, Some(report)),
            None => Player::new(steps, u64::MAX, 0, None),
        };
        if let Some(fork) = item.fork {
            player = player.with_fork(Arc::new(fork));
        }
        if at == 0 {
            cur.context = Box::new(player);
        } else {
            let thread = world.thread(player);
            spawn(&world, thread);
        }
    }
    spawn(&world, cur);
    world.kernel.run();
    let figures = report.figures.lock().take();
    figures.expect("the script has ended")
}

/// Counts the host calls of a round: those of many rounds less those of few.
fn host_calls(item: &Item) -> Option<f64> {
    let count = |rounds: u64| -> Option<f64> {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-c", "-U", "calls", "-o", "/dev/stderr"]).arg(std::env::current_exe().ok()?);
        let output = strace.args(["--count", item.name, &rounds.to_string()]).output().ok()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        // The last line is the total.
        text.lines().rev().find_map(|line| line.trim().split(' ').next()?.parse().ok())
    };
    let (few, many) = (100, 1100);
    #[allow(clippy::cast_precision_loss)] // small numbers
    Some((count(many)? - count(few)?) / (many - few) as f64)
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [flag, name, rounds] = args.as_slice()
        && flag == "--count"
    {
        let item = ITEMS.iter().find(|item| item.name == name).expect("an item");
        run(item, rounds.parse().expect("a number of rounds"));
        return;
    }
    let only = args.first().map_or("", String::as_str);
    println!(
        "{:32} {:>9} {:>7} {:>7} {:>8} {:>6} {:>10}",
        "", "ns", "allocs", "copies", "batches", "wakes", "host calls"
    );
    for item in ITEMS.iter().filter(|item| item.name.contains(only)) {
        let mut best = run(item, item.rounds);
        for _ in 0..2 {
            let again = run(item, item.rounds);
            if again.nanos < best.nanos {
                best = again;
            }
        }
        let host = host_calls(item).map_or_else(|| "-".to_owned(), |calls| format!("{calls:.2}"));
        println!(
            "{:32} {:>9.1} {:>7.2} {:>7.2} {:>8.2} {:>6.2} {:>10}",
            item.name, best.nanos, best.allocations, best.copies, best.batches, best.unparks, host
        );
    }
}
