//! Figures of cgroups, in the form of runc's `events`.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{v1, v2};

/// Reads a file that holds one number. "max" counts as the largest, what isn't there as 0.
fn number(dir: Option<&Path>, name: &str) -> u64 {
    let text = dir.and_then(|dir| fs::read_to_string(dir.join(name)).ok()).unwrap_or_default();
    match text.trim() {
        "max" => u64::MAX,
        text => text.parse().unwrap_or(0),
    }
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

/// A limit of processes; none is 0.
fn pids(dir: Option<&Path>) -> Value {
    let limit = number(dir, "pids.max");
    json!({ "current": number(dir, "pids.current"), "limit": if limit == u64::MAX { 0 } else { limit } })
}

pub(super) fn v1(cgroup: &v1::Cgroup) -> Value {
    let dir = |controller: &str| cgroup.dirs.get(controller).map(std::path::PathBuf::as_path);
    let usage = |prefix: &str| {
        let value = |name: &str| number(dir("memory"), &format!("{prefix}.{name}"));
        json!({
            "limit": value("limit_in_bytes"),
            "usage": value("usage_in_bytes"),
            "max": value("max_usage_in_bytes"),
            "failcnt": value("failcnt"),
        })
    };
    let throttling = dir("cpu").map(|dir| table(&dir.join("cpu.stat"))).unwrap_or_default();
    let throttled = |key: &str| throttling.get(key).and_then(Value::as_u64).unwrap_or(0);
    let raw = dir("memory").map(|dir| table(&dir.join("memory.stat"))).unwrap_or_default();
    let [total, user, kernel] = each_processor(dir("cpuacct"));
    json!({
        "cpu": {
            "usage": {
                "total": number(dir("cpuacct"), "cpuacct.usage"),
                "percpu": total,
                "percpu_kernel": kernel,
                "percpu_user": user,
                "kernel": number(dir("cpuacct"), "cpuacct.usage_sys"),
                "user": number(dir("cpuacct"), "cpuacct.usage_user"),
            },
            "throttling": {
                "periods": throttled("nr_periods"),
                "throttledPeriods": throttled("nr_throttled"),
                "throttledTime": throttled("throttled_time"),
            },
        },
        "cpuset": cpuset(dir("cpuset")),
        "memory": {
            "cache": raw.get("cache").and_then(Value::as_u64).unwrap_or(0),
            "usage": usage("memory"),
            "swap": usage("memory.memsw"),
            "kernel": usage("memory.kmem"),
            "kernelTCP": usage("memory.kmem.tcp"),
            "raw": raw,
        },
        "pids": pids(dir("pids")),
        "blkio": block_v1(dir("blkio")),
        "hugetlb": huge_pages(dir("hugetlb"), "usage_in_bytes", "max_usage_in_bytes"),
        "intel_rdt": {},
        "network_interfaces": null,
    })
}

/// Nanoseconds of each processor: all, of programs, of the kernel.
fn each_processor(dir: Option<&Path>) -> [Vec<u64>; 3] {
    let read = |name: &str| dir.and_then(|dir| fs::read_to_string(dir.join(name)).ok()).unwrap_or_default();
    let total = read("cpuacct.usage_percpu").split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // A line of headings, then number, user and system for each.
    let (mut user, mut kernel) = (Vec::new(), Vec::new());
    for line in read("cpuacct.usage_all").lines().skip(1) {
        let mut words = line.split_whitespace().skip(1).map(|word| word.parse().unwrap_or(0));
        user.push(words.next().unwrap_or(0));
        kernel.push(words.next().unwrap_or(0));
    }
    [total, user, kernel]
}

fn cpuset(dir: Option<&Path>) -> Value {
    let list = |name: &str| -> Vec<u64> {
        let text = dir.and_then(|dir| fs::read_to_string(dir.join(name)).ok()).unwrap_or_default();
        let ranges = text.trim().split(',').filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(first.parse::<u64>().ok()?..=last.parse().ok()?)
        });
        ranges.flatten().collect()
    };
    let level = dir.and_then(|dir| fs::read_to_string(dir.join("cpuset.sched_relax_domain_level")).ok());
    let flag = |name: &str| number(dir, &format!("cpuset.{name}"));
    json!({
        "cpus": list("cpuset.cpus"),
        "cpu_exclusive": flag("cpu_exclusive"),
        "mems": list("cpuset.mems"),
        "mem_hardwall": flag("mem_hardwall"),
        "mem_exclusive": flag("mem_exclusive"),
        "memory_migrate": flag("memory_migrate"),
        "memory_spread_page": flag("memory_spread_page"),
        "memory_spread_slab": flag("memory_spread_slab"),
        "memory_pressure": flag("memory_pressure"),
        "sched_load_balance": flag("sched_load_balance"),
        "sched_relax_domain_level": level.and_then(|text| text.trim().parse::<i64>().ok()).unwrap_or(0),
    })
}

/// What devices have moved: lines "MAJOR:MINOR OPERATION NUMBER".
fn block_v1(dir: Option<&Path>) -> Value {
    let entries = |name: &str| -> Vec<Value> {
        let text = dir.and_then(|dir| fs::read_to_string(dir.join(name)).ok()).unwrap_or_default();
        let lines = text.lines().filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let &[device, operation, value] = words.as_slice() else { return None };
            entry(device, operation, value)
        });
        lines.collect()
    };
    json!({
        "ioServiceBytesRecursive": entries("blkio.throttle.io_service_bytes_recursive"),
        "ioServicedRecursive": entries("blkio.throttle.io_serviced_recursive"),
    })
}

