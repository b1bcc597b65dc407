//! Cgroups of version 1: a hierarchy for each controller (kernel: `Documentation/admin-guide/cgroup-v1`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};
use serde::{Deserialize, Serialize};

use super::{huge_page, make_dirs, pids_max, write};

/// A directory in each hierarchy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cgroup {
    /// By controller.
    pub(super) dirs: BTreeMap<String, PathBuf>,
    /// Directories that were made for it, those above first.
    pub(super) made: Vec<PathBuf>,
}

impl Cgroup {
    pub(super) fn create(roots: &BTreeMap<String, PathBuf>, path: &str) -> Result<Cgroup> {
        let mut cgroup = Cgroup { dirs: BTreeMap::new(), made: Vec::new() };
        for (controller, root) in roots {
            let each = |dir: &Path| if controller == "cpuset" { inherit_cpuset(dir) } else { Ok(()) };
            match make_dirs(root, path, &mut cgroup.made, each) {
                Ok(dir) => drop(cgroup.dirs.insert(controller.clone(), dir)),
                Err(error) => {
                    super::Cgroup { place: super::Place::V1(cgroup), unit: None }.remove();
                    return Err(error);
                }
            }
        }
        Ok(cgroup)
    }

    /// One whose directories are its own, and made by others.
    pub(super) fn owned(dirs: BTreeMap<String, PathBuf>) -> Cgroup {
        Cgroup { made: dirs.values().cloned().collect(), dirs }
    }

    /// Makes the directories in hierarchies that systemd leaves alone.
    pub(super) fn make_missing(&self) -> Result<()> {
        for (controller, dir) in &self.dirs {
            let missing: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.is_dir()).collect();
            for dir in missing.into_iter().rev() {
                fs::create_dir(dir).with_context(|| format!("making the cgroup {}", dir.display()))?;
                if controller == "cpuset" {
                    inherit_cpuset(dir)?;
                }
            }
        }
        Ok(())
    }

    fn dir(&self, controller: &str) -> Result<&Path> {
        let dir = self.dirs.get(controller).map(PathBuf::as_path);
        dir.with_context(|| format!("limits of {controller} are asked for, and the host has no such cgroup mounted"))
    }

    pub(super) fn apply(&self, resources: &LinuxResources) -> Result<()> {
        if resources.unified().as_ref().is_some_and(|unified| !unified.is_empty()) {
            bail!("config.json: linux.resources.unified needs cgroups of version 2; this host has version 1");
        }
        if let Some(memory) = resources.memory() {
            self.apply_memory(memory)?;
        }
        if let Some(cpu) = resources.cpu() {
            self.apply_cpu(cpu)?;
        }
        if let Some(pids) = resources.pids().as_ref().filter(|pids| pids.limit() != 0) {
            write(self.dir("pids")?, "pids.max", pids_max(pids.limit()))?;
        }
        if let Some(io) = resources.block_io() {
            self.apply_io(io)?;
        }
        for limit in resources.hugepage_limits().iter().flatten() {
            let file = format!("hugetlb.{}.limit_in_bytes", huge_page(limit)?);
            write(self.dir("hugetlb")?, &file, limit.limit())?;
        }
        Ok(())
    }

    fn apply_memory(&self, memory: &LinuxMemory) -> Result<()> {
        let given = |value: Option<i64>| value.filter(|value| *value != 0);
        if let Some(limit) = given(memory.limit()) {
            let dir = self.dir("memory")?;
            // The sum with swap may never be below the limit of memory: which comes first depends on the direction.
            let sum = given(memory.swap()).filter(|_| dir.join("memory.memsw.limit_in_bytes").exists());
            match (write(dir, "memory.limit_in_bytes", limit), sum) {
                (Ok(()), Some(sum)) => write(dir, "memory.memsw.limit_in_bytes", sum)?,
                (Err(_), Some(sum)) => {
                    write(dir, "memory.memsw.limit_in_bytes", sum)?;
                    write(dir, "memory.limit_in_bytes", limit)?;
                }
                (result, None) => result?,
            }
        }
        if let Some(reservation) = given(memory.reservation()) {
            write(self.dir("memory")?, "memory.soft_limit_in_bytes", reservation)?;
        }
        if let Some(swappiness) = memory.swappiness().filter(|swappiness| *swappiness <= 100) {
            write(self.dir("memory")?, "memory.swappiness", swappiness)?;
        }
        if memory.disable_oom_killer() == Some(true) {
            write(self.dir("memory")?, "memory.oom_control", 1)?;
        }
        Ok(())
    }

    fn apply_cpu(&self, cpu: &LinuxCpu) -> Result<()> {
        if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
            write(self.dir("cpu")?, "cpu.shares", shares)?;
        }
        if let Some(period) = cpu.period().filter(|period| *period != 0) {
            write(self.dir("cpu")?, "cpu.cfs_period_us", period)?;
        }
        if let Some(quota) = cpu.quota().filter(|quota| *quota != 0) {
            write(self.dir("cpu")?, "cpu.cfs_quota_us", quota)?;
        }
        if let Some(burst) = cpu.burst().filter(|burst| *burst != 0) {
            write(self.dir("cpu")?, "cpu.cfs_burst_us", burst)?;
        }
        if let Some(period) = cpu.realtime_period().filter(|period| *period != 0) {
            write(self.dir("cpu")?, "cpu.rt_period_us", period)?;
        }
        if let Some(runtime) = cpu.realtime_runtime().filter(|runtime| *runtime != 0) {
            write(self.dir("cpu")?, "cpu.rt_runtime_us", runtime)?;
        }
        if let Some(idle) = cpu.idle().filter(|idle| *idle != 0) {
            write(self.dir("cpu")?, "cpu.idle", idle)?;
        }
        for (file, value) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                write(self.dir("cpuset")?, file, value)?;
            }
        }
        Ok(())
    }

    fn apply_io(&self, io: &LinuxBlockIo) -> Result<()> {
        if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
            let dir = self.dir("blkio")?;
            let file = if dir.join("blkio.weight").exists() { "blkio.weight" } else { "blkio.bfq.weight" };
            write(dir, file, weight)?;
        }
        let throttles: [(&str, &Option<Vec<LinuxThrottleDevice>>); 4] = [
            ("blkio.throttle.read_bps_device", io.throttle_read_bps_device()),
            ("blkio.throttle.write_bps_device", io.throttle_write_bps_device()),
            ("blkio.throttle.read_iops_device", io.throttle_read_iops_device()),
            ("blkio.throttle.write_iops_device", io.throttle_write_iops_device()),
        ];
        for (file, devices) in throttles {
            for device in devices.iter().flatten() {
                write(self.dir("blkio")?, file, format!("{}:{} {}", device.major(), device.minor(), device.rate()))?;
            }
        }
        Ok(())
    }
}

