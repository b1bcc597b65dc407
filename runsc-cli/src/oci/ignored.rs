//! What config.json has that means nothing here: warned about in the debug log. None of it confines a container, or what it
//! would confine can't be reached from a sandbox.

use serde_json::Value;

/// Properties that are read, by the object that they are in.
const KNOWN: &[(&str, &[&str])] = &[
    ("", &["ociVersion", "process", "root", "hostname", "domainname", "mounts", "hooks", "annotations", "linux"]),
    (
        "/process",
        &[
            "terminal",
            "consoleSize",
            "cwd",
            "env",
            "args",
            "user",
            "capabilities",
            "rlimits",
            "noNewPrivileges",
            "oomScoreAdj",
        ],
    ),
    ("/root", &["path", "readonly"]),
    (
        "/linux",
        &[
            "namespaces",
            "uidMappings",
            "gidMappings",
            "devices",
            "cgroupsPath",
            "resources",
            "rootfsPropagation",
            "seccomp",
            "sysctl",
            "maskedPaths",
            "readonlyPaths",
        ],
    ),
    // Devices are the guest kernel's whatever is allowed.
    ("/linux/resources", &["devices", "memory", "cpu", "pids", "blockIO", "hugepageLimits", "unified"]),
];

/// Returns the places of properties with a value that are not read.
fn ignored(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (place, known) in KNOWN {
        let Some(object) = document.pointer(place).and_then(Value::as_object) else { continue };
        let empty = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        let others = object.iter().filter(|(name, value)| !known.contains(&name.as_str()) && !empty(value));
        found.extend(others.map(|(name, _)| format!("{place}/{name}")));
    }
    found
}

/// Warns of what is not read.
pub(super) fn warn(text: &[u8]) {
    if !tracing::enabled!(tracing::Level::WARN) {
        return;
    }
    let places = serde_json::from_slice(text).map(|document| ignored(&document)).unwrap_or_default();
    if !places.is_empty() {
        tracing::warn!(places = places.join(" "), "properties of config.json that have no effect here");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_no_effect_is_named() {
        let document = json!({
            "ociVersion": "1.2.0", "other": {"a": 1}, "root": {"path": "x"},
            "process": {"args": ["a"], "apparmorProfile": "", "selinuxLabel": "l", "scheduler": {"policy": "SCHED_IDLE"}},
            "linux": {"namespaces": [], "intelRdt": {"closID": "x"}, "resources": {"rdma": {"a": {}}}},
        });
        let expected =
            ["/other", "/process/scheduler", "/process/selinuxLabel", "/linux/intelRdt", "/linux/resources/rdma"];
        assert_eq!(ignored(&document), expected);
        assert!(ignored(&json!([])).is_empty());
    }
}
