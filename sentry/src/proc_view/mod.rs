//! What `/proc`, `/sys` and cgroupfs show of this kernel: [`KernelProc`] implements the traits of `sentry_fs::proc`.
//!
//! Looks only, and takes each lock for a moment. Figures that only the host knows per process (resident memory) are
//! estimated from the books and said to be so where they are made.

pub(crate) mod description;
mod links;
mod memory;
mod task;

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use abi::{Errno, Pid};
use sentry_fs::proc::source::{CpuTimes, KernelView, LoadInfo, MemoryInfo, SystemCounts, TaskView, UtsInfo};
use sentry_fs::proc::system;
use sentry_fs::sys::{Interface, SysView};

use crate::Kernel;
use crate::kernel::{RELEASE, VERSION};
use crate::ns::{UtsNames, UtsNamespace};
use crate::task::{Caps, served};
use task::ProcTask;

/// Longest host or domain name (`__NEW_UTS_LEN`).
const NAME_MAX: usize = 64;

/// A kernel as `/proc` sees it.
pub struct KernelProc {
    kernel: Weak<Kernel>,
    booted: Instant,
    boot_time: u64,
    cpus: usize,
    cpuinfo: Vec<u8>,
}

impl KernelProc {
    /// Wraps a kernel that has just been made. `host_cpuinfo` is the host's `/proc/cpuinfo`, which the confined sentry
    /// can't read any more.
    pub fn new(kernel: &Arc<Kernel>, host_cpuinfo: &str) -> Arc<KernelProc> {
        let cpus = crate::kernel::cpus();
        // Guests see the host's clocks, so the boot that they count from is the host's.
        let up = crate::time::monotonic().duration().unwrap_or_default();
        let now = Instant::now();
        let booted = crate::time::realtime().sec.saturating_sub(i64::try_from(up.as_secs()).unwrap_or(0));
        Arc::new(KernelProc {
            kernel: Arc::downgrade(kernel),
            booted: now.checked_sub(up).unwrap_or(now),
            boot_time: u64::try_from(booted).unwrap_or(0),
            cpus,
            cpuinfo: system::cpuinfo(host_cpuinfo, cpus),
        })
    }

    /// Returns the number of processors that guests see.
    pub fn cpus(&self) -> u32 {
        u32::try_from(self.cpus).unwrap_or(1)
    }

    fn view(&self, kernel: &Arc<Kernel>, pid: Pid) -> Option<ProcTask> {
        let table = kernel.tasks.read();
        let entry = table.process_of(pid)?;
        if let Some(thread) = entry.threads.get(&pid).filter(|thread| !thread.is_leader()) {
            let thread = Some(Arc::clone(thread));
            return Some(ProcTask::new(kernel, self.booted, self.cpus(), &entry.process, thread).by_thread());
        }
        let leader = entry.threads.get(&entry.process.pid).or_else(|| entry.threads.values().next());
        Some(ProcTask::new(kernel, self.booted, self.cpus(), &entry.process, leader.cloned()))
    }

    /// Returns the names that the caller sees.
    fn names(&self) -> Option<Arc<UtsNamespace>> {
        match served() {
            Some(task) => Some(task.uts.load_full()),
            None => Some(Arc::clone(&self.kernel.upgrade()?.uts)),
        }
    }

    /// Tells whether the caller may change the system's names.
    fn check_admin(&self) -> Result<(), Errno> {
        match served() {
            Some(task) if !task.cred.load().has(Caps::SYS_ADMIN) => Err(Errno::EPERM),
            _ => Ok(()),
        }
    }

