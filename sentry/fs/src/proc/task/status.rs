//! `/proc/PID/status` and the small files about identity and limits of a task.

use std::fmt::Write as _;

use abi::Errno;

use crate::proc::source::{KernelView, MemoryUsage, TaskSnapshot, TaskView};
use crate::proc::text::{escape, mask, mask_list};
use crate::synth::Text;

// In this file, writing to a string can't fail, so its result is dropped.

fn state_name(state: char) -> &'static str {
    match state {
        'R' => "running",
        'S' => "sleeping",
        'D' => "disk sleep",
        'T' => "stopped",
        't' => "tracing stop",
        'X' => "dead",
        'Z' => "zombie",
        'P' => "parked",
        _ => "idle",
    }
}

fn tabbed(name: &str, values: impl IntoIterator<Item = impl ToString>) -> String {
    values.into_iter().fold(format!("{name}:"), |text, value| text + "\t" + &value.to_string()) + "\n"
}

fn memory(out: &mut String, usage: &MemoryUsage) {
    let lines = [
        ("VmPeak", usage.peak),
        ("VmSize", usage.size),
        ("VmLck", usage.locked),
        ("VmPin", 0),
        ("VmHWM", usage.rss_peak),
        ("VmRSS", usage.rss),
        ("RssAnon", usage.rss_anon),
        ("RssFile", usage.rss_file),
        ("RssShmem", usage.rss_shmem),
        ("VmData", usage.data),
        ("VmStk", usage.stack),
        ("VmExe", usage.text),
        ("VmLib", usage.lib),
        ("VmPTE", usage.page_tables),
        ("VmSwap", usage.swap),
        ("HugetlbPages", 0),
    ];
    for (name, bytes) in lines {
        let _ = writeln!(out, "{name}:\t{:>8} kB", bytes / 1024);
    }
    out.push_str("CoreDumping:\t0\nTHP_enabled:\t1\nuntag_mask:\t0xffffffffffffffff\n");
}

fn signals_and_caps(out: &mut String, task: &TaskSnapshot) {
    let _ = writeln!(out, "Threads:\t{}", task.threads);
    let _ = writeln!(out, "SigQ:\t{}/{}", task.queued_signals, task.queued_limit);
    let sets = [
        ("SigPnd", task.pending),
        ("ShdPnd", task.shared_pending),
        ("SigBlk", task.blocked),
        ("SigIgn", task.ignored),
        ("SigCgt", task.caught),
    ];
    for (name, set) in sets {
        let _ = writeln!(out, "{name}:\t{:016x}", set.0);
    }
    for (name, set) in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].into_iter().zip(task.caps) {
        let _ = writeln!(out, "{name}:\t{set:016x}");
    }
}

pub(super) fn status(view: &dyn TaskView) -> Text {
    let task = view.snapshot()?;
    let mut head = b"Name:\t".to_vec();
    escape(&mut head, &task.comm, b"\n\\");
    let mut out = format!("\nUmask:\t{:04o}\nState:\t{} ({})\n", task.umask, task.state, state_name(task.state));
    let _ = write!(
        out,
        "Tgid:\t{}\nNgid:\t0\nPid:\t{}\nPPid:\t{}\nTracerPid:\t{}\n",
        task.tgid.0, task.tid.0, task.ppid.0, task.tracer.0
    );
    out += &tabbed("Uid", task.uids);
    out += &tabbed("Gid", task.gids);
    let groups: Vec<String> = task.groups.iter().map(u32::to_string).collect();
    let _ = writeln!(out, "FDSize:\t{}\nGroups:\t{} ", task.fd_size, groups.join(" "));
    let ids = |index: usize| task.ns_ids.iter().filter_map(move |ids| ids.get(index)).map(|pid| pid.0);
    for (name, index) in [("NStgid", 0), ("NSpid", 1), ("NSpgid", 2), ("NSsid", 3)] {
        out += &tabbed(name, ids(index));
    }
    out.push_str("Kthread:\t0\n");
    if let Some(usage) = &task.memory {
        memory(&mut out, usage);
    }
    signals_and_caps(&mut out, &task);
    let _ = write!(
        out,
        "NoNewPrivs:\t{}\nSeccomp:\t{}\nSeccomp_filters:\t{}\nSpeculation_Store_Bypass:\tthread vulnerable\n\
         SpeculationIndirectBranch:\tconditional enabled\n",
        u8::from(task.no_new_privs),
        task.seccomp,
        task.seccomp_filters
    );
    let _ = write!(
        out,
        "Cpus_allowed:\t{}\nCpus_allowed_list:\t{}\nMems_allowed:\t00000000,00000001\nMems_allowed_list:\t0\n",
        mask(&task.cpus_allowed, task.cpus),
        mask_list(&task.cpus_allowed)
    );
    let _ = write!(
        out,
        "voluntary_ctxt_switches:\t{}\nnonvoluntary_ctxt_switches:\t{}\n",
        task.voluntary_switches, task.involuntary_switches
    );
    head.extend_from_slice(out.as_bytes());
    Ok(head)
}

