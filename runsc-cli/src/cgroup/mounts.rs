//! Where the host's cgroup hierarchies are mounted.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// The mounted hierarchies.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Mounts {
    /// Directory of each controller of version 1; `name=systemd` counts as one.
    pub(super) v1: BTreeMap<String, PathBuf>,
    /// Directory of version 2.
    pub(super) v2: Option<PathBuf>,
}

/// Controllers of version 1 in which a sandbox has a place.
const V1: &[&str] = &[
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "name=systemd",
    "perf_event",
    "pids",
];

/// Reads `/proc/self/mountinfo`.
pub(super) fn read() -> io::Result<Mounts> {
    Ok(parse(&std::fs::read_to_string("/proc/self/mountinfo")?))
}

fn parse(text: &str) -> Mounts {
    let mut mounts = Mounts::default();
    for line in text.lines() {
        // Fields before the dash vary in number (`man 5 proc_pid_mountinfo`).
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let Some(place) = before.split(' ').nth(4) else { continue };
        let mut after = after.split(' ');
        let (kind, options) = (after.next().unwrap_or_default(), after.nth(1).unwrap_or_default());
        match kind {
            "cgroup2" => mounts.v2 = mounts.v2.or_else(|| Some(place.into())),
            "cgroup" => {
                for option in options.split(',').filter(|option| V1.contains(option)) {
                    mounts.v1.entry(option.to_owned()).or_insert_with(|| place.into());
                }
            }
            _ => {}
        }
    }
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found() {
        let text = "\
24 20 0:21 / /sys/fs/cgroup rw - tmpfs tmpfs rw
25 24 0:22 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:1 - cgroup cgroup rw,cpu,cpuacct
26 24 0:23 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
27 24 0:24 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";
        let mounts = parse(text);
        assert_eq!(mounts.v2, Some("/sys/fs/cgroup/unified".into()));
        let names: Vec<&str> = mounts.v1.keys().map(String::as_str).collect();
        assert_eq!(names, ["cpu", "cpuacct", "name=systemd"]);
        assert_eq!(mounts.v1["cpuacct"], PathBuf::from("/sys/fs/cgroup/cpu,cpuacct"));
    }
}
