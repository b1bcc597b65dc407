//! Files about the system as a whole.

use std::fmt::Write as _;

use super::source::{CpuTimes, KernelView};
use super::text::ticks;

/// `/proc/devices`: the drivers behind the numbers of [`crate::dev`].
pub(super) const DEVICES: &str = "Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n\
                                  128 ptm\n136 pts\n\nBlock devices:\n";

/// `/proc/tty/drivers`, by which `ps` names terminals.
pub(super) const TTY_DRIVERS: &str = "\
/dev/tty             /dev/tty        5       0 system:/dev/tty
/dev/console         /dev/console    5       1 system:console
/dev/ptmx            /dev/ptmx       5       2 system
pty_slave            /dev/pts      136 0-1048575 pty:slave
pty_master           /dev/ptm      128 0-1048575 pty:master
";

/// `/proc/interrupts`: the processors, which no device of the sandbox interrupts.
pub(super) fn interrupts(view: &dyn KernelView) -> Vec<u8> {
    let processors: String = (0..view.cpus().len()).map(|cpu| format!("CPU{cpu:<8}")).collect();
    format!("           {processors}\nERR:          0\nMIS:          0\n").into_bytes()
}

/// `/proc/softirqs`.
pub(super) fn softirqs(view: &dyn KernelView) -> Vec<u8> {
    let kinds = ["HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU"];
    let count = view.cpus().len();
    let processors: String = (0..count).map(|cpu| format!("CPU{cpu:<8}")).collect();
    let rows: String = kinds.map(|kind| format!("{kind:>12}:{}\n", format!(" {:>10}", 0).repeat(count))).concat();
    format!("                    {processors}\n{rows}").into_bytes()
}

// In this file, writing to a string can't fail, so its result is dropped.

/// Cuts the host's `/proc/cpuinfo` to the first `cpus` processors, which are numbered from 0.
pub fn cpuinfo(host: &str, cpus: usize) -> Vec<u8> {
    let mut text = String::new();
    for (number, block) in host.split("\n\n").filter(|block| block.starts_with("processor")).take(cpus).enumerate() {
        for line in block.lines() {
            let shown = match line.split_once(':').map_or(line, |(name, _)| name).trim_end() {
                "processor" => format!("processor\t: {number}"),
                "siblings" => format!("siblings\t: {cpus}"),
                "cpu cores" => format!("cpu cores\t: {cpus}"),
                _ => line.to_owned(),
            };
            let _ = writeln!(text, "{shown}");
        }
        text.push('\n');
    }
    text.into_bytes()
}

pub(super) fn filesystems(view: &dyn KernelView) -> Vec<u8> {
    view.filesystems().iter().map(|name| format!("nodev\t{name}\n")).collect::<String>().into_bytes()
}

pub(super) fn loadavg(view: &dyn KernelView) -> Vec<u8> {
    let load = view.load();
    let [one, five, fifteen] = load.averages;
    format!("{one:.2} {five:.2} {fifteen:.2} {}/{} {}\n", load.running, load.total, load.last_pid).into_bytes()
}

pub(super) fn uptime(view: &dyn KernelView) -> Vec<u8> {
    let (up, idle) = view.uptime();
    let hundredths = |time: std::time::Duration| format!("{}.{:02}", time.as_secs(), time.subsec_millis() / 10);
    format!("{} {}\n", hundredths(up), hundredths(idle)).into_bytes()
}

pub(super) fn version(view: &dyn KernelView) -> Vec<u8> {
    let uts = view.uts();
    format!("Linux version {} (runsc) (rustc) {}\n", uts.release, uts.version).into_bytes()
}

