//! sysfs: processors, memory, network interfaces and the class directories that programs look into; and the root of a
//! cgroup2 hierarchy without controllers.
//!
//! What is not here is not served: a directory that exists and is empty (`/sys/block`) says that there are no such devices.

mod cache;
mod cgroup;
mod cpu;
mod net;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use abi::Errno;
use abi::types::Statfs;

use crate::synth::{Dir, Listed, Node, StaticDir, SynthFs};
use crate::{CachePolicy, FileSystem, InodeRef};

pub use cgroup::CgroupFs;
pub use net::{Interface, SysView};

/// `SYSFS_MAGIC`.
const MAGIC: i64 = 0x6265_6572;

/// What sysfs shows of the machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Processors of the sandbox, numbered from 0.
    pub cpus: u32,
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

impl SysFs {
    /// Shows a machine and the network interfaces of whoever looks.
    pub fn new(machine: &Machine, interfaces: Arc<dyn SysView>) -> SysFs {
        let mut dir = StaticDir::default();
        cpu::add(&mut dir, machine, Arc::clone(&interfaces));
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