fn entry(device: &str, operation: &str, value: &str) -> Option<Value> {
    let (major, minor) = device.split_once(':')?;
    let (major, minor): (u64, u64) = (major.parse().ok()?, minor.parse().ok()?);
    Some(json!({ "major": major, "minor": minor, "op": operation, "value": value.parse::<u64>().ok()? }))
}

/// Figures of each size of huge pages, as the files' names have them.
fn huge_pages(dir: Option<&Path>, usage: &str, most: &str) -> Value {
    let names = dir.and_then(|dir| fs::read_dir(dir).ok()).into_iter().flatten();
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let sizes = names.filter_map(|name| {
        let size = name.strip_prefix("hugetlb.")?.strip_suffix(usage)?.strip_suffix('.')?;
        // "rsvd" counts what is set aside.
        (!size.contains('.')).then(|| size.to_owned())
    });
    let figures = sizes.map(|size| {
        let value = |name: &str| number(dir, &format!("hugetlb.{size}.{name}"));
        let figures = json!({ "usage": value(usage), "max": value(most), "failcnt": value("failcnt") });
        (size, figures)
    });
    Value::Object(figures.collect())
}

pub(super) fn v2(cgroup: &v2::Cgroup) -> Value {
    let dir = Some(cgroup.dir.as_path());
    let cpu = table(&cgroup.dir.join("cpu.stat"));
    let count = |key: &str| cpu.get(key).and_then(Value::as_u64).unwrap_or(0);
    let nanoseconds = |key: &str| count(key).saturating_mul(1000);
    let raw = table(&cgroup.dir.join("memory.stat"));
    let refused = keyed(&cgroup.dir.join("memory.events"), "max");
    let memory = ["max", "current", "peak"].map(|name| number(dir, &format!("memory.{name}")));
    // As version 1 counts: memory and swap together.
    let swap = ["max", "current", "peak"].map(|name| number(dir, &format!("memory.swap.{name}")));
    let sum = |at: usize| memory[at].saturating_add(swap[at]);
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
        "cpuset": {},
        "memory": {
            "cache": raw.get("file").and_then(Value::as_u64).unwrap_or(0),
            "usage": { "limit": memory[0], "usage": memory[1], "max": memory[2], "failcnt": refused },
            "swap": { "limit": sum(0), "usage": sum(1), "max": sum(2), "failcnt": 0 },
            "kernel": { "failcnt": 0, "limit": 0 },
            "kernelTCP": { "failcnt": 0, "limit": 0 },
            "raw": raw,
        },
        "pids": pids(dir),
        "blkio": block_v2(&cgroup.dir),
        "hugetlb": huge_pages(dir, "current", "max"),
        "intel_rdt": {},
        "network_interfaces": null,
    })
}

/// What devices have moved: lines "MAJOR:MINOR key=NUMBER …".
fn block_v2(dir: &Path) -> Value {
    let text = fs::read_to_string(dir.join("io.stat")).unwrap_or_default();
    let entries = |keys: [(&str, &str); 3]| -> Vec<Value> {
        let of_line = |line: &str| -> Vec<Value> {
            let mut words = line.split_whitespace();
            let device = words.next().unwrap_or_default();
            let values = words.filter_map(|word| {
                let (key, value) = word.split_once('=')?;
                let (_, operation) = keys.iter().find(|(known, _)| *known == key)?;
                entry(device, operation, value)
            });
            values.collect()
        };
        text.lines().flat_map(of_line).collect()
    };
    json!({
        "ioServiceBytesRecursive": entries([("rbytes", "Read"), ("wbytes", "Write"), ("dbytes", "Discard")]),
        "ioServicedRecursive": entries([("rios", "Read"), ("wios", "Write"), ("dios", "Discard")]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_huge_pages_are_found_in_their_files() {
        let dir = std::env::temp_dir().join(format!("runsc-stats-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("make a directory");
        let files = [
            ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n"),
            ("hugetlb.2MB.current", "4096\n"),
            ("hugetlb.2MB.rsvd.current", "9\n"),
            ("hugetlb.2MB.max", "max\n"),
            ("blkio.throttle.io_serviced_recursive", "8:16 Read 5\n8:16 Total 5\nTotal 5\n"),
            ("pids.current", "3\n"),
            ("pids.max", "max\n"),
        ];
        files.iter().for_each(|(name, text)| fs::write(dir.join(name), text).expect("write"));
        let read = json!({ "major": 8, "minor": 0, "op": "Read", "value": 1 });
        assert_eq!(block_v2(&dir)["ioServiceBytesRecursive"][0], read);
        assert_eq!(block_v1(Some(&dir))["ioServicedRecursive"].as_array().map(Vec::len), Some(2));
        let pages = huge_pages(Some(&dir), "current", "max");
        assert_eq!(pages, json!({ "2MB": { "usage": 4096, "max": u64::MAX, "failcnt": 0 } }));
        assert_eq!(pids(Some(&dir)), json!({ "current": 3, "limit": 0 }));
        fs::remove_dir_all(dir).expect("remove");
    }
}
