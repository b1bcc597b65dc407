//! `/proc/PID/{stat,statm,sched,schedstat}` (`man 5 proc_pid_stat`).

use abi::{Errno, PAGE_SIZE};

use crate::proc::source::{TaskSnapshot, TaskView};
use crate::proc::text::{escape, ticks};
use crate::synth::Text;

/// Signals 1 to 31, all that fits into the fields that `stat` has for sets.
fn low(set: abi::signal::SigSet) -> u64 {
    set.0 & 0x7fff_ffff
}

/// Returns the priority as the kernel counts it: 20 is neutral, real-time ones are negative.
fn priority(task: &TaskSnapshot) -> i64 {
    let realtime = matches!(task.policy, 1 | 2);
    if realtime { -1 - i64::from(task.rt_priority) } else { 20 + i64::from(task.nice) }
}

/// `new_encode_dev` of the controlling terminal.
fn tty(task: &TaskSnapshot) -> u64 {
    task.tty.map_or(0, |device| device.encode() & 0xffff_ffff)
}

pub(super) fn stat(view: &dyn TaskView) -> Text {
    let task = view.snapshot()?;
    let memory = task.memory.unwrap_or_default();
    let hidden = view.may_inspect().is_err();
    let addr = |value: u64| if hidden { 0 } else { value };
    let code = |value: u64| if hidden && task.memory.is_some() { 1 } else { value };
    let fields: [i128; 48] = [
        task.ppid.0.into(),
        task.pgrp.0.into(),
        task.session.0.into(),
        tty(&task).into(),
        task.tty_pgrp.map_or(-1, |pgrp| pgrp.0).into(),
        task.flags.into(),
        task.min_flt.into(),
        task.child_min_flt.into(),
        task.maj_flt.into(),
        task.child_maj_flt.into(),
        ticks(task.user_time).into(),
        ticks(task.system_time).into(),
        ticks(task.child_user_time).into(),
        ticks(task.child_system_time).into(),
        priority(&task).into(),
        task.nice.into(),
        task.threads.into(),
        0,
        ticks(task.start_time).into(),
        memory.size.into(),
        (memory.rss / PAGE_SIZE).into(),
        task.rss_limit.into(),
        code(memory.start_code).into(),
        code(memory.end_code).into(),
        addr(memory.start_stack).into(),
        0,
        0,
        low(task.pending).into(),
        low(task.blocked).into(),
        low(task.ignored).into(),
        low(task.caught).into(),
        0,
        0,
        0,
        task.exit_signal.into(),
        task.processor.into(),
        task.rt_priority.into(),
        task.policy.into(),
        0,
        0,
        0,
        addr(memory.start_data).into(),
        addr(memory.end_data).into(),
        addr(memory.start_brk).into(),
        addr(memory.arg_start).into(),
        addr(memory.arg_end).into(),
        addr(memory.env_start).into(),
        addr(memory.env_end).into(),
    ];
    let mut out = format!("{} (", task.tid.0).into_bytes();
    escape(&mut out, &task.comm, b"\n\\");
    out.extend_from_slice(format!(") {}", task.state).as_bytes());
    for field in fields {
        out.extend_from_slice(format!(" {field}").as_bytes());
    }
    let exit_code = if hidden { 0 } else { task.exit_code };
    out.extend_from_slice(format!(" {exit_code}\n").as_bytes());
    Ok(out)
}

pub(super) fn statm(view: &dyn TaskView) -> Text {
    let memory = view.snapshot()?.memory.unwrap_or_default();
    let bytes = [
        memory.size,
        memory.rss,
        memory.rss_file.saturating_add(memory.rss_shmem),
        memory.text.next_multiple_of(PAGE_SIZE),
        0,
        memory.data.saturating_add(memory.stack),
        0,
    ];
    Ok(format!("{}\n", bytes.map(|bytes| (bytes / PAGE_SIZE).to_string()).join(" ")).into_bytes())
}

pub(super) fn sched(view: &dyn TaskView) -> Text {
    let task = view.snapshot()?;
    let mut out = Vec::new();
    escape(&mut out, &task.comm, b"\n\\");
    let head = format!(" ({}, #threads: {})\n{}\n", task.tid.0, task.threads, "-".repeat(67));
    out.extend_from_slice(head.as_bytes());
    let runtime = (task.user_time + task.system_time).as_nanos();
    let lines = [
        ("se.sum_exec_runtime", format!("{}.{:06}", runtime / 1_000_000, runtime % 1_000_000)),
        ("nr_switches", (task.voluntary_switches + task.involuntary_switches).to_string()),
        ("nr_voluntary_switches", task.voluntary_switches.to_string()),
        ("nr_involuntary_switches", task.involuntary_switches.to_string()),
        ("policy", task.policy.to_string()),
        ("prio", (100 + priority(&task)).to_string()),
    ];
    for (name, value) in lines {
        out.extend_from_slice(format!("{name:<45}:{value:>21}\n").as_bytes());
    }
    Ok(out)
}

pub(super) fn schedstat(view: &dyn TaskView) -> Text {
    let task = view.snapshot()?;
    let runtime = (task.user_time + task.system_time).as_nanos();
    Ok(format!("{runtime} 0 {}\n", task.voluntary_switches + task.involuntary_switches).into_bytes())
}

pub(super) fn timer_slack(view: &dyn TaskView) -> Text {
    Ok(format!("{}\n", view.timer_slack()?).into_bytes())
}

/// Takes a decimal number as the kernel's `kstrtoull` does: digits with at most a sign before and a line's end behind.
pub(super) fn set_timer_slack(view: &dyn TaskView, data: &[u8]) -> Result<(), Errno> {
    let digits = data.strip_suffix(b"\n").unwrap_or(data);
    let digits = digits.strip_prefix(b"+").unwrap_or(digits);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Errno::EINVAL);
    }
    let text = std::str::from_utf8(digits).map_err(|_| Errno::EINVAL)?;
    view.set_timer_slack(text.parse().map_err(|_| Errno::ERANGE)?)
}