pub(super) fn comm(view: &dyn TaskView) -> Text {
    let mut name = view.snapshot()?.comm;
    name.push(b'\n');
    Ok(name)
}

pub(super) fn children(view: &dyn TaskView) -> Text {
    Ok(view.children().iter().map(|pid| format!("{} ", pid.0)).collect::<String>().into_bytes())
}

pub(super) fn io(view: &dyn TaskView) -> Text {
    let io = view.io()?;
    let text = format!(
        "rchar: {}\nwchar: {}\nsyscr: {}\nsyscw: {}\nread_bytes: {}\nwrite_bytes: {}\ncancelled_write_bytes: 0\n",
        io.rchar, io.wchar, io.syscr, io.syscw, io.read_bytes, io.write_bytes
    );
    Ok(text.into_bytes())
}

pub(super) fn id_map(view: &dyn TaskView, groups: bool) -> Text {
    let line = |[inside, outside, count]: [u32; 3]| format!("{inside:>10} {outside:>10} {count:>10}\n");
    Ok(view.id_map(groups).into_iter().map(line).collect::<String>().into_bytes())
}

/// Reads the lines of an id mapping: `EINVAL` for anything but three numbers each, or more than 340 lines.
pub(super) fn parse_id_map(text: &[u8]) -> Result<Vec<[u32; 3]>, Errno> {
    const MAX_LINES: usize = 340;
    let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
    let mut map = Vec::new();
    for line in text.trim_end_matches('\n').split('\n') {
        let numbers: Vec<u32> = line
            .split_ascii_whitespace()
            .map(|number| number.parse().map_err(|_| Errno::EINVAL))
            .collect::<Result<_, _>>()?;
        map.push(<[u32; 3]>::try_from(numbers).map_err(|_| Errno::EINVAL)?);
    }
    if map.len() > MAX_LINES { Err(Errno::EINVAL) } else { Ok(map) }
}

pub(super) fn setgroups(view: &dyn TaskView) -> Text {
    Ok(if view.setgroups_allowed() { b"allow\n".to_vec() } else { b"deny\n".to_vec() })
}

pub(super) fn set_setgroups(view: &dyn TaskView, data: &[u8]) -> Result<(), Errno> {
    match data.trim_ascii_end() {
        b"allow" if view.setgroups_allowed() => Ok(()),
        b"allow" => Err(Errno::EPERM),
        b"deny" => view.deny_setgroups(),
        _ => Err(Errno::EINVAL),
    }
}

pub(super) fn set_oom_score_adj(view: &dyn TaskView, data: &[u8]) -> Result<(), Errno> {
    let text = std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
    let value: i32 = text.trim().parse().map_err(|_| Errno::EINVAL)?;
    if (-1000..=1000).contains(&value) { view.set_oom_score_adj(value) } else { Err(Errno::EINVAL) }
}

/// `oom_badness`, scaled as `oom_score` shows it.
pub(super) fn oom_score(kernel: &dyn KernelView, view: &dyn TaskView) -> Text {
    let adj = i64::from(view.oom_score_adj());
    let memory = view.snapshot()?.memory.unwrap_or_default();
    let used = memory.rss.saturating_add(memory.swap).saturating_add(memory.page_tables);
    let share = used.saturating_mul(1000).checked_div(kernel.memory().total).unwrap_or(0);
    let points = 1000 + adj + i64::try_from(share).unwrap_or(0);
    let score = if adj == -1000 { 0 } else { points.max(0) * 2 / 3 };
    Ok(format!("{score}\n").into_bytes())
}
