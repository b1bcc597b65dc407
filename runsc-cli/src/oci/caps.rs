//! Capability sets of config.json.

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities};

use crate::sandbox::config::CapsConfig;

/// Turns names into bits. Like the kernel, which clears what may not be there: ambient capabilities must be permitted and
/// inheritable.
pub(super) fn convert(caps: &LinuxCapabilities) -> CapsConfig {
    let bits = |set: &Option<Capabilities>| {
        set.iter().flatten().map(|cap| 1 << capability_number(*cap)).fold(0, |all, bit: u64| all | bit)
    };
    let (permitted, inheritable) = (bits(caps.permitted()), bits(caps.inheritable()));
    CapsConfig {
        bounding: bits(caps.bounding()),
        effective: bits(caps.effective()),
        permitted,
        inheritable,
        ambient: bits(caps.ambient()) & permitted & inheritable,
    }
}

/// Adds a capability, with or without CAP_, to those that a process may use.
pub(crate) fn add(caps: &mut CapsConfig, name: &str) -> anyhow::Result<()> {
    let name = name.to_uppercase();
    let short = name.strip_prefix("CAP_").unwrap_or(&name);
    let value = serde_json::Value::String(format!("CAP_{short}"));
    let cap: Capability = serde_json::from_value(value).map_err(|_| anyhow::anyhow!("unknown capability {name:?}"))?;
    let bit = 1 << capability_number(cap);
    caps.bounding |= bit;
    caps.effective |= bit;
    caps.permitted |= bit;
    Ok(())
}

/// Numbers of `linux/capability.h`.
fn capability_number(cap: Capability) -> u32 {
    match cap {
        Capability::Chown => 0,
        Capability::DacOverride => 1,
        Capability::DacReadSearch => 2,
        Capability::Fowner => 3,
        Capability::Fsetid => 4,
        Capability::Kill => 5,
        Capability::Setgid => 6,
        Capability::Setuid => 7,
        Capability::Setpcap => 8,
        Capability::LinuxImmutable => 9,
        Capability::NetBindService => 10,
        Capability::NetBroadcast => 11,
        Capability::NetAdmin => 12,
        Capability::NetRaw => 13,
        Capability::IpcLock => 14,
        Capability::IpcOwner => 15,
        Capability::SysModule => 16,
        Capability::SysRawio => 17,
        Capability::SysChroot => 18,
        Capability::SysPtrace => 19,
        Capability::SysPacct => 20,
        Capability::SysAdmin => 21,
        Capability::SysBoot => 22,
        Capability::SysNice => 23,
        Capability::SysResource => 24,
        Capability::SysTime => 25,
        Capability::SysTtyConfig => 26,
        Capability::Mknod => 27,
        Capability::Lease => 28,
        Capability::AuditWrite => 29,
        Capability::AuditControl => 30,
        Capability::Setfcap => 31,
        Capability::MacOverride => 32,
        Capability::MacAdmin => 33,
        Capability::Syslog => 34,
        Capability::WakeAlarm => 35,
        Capability::BlockSuspend => 36,
        Capability::AuditRead => 37,
        Capability::Perfmon => 38,
        Capability::Bpf => 39,
        Capability::CheckpointRestore => 40,
    }
}
