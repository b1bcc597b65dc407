//! `/proc/PID/{mounts,mountinfo,mountstats}`.

use crate::proc::source::{MountInfo, TaskView};
use crate::proc::text::escape;
use crate::synth::Text;

const SPECIAL: &[u8] = b" \t\n\\#";

fn mode(readonly: bool) -> &'static str {
    if readonly { "ro" } else { "rw" }
}

/// The options of the mount, with a leading comma where there are any.
fn options(mount: &MountInfo) -> String {
    if mount.options.is_empty() { String::new() } else { format!(",{}", mount.options) }
}

fn source(mount: &MountInfo) -> &[u8] {
    if mount.source.is_empty() { b"none" } else { &mount.source }
}

pub(super) fn mounts(task: &dyn TaskView) -> Text {
    let mut out = Vec::new();
    for mount in task.mounts()? {
        escape(&mut out, source(&mount), SPECIAL);
        out.push(b' ');
        escape(&mut out, &mount.point, SPECIAL);
        let mode = mode(mount.readonly || mount.fs_readonly);
        let rest = format!(" {} {mode}{}{} 0 0\n", mount.kind, options(&mount), mount.fs_options);
        out.extend_from_slice(rest.as_bytes());
    }
    Ok(out)
}

pub(super) fn mountinfo(task: &dyn TaskView) -> Text {
    let mut out = Vec::new();
    for mount in task.mounts()? {
        let head = format!("{} {} {}:{} ", mount.id, mount.parent, mount.dev.major, mount.dev.minor);
        out.extend_from_slice(head.as_bytes());
        escape(&mut out, &mount.root, SPECIAL);
        out.push(b' ');
        escape(&mut out, &mount.point, SPECIAL);
        let propagation = if mount.propagation.is_empty() { String::new() } else { format!(" {}", mount.propagation) };
        let middle = format!(" {}{}{propagation} - {} ", mode(mount.readonly), options(&mount), mount.kind);
        out.extend_from_slice(middle.as_bytes());
        escape(&mut out, source(&mount), SPECIAL);
        out.extend_from_slice(format!(" {}{}\n", mode(mount.fs_readonly), mount.fs_options).as_bytes());
    }
    Ok(out)
}

pub(super) fn mountstats(task: &dyn TaskView) -> Text {
    let mut out = Vec::new();
    for mount in task.mounts()? {
        out.extend_from_slice(b"device ");
        escape(&mut out, source(&mount), SPECIAL);
        out.extend_from_slice(b" mounted on ");
        escape(&mut out, &mount.point, SPECIAL);
        out.extend_from_slice(format!(" with fstype {}\n", mount.kind).as_bytes());
    }
    Ok(out)
}