    fn set_name(&self, name: &[u8], set: impl FnOnce(&mut UtsNames, Vec<u8>)) -> Result<(), Errno> {
        self.check_admin()?;
        if name.len() > NAME_MAX {
            return Err(Errno::EINVAL);
        }
        let names = self.names().ok_or(Errno::ESRCH)?;
        set(&mut names.lock(), name.to_vec());
        Ok(())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl KernelView for KernelProc {
    fn caller(&self) -> Option<(Pid, Pid)> {
        served().map(|task| (task.process.pid, task.tid))
    }

    fn processes(&self) -> Vec<Pid> {
        self.kernel.upgrade().map_or(Vec::new(), |kernel| kernel.tasks.read().processes.keys().copied().collect())
    }

    fn process(&self, pid: Pid) -> Option<Arc<dyn TaskView>> {
        Some(Arc::new(self.view(&self.kernel.upgrade()?, pid)?))
    }

    fn thread(&self, process: Pid, thread: Pid) -> Option<Arc<dyn TaskView>> {
        let kernel = self.kernel.upgrade()?;
        let task = kernel.tasks.read().processes.get(&process)?.threads.get(&thread).cloned();
        let task = match task {
            Some(task) => task,
            // The one thread of a zombie.
            None if process == thread => return self.process(process),
            None => return None,
        };
        let process = Arc::clone(&task.process);
        Some(Arc::new(ProcTask::new(&kernel, self.booted, self.cpus(), &process, Some(task)).of_thread()))
    }

    fn memory(&self) -> MemoryInfo {
        let host = rustix::system::sysinfo();
        let bytes = |count: u64| count.saturating_mul(u64::from(host.mem_unit.max(1)));
        let (total, free, buffers) = (bytes(host.totalram), bytes(host.freeram), bytes(host.bufferram));
        MemoryInfo {
            total,
            free,
            available: free.saturating_add(buffers).min(total),
            buffers,
            shmem: bytes(host.sharedram),
            ..MemoryInfo::default()
        }
    }

    fn load(&self) -> LoadInfo {
        let (mut running, mut total, mut last_pid) = (0, 0, 0);
        if let Some(kernel) = self.kernel.upgrade() {
            let table = kernel.tasks.read();
            total = table.tasks.len() as u64;
            running = table.tasks.values().filter(|task| !task.is_blocked()).count() as u64;
            last_pid = table.last_pid();
        }
        // Fixed point with 16 bits behind the point.
        #[allow(clippy::cast_precision_loss)] // two digits are shown
        let averages = rustix::system::sysinfo().loads.map(|load| load as f64 / 65536.0);
        LoadInfo { averages, running, total, last_pid }
    }

    fn uptime(&self) -> (Duration, Duration) {
        let up = self.booted.elapsed();
        let busy: Duration = KernelView::cpus(self).iter().map(|cpu| cpu.user).sum();
        let all = up.saturating_mul(self.cpus());
        (up, all.saturating_sub(busy))
    }

    fn cpus(&self) -> Vec<CpuTimes> {
        let busy: Duration = self.kernel.upgrade().map_or(Duration::ZERO, |kernel| {
            let table = kernel.tasks.read();
            table
                .processes
                .values()
                .map(|entry| entry.process.cpu_time(entry) + entry.process.children_usage().time())
                .sum()
        });
        // Which processor a thread ran on is not known: shared out evenly.
        let user = busy / self.cpus().max(1);
        let idle = self.booted.elapsed().saturating_sub(user);
        vec![CpuTimes { user, idle, ..CpuTimes::default() }; self.cpus]
    }

    fn counts(&self) -> SystemCounts {
        let load = self.load();
        let forks = u64::try_from(load.last_pid).unwrap_or(0);
        SystemCounts { switches: 0, boot_time: self.boot_time, forks, running: load.running }
    }

    fn cpuinfo(&self) -> Vec<u8> {
        self.cpuinfo.clone()
    }

    fn uts(&self) -> UtsInfo {
        let names = self.names().map(|names| names.lock().clone());
        UtsInfo {
            nodename: names.as_ref().map(|names| text(&names.hostname)).unwrap_or_default(),
            domainname: names.as_ref().map(|names| text(&names.domainname)).unwrap_or_default(),
            release: RELEASE.to_owned(),
            version: VERSION.to_owned(),
        }
    }

    fn set_hostname(&self, name: &[u8]) -> Result<(), Errno> {
        self.set_name(name, |names, name| names.hostname = name)
    }

    fn set_domainname(&self, name: &[u8]) -> Result<(), Errno> {
        self.set_name(name, |names, name| names.domainname = name)
    }

    fn file_locks(&self) -> String {
        self.kernel.upgrade().map_or_else(String::new, |kernel| links::locks(&kernel))
    }

    fn filesystems(&self) -> Vec<&'static str> {
        self.kernel.upgrade().map_or(Vec::new(), |kernel| kernel.vfs.types.names())
    }

    fn net_files(&self) -> Vec<&'static str> {
        sentry_net::NetNamespace::proc_files().to_vec()
    }

    fn net_file(&self, name: &str) -> Option<Vec<u8>> {
        self.kernel.upgrade()?.net.proc_file(name).map(String::into_bytes)
    }

    fn sysvipc(&self, name: &str) -> Option<Vec<u8>> {
        crate::ipc::render(&*self.kernel.upgrade()?, name)
    }
}

impl SysView for KernelProc {
    fn interfaces(&self) -> Vec<Interface> {
        self.kernel.upgrade().map_or(Vec::new(), |kernel| kernel.net.interfaces())
    }

    fn memory(&self) -> [u64; 2] {
        let memory = KernelView::memory(self);
        [memory.total, memory.free]
    }
}
