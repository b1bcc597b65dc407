//! Cgroups of version 2: one hierarchy (kernel: `Documentation/admin-guide/cgroup-v2.rst`).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};
use serde::{Deserialize, Serialize};

use super::{huge_page, make_dirs, pids_max, write};

/// Controllers that are turned on for a sandbox.
const CONTROLLERS: &[&str] = &["cpuset", "cpu", "hugetlb", "io", "memory", "pids"];

/// A directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cgroup {
    pub(super) dir: PathBuf,
    /// Directories that were made for it, those above first.
    pub(super) made: Vec<PathBuf>,
}

impl Cgroup {
    pub(super) fn create(root: &Path, path: &str) -> Result<Cgroup> {
        let mut made = Vec::new();
        // Each directory offers what the one above has turned on.
        let mut above = root.to_owned();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            turn_on(&above);
            above.push(part);
            if !above.is_dir() {
                make_dirs(root, above.strip_prefix(root)?.to_str().unwrap_or(path), &mut made, |_| Ok(()))?;
            }
        }
        Ok(Cgroup { dir: above, made })
    }

    /// One whose directory is its own, and made by others.
    pub(super) fn owned(dir: PathBuf) -> Cgroup {
        Cgroup { made: vec![dir.clone()], dir }
    }

    /// Has the directories above offer what limits need.
    pub(super) fn turn_on_above(&self) {
        let above: Vec<&Path> =
            self.dir.ancestors().skip(1).take_while(|dir| dir.join("cgroup.procs").exists()).collect();
        above.into_iter().rev().for_each(turn_on);
    }

    pub(super) fn apply(&self, resources: &LinuxResources) -> Result<()> {
        if let Some(memory) = resources.memory() {
            self.apply_memory(memory)?;
        }
        if let Some(cpu) = resources.cpu() {
            self.apply_cpu(cpu)?;
        }
        if let Some(pids) = resources.pids().as_ref().filter(|pids| pids.limit() != 0) {
            write(&self.dir, "pids.max", pids_max(pids.limit()))?;
        }
        if let Some(io) = resources.block_io() {
            self.apply_io(io)?;
        }
        for limit in resources.hugepage_limits().iter().flatten() {
            write(&self.dir, &format!("hugetlb.{}.max", huge_page(limit)?), limit.limit())?;
        }
        for (file, value) in resources.unified().iter().flatten() {
            let proper = !file.contains('/') && file.contains('.') && !file.starts_with("cgroup.");
            ensure!(proper, "config.json: linux.resources.unified has {file:?}, which is no limit");
            write(&self.dir, file, value)?;
        }
        Ok(())
    }

    fn apply_memory(&self, memory: &LinuxMemory) -> Result<()> {
        let given = |value: Option<i64>| value.filter(|value| *value != 0);
        if let Some(limit) = given(memory.limit()) {
            write(&self.dir, "memory.max", amount(limit))?;
        }
        if let Some(sum) = given(memory.swap()) {
            // There the limit is of memory and swap together.
            let swap = if sum < 0 { sum } else { sum.saturating_sub(memory.limit().unwrap_or(0)).max(0) };
            let file = "memory.swap.max";
            if self.dir.join(file).exists() {
                write(&self.dir, file, amount(swap))?;
            }
        }
        if let Some(reservation) = given(memory.reservation()) {
            write(&self.dir, "memory.low", amount(reservation))?;
        }
        Ok(())
    }

    fn apply_cpu(&self, cpu: &LinuxCpu) -> Result<()> {
        if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
            write(&self.dir, "cpu.weight", weight(shares))?;
        }
        let (quota, period) = (cpu.quota().unwrap_or(0), cpu.period().unwrap_or(0));
        if quota != 0 || period != 0 {
            let quota = if quota > 0 { quota.to_string() } else { "max".to_owned() };
            write(&self.dir, "cpu.max", format!("{quota} {}", if period == 0 { 100_000 } else { period }))?;
        }
        if let Some(burst) = cpu.burst().filter(|burst| *burst != 0) {
            write(&self.dir, "cpu.max.burst", burst)?;
        }
        if let Some(idle) = cpu.idle().filter(|idle| *idle != 0) {
            write(&self.dir, "cpu.idle", idle)?;
        }
        for (file, value) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                write(&self.dir, file, value)?;
            }
        }
        Ok(())
    }

    fn apply_io(&self, io: &LinuxBlockIo) -> Result<()> {
        if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
            if self.dir.join("io.bfq.weight").exists() {
                write(&self.dir, "io.bfq.weight", weight)?;
            } else {
                // From 10 … 1000 to 1 … 10000.
                write(&self.dir, "io.weight", 1 + (u64::from(weight).max(10) - 10) * 9999 / 990)?;
            }
        }
        let throttles = [
            ("rbps", io.throttle_read_bps_device()),
            ("wbps", io.throttle_write_bps_device()),
            ("riops", io.throttle_read_iops_device()),
            ("wiops", io.throttle_write_iops_device()),
        ];
        for (key, devices) in throttles {
            for device in devices.iter().flatten() {
                write(&self.dir, "io.max", format!("{}:{} {key}={}", device.major(), device.minor(), device.rate()))?;
            }
        }
        Ok(())
    }
}

/// Offers the controllers to the directories below. Where one can't be, its limits can't be set either, and say so.
fn turn_on(dir: &Path) {
    for controller in CONTROLLERS {
        if let Err(error) = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}")) {
            tracing::debug!(controller, dir = %dir.display(), %error, "can't turn on a controller");
        }
    }
}

fn amount(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

/// Turns shares (2 … 262144) into a weight (1 … 10000), as runc does.
pub(super) fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{LinuxCpuBuilder, LinuxMemoryBuilder, LinuxResourcesBuilder};

    use super::*;

    #[test]
    fn limits_become_files() {
        let root = std::env::temp_dir().join(format!("runsc-cgroup-v2-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let cgroup = Cgroup::create(&root, "a/b").unwrap();
        let memory = LinuxMemoryBuilder::default().limit(4096).swap(-1).build().unwrap();
        let cpu = LinuxCpuBuilder::default().quota(50_000).shares(1024_u64).build().unwrap();
        let mut resources = LinuxResourcesBuilder::default().memory(memory).cpu(cpu).build().unwrap();
        cgroup.apply(&resources).unwrap();
        let read = |file: &str| fs::read_to_string(root.join("a/b").join(file)).unwrap();
        assert_eq!((read("memory.max").as_str(), read("cpu.max").as_str()), ("4096", "50000 100000"));
        assert_eq!(read("cpu.weight"), "39");
        resources.set_unified(Some([("../x.y".to_owned(), "1".to_owned())].into()));
        assert!(cgroup.apply(&resources).is_err());
        fs::remove_dir_all(root).unwrap();
    }
}
