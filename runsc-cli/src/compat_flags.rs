//! gVisor's flags that have nothing to act on here: accepted, so that engines' configurations go on working, and named in
//! the debug log. Flags that would confine the guest further are not among them: ignoring those would be a lie.

/// What a flag of gVisor takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Nothing, or `=true` or `=false`.
    Switch,
    /// A value, after `=` or as the next word.
    Value,
    /// The same, but only certain values are what this runtime does.
    Known,
}

/// Switches without effect: compatibility flags of gVisor itself, and tunings of parts that are built differently here.
const SWITCHES: &[&str] = &[
    "vfs2",
    "fuse",
    "lisafs",
    "cgroupfs",
    "buffer-pooling",
    "save-restore-netstack",
    "directfs",
    "app-huge-pages",
    "cpu-num-from-quota",
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

/// Flags that stand for something which is not here, or always is: only these values are true.
const KNOWN: &[(&str, &[&str])] = &[
    ("net-raw", &["false"]),
    ("enable-core-tags", &["false"]),
    ("nvproxy", &["false"]),
    ("nvproxy-docker", &["false"]),
    ("tpuproxy", &["false"]),
    ("rdmaproxy", &["false"]),
    ("character-device-policy", &["emulated-only"]),
    ("EXPERIMENTAL-xdp", &["", "off"]),
    ("reproduce-nat", &["false"]),
    ("reproduce-nftables", &["false"]),
    ("TESTONLY-nftables", &["false"]),
    ("TESTONLY-unsafe-nonroot", &["false"]),
    ("gvisor-marker-file", &["false"]),
    ("mount-cgroup-v2", &["true", "false"]),
    ("pod-init-config", &[""]),
    ("pcap-log", &[""]),
    ("allow-rootfs-tar-annotation", &["false"]),
    ("pause-external-networking", &["false"]),
    ("allow-connected-on-save", &["true", "false"]),
    ("restore-spec-validation", &["enforce", "warning", "ignore"]),
    ("profiling-metrics", &[""]),
    ("trace", &[""]),
];

/// Refuses a value of such a flag that would promise what is not so.
pub(crate) fn check(name: &str, value: &str) -> Result<(), String> {
    match KNOWN.iter().find(|(known, _)| *known == name) {
        Some((_, values)) if !values.contains(&value) => {
            Err(format!("--{name}={value} is not supported; what there is: {}", values.join(", ")))
        }
        _ => Ok(()),
    }
}

/// Tells whether a flag may stand without a value.
pub(crate) fn is_switch(name: &str) -> bool {
    SWITCHES.contains(&name) || KNOWN.iter().any(|(known, values)| *known == name && values.contains(&"false"))
}

/// Tells what a flag takes that is accepted and ignored; `None` for all others. The name is without dashes and value.
pub(crate) fn ignored(name: &str) -> Option<Takes> {
    if SWITCHES.contains(&name) {
        Some(Takes::Switch)
    } else if VALUES.contains(&name) {
        Some(Takes::Value)
    } else if KNOWN.iter().any(|(known, _)| *known == name) {
        Some(Takes::Known)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_confines_the_guest_is_never_ignored() {
        for name in
            ["oci-seccomp", "network", "overlay2", "platform", "host-uds", "host-fifo", "rootless", "systemd-cgroup"]
        {
            assert_eq!(ignored(name), None, "{name}");
        }
        assert!(check("enable-core-tags", "true").is_err());
    }

    #[test]
    fn what_is_not_there_can_only_be_turned_off() {
        assert!(check("net-raw", "false").is_ok());
        assert!(check("net-raw", "true").is_err());
        assert!(check("nvproxy", "false").is_ok());
        assert!(check("qdisc", "anything").is_ok());
    }
}
