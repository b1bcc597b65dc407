//! sysfs: processors, memory, network interfaces and the class directories that programs look into; and the root of a
//! cgroup2 hierarchy without controllers.
//!
//! What is not here is not served: a directory that exists and is empty (`/sys/block`) says that there are no such devices.

mod cgroup;
mod net;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use abi::Errno;
use abi::types::Statfs;

use crate::proc::mask_list;
use crate::synth::{Dir, Listed, Node, StaticDir, SynthFs};
use crate::{CachePolicy, FileSystem, InodeRef};

pub use cgroup::CgroupFs;
pub use net::{Interface, InterfaceView};

/// `SYSFS_MAGIC`.
const MAGIC: i64 = 0x6265_6572;

/// What sysfs shows of the machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Processors of the sandbox, numbered from 0.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// The host's `/sys/kernel/mm/transparent_hugepage/enabled`, which holds for guests too, since their memory is the
    /// host's; for example `"always [madvise] never"`.
    pub huge_pages: String,
}

/// The file system of `/sys`.
pub struct SysFs(SynthFs);

impl std::fmt::Debug for SysFs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SysFs")
    }
}

struct Empty;

impl Dir for Empty {
    fn lookup(&self, _name: &[u8]) -> Result<Node, Errno> {
        Err(Errno::ENOENT)
    }

    fn list(&self, _from: u64) -> Result<Vec<Listed>, Errno> {
        Ok(Vec::new())
    }
}

fn line(text: impl std::fmt::Display) -> Node {
    Node::fixed(0o444, format!("{text}\n"))
}

/// The bits of processors 0 to `cpus`.
fn words(cpus: u32) -> Vec<u64> {
    let bits = |at: u32| match cpus.saturating_sub(at * 64) {
        0 => 0,
        left @ 1..64 => (1 << left) - 1,
        _ => u64::MAX,
    };
    (0..cpus.div_ceil(64).max(1)).map(bits).collect()
}

fn add_cpus(dir: &mut StaticDir, cpus: u32) {
    let all = mask_list(&words(cpus));
    let base = "devices/system/cpu";
    for name in ["online", "possible", "present"] {
        dir.add(&format!("{base}/{name}"), line(&all));
    }
    for name in ["offline", "isolated"] {
        dir.add(&format!("{base}/{name}"), line(""));
    }
    dir.add(&format!("{base}/kernel_max"), line(8191));
    for cpu in 0..cpus {
        let topology = format!("{base}/cpu{cpu}/topology");
        for (name, text) in [
            ("core_id", cpu.to_string()),
            ("physical_package_id", "0".to_owned()),
            ("die_id", "0".to_owned()),
            ("core_cpus_list", cpu.to_string()),
            ("thread_siblings_list", cpu.to_string()),
            ("core_siblings_list", all.clone()),
            ("package_cpus_list", all.clone()),
        ] {
            dir.add(&format!("{topology}/{name}"), line(text));
        }
        if cpu > 0 {
            dir.add(&format!("{base}/cpu{cpu}/online"), line(1));
        }
    }
    dir.add("devices/system/node/online", line(0));
    dir.add("devices/system/node/possible", line(0));
    dir.add("devices/system/node/has_cpu", line(0));
    dir.add("devices/system/node/has_memory", line(0));
    dir.add("devices/system/node/node0/cpulist", line(&all));
    dir.add("devices/system/node/node0/distance", line(10));
}

impl SysFs {
    /// Shows a machine and the network interfaces of whoever looks.
    pub fn new(machine: &Machine, interfaces: Arc<dyn InterfaceView>) -> SysFs {
        let mut dir = StaticDir::default();
        add_cpus(&mut dir, machine.cpus);
        let node = format!("Node 0 MemTotal:       {:>8} kB", machine.memory / 1024);
        dir.add("devices/system/node/node0/meminfo", line(node));
        for path in [
            "block",
            "bus",
            "class/block",
            "class/dmi",
            "class/drm",
            "class/hwmon",
            "class/power_supply",
            "class/thermal",
            "class/tty",
            "dev/block",
            "dev/char",
            "devices/virtual/block",
            "firmware",
            "fs/cgroup",
            "fs/fuse/connections",
            "kernel/debug",
            "kernel/security",
            "kernel/tracing",
            "module",
            "power",
        ] {
            dir.add(path, Node::dir(0o755, Empty));
        }
        let huge = "kernel/mm/transparent_hugepage";
        dir.add(&format!("{huge}/enabled"), line(&machine.huge_pages));
        dir.add(&format!("{huge}/defrag"), line("always defer defer+madvise [madvise] never"));
        dir.add(&format!("{huge}/shmem_enabled"), line("always within_size advise [never] deny force"));
        dir.add(&format!("{huge}/hpage_pmd_size"), line(2 << 20));
        dir.add("kernel/cpu_byteorder", line("little"));
        dir.add("kernel/address_bits", line(64));
        dir.add("class/net", Node::dir(0o755, net::Links(Arc::clone(&interfaces))));
        dir.add("devices/virtual/net", Node::dir(0o755, net::Devices(interfaces)));
        SysFs(SynthFs::new("sysfs", MAGIC, dir.into_node()))
    }
}

impl FileSystem for SysFs {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn root(&self) -> InodeRef {
        self.0.root()
    }

    fn statfs(&self) -> Result<Statfs, Errno> {
        self.0.statfs()
    }

    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Never
    }
}
