//! Figures of cgroups, in the form of runc's `events`.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{v1, v2};

/// Reads a file that holds one number; "max" and what isn't there count as 0.
fn number(dir: Option<&std::path::PathBuf>, name: &str) -> u64 {
    let text = dir.and_then(|dir| fs::read_to_string(dir.join(name)).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Reads the numbers of a file of lines "key number".
fn table(path: &Path) -> Map<String, Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), json!(value.trim().parse::<u64>().ok()?)))
    });
    pairs.collect()
}

/// Reads one number of such a file.
pub(super) fn keyed(path: &Path, key: &str) -> u64 {
    table(path).get(key).and_then(Value::as_u64).unwrap_or(0)
}

fn with_memory(usage: Value, cache: u64, swap: Value, raw: Map<String, Value>) -> Value {
    json!({ "cache": cache, "usage": usage, "swap": swap, "kernel": {}, "kernelTCP": {}, "raw": raw })
}

pub(super) fn v1(cgroup: &v1::Cgroup) -> Value {
    let dir = |controller: &str| cgroup.dirs.get(controller);
    let usage = |prefix: &str| {
        let value = |name: &str| number(dir("memory"), &format!("{prefix}.{name}"));
        json!({
            "limit": value("limit_in_bytes"),
            "usage": value("usage_in_bytes"),
            "max": value("max_usage_in_bytes"),
            "failcnt": value("failcnt"),
        })
    };
    let each = dir("cpuacct").and_then(|dir| fs::read_to_string(dir.join("cpuacct.usage_percpu")).ok());
    let each: Vec<u64> = each.unwrap_or_default().split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let throttling = dir("cpu").map(|dir| table(&dir.join("cpu.stat"))).unwrap_or_default();
    let throttled = |key: &str| throttling.get(key).and_then(Value::as_u64).unwrap_or(0);
    let raw = dir("memory").map(|dir| table(&dir.join("memory.stat"))).unwrap_or_default();
    let cache = raw.get("cache").and_then(Value::as_u64).unwrap_or(0);
    json!({
        "cpu": {
            "usage": {
                "total": number(dir("cpuacct"), "cpuacct.usage"),
                "percpu": each,
                "kernel": number(dir("cpuacct"), "cpuacct.usage_sys"),
                "user": number(dir("cpuacct"), "cpuacct.usage_user"),
            },
            "throttling": {
                "periods": throttled("nr_periods"),
                "throttledPeriods": throttled("nr_throttled"),
                "throttledTime": throttled("throttled_time"),
            },
        },
        "memory": with_memory(usage("memory"), cache, usage("memory.memsw"), raw),
        "pids": { "current": number(dir("pids"), "pids.current"), "limit": number(dir("pids"), "pids.max") },
        "blkio": {},
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": null,
    })
}

pub(super) fn v2(cgroup: &v2::Cgroup) -> Value {
    let dir = Some(&cgroup.dir);
    let cpu = table(&cgroup.dir.join("cpu.stat"));
    let nanoseconds = |key: &str| cpu.get(key).and_then(Value::as_u64).unwrap_or(0).saturating_mul(1000);
    let count = |key: &str| cpu.get(key).and_then(Value::as_u64).unwrap_or(0);
    let raw = table(&cgroup.dir.join("memory.stat"));
    let cache = raw.get("file").and_then(Value::as_u64).unwrap_or(0);
    let usage = |name: &str| {
        json!({
            "limit": number(dir, &format!("{name}.max")),
            "usage": number(dir, &format!("{name}.current")),
            "max": number(dir, &format!("{name}.peak")),
            "failcnt": 0,
        })
    };
    json!({
        "cpu": {
            "usage": {
                "total": nanoseconds("usage_usec"),
                "kernel": nanoseconds("system_usec"),
                "user": nanoseconds("user_usec"),
            },
            "throttling": {
                "periods": count("nr_periods"),
                "throttledPeriods": count("nr_throttled"),
                "throttledTime": nanoseconds("throttled_usec"),
            },
        },
        "memory": with_memory(usage("memory"), cache, usage("memory.swap"), raw),
        "pids": { "current": number(dir, "pids.current"), "limit": number(dir, "pids.max") },
        "blkio": {},
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": null,
    })
}
