//! `runsc install` and `runsc uninstall`: the runtime's entry in Docker's configuration.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use crate::cli::{Global, InstallArgs};

/// Adds the entry, or replaces one of the same name.
pub(crate) fn install(_global: &Global, args: &InstallArgs) -> Result<u8> {
    let program = std::env::current_exe().context("finding this program")?;
    let program = program.to_str().context("the path of this program is not UTF-8")?;
    let mut entry = json!({ "path": program });
    if !args.arguments.is_empty() {
        entry["runtimeArgs"] = json!(args.arguments);
    }
    let mut config = read(&args.config_file)?;
    let runtimes = runtimes(&mut config, &args.config_file)?;
    if !args.clobber && runtimes.contains_key(&args.runtime) {
        bail!("{} has a runtime {:?} already; --clobber replaces it", args.config_file.display(), args.runtime);
    }
    runtimes.insert(args.runtime.clone(), entry);
    write(&args.config_file, &config)?;
    println!("{} has the runtime {:?} now; restart or reload Docker", args.config_file.display(), args.runtime);
    Ok(0)
}

/// Removes the entry.
pub(crate) fn uninstall(_global: &Global, args: &InstallArgs) -> Result<u8> {
    let mut config = read(&args.config_file)?;
    if runtimes(&mut config, &args.config_file)?.remove(&args.runtime).is_none() {
        bail!("{} has no runtime {:?}", args.config_file.display(), args.runtime);
    }
    write(&args.config_file, &config)?;
    println!("{} has no runtime {:?} any more; restart or reload Docker", args.config_file.display(), args.runtime);
    Ok(0)
}

fn read(path: &Path) -> Result<Map<String, Value>> {
    match fs::read(path) {
        Ok(text) if text.iter().all(u8::is_ascii_whitespace) => Ok(Map::new()),
        Ok(text) => serde_json::from_slice(&text).with_context(|| format!("parsing {}", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Map::new()),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

fn runtimes<'a>(config: &'a mut Map<String, Value>, path: &Path) -> Result<&'a mut Map<String, Value>> {
    let runtimes = config.entry("runtimes").or_insert_with(|| json!({}));
    runtimes.as_object_mut().with_context(|| format!("\"runtimes\" in {} is no object", path.display()))
}

/// Replaces the file as a whole: a crash leaves the old one.
fn write(path: &Path, config: &Map<String, Value>) -> Result<()> {
    let text = serde_json::to_string_pretty(config)? + "\n";
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    }
    let new = path.with_extension("json.new");
    fs::write(&new, text).with_context(|| format!("writing {}", new.display()))?;
    fs::rename(&new, path).with_context(|| format!("replacing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};

    fn run(line: String) -> Result<u8> {
        let Cli { global, command } = crate::cli::parse(line.split(' ').map(Into::into)).unwrap();
        match command {
            Command::Install(args) => install(&global, &args),
            Command::Uninstall(args) => uninstall(&global, &args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_the_entry_comes_and_goes() {
        let path = std::env::temp_dir().join(format!("runsc-daemon-{}.json", std::process::id()));
        fs::write(&path, r#"{"debug": true, "runtimes": {"other": {"path": "/x"}}}"#).unwrap();
        let flags = format!("--config_file {} --runtime r", path.display());
        run(format!("runsc install {flags} -- --overlay2=none")).unwrap();
        assert!(run(format!("runsc install --clobber=false {flags}")).is_err());
        let config = read(&path).unwrap();
        assert_eq!(config["runtimes"]["r"]["runtimeArgs"], json!(["--overlay2=none"]));
        assert_eq!((&config["debug"], &config["runtimes"]["other"]["path"]), (&json!(true), &json!("/x")));
        run(format!("runsc uninstall {flags}")).unwrap();
        assert!(run(format!("runsc uninstall {flags}")).is_err());
        assert_eq!(read(&path).unwrap()["runtimes"], json!({"other": {"path": "/x"}}));
        fs::remove_file(path).unwrap();
    }
}
