//! The limits of memory that hold for the calling process, wherever it was put.

use std::fs::File;
use std::path::{Path, PathBuf};

use sentry_platform::{MemoryLimit, MemoryLimits};

use super::Host;

/// More nested limits than this are not looked at.
const MOST: usize = 4;

/// Opens the files that tell how much memory the process's cgroups leave it: of its own one always, since that may be
/// given a limit later, of those above if they have one. Where they can't be found there are none.
pub(crate) fn of_memory() -> MemoryLimits {
    let Ok(own) = std::fs::read_to_string("/proc/self/cgroup") else { return MemoryLimits::default() };
    let place = match Host::look() {
        Ok(Host::V1(roots)) => path(&own, "memory").and_then(|path| Some((roots.get("memory")?.clone(), path))),
        Ok(Host::V2(root)) => path(&own, "").map(|path| (root, path)),
        Err(_) => None,
    };
    let Some((root, path)) = place else { return MemoryLimits::default() };
    let mut limits = Vec::new();
    for (at, dir) in levels(&root, path).enumerate() {
        let Some((limit, limited)) = open(&dir) else { continue };
        if limits.len() < MOST && (at == 0 || limited) {
            limits.push(limit);
        }
    }
    limits.into()
}

/// Returns the path of the process in the hierarchy of a controller, by the text of its `/proc/self/cgroup`
/// (`man 7 cgroups`). The empty name means version 2.
fn path<'a>(own: &'a str, controller: &str) -> Option<&'a str> {
    own.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|name| name == controller).then_some(path)
    })
}

/// The directories from the innermost up, without the root, which has no limit.
fn levels(root: &Path, path: &str) -> impl Iterator<Item = PathBuf> {
    let own = root.join(path.trim_start_matches('/'));
    let depth = path.split('/').filter(|part| !part.is_empty()).count();
    own.ancestors().take(depth).map(Path::to_owned).collect::<Vec<_>>().into_iter()
}

/// Opens one cgroup's files, and tells whether it has a limit now.
fn open(dir: &Path) -> Option<(MemoryLimit, bool)> {
    /// Version 1 has this, less what is short of a page, where there is no limit.
    const NO_LIMIT: u64 = i64::MAX as u64 - 0xffff;
    let names = [("memory.usage_in_bytes", "memory.limit_in_bytes"), ("memory.current", "memory.max")];
    names.into_iter().find_map(|(used, most)| {
        let (used, most) = (File::open(dir.join(used)).ok()?, File::open(dir.join(most)).ok()?);
        let limit = std::io::read_to_string(&most).ok()?.trim().parse::<u64>();
        let limited = limit.is_ok_and(|limit| limit < NO_LIMIT);
        Some((MemoryLimit { used: used.into(), most: most.into() }, limited))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_process_is_found_by_controller() {
        let v1 = "9:memory:/docker/abc\n3:cpu,cpuacct:/other\n0::/unified\n";
        assert_eq!(path(v1, "memory"), Some("/docker/abc"));
        assert_eq!(path(v1, "cpuacct"), Some("/other"));
        assert_eq!(path("0::/system.slice/a:b.scope\n", ""), Some("/system.slice/a:b.scope"));
        assert_eq!(path("0::/a\n", "memory"), None);
    }

    #[test]
    fn levels_end_below_the_root() {
        let of = |path| levels(Path::new("/sys/fs/cgroup"), path).collect::<Vec<_>>();
        assert_eq!(of("/a/b"), [PathBuf::from("/sys/fs/cgroup/a/b"), "/sys/fs/cgroup/a".into()]);
        assert!(of("/").is_empty());
    }
}