pub(super) fn meminfo(view: &dyn KernelView) -> Vec<u8> {
    let memory = view.memory();
    let lines = [
        ("MemTotal", memory.total),
        ("MemFree", memory.free),
        ("MemAvailable", memory.available),
        ("Buffers", memory.buffers),
        ("Cached", memory.cached),
        ("SwapCached", 0),
        ("Active", memory.anonymous.saturating_add(memory.cached)),
        ("Inactive", 0),
        ("Active(anon)", memory.anonymous),
        ("Inactive(anon)", 0),
        ("Active(file)", memory.cached),
        ("Inactive(file)", 0),
        ("Unevictable", 0),
        ("Mlocked", 0),
        ("SwapTotal", memory.swap_total),
        ("SwapFree", memory.swap_free),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", memory.anonymous),
        ("Mapped", memory.mapped),
        ("Shmem", memory.shmem),
        ("KReclaimable", 0),
        ("Slab", memory.slab),
        ("SReclaimable", 0),
        ("SUnreclaim", memory.slab),
        ("KernelStack", 0),
        ("PageTables", memory.page_tables),
        ("NFS_Unstable", 0),
        ("Bounce", 0),
        ("WritebackTmp", 0),
        ("CommitLimit", (memory.total / 2).saturating_add(memory.swap_total)),
        ("Committed_AS", memory.committed),
        ("VmallocTotal", 34_359_738_367 << 10),
        ("VmallocUsed", 0),
        ("VmallocChunk", 0),
        ("Percpu", 0),
        ("AnonHugePages", 0),
        ("ShmemHugePages", 0),
        ("ShmemPmdMapped", 0),
        ("FileHugePages", 0),
        ("FilePmdMapped", 0),
    ];
    let mut text = String::new();
    for (name, bytes) in lines {
        let _ = writeln!(text, "{:<15} {:>8} kB", format!("{name}:"), bytes / 1024);
    }
    for name in ["HugePages_Total", "HugePages_Free", "HugePages_Rsvd", "HugePages_Surp"] {
        let _ = writeln!(text, "{:<15} {:>8}", format!("{name}:"), 0);
    }
    text.push_str("Hugepagesize:       2048 kB\nHugetlb:               0 kB\n");
    text.into_bytes()
}

pub(super) fn vmstat(view: &dyn KernelView) -> Vec<u8> {
    let memory = view.memory();
    let pages = [
        ("nr_free_pages", memory.free),
        ("nr_inactive_anon", 0),
        ("nr_active_anon", memory.anonymous),
        ("nr_inactive_file", 0),
        ("nr_active_file", memory.cached),
        ("nr_unevictable", 0),
        ("nr_mlock", 0),
        ("nr_anon_pages", memory.anonymous),
        ("nr_mapped", memory.mapped),
        ("nr_file_pages", memory.cached.saturating_add(memory.buffers)),
        ("nr_dirty", 0),
        ("nr_writeback", 0),
        ("nr_shmem", memory.shmem),
        ("nr_page_table_pages", memory.page_tables),
    ];
    let mut text = String::new();
    for (name, bytes) in pages {
        let _ = writeln!(text, "{name} {}", bytes / abi::PAGE_SIZE);
    }
    for name in ["pgpgin", "pgpgout", "pswpin", "pswpout", "pgfault", "pgmajfault", "oom_kill"] {
        let _ = writeln!(text, "{name} 0");
    }
    text.into_bytes()
}

pub(super) fn stat(view: &dyn KernelView) -> Vec<u8> {
    let cpus = view.cpus();
    let counts = view.counts();
    let mut all = CpuTimes::default();
    for cpu in &cpus {
        all.user += cpu.user;
        all.nice += cpu.nice;
        all.system += cpu.system;
        all.idle += cpu.idle;
    }
    let line = |times: &CpuTimes| {
        let [user, nice, system, idle] = [times.user, times.nice, times.system, times.idle].map(ticks);
        format!("{user} {nice} {system} {idle} 0 0 0 0 0 0")
    };
    let mut text = format!("cpu  {}\n", line(&all));
    for (number, cpu) in cpus.iter().enumerate() {
        let _ = writeln!(text, "cpu{number} {}", line(cpu));
    }
    let _ = write!(
        text,
        "intr 0\nctxt {}\nbtime {}\nprocesses {}\nprocs_running {}\nprocs_blocked 0\n\
         softirq 0 0 0 0 0 0 0 0 0 0 0\n",
        counts.switches, counts.boot_time, counts.forks, counts.running
    );
    text.into_bytes()
}
