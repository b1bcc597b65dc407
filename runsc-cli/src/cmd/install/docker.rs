//! The runtime's entry in Docker's daemon.json.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::{read_text, replace};
use crate::cli::InstallArgs;

/// Adds the entry, or replaces one of the same name.
pub(super) fn install(args: &InstallArgs, path: &Path, program: &str) -> Result<()> {
    let mut entry = json!({ "path": program });
    if !args.arguments.is_empty() {
        entry["runtimeArgs"] = json!(args.arguments);
    }
    let mut config = read(path)?;
    let runtimes = runtimes(&mut config, path)?;
    if !args.clobber && runtimes.contains_key(&args.runtime) {
        bail!("{} has a runtime {:?} already; --clobber replaces it", path.display(), args.runtime);
    }
    runtimes.insert(args.runtime.clone(), entry);
    if !args.cgroup_driver.is_empty() {
        set_cgroup_driver(&mut config, path, &args.cgroup_driver)?;
    }
    write(path, &config)
}

/// Replaces the option of the daemon that says who makes cgroups.
fn set_cgroup_driver(config: &mut Map<String, Value>, path: &Path, driver: &str) -> Result<()> {
    const OPTION: &str = "native.cgroupdriver=";
    let options = config.entry("exec-opts").or_insert_with(|| json!([]));
    let options = options.as_array_mut().with_context(|| format!("\"exec-opts\" in {} is no list", path.display()))?;
    options.retain(|option| !option.as_str().is_some_and(|option| option.starts_with(OPTION)));
    options.push(json!(format!("{OPTION}{driver}")));
    Ok(())
}

/// Removes the entry; tells whether there was one.
pub(super) fn uninstall(args: &InstallArgs, path: &Path) -> Result<bool> {
    let mut config = read(path)?;
    let found = runtimes(&mut config, path)?.remove(&args.runtime).is_some();
    if found {
        write(path, &config)?;
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Map<String, Value>> {
    let text = read_text(path)?;
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_str(&text).with_context(|| format!("parsing {}", path.display()))
}

fn runtimes<'a>(config: &'a mut Map<String, Value>, path: &Path) -> Result<&'a mut Map<String, Value>> {
    let runtimes = config.entry("runtimes").or_insert_with(|| json!({}));
    runtimes.as_object_mut().with_context(|| format!("\"runtimes\" in {} is no object", path.display()))
}

fn write(path: &Path, config: &Map<String, Value>) -> Result<()> {
    replace(path, &(serde_json::to_string_pretty(config)? + "\n"))
}
