//! Capability sets of config.json.

use std::collections::BTreeSet;

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities};

use serde_json::Value;

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

/// Takes the names out of the sets of a document (config.json or a process of it) that are no capabilities known here.
pub(super) fn leave_out_unknown(document: &mut Value) -> BTreeSet<String> {
    let mut left_out = BTreeSet::new();
    let process = if document.get("process").is_some() { document.get_mut("process") } else { Some(document) };
    let sets = process.and_then(|process| process.get_mut("capabilities")).and_then(Value::as_object_mut);
    for set in sets.into_iter().flat_map(|sets| sets.values_mut()).filter_map(Value::as_array_mut) {
        set.retain(|name| {
            let known = serde_json::from_value::<Capability>(name.clone()).is_ok() || !name.is_string();
            if let (false, Some(name)) = (known, name.as_str()) {
                left_out.insert(name.to_owned());
            }
            known
        });
    }
    left_out
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

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{Process, Spec};
    use serde_json::json;

    use super::super::document;

    #[test]
    fn unknown_names_are_left_out_and_other_mistakes_are_not() {
        let caps = json!({"bounding": ["CAP_CHOWN", "CAP_OF_TOMORROW"]});
        let process = json!({"args": ["x"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "capabilities": caps});
        let spec = json!({"ociVersion": "1.0.2", "process": process});
        let known = |process: &Process| process.capabilities().as_ref().and_then(|caps| caps.bounding().clone());
        let parsed: Spec = document(spec.to_string().as_bytes()).expect("a document");
        assert_eq!(parsed.process().as_ref().and_then(known).map(|set| set.len()), Some(1));
        let parsed: Process = document(process.to_string().as_bytes()).expect("a document");
        assert_eq!(known(&parsed).map(|set| set.len()), Some(1));
        let wrong = json!({"ociVersion": 1, "process": process});
        assert!(document::<Spec>(wrong.to_string().as_bytes()).is_err());
    }
}
