//! The root of a cgroup2 hierarchy: no controllers, no groups below, all processes in it.

use std::sync::Arc;

use abi::Errno;
use abi::types::Statfs;

use crate::proc::KernelView;
use crate::synth::{Node, StaticDir, SynthFs};
use crate::{CachePolicy, FileSystem, InodeRef};

/// `CGROUP2_SUPER_MAGIC`.
const MAGIC: i64 = 0x6367_7270;

/// The file system of `/sys/fs/cgroup`.
pub struct CgroupFs(SynthFs);

impl std::fmt::Debug for CgroupFs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CgroupFs")
    }
}

impl CgroupFs {
    /// Shows the processes of a kernel.
    pub fn new(view: Arc<dyn KernelView>) -> CgroupFs {
        let mut dir = StaticDir::default();
        dir.add("cgroup.controllers", super::line(""));
        dir.add("cgroup.subtree_control", super::line(""));
        dir.add("cgroup.max.depth", super::line("max"));
        dir.add("cgroup.max.descendants", super::line("max"));
        dir.add("cgroup.stat", super::line("nr_descendants 0\nnr_dying_descendants 0"));
        let procs = {
            let view = Arc::clone(&view);
            move || Ok(view.processes().iter().map(|pid| format!("{}\n", pid.0)).collect::<String>().into_bytes())
        };
        // Whoever is to move here is here already; that is all that can be asked for.
        let join = move |data: &[u8]| {
            let text = std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
            let pid: i32 = text.trim().parse().map_err(|_| Errno::EINVAL)?;
            let known = pid == 0 || view.process(abi::Pid(pid)).is_some();
            if known { Ok(()) } else { Err(Errno::ESRCH) }
        };
        dir.add("cgroup.procs", Node::file(0o644, procs).stored(join));
        CgroupFs(SynthFs::new("cgroup2", MAGIC, dir.into_node()))
    }
}

impl FileSystem for CgroupFs {
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

    fn show_options(&self) -> String {
        ",nsdelegate".to_owned()
    }
}
