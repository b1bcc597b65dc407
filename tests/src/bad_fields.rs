//! What is wrong in config.json, field by field: missing, of the wrong type, contradictory, hostile. Each is tried on a
//! bundle that would run otherwise.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// A field, as a JSON pointer, and what is wrong about it: documents, one a line.
const FIELDS: &[(&str, &str)] = &[
    ("", "5 \"x\" null []"),
    ("/ociVersion", "5 null \"\" \"2.0.0\" \"x\""),
    ("/process", "5 [] null {}"),
    ("/process/args", "\"x\" {} null [1] [] [\"\"] [\"/bin/true\\u0000\"] [\"/bin\"] [\"/bin/../../../../none\"]"),
    ("/process/env", "\"x\" [1] [\"NOEQ\"] [\"=x\"] [\"A=\\u0000\"]"),
    ("/process/cwd", "5 null \"\" \"rel\" \"/a\\u0000b\" \"/bin/true\" \"/bin/true/x\""),
    ("/process/user", "5 null"),
    ("/process/user/uid", "-1 4294967295 4294967296 \"x\" 1.5"),
    ("/process/user/gid", "-1 4294967295 4294967296 \"x\""),
    ("/process/user/additionalGids", "5 [-1] [4294967295] [\"x\"]"),
    ("/process/user/umask", "-1 \"x\""),
    ("/process/capabilities", "5 {\"bounding\":5}"),
    (
        "/process/rlimits",
        "5 [5] [{}] [{\"type\":\"RLIMIT_NOSUCH\",\"soft\":1,\"hard\":1}] \
      [{\"type\":\"RLIMIT_NOFILE\",\"soft\":2,\"hard\":1}] [{\"type\":\"RLIMIT_NOFILE\",\"soft\":-1,\"hard\":1}] \
      [{\"type\":\"RLIMIT_CPU\",\"soft\":1,\"hard\":1},{\"type\":\"RLIMIT_CPU\",\"soft\":1,\"hard\":1}]",
    ),
    ("/process/oomScoreAdj", "5000 -5000 \"x\""),
    ("/process/terminal", "5 \"x\""),
    ("/process/noNewPrivileges", "5"),
    (
        "/root",
        "5 null {} {\"path\":5} {\"path\":\"none\"} {\"path\":\"rootfs\\u0000\"} {\"path\":\"rootfs/bin/true\"} \
      {\"path\":\"rootfs\",\"readonly\":5}",
    ),
    ("/hostname", "5 \"x\\u0000y\" \"0123456789012345678901234567890123456789012345678901234567890123456789\""),
    (
        "/mounts",
        "5 [5] [{}] [{\"destination\":5}] [{\"destination\":\"/a\\u0000\",\"type\":\"tmpfs\"}] \
      [{\"destination\":\"/../x\",\"type\":\"tmpfs\"}] [{\"destination\":\"/x\",\"type\":\"bind\"}] \
      [{\"destination\":\"/x\",\"type\":\"bind\",\"source\":\"/none\"}] [{\"destination\":\"/x\",\"type\":\"bind\",\"source\":\"/etc\\u0000\"}] \
      [{\"destination\":\"/x\",\"type\":\"bind\",\"source\":\"/etc\",\"options\":5}] \
      [{\"destination\":\"/proc\",\"type\":\"bind\",\"source\":\"/etc\",\"options\":[\"bind\"]},{\"destination\":\"/bin/true/x\",\"type\":\"tmpfs\"}] \
      [{\"destination\":\"/proc\",\"type\":\"proc\"},{\"destination\":\"/proc\",\"type\":\"bind\",\"source\":\"/etc\",\"options\":[\"bind\"]}] \
      [{\"destination\":\"/proc\",\"type\":\"proc\"},{\"destination\":\"/proc/self/attr\",\"type\":\"bind\",\"source\":\"/etc\",\"options\":[\"bind\"]}] \
      [{\"destination\":\"/x\",\"type\":\"bind\",\"source\":\"/dev/null\",\"options\":[\"bind\"]}] \
      [{\"destination\":\"/x\",\"type\":\"bind\",\"source\":\"/etc\",\"options\":[\"bind\",\"idmap\"]}] \
      [{\"destination\":\"/x\",\"type\":\"tmpfs\",\"options\":[\"size=many\"]}] [{\"destination\":\"/x\",\"type\":\"tmpfs\",\"options\":[\"nosuch=1\"]}] \
      [{\"destination\":\"/x\",\"type\":\"bind\",\"source\":\"/etc\",\"options\":[\"bind\",\"tmpcopyup\"]}]",
    ),
    ("/linux", "5 \"x\""),
    (
        "/linux/namespaces",
        "5 [5] [{}] [{\"type\":\"nosuch\"}] [{\"type\":\"pid\"},{\"type\":\"pid\"}] \
      [{\"type\":\"user\",\"path\":\"/proc/self/ns/net\"}] [{\"type\":\"network\",\"path\":\"/none\"}] \
      [{\"type\":\"network\",\"path\":\"/etc/passwd\"}] [{\"type\":\"uts\",\"path\":\"/none\"}] [{\"type\":\"ipc\",\"path\":\"rel\"}]",
    ),
    ("/linux/uidMappings", "5 [{\"containerID\":0,\"hostID\":0,\"size\":1}]"),
    (
        "/linux/devices",
        "5 [5] [{}] [{\"path\":\"dev/x\",\"type\":\"c\",\"major\":1,\"minor\":3}] \
      [{\"path\":\"/dev/../x\",\"type\":\"c\",\"major\":1,\"minor\":3}] [{\"path\":\"/dev/x\",\"type\":\"z\",\"major\":1,\"minor\":3}] \
      [{\"path\":\"/dev/x\",\"type\":\"c\",\"major\":-1,\"minor\":3}]",
    ),
    ("/linux/cgroupsPath", "5 \"../x\" \"/\" \"/a/../../x\" \"a\\u0000\""),
    (
        "/linux/resources",
        "5 {\"memory\":5} {\"memory\":{\"limit\":\"x\"}} {\"pids\":{\"limit\":\"x\"}} {\"cpu\":{\"cpus\":\"999999\"}} \
      {\"cpu\":{\"cpus\":\"x\"}} {\"cpu\":{\"quota\":1}} {\"memory\":{\"swappiness\":\"x\"}}",
    ),
    (
        "/linux/sysctl",
        "5 {\"kernel.pid_max\":\"1\"} {\"net/../kernel/pid_max\":\"1\"} {\"\":\"1\"} {\"kernel.msgmax\":5} \
      {\"kernel.msgmax\":\"1\\n2\"}",
    ),
    (
        "/linux/seccomp",
        "5 {} {\"defaultAction\":\"x\"} {\"defaultAction\":\"SCMP_ACT_NOTIFY\"} \
      {\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"x\"]} {\"defaultAction\":\"SCMP_ACT_ALLOW\",\"architectures\":[\"x\"]} \
      {\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[],\"action\":\"SCMP_ACT_KILL\"}]} \
      {\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"execve\"],\"action\":\"SCMP_ACT_ERRNO\"}]} \
      {\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],\"action\":\"SCMP_ACT_KILL\",\
\"args\":[{\"index\":9,\"value\":0,\"op\":\"SCMP_CMP_EQ\"}]}]}",
    ),
    ("/linux/maskedPaths", "5 [5] [\"x\"] [\"/../x\"] [\"/a\\u0000\"]"),
    ("/linux/readonlyPaths", "5 [5] [\"x\"] [\"/a/../../x\"]"),
    ("/linux/rootfsPropagation", "5 \"x\""),
    (
        "/hooks",
        "5 {\"prestart\":5} {\"prestart\":[{}]} {\"createRuntime\":[{\"path\":\"bin/true\"}]} {\"createRuntime\":[{\"path\":\"/none\"}]} \
      {\"createContainer\":[{\"path\":\"/bin/false\"}]} {\"prestart\":[{\"path\":\"/bin/sleep\",\"args\":[\"sleep\",\"60\"],\"timeout\":1}]} \
      {\"startContainer\":[{\"path\":\"/none\"}]} {\"createRuntime\":[{\"path\":\"/bin/true\\u0000\"}]} {\"createRuntime\":[{\"path\":\"/bin/true\",\"timeout\":\"x\"}]}",
    ),
    ("/annotations", "5 {\"a\":5}"),
];