/// A new cpuset is empty, and takes no process before it has what the one above has.
fn inherit_cpuset(dir: &Path) -> Result<()> {
    let Some(above) = dir.parent() else { return Ok(()) };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let value =
            fs::read_to_string(above.join(file)).with_context(|| format!("reading {file} of {}", above.display()))?;
        write(dir, file, value.trim())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResourcesBuilder};

    use super::*;

    #[test]
    fn limits_become_the_files_of_their_controllers() {
        let dir = std::env::temp_dir().join(format!("runsc-cgroup-v1-{}", std::process::id()));
        let roots: BTreeMap<String, PathBuf> =
            ["memory", "pids"].iter().map(|name| ((*name).to_owned(), dir.join(name))).collect();
        roots.values().for_each(|root| fs::create_dir_all(root).unwrap());
        let cgroup = Cgroup::create(&roots, "a/b").unwrap();
        let memory = LinuxMemoryBuilder::default().limit(1 << 20).build().unwrap();
        let pids = LinuxPidsBuilder::default().limit(5_i64).build().unwrap();
        let resources = LinuxResourcesBuilder::default().memory(memory).pids(pids).build().unwrap();
        cgroup.apply(&resources).unwrap();
        assert_eq!(fs::read_to_string(dir.join("memory/a/b/memory.limit_in_bytes")).unwrap(), "1048576");
        assert_eq!(fs::read_to_string(dir.join("pids/a/b/pids.max")).unwrap(), "69");
        assert_eq!(cgroup.made.len(), 4);
        fs::remove_dir_all(dir).unwrap();
    }
}
