//! The table and the JSON of a run.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::items::{Item, Target, What};
use super::samples::Samples;

/// Whether a figure reaches its target.
fn reached(samples: &Samples, item: &Item, who: &str) -> Option<bool> {
    let cell = samples.get(item.name, who)?;
    if cell.failure.is_some() {
        return Some(false);
    }
    match item.target? {
        Target::Ratio(most) => Some(samples.ratios(item.name, who)?.0 <= most),
        Target::Value(most) => Some(cell.median()? <= most),
    }
}

/// Geometric means of the ratios: of the common operations, and of everything that has a ratio.
fn means(samples: &Samples, items: &[&Item], who: &str) -> [(f64, usize); 2] {
    let of = |only_common: bool| {
        let chosen = items.iter().filter(|i| !only_common || matches!(i.what, What::Operation { common: true }));
        // Start-up against an empty native process is no ratio that says anything.
        let chosen = chosen.filter(|i| !matches!(i.what, What::DoTrue));
        let logs: Vec<f64> = chosen.filter_map(|i| Some(samples.ratios(i.name, who)?.0.ln())).collect();
        ((logs.iter().sum::<f64>() / logs.len().max(1) as f64).exp(), logs.len())
    };
    [of(true), of(false)]
}

fn shown(value: f64) -> String {
    match value {
        v if v >= 10_000.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// Prints the table: the median and its ratio to native for each competitor, the ratio of the least samples in brackets.
pub(super) fn print(samples: &Samples, items: &[&Item]) {
    println!("machine: {}", machine());
    println!("Medians; ratios to native of the medians, and (in brackets) of the least samples.");
    let heads: Vec<String> = samples.names.iter().map(|name| format!(" {name} |")).collect();
    println!(
        "\n| item | unit |{} target | |\n| --- | --- |{} --- | --- |",
        heads.concat(),
        " --- |".repeat(heads.len())
    );
    for item in items {
        let cells: Vec<String> = samples.names.iter().map(|who| cell(samples, item, who)).collect();
        let target = match item.target {
            None => "–".to_owned(),
            Some(Target::Ratio(most)) => format!("≤ {most} ×"),
            Some(Target::Value(most)) => format!("≤ {most}"),
        };
        let verdict = match reached(samples, item, "ours systrap") {
            None => "",
            Some(true) => "reached",
            Some(false) => "missed",
        };
        println!("| {} | {} |{} {target} | {verdict} |", item.name, item.what.unit(), cells.concat());
    }
    println!();
    for who in samples.names.iter().filter(|who| *who != "native") {
        let [(common, n), (all, m)] = means(samples, items, who);
        if n > 0 {
            println!(
                "{who}: geometric mean {common:.2} × native over the {n} common operations, {all:.2} over {m} items"
            );
        }
    }
    for item in items {
        for who in &samples.names {
            if let Some(why) = samples.get(item.name, who).and_then(|cell| cell.failure.as_ref()) {
                println!("FAIL {} in {who}: {why}", item.name);
            }
        }
    }
}

/// Prints what whole commands cost against runc in the same run, which native has no figure for.
pub(super) fn print_against_runc(samples: &Samples, items: &[&Item]) {
    for item in items {
        let median = |who: &str| samples.get(item.name, who).and_then(|cell| cell.median());
        let Some(runc) = median("runc") else { continue };
        for who in samples.names.iter().filter(|who| *who != "runc") {
            if let Some(median) = median(who) {
                println!("{}: {who} {:.2} × runc ({} to {} ms)", item.name, median / runc, shown(median), shown(runc));
            }
        }
    }
}

fn cell(samples: &Samples, item: &Item, who: &str) -> String {
    let Some(cell) = samples.get(item.name, who) else { return " – |".to_owned() };
    let Some(median) = cell.median() else { return " failed |".to_owned() };
    let failed = if cell.failure.is_some() { ", then failed" } else { "" };
    match samples.ratios(item.name, who) {
        Some((median_ratio, least_ratio)) if who != "native" => {
            format!(" {} = {median_ratio:.2} × ({least_ratio:.2}){failed} |", shown(median))
        }
        _ => format!(" {}{failed} |", shown(median)),
    }
}

/// Writes everything to `bench.json`.
pub(super) fn keep(samples: &Samples, items: &[&Item], out: &Path) -> Result<()> {
    let mut rows = Map::new();
    for item in items {
        let mut row = Map::new();
        for who in &samples.names {
            let Some(cell) = samples.get(item.name, who) else { continue };
            let ratios = samples.ratios(item.name, who);
            let figures = json!({
                "median": cell.median(), "min": cell.least(), "samples": cell.values, "failure": cell.failure,
                "ratio_of_medians": ratios.map(|r| r.0), "ratio_of_mins": ratios.map(|r| r.1),
            });
            row.insert(who.clone(), figures);
        }
        if !row.is_empty() {
            rows.insert(item.name.to_owned(), json!({"unit": item.what.unit(), "results": Value::Object(row)}));
        }
    }
    let all = json!({"machine": machine(), "items": Value::Object(rows)});
    let path = out.join("bench.json");
    fs::write(&path, serde_json::to_string_pretty(&all)? + "\n").with_context(|| format!("write {}", path.display()))
}

/// Processor, number of CPUs, kernel and load.
pub(super) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ")).map_or("?", |(_, name)| name);
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let guest = if cpu.contains(" hypervisor") { " of a virtual machine" } else { "" };
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or("?");
    format!("{model}, {cpus} CPUs{guest}, Linux {}, load {load}", read("/proc/sys/kernel/osrelease").trim())
}