/// Returns the wrong documents with their names, each made from a good one.
pub(crate) fn documents(good: &Value) -> Result<Vec<(String, Value)>> {
    let mut documents = Vec::new();
    for (field, values) in FIELDS {
        let stream = serde_json::Deserializer::from_str(values).into_iter::<Value>();
        for value in stream {
            let value = value.with_context(|| format!("the values of {field}"))?;
            let mut document = good.clone();
            set(&mut document, field, value.clone())?;
            let shown: String = value.to_string().chars().take(100).collect();
            documents.push((format!("config.json: {field} {shown}"), document));
        }
    }
    Ok(documents)
}

fn set(document: &mut Value, field: &str, value: Value) -> Result<()> {
    let Some((parent, name)) = field.rsplit_once('/') else {
        *document = value;
        return Ok(());
    };
    let parent = document.pointer_mut(parent).and_then(Value::as_object_mut);
    let parent = parent.with_context(|| format!("{field} has no parent in the good document"))?;
    parent.insert(name.to_owned(), value);
    Ok(())
}

/// Documents with far more of something than anybody needs: refused or served, but in good order.
pub(crate) fn huge(good: &Value) -> Vec<(&'static str, Value)> {
    const MANY: usize = 20_000;
    let with = |field: &str, value: Value| {
        let mut document = good.clone();
        // The parents are there, as the unit test shows.
        let _ = set(&mut document, field, value);
        document
    };
    let names = |prefix: &str| -> Value { (0..MANY).map(|at| Value::from(format!("{prefix}{at}"))).collect() };
    let long = "x".repeat(1 << 20);
    vec![
        ("20 000 masked paths", with("/linux/maskedPaths", names("/none"))),
        ("20 000 variables", with("/process/env", names("A=").as_array().cloned().unwrap_or_default().into())),
        ("20 000 groups", with("/process/user/additionalGids", (1..MANY).map(Value::from).collect())),
        ("an argument of a megabyte", with("/process/args", json!(["/bin/true", long]))),
        ("a directory name of a megabyte", with("/process/cwd", json!(format!("/{long}")))),
        ("an annotation of a megabyte", with("/annotations", json!({ "a": long }))),
        (
            "1000 mounts",
            with("/mounts", (0..1000).map(|at| json!({"destination": format!("/m/{at}"), "type": "tmpfs"})).collect()),
        ),
    ]
}

/// Checks that the good document is one for its fields, where `path` is shown in the error.
pub(crate) fn check(good: &Value, path: &Path) -> Result<()> {
    ensure!(good.pointer("/process/user").is_some() && good.get("linux").is_some(), "{} lacks parts", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_place_and_every_value_is_json() {
        let good = json!({"process": {"user": {"uid": 0, "gid": 0}}, "root": {}, "linux": {}});
        let documents = documents(&good).expect("documents");
        assert!(documents.len() > 150, "{}", documents.len());
        assert!(huge(&good).iter().all(|(_, document)| *document != good));
    }
}
