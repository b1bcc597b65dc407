//! gVisor's flags that have nothing to act on here: accepted, so that engines' configurations go on working, and named in
//! the debug log. Flags that would confine the guest further are not among them: ignoring those would be a lie.

/// What a flag of gVisor takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Nothing, or `=true` or `=false`.
    Switch,
    /// A value, after `=` or as the next word.
    Value,
}

/// Switches without effect: compatibility flags of gVisor itself, and tunings of parts that are built differently here.
const SWITCHES: &[&str] = &[
    "vfs2",
    "fuse",
    "lisafs",
    "cgroupfs",
    "buffer-pooling",
    "save-restore-netstack",
    "fsgofer-host-uds",
    "directfs",
    "app-huge-pages",
    "cpu-num-from-quota",
    "systemd-cgroup",
    "gso",
    "software-gso",
    "gvisor-gro",
    "tx-checksum-offload",
    "rx-checksum-offload",
    "allow-packet-socket-write",
    "net-disconnect-ok",
    "allow-live-tcp-migration",
    "systrap-disable-syscall-patching",
    "systrap-disable-fast-path",
    "kvm-use-cpu-nums",
    "iouring",
    "profile",
    "debug-to-user-log",
    "log-packets",
    "strace-event",
];

/// The same with values.
const VALUES: &[&str] = &[
    "dcache",
    "fdlimit",
    "file-access-mounts",
    "gofer-network-namespace",
    "host-settings",
    "num-network-channels",
    "network-processors-per-channel",
    "qdisc",
    "qdisc-tbf-rate",
    "qdisc-tbf-burst",
    "platform_device_path",
    "debug-command",
    "debug-log-format",
    "panic-log",
    "panic-signal",
    "watchdog-action",
    "traceback",
    "ref-leak-mode",
    "control-rpc-stop-timeout",
    "strace-log-size",
    "profile-block",
    "profile-cpu",
    "profile-heap",
    "profile-mutex",
    "metric-server",
    "final-metrics-log",
    "sidecar-release-enforcement-policy",
];

/// Tells what a flag takes that is accepted and ignored; `None` for all others. The name is without dashes and value.
pub(crate) fn ignored(name: &str) -> Option<Takes> {
    if SWITCHES.contains(&name) {
        Some(Takes::Switch)
    } else if VALUES.contains(&name) {
        Some(Takes::Value)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_confines_the_guest_is_never_ignored() {
        for name in ["oci-seccomp", "network", "overlay2", "platform", "rootless", "enable-core-tags"] {
            assert_eq!(ignored(name), None, "{name}");
        }
    }
}
